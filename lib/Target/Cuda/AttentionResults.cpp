//===- AttentionResults.cpp - attention leaves registers ------------------===//

#include "AttentionRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using Kind = vector::CombiningKind;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

void AttentionRows::finish(ArrayRef<Value> state, ArrayRef<Value> values) {
  warps.wait(0);
  block.sync();
  Value row = warps.add(warpRow, warps.over(warps.lane, 4));
  row = warps.add(row, warps.times(warpDeep, plan.rows));
  Value pair = warps.times(warps.modulo(warps.lane, 4), 2);
  auto two = VectorType::get({2}, b.getF32Type());
  int64_t allRows = plan.deep * plan.rows;
  for (int64_t i = 0; i < 2 * down; ++i) {
    Value own = warps.add(row, i * kMatrix);
    Index place = warps.index(own, allRows);
    Value sum = overRow(state[2 * down + i], Kind::ADD);
    Value isFirst =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, pair, warps.number(int64_t(0)));
    e.when(isFirst, [&] {
      e.storeScratch(tops, place, state[i]);
      e.storeScratch(sums, place, sum);
    });
    Index at = warps.index(warps.add(warps.times(own, stride), pair), allRows * stride);
    for (int64_t j = 0; j < 2 * across; ++j) {
      ArrayRef<Value> from = values.slice((i / 2 * 2 * across + j) * 4 + i % 2 * 2, 2);
      Value both = vector::FromElementsOp::create(b, loc, two, from);
      e.storeScratch(memory, at + j * kMatrix + e.laneSymbol(2), both);
    }
  }
  block.sync();
  store();
}

/// What several have of one row, each of its own keys: the tops, the sums and the weighted
/// values.
struct AttentionRows::Shares {
  int64_t count;
  std::function<Value(const Index &)> top, sum, value;
};
struct AttentionRows::Share {
  Value top, sum, value;
};

/// Of the warps that divide the keys of a tile.
AttentionRows::Shares AttentionRows::ofWarps(const Index &row, const Index &w, int64_t lanes) {
  auto rowOf = [=, this](const Index &i) { return i * plan.rows + row; };
  return {
      plan.deep, [=, this](const Index &i) { return e.loadScratch(tops, rowOf(i), 1); },
      [=, this](const Index &i) { return e.loadScratch(sums, rowOf(i), 1); },
      [=, this](const Index &i) { return e.loadScratch(memory, rowOf(i) * stride + w, lanes); }};
}

/// Of the blocks that divide the tiles: values of all rows, then tops, then sums.
AttentionRows::Shares AttentionRows::ofBlocks(const Index &row, const Index &w) {
  return {plan.parts, [=, this](const Index &i) { return parts.load(i, row + plan.topsOfPart()); },
          [=, this](const Index &i) { return parts.load(i, row + plan.sumsOfPart()); },
          [=, this](const Index &i) { return parts.load(i, row * plan.width + w); }};
}

/// Calls `body` with the elements of all rows that there are; `at` is the place of one
/// in the result.
void AttentionRows::forRows(
    function_ref<void(const Index &row, const Index &w, const Index &at)> body) {
  e.team = block.whole();
  e.nest(
      plan.rowsOfPart() * plan.width,
      [&](const Index &at) {
        auto [row, w] = e.divide(at, plan.width);
        Index r = e.clamp(first + row, plan.rowsOfUnit);
        e.when(e.isBelow(first + row, plan.rowsOfUnit),
               [&, row = row, w = w] { body(row, w, (queryBase + r) * plan.width + w); });
      },
      Emitter::Tail::Exact, /*allowVectors=*/plan.width % kLanes == 0);
  e.team.reset();
}

void AttentionRows::store() {
  auto storeAll = [&](auto sharesOf) {
    forRows([&](const Index &row, const Index &w, const Index &at) {
      Share all = combined(sharesOf(row, w, e.lanesOf(w)), e.lanesOf(w));
      e.store(0, emit::pushed(e, op.getResult(), at), mean(all));
    });
  };
  auto ofWarp = [&](auto... place) { return ofWarps(place...); };
  if (plan.parts == 1)
    return storeAll(ofWarp);
  forRows([&](const Index &row, const Index &w, const Index &) {
    parts.store(row * plan.width + w, combined(ofWarps(row, w, e.lanesOf(w)), e.lanesOf(w)).value);
  });
  e.team = block.whole();
  e.nest(
      plan.rowsOfPart(),
      [&](const Index &row) {
        Share all = combined(ofWarps(row, 0, 1), 1);
        parts.store(row + plan.topsOfPart(), all.top);
        parts.store(row + plan.sumsOfPart(), all.sum);
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
  parts.whenLast([&] { storeAll([&](auto row, auto w, int64_t) { return ofBlocks(row, w); }); });
}

/// Of all keys together.
AttentionRows::Share AttentionRows::combined(const Shares &of, int64_t lanes) {
  if (of.count == 1)
    return {of.top(0), of.sum(0), of.value(0)};
  Value least, none, nones;
  if (!e.isDry())
    least = e.splat(-kInfinity, 1), none = e.zero(1), nones = e.zero(lanes);
  Value top = e.carry(0, of.count, least, [&](const Index &i, ValueRange before) {
    Value x = of.top(i);
    return SmallVector<Value>{e.isDry() ? x : combine(e, Kind::MAXIMUMF, before[0], x)};
  })[0];
  Value base = e.isDry() ? Value() : arith::SelectOp::create(b, loc, isEmpty(top), none, top);
  SmallVector<Value> sums =
      e.carry(0, of.count, {none, nones}, [&](const Index &i, ValueRange before) {
        Value x = of.top(i), sum = of.sum(i), value = of.value(i);
        if (e.isDry())
          return SmallVector<Value>{sum, value};
        x = arith::SubFOp::create(b, loc, x, base);
        x = power(arith::MulFOp::create(b, loc, x, e.splat(powerScale, 1)));
        sum = arith::MulFOp::create(b, loc, sum, x);
        value = arith::MulFOp::create(b, loc, value, e.broadcast(x, lanes));
        return SmallVector<Value>{arith::AddFOp::create(b, loc, before[0], sum),
                                  arith::AddFOp::create(b, loc, before[1], value)};
      });
  return {top, sums[0], sums[1]};
}

Value AttentionRows::isEmpty(Value top) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, top, e.splat(-kInfinity, 1));
}

Value AttentionRows::mean(const Share &all) {
  if (e.isDry())
    return {};
  int64_t lanes = e.laneCount(all.value);
  double empty =
      op.getEmptyRows() == nn::EmptyRows::Nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
  Value inverse = arith::DivFOp::create(b, loc, e.splat(1.0, 1), all.sum);
  Value mean = arith::MulFOp::create(b, loc, all.value, e.broadcast(inverse, lanes));
  return arith::SelectOp::create(b, loc, isEmpty(all.top), e.splat(empty, lanes), mean);
}
