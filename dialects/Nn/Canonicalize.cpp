//===- Canonicalize.cpp - movement that moves nothing goes ----------------===//

#include "Nn/Nn.h"

using namespace mlir;
using namespace cleave::nn;

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

/// `input` when it has the type of the result already, else nothing.
static OpFoldResult foldIdentity(Value input, Type result) {
  return input.getType() == result ? OpFoldResult(input) : OpFoldResult();
}

OpFoldResult CastOp::fold(FoldAdaptor) { return foldIdentity(getInput(), getType()); }

OpFoldResult BroadcastOp::fold(FoldAdaptor) { return foldIdentity(getInput(), getType()); }

// reshape(reshape(x)) is one reshape.
OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (auto inner = getInput().getDefiningOp<ReshapeOp>()) {
    if (inner.getInput().getType() == getType())
      return inner.getInput();
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return foldIdentity(getInput(), getType());
}

// transpose(transpose(x)) is one transpose.
OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (auto inner = getInput().getDefiningOp<TransposeOp>()) {
    SmallVector<int64_t> permutation;
    for (int64_t dim : getPermutation())
      permutation.push_back(inner.getPermutation()[dim]);
    if (llvm::equal(permutation, llvm::seq<int64_t>(0, permutation.size())))
      return inner.getInput();
    setPermutation(permutation);
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  if (llvm::equal(getPermutation(), llvm::seq<int64_t>(0, getPermutation().size())))
    return getInput();
  return {};
}

OpFoldResult SliceOp::fold(FoldAdaptor) {
  bool whole = getInput().getType() == getType() &&
               llvm::all_of(getSteps(), [](int64_t step) { return step == 1; });
  return whole ? OpFoldResult(getInput()) : OpFoldResult();
}

// Empty operands add nothing; a single one is the result.
OpFoldResult ConcatOp::fold(FoldAdaptor) {
  if (getInputs().size() == 1)
    return getInputs().front();
  SmallVector<Value> kept;
  for (Value input : getInputs())
    if (cast<RankedTensorType>(input.getType()).getDimSize(getAxis()) != 0)
      kept.push_back(input);
  if (kept.empty() || kept.size() == getInputs().size())
    return {};
  if (kept.size() == 1)
    return kept.front();
  getInputsMutable().assign(kept);
  return getResult();
}
