//===- SplitLoad.cpp - what depends on weights alone runs once ------------===//
//
// Why: a transposed, cut or cast weight is the same in every inference.
//
//   func @f(%x) {                        func @f(%x, %t {rt.param}) attributes {rt.load = @f_load}
//   {
//     %w = nn.weight "w"                   %y = nn.matmul %x, %t
//     %t = nn.transpose %w           =>  }
//     %y = nn.matmul %x, %t              func private @f_load() {
//   }                                      %w = nn.weight "w"
//                                          %t = nn.transpose %w
//                                          return %t
//                                        }
//
// What would be larger than the weights that it is computed from stays in @f (Load.h).
//
//===----------------------------------------------------------------------===//

#include "cleave/Analysis/Load.h"
#include "cleave/Transforms/Kernel/Passes.h"

#include "Nn/Nn.h"

#include "mlir/IR/IRMapping.h"

namespace cleave {
#define GEN_PASS_DEF_SPLITLOAD
#include "cleave/Transforms/Kernel/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;

/// A weight or a constant, possibly under another shape: main reads it as it is.
static bool isDirect(Value value) {
  while (auto reshape = value.getDefiningOp<nn::ReshapeOp>())
    value = reshape.getInput();
  return isa_and_nonnull<nn::WeightOp, nn::ConstantOp>(value.getDefiningOp());
}

/// Values of `known` that other ops use and that are not read directly.
static llvm::SetVector<Value> boundary(const llvm::SetVector<Operation *> &known) {
  llvm::SetVector<Value> values;
  for (Operation *op : known)
    for (Value result : op->getResults())
      if (!isDirect(result) &&
          llvm::any_of(result.getUsers(), [&](Operation *user) { return !known.contains(user); }))
        values.insert(result);
  return values;
}

/// Ops of `known` that `values` are computed from, in order.
static SmallVector<Operation *> slice(const llvm::SetVector<Operation *> &known,
                                      const llvm::SetVector<Value> &values) {
  DenseSet<Operation *> needed;
  for (Value value : values)
    needed.insert(value.getDefiningOp());
  for (Operation *op : llvm::reverse(known))
    if (needed.contains(op))
      for (Value operand : op->getOperands())
        needed.insert(operand.getDefiningOp());
  return llvm::filter_to_vector(known, [&](Operation *op) { return needed.contains(op); });
}

static void split(func::FuncOp function) {
  llvm::SetVector<Operation *> known = opsAtLoad(function);
  llvm::SetVector<Value> params = boundary(known);

  OpBuilder builder(function);
  builder.setInsertionPointAfter(function);
  SmallVector<Type> types = llvm::map_to_vector(params, [](Value v) { return v.getType(); });
  auto load = func::FuncOp::create(builder, function.getLoc(), (function.getName() + "_load").str(),
                                   builder.getFunctionType({}, types));
  load.setPrivate();
  builder.setInsertionPointToStart(load.addEntryBlock());
  IRMapping mapping;
  for (Operation *op : slice(known, params))
    builder.clone(*op, mapping);
  SmallVector<Value> results =
      llvm::map_to_vector(params, [&](Value v) { return mapping.lookup(v); });
  func::ReturnOp::create(builder, function.getLoc(), results);

  auto marker = builder.getDictionaryAttr(builder.getNamedAttr(rt::kParam, builder.getUnitAttr()));
  for (Value param : params) {
    unsigned index = function.getNumArguments();
    (void)function.insertArgument(index, param.getType(), marker, param.getLoc());
    Value argument = function.getArgument(index);
    param.replaceUsesWithIf(argument,
                            [&](OpOperand &use) { return !known.contains(use.getOwner()); });
  }
  function->setAttr(rt::kLoad, FlatSymbolRefAttr::get(load));
  for (Operation *op : llvm::reverse(known))
    if (op->use_empty())
      op->erase();
}

namespace {

struct SplitLoad : cleave::impl::SplitLoadBase<SplitLoad> {
  void runOnOperation() override {
    for (auto function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (!function.isPrivate() && !function.isExternal() && !function->hasAttr(rt::kLoad))
        split(function);
  }
};

} // namespace
