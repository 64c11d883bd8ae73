//===- Contraction.cpp - nn.matmul as a product ---------------------------===//

#include "Product.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;

void cleave::cpu::emitMatmul(Emitter &e, nn::MatmulOp root) {
  Value lhs = root.getLhs(), rhs = root.getRhs();
  ArrayRef<int64_t> left = Emitter::shape(lhs), right = Emitter::shape(rhs);
  SmallVector<int64_t> batch(Emitter::shape(root.getResult()).drop_back(2));
  SmallVector<int64_t> leftBatch(left.drop_back(2)), rightBatch(right.drop_back(2));
  ProductSizes sizes{1, left[left.size() - 2], right.back(), left.back()};
  for (int64_t size : batch)
    sizes.batch *= size;
  // One right operand for all batches: they are rows.
  int64_t rightSize = 1;
  for (int64_t size : rightBatch)
    rightSize *= size;
  bool isFolded = rightSize == 1 && leftBatch == batch;
  ProductSizes whole = sizes;
  if (isFolded)
    sizes = {1, sizes.batch * sizes.m, sizes.n, sizes.k};

  auto atA = [=, &e](const Index &b, const Index &m, const Index &k) {
    if (isFolded)
      return m * whole.k + k;
    return (e.broadcastIndex(b, batch, leftBatch) * whole.m + m) * whole.k + k;
  };
  auto atB = [=, &e](const Index &b, const Index &k, const Index &n) {
    if (isFolded)
      return k * whole.n + n;
    return (e.broadcastIndex(b, batch, rightBatch) * whole.k + k) * whole.n + n;
  };
  ProductOperands operands;
  operands.pullA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return e.pull(lhs, atA(b, m, k));
  };
  operands.pullB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return e.pull(rhs, atB(b, k, n));
  };
  operands.traceA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return e.trace(lhs, atA(b, m, k));
  };
  operands.traceB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return e.trace(rhs, atB(b, k, n));
  };
  if (isProductType(lhs.getType()))
    emitProduct(e, root, sizes, operands);
  else
    emitSums(e, root, sizes, operands);
}
