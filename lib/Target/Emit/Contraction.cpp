//===- Contraction.cpp - nn.matmul as a product ---------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

/// An element of `tensor` as it is multiplied: bytes as the i32 that they are added up in.
static Value pullFactor(Emitter &e, Value tensor, const Index &at) {
  Value x = e.pull(tensor, at);
  Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
  if (e.isDry() || !element.isInteger(8))
    return x;
  Type wide = e.vectorOf(e.builder.getI32Type(), e.laneCount(x));
  return element.isUnsignedInteger()
             ? arith::ExtUIOp::create(e.builder, e.loc, wide, x).getResult()
             : arith::ExtSIOp::create(e.builder, e.loc, wide, x).getResult();
}

namespace {

struct Contraction {
  explicit Contraction(nn::MatmulOp root)
      : left(Emitter::shape(root.getLhs())), right(Emitter::shape(root.getRhs())),
        batch(Emitter::shape(root.getResult()).drop_back(2)), leftBatch(left.drop_back(2)),
        rightBatch(right.drop_back(2)) {
    whole = {1, left[left.size() - 2], right.back(), left.back()};
    for (int64_t size : batch)
      whole.batch *= size;
    // One right operand for all batches: they are rows.
    int64_t rightSize = 1;
    for (int64_t size : rightBatch)
      rightSize *= size;
    isFolded = rightSize == 1 && leftBatch == batch;
    sizes = whole;
    if (isFolded)
      sizes = {1, whole.batch * whole.m, whole.n, whole.k};
  }

  ArrayRef<int64_t> left, right;
  SmallVector<int64_t> batch, leftBatch, rightBatch;
  ProductSizes whole, sizes;
  bool isFolded;
};

} // namespace

ProductSizes cleave::emit::sizesOf(nn::MatmulOp root) { return Contraction(root).sizes; }

Product cleave::emit::productOf(Emitter &e, nn::MatmulOp root) {
  Value lhs = root.getLhs(), rhs = root.getRhs();
  Contraction c(root);
  auto atA = [=, &e](const Index &b, const Index &m, const Index &k) {
    if (c.isFolded)
      return m * c.whole.k + k;
    return (e.broadcastIndex(b, c.batch, c.leftBatch) * c.whole.m + m) * c.whole.k + k;
  };
  auto atB = [=, &e](const Index &b, const Index &k, const Index &n) {
    if (c.isFolded)
      return k * c.whole.n + n;
    return (e.broadcastIndex(b, c.batch, c.rightBatch) * c.whole.k + k) * c.whole.n + n;
  };
  ProductOperands operands;
  operands.pullA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return pullFactor(e, lhs, atA(b, m, k));
  };
  operands.pullB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return pullFactor(e, rhs, atB(b, k, n));
  };
  operands.traceA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return e.trace(lhs, atA(b, m, k));
  };
  operands.traceB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return e.trace(rhs, atB(b, k, n));
  };
  return {root, c.sizes, operands};
}
