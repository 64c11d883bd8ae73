//===- MakeContiguous.cpp - collectives act on the outermost dimension ----===//
//
// Why: every communicator moves contiguous blocks, and the blocks of an inner
// dimension are not.
//
//   %y = dist.all_gather %x dim 1     =>   %t = nn.transpose %x [1, 0]
//                                          %g = dist.all_gather %t dim 0
//                                          %y = nn.transpose %g [1, 0]
//
//   %y = dist.all_to_all %x           =>   %b = nn.transpose, nn.reshape %x
//            split 1 concat 0              %e = dist.exchange %b
//                                          %y = nn.reshape, nn.transpose %e
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

namespace {

/// An all_to_all as an exchange of blocks. What member i sends to member j, its part
/// j of `split`, is [s_j, c_i, rest]: contiguous once `split` is the outermost
/// dimension and `concat` the next.
class BlockExchange {
public:
  explicit BlockExchange(dist::AllToAllOp op)
      : op(op), b(op), split(op.getSplit()), concat(op.getConcat()), order({split, concat}) {
    for (int64_t i = 0; i < typeOf(op.getInput()).getRank(); ++i)
      if (i != split && i != concat)
        order.push_back(i);
  }

  void replace() {
    ArrayRef<int64_t> shape = typeOf(op.getInput()).getShape();
    for (int64_t dim : ArrayRef(order).drop_front(2))
      rest.push_back(shape[dim]);
    int64_t inner = ShapedType::getNumElements(rest);
    SmallVector<int64_t> counts;
    for (int64_t mine : op.getConcats())
      for (int64_t theirs : op.getSplits())
        counts.push_back(theirs * mine * inner);
    Value sent = transpose(op.getInput(), order);
    int64_t elements = typeOf(op.getResult()).getNumElements();
    auto exchange = dist::ExchangeOp::create(b, op.getLoc(), flat(elements),
                                             reshape(sent, typeOf(sent).getNumElements()),
                                             op.getAxes(), counts);
    exchange->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    op.replaceAllUsesWith(elements ? unpack(exchange)
                                   : reshape(exchange, typeOf(op.getResult()).getShape()));
    op.erase();
  }

private:
  RankedTensorType flat(int64_t elements) {
    return RankedTensorType::get({elements}, typeOf(op.getInput()).getElementType());
  }

  Value reshape(Value value, ArrayRef<int64_t> shape) {
    return nn::ReshapeOp::create(
        b, op.getLoc(), RankedTensorType::get(shape, typeOf(value).getElementType()), value);
  }

  Value transpose(Value value, ArrayRef<int64_t> permutation) {
    return isIdentityPermutation(permutation)
               ? value
               : Value(nn::TransposeOp::create(b, op.getLoc(), value, permutation));
  }

  /// The blocks [s, c_i, rest] of all members as the result lies.
  Value unpack(Value blocks) {
    ArrayRef<int64_t> concats = op.getConcats();
    ArrayRef<int64_t> result = typeOf(op.getResult()).getShape();
    SmallVector<int64_t> block = {result[split], 0};
    llvm::append_range(block, rest);
    if (llvm::all_equal(concats)) {
      // All in one movement: [p, s, c, rest], with the members in front of c.
      block[1] = concats.front();
      block.insert(block.begin(), concats.size());
      SmallVector<int64_t> places;
      for (int64_t dim : invertPermutationVector(order)) {
        if (dim == 1)
          places.push_back(0);
        places.push_back(dim + 1);
      }
      return reshape(transpose(reshape(blocks, block), places), result);
    }
    SmallVector<Value> parts;
    int64_t begin = 0, row = ShapedType::getNumElements(rest) * result[split];
    for (int64_t count : concats) {
      if (count == 0)
        continue;
      block[1] = count;
      Value part = nn::SliceOp::create(b, op.getLoc(), blocks, ArrayRef(begin),
                                       ArrayRef(count * row), ArrayRef<int64_t>(1));
      parts.push_back(reshape(part, block));
      begin += count * row;
    }
    Value joined =
        parts.size() == 1 ? parts.front() : nn::ConcatOp::create(b, op.getLoc(), parts, 1);
    return transpose(joined, invertPermutationVector(order));
  }

  dist::AllToAllOp op;
  OpBuilder b;
  int64_t split, concat;
  SmallVector<int64_t> order; ///< split, concat, the others
  SmallVector<int64_t> rest;  ///< sizes of the others
};

} // namespace

namespace {

struct MakeContiguous : cleave::impl::MakeContiguousBase<MakeContiguous> {
  void runOnOperation() override {
    getOperation().walk([](dist::AllToAllOp op) { BlockExchange(op).replace(); });
    getOperation().walk([](dist::AllGatherOp op) { transposeAround(op); });
    getOperation().walk([](dist::ReduceScatterOp op) { transposeAround(op); });
  }
};

} // namespace
