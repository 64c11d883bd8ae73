//===- Contractions.cpp - matmul, gemm ------------------------------------===//

#include "Node.h"

using namespace mlir;
using namespace cleave;

// Vectors are matrices for the time of the product.
static LogicalResult matmul(Node &n) {
  Value lhs = n.in(0), rhs = n.in(1);
  if (!lhs || !rhs)
    return failure();
  if (rankOf(lhs) == 0 || rankOf(rhs) == 0)
    return n.error() << "multiplies a scalar, got: " << lhs.getType() << " and " << rhs.getType();
  bool row = rankOf(lhs) == 1, column = rankOf(rhs) == 1;
  if (row)
    lhs = n.reshape(lhs, {1, sizesOf(lhs)[0]});
  if (column)
    rhs = n.reshape(rhs, {sizesOf(rhs)[0], 1});
  Value result = n.make<nn::MatmulOp>({lhs, rhs});
  if (!result || (!row && !column))
    return n.give(result);
  Sizes shape = sizesOf(result);
  if (column)
    shape.pop_back();
  if (row)
    shape.erase(shape.end() - (column ? 1 : 2));
  return n.give(n.reshape(result, shape));
}

static Value scaled(Node &n, Value value, double factor) {
  return factor == 1 || !value ? value
                               : n.make<nn::MulOp>({value, n.scalar(elementOf(value), factor)});
}

static LogicalResult gemm(Node &n) {
  Value lhs = n.in(0), rhs = n.in(1);
  if (!lhs || !rhs || rankOf(lhs) != 2 || rankOf(rhs) != 2)
    return n.error() << "wants two matrices";
  if (n.intAttr("transA"))
    lhs = n.transpose(lhs, {1, 0});
  if (n.intAttr("transB"))
    rhs = n.transpose(rhs, {1, 0});
  Value result = scaled(n, n.make<nn::MatmulOp>({lhs, rhs}), n.floatAttr("alpha", 1));
  if (n.has(2))
    result = n.make<nn::AddOp>({result, scaled(n, n.in(2), n.floatAttr("beta", 1))});
  return n.give(result);
}

void cleave::addContractions(ConvertTable &table) {
  table["Gemm"] = gemm;
  table["MatMul"] = matmul;
}
