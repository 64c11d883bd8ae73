//===- MakeContiguous.cpp - collectives act on the outermost dimension ----===//
//
// Why: every communicator moves contiguous blocks, and the blocks of an inner
// dimension are not.
//
//   %y = dist.all_gather %x dim 1     =>   %t = nn.transpose %x [1, 0]
//                                          %g = dist.all_gather %t dim 0
//                                          %y = nn.transpose %g [1, 0]
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Kernel/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"

namespace cleave {
#define GEN_PASS_DEF_MAKECONTIGUOUS
#include "cleave/Transforms/Kernel/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using cleave::nn::typeOf;

/// Whether the blocks of dimension `dim` are contiguous.
static bool isOutermost(Value value, int64_t dim) {
  return llvm::all_of(typeOf(value).getShape().take_front(dim),
                      [](int64_t size) { return size == 1; });
}

/// Replaces `op`, which acts along `dim`, by the same op along dimension 0 between
/// two transposes.
template <typename Op> static void transposeAround(Op op) {
  int64_t dim = op.getDim();
  if (isOutermost(op.getInput(), dim))
    return;
  OpBuilder b(op);
  SmallVector<int64_t> permutation = {dim};
  for (int64_t i = 0; i < typeOf(op.getInput()).getRank(); ++i)
    if (i != dim)
      permutation.push_back(i);
  auto permuted = [&](Value value) {
    return RankedTensorType::get(applyPermutation(typeOf(value).getShape(), permutation),
                                 typeOf(value).getElementType());
  };
  Value front = nn::TransposeOp::create(b, op.getLoc(), op.getInput(), permutation);
  auto inner = cast<Op>(b.clone(*op));
  inner.getInputMutable().assign(front);
  inner.setDim(0);
  inner.getResult().setType(cast<RankedTensorType>(permuted(op.getResult())));
  Value back = nn::TransposeOp::create(b, op.getLoc(), inner.getResult(),
                                       invertPermutationVector(permutation));
  op.replaceAllUsesWith(back);
  op.erase();
}

static void gatherAndSlice(dist::AllToAllOp op) {
  OpBuilder b(op);
  SmallVector<int64_t> whole(typeOf(op.getInput()).getShape());
  whole[op.getConcat()] = typeOf(op.getResult()).getDimSize(op.getConcat());
  Value gathered = dist::AllGatherOp::create(
      b, op.getLoc(), RankedTensorType::get(whole, typeOf(op.getInput()).getElementType()),
      op.getInput(), op.getConcat(), op.getAxes(), op.getConcats());
  Value kept = dist::SliceOp::create(b, op.getLoc(), op.getResult().getType(), gathered,
                                     op.getSplit(), op.getAxes(), op.getSplits());
  op.replaceAllUsesWith(kept);
  op.erase();
}

namespace {

struct MakeContiguous : cleave::impl::MakeContiguousBase<MakeContiguous> {
  void runOnOperation() override {
    getOperation().walk([](dist::AllToAllOp op) { gatherAndSlice(op); });
    getOperation().walk([](dist::AllGatherOp op) { transposeAround(op); });
    getOperation().walk([](dist::ReduceScatterOp op) { transposeAround(op); });
  }
};

} // namespace
