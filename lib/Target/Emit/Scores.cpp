//===- Scores.cpp - what a score of attention becomes ---------------------===//

#include "Roots.h"

#include "Nn/Functions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

Value cleave::emit::buildSeenKeys(Emitter &e, nn::AttentionOp op, const Index &batch,
                                  const Index &query) {
  OpBuilder &b = e.builder;
  Type type = b.getI64Type();
  auto i64 = [&](int64_t number) { return e.constantOf(type, number, 1); };
  int64_t queries = Emitter::shape(op.getQuery())[2], keys = Emitter::shape(op.getKey())[2];
  Value seen = i64(keys), shift = i64(op.getOffset() + 1);
  if (op.getLengths()) {
    Value length = e.pull(op.getLengths(), batch);
    if (length.getType() != type)
      length = arith::ExtSIOp::create(b, e.loc, type, length);
    seen = arith::MinSIOp::create(b, e.loc, seen, length);
    shift = arith::SubIOp::create(b, e.loc, length, i64(queries - 1));
  }
  if (op.getCausal()) {
    Value number = arith::IndexCastOp::create(b, e.loc, type, e.value(query));
    Value end = arith::AddIOp::create(b, e.loc, number, shift);
    seen = arith::MinSIOp::create(b, e.loc, seen, end);
  }
  return arith::MaxSIOp::create(b, e.loc, seen, i64(0));
}

Value cleave::emit::buildScore(Emitter &e, nn::AttentionOp op, Value x, const Index &place) {
  OpBuilder &b = e.builder;
  Value mask;
  if (op.getMask()) {
    ArrayRef<int64_t> q = Emitter::shape(op.getQuery());
    int64_t full[] = {q[0], q[1], q[2], Emitter::shape(op.getKey())[2]};
    mask = e.pull(op.getMask(), e.broadcastIndex(place, full, Emitter::shape(op.getMask())));
  }
  if (e.isDry())
    return x;
  int64_t lanes = e.laneCount(x);
  if (double cap = op.getSoftcap().convertToDouble(); cap != 0.0) {
    Value small = arith::MulFOp::create(b, e.loc, x, e.splat(1.0 / cap, lanes));
    x = arith::MulFOp::create(b, e.loc, nn::buildTanh(b, e.loc, small), e.splat(cap, lanes));
  }
  if (!mask)
    return x;
  mask = e.broadcast(mask, lanes);
  if (!cast<RankedTensorType>(op.getMask().getType()).getElementType().isInteger(1))
    return arith::AddFOp::create(b, e.loc, x, mask);
  Value hidden = e.splat(-std::numeric_limits<double>::infinity(), lanes);
  return arith::SelectOp::create(b, e.loc, mask, x, hidden);
}
