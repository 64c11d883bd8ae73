//===- Kernel.cpp - a function of nn ops becomes loops --------------------===//

#include "Kernel.h"

#include "Roots.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;
using namespace cleave::emit;

static bool isTiled(Operation *root) {
  return !hasOneFilter(root) &&
         (isProductType(root->getOperand(0).getType()) || isByteProduct(root));
}

static void emitRoot(Emitter &emitter, Operation *root) {
  llvm::TypeSwitch<Operation *>(root)
      .Case<nn::MatmulOp, nn::ConvOp>([&](auto op) {
        Product product = productOf(emitter, op);
        if (isTiled(op))
          emitProduct(emitter, product);
        else
          emitSums(emitter, product);
      })
      .Case([&](nn::AttentionOp op) { emitAttention(emitter, op); })
      .Case([&](nn::ScatterNdOp op) { emitScatterNd(emitter, op); })
      .Case([&](nn::CacheUpdateOp op) { emitCacheUpdate(emitter, op); })
      .Case([&](nn::TopKOp op) { emitTopK(emitter, op); })
      .Default([&](Operation *op) {
        if (rowLength(op))
          emitRows(emitter, op);
        else
          emitColumns(emitter, op);
      });
}

Loops cleave::cpu::emitLoops(func::FuncOp kernel, const Machine &machine) {
  Loops loops{makeBody(kernel, machine)};
  Emitter emitter(kernel, *loops.module->getOps<func::FuncOp>().begin(), machine);
  if (Operation *root = rootOf(kernel))
    emitRoot(emitter, root);
  else
    emitElementwise(emitter);

  OpBuilder &b = emitter.builder;
  Value fault = memref::LoadOp::create(b, emitter.loc, emitter.faultCell, emitter.indexConstant(0));
  func::ReturnOp::create(b, emitter.loc, fault);
  loops.scratchBytes = emitter.scratchBytes();
  return loops;
}
