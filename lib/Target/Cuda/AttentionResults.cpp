//===- AttentionResults.cpp - rows of attention leave a block -------------===//

#include "AttentionResults.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using Kind = vector::CombiningKind;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

Value cleave::cuda::isEmptyRow(Emitter &e, Value top) {
  return arith::CmpFOp::create(e.builder, e.loc, arith::CmpFPredicate::OEQ, top,
                               e.splat(-kInfinity, 1));
}

void AttentionResults::store(const Index &firstRow, int64_t rows, const Index &row,
                             const SharesOf &of) {
  first = firstRow, count = rows, base = row;
  if (parts.count == 1)
    return storeAll(of);
  forRows([&](const Index &row, const Index &w, const Index &) {
    parts.store(row * size.width + w, combined(of(row, w, e.lanesOf(w)), e.lanesOf(w)).value);
  });
  e.team = block.whole();
  e.nest(
      size.rows,
      [&](const Index &row) {
        Share all = combined(of(row, 0, 1), 1);
        parts.store(row + size.topsAt(), all.top);
        parts.store(row + size.sumsAt(), all.sum);
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
  parts.whenLast([&] {
    storeAll([&](const Index &row, const Index &w, int64_t) { return ofBlocks(row, w); });
  });
}

/// Calls `body` with the elements of all rows that there are; `place` is that of one in the
/// result.
void AttentionResults::forRows(
    function_ref<void(const Index &, const Index &, const Index &)> body) {
  e.team = block.whole();
  e.nest(
      size.rows * size.width,
      [&](const Index &at) {
        auto [row, w] = e.divide(at, size.width);
        Index r = e.clamp(first + row, count);
        e.when(e.isBelow(first + row, count),
               [&, row = row, w = w] { body(row, w, (base + r) * size.width + w); });
      },
      Emitter::Tail::Exact, /*allowVectors=*/size.width % kLanes == 0);
  e.team.reset();
}

void AttentionResults::storeAll(const SharesOf &of) {
  forRows([&](const Index &row, const Index &w, const Index &place) {
    Share all = combined(of(row, w, e.lanesOf(w)), e.lanesOf(w));
    e.store(0, emit::pushed(e, op.getResult(), place), mean(all));
  });
}

/// Of the blocks that divide the keys.
RowShares AttentionResults::ofBlocks(const Index &row, const Index &w) {
  return {parts.count, [=, this](const Index &i) { return parts.load(i, row + size.topsAt()); },
          [=, this](const Index &i) { return parts.load(i, row + size.sumsAt()); },
          [=, this](const Index &i) { return parts.load(i, row * size.width + w); }};
}

/// Of all keys together.
AttentionResults::Share AttentionResults::combined(const RowShares &of, int64_t lanes) {
  if (of.count == 1)
    return {of.top(0), of.sum(0), of.value(0)};
  Value least, none, nones;
  if (!e.isDry())
    least = e.splat(-kInfinity, 1), none = e.zero(1), nones = e.zero(lanes);
  Value top = e.carry(0, of.count, least, [&](const Index &i, ValueRange before) {
    Value x = of.top(i);
    return SmallVector<Value>{e.isDry() ? x : combine(e, Kind::MAXIMUMF, before[0], x)};
  })[0];
  Value base = e.isDry() ? Value() : arith::SelectOp::create(b, loc, isEmptyRow(e, top), none, top);
  SmallVector<Value> sums =
      e.carry(0, of.count, {none, nones}, [&](const Index &i, ValueRange before) {
        Value x = of.top(i), sum = of.sum(i), value = of.value(i);
        if (e.isDry())
          return SmallVector<Value>{sum, value};
        x = decay(arith::SubFOp::create(b, loc, x, base));
        sum = arith::MulFOp::create(b, loc, sum, x);
        value = arith::MulFOp::create(b, loc, value, e.broadcast(x, lanes));
        return SmallVector<Value>{arith::AddFOp::create(b, loc, before[0], sum),
                                  arith::AddFOp::create(b, loc, before[1], value)};
      });
  return {top, sums[0], sums[1]};
}

Value AttentionResults::mean(const Share &all) {
  if (e.isDry())
    return {};
  int64_t lanes = e.laneCount(all.value);
  double empty =
      op.getEmptyRows() == nn::EmptyRows::Nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
  Value inverse = arith::DivFOp::create(b, loc, e.splat(1.0, 1), all.sum);
  Value mean = arith::MulFOp::create(b, loc, all.value, e.broadcast(inverse, lanes));
  return arith::SelectOp::create(b, loc, isEmptyRow(e, all.top), e.splat(empty, lanes), mean);
}
