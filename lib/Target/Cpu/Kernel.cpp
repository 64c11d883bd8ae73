//===- Kernel.cpp - a function of nn ops becomes loops --------------------===//

#include "Kernel.h"

#include "Roots.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;

static bool isRoot(Operation &op) {
  return isa<nn::MatmulOp, nn::AttentionOp, nn::ConvOp, nn::ScatterNdOp, nn::CacheUpdateOp,
             nn::SoftmaxOp, nn::LayerNormOp, nn::RmsNormOp, nn::ReduceOp, nn::ArgReduceOp,
             nn::TopKOp, nn::CumSumOp>(op);
}

static bool isStorable(Type element) {
  if (auto integer = dyn_cast<IntegerType>(element))
    return llvm::is_contained({1u, 8u, 16u, 32u, 64u}, integer.getWidth());
  return element.isF16() || element.isBF16() || element.isF32() || element.isF64();
}

LogicalResult cleave::cpu::checkKernel(func::FuncOp kernel) {
  for (Operation &op : kernel.getBody().front().without_terminator())
    for (Type type : llvm::concat<const Type>(op.getOperandTypes(), op.getResultTypes()))
      if (Type element = cast<RankedTensorType>(type).getElementType(); !isStorable(element))
        return op.emitError("the cpu target does not store this element type, got: ") << element;
  return success();
}

/// Memory of a tensor; the bare-pointer convention wants a size.
static Type memoryOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return MemRefType::get({std::max<int64_t>(tensor.getNumElements(), 1)},
                         Emitter::storedType(tensor.getElementType()));
}

static void emitRoot(Emitter &emitter, Operation *root) {
  llvm::TypeSwitch<Operation *>(root)
      .Case([&](nn::MatmulOp op) { emitMatmul(emitter, op); })
      .Case([&](nn::ConvOp op) { emitConv(emitter, op); })
      .Case([&](nn::AttentionOp op) { emitAttention(emitter, op); })
      .Case([&](nn::ScatterNdOp op) { emitScatterNd(emitter, op); })
      .Case([&](nn::CacheUpdateOp op) { emitCacheUpdate(emitter, op); })
      .Default([&](Operation *op) {
        if (isRow(op))
          emitRows(emitter, op);
        else
          emitColumns(emitter, op);
      });
}

static void emitElementwise(Emitter &emitter) {
  auto results = emitter.kernel.getBody().front().getTerminator()->getOperands();
  for (auto [number, result] : llvm::enumerate(results))
    emitter.nest(Emitter::size(result),
                 [&](const Index &at) { emitter.store(number, at, emitter.pull(result, at)); });
}

Loops cleave::cpu::emitLoops(func::FuncOp kernel, const Machine &machine) {
  OpBuilder builder(kernel.getContext());
  Location loc = kernel.getLoc();
  Loops loops{ModuleOp::create(builder, loc)};
  SmallVector<Type> arguments;
  for (Type type : llvm::concat<const Type>(kernel.getArgumentTypes(), kernel.getResultTypes()))
    arguments.push_back(memoryOf(type));
  arguments.push_back(MemRefType::get({int64_t(1) << 40}, builder.getF32Type()));
  arguments.push_back(MemRefType::get({1024}, builder.getI64Type()));
  builder.setInsertionPointToEnd(loops.module->getBody());
  auto target = func::FuncOp::create(builder, loc, "body",
                                     builder.getFunctionType(arguments, builder.getI32Type()));
  Emitter emitter(kernel, target, machine);

  Operation *root = nullptr;
  for (Operation &op : kernel.getBody().front())
    if (isRoot(op))
      root = &op;
  if (root)
    emitRoot(emitter, root);
  else
    emitElementwise(emitter);

  OpBuilder &b = emitter.builder;
  Value fault = memref::LoadOp::create(b, loc, emitter.faultCell, emitter.indexConstant(0));
  func::ReturnOp::create(b, loc, fault);
  loops.scratchBytes = emitter.scratchBytes();
  return loops;
}
