//===- ModelsElementwise.cpp - how elementwise ops are cut ----------------===//
//
// The same dimension is the same factor, but for operands that repeat along it.
// What differs is in which operands an op is linear: there partial sums pass.
//
//===----------------------------------------------------------------------===//

#include "Nn/Models.h"

using namespace mlir;
using namespace cleave::nn;

using Linear = SmallVector<SmallVector<int64_t, 2>, 2>;

static ShardingRule elementwise(Operation *op, Linear linearIn = {}) {
  return {broadcastFactors(op), std::move(linearIn)};
}

static bool isFloat(Value value) {
  return isa<FloatType>(cast<RankedTensorType>(value.getType()).getElementType());
}

#define CLEAVE_ELEMENTWISE(OP)                                                                     \
  ShardingRule OP::getShardingRule() { return elementwise(*this); }
CLEAVE_ELEMENTWISE(AbsOp)
CLEAVE_ELEMENTWISE(AndOp)
CLEAVE_ELEMENTWISE(CeilOp)
CLEAVE_ELEMENTWISE(CompareOp)
CLEAVE_ELEMENTWISE(CosOp)
CLEAVE_ELEMENTWISE(ErfOp)
CLEAVE_ELEMENTWISE(ExpOp)
CLEAVE_ELEMENTWISE(FloorOp)
CLEAVE_ELEMENTWISE(GeluOp)
CLEAVE_ELEMENTWISE(IsNanOp)
CLEAVE_ELEMENTWISE(LogOp)
CLEAVE_ELEMENTWISE(MaxOp)
CLEAVE_ELEMENTWISE(MinOp)
CLEAVE_ELEMENTWISE(ModOp)
CLEAVE_ELEMENTWISE(NotOp)
CLEAVE_ELEMENTWISE(OrOp)
CLEAVE_ELEMENTWISE(PowOp)
CLEAVE_ELEMENTWISE(ReciprocalOp)
CLEAVE_ELEMENTWISE(RemOp)
CLEAVE_ELEMENTWISE(RoundOp)
CLEAVE_ELEMENTWISE(RsqrtOp)
CLEAVE_ELEMENTWISE(SigmoidOp)
CLEAVE_ELEMENTWISE(SignOp)
CLEAVE_ELEMENTWISE(SiluOp)
CLEAVE_ELEMENTWISE(SinOp)
CLEAVE_ELEMENTWISE(SqrtOp)
CLEAVE_ELEMENTWISE(TanhOp)
CLEAVE_ELEMENTWISE(XorOp)
#undef CLEAVE_ELEMENTWISE

ShardingRule NegOp::getShardingRule() { return elementwise(*this, {{0}}); }
ShardingRule AddOp::getShardingRule() { return elementwise(*this, {{0, 1}}); }
ShardingRule SubOp::getShardingRule() { return elementwise(*this, {{0, 1}}); }
ShardingRule MulOp::getShardingRule() { return elementwise(*this, {{0}, {1}}); }
ShardingRule SelectOp::getShardingRule() { return elementwise(*this, {{1, 2}}); }

// Integers round, and a rounded sum is no sum of rounded parts.
ShardingRule DivOp::getShardingRule() {
  return elementwise(*this, isFloat(getResult()) ? Linear{{0}} : Linear{});
}

ShardingRule CastOp::getShardingRule() {
  bool linear = isFloat(getInput()) && isFloat(getResult());
  return elementwise(*this, linear ? Linear{{0}} : Linear{});
}
