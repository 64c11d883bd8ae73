//===- AttentionRows.cpp - rows of scores in registers of a warp ----------===//

#include "AttentionRows.h"
#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>
#include <numbers>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using Kind = vector::CombiningKind;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

AttentionPlan::AttentionPlan(nn::AttentionOp op, const Chip &chip) {
  ArrayRef<int64_t> q = Emitter::shape(op.getQuery()), v = Emitter::shape(op.getValue());
  batches = q[0], heads = q[1], queries = q[2], depth = q[3];
  groups = v[1], keys = v[2], width = v[3];
  int64_t share = groups == 0 ? 0 : heads / groups;
  bool isShared = share * queries <= warps * kStep;
  units = isShared ? groups : heads;
  rowsOfUnit = isShared ? share * queries : queries;
  deep = rowsOfUnit <= kStep ? warps : 1;
  isGrouped = chip.hasGroups && rowsOfUnit > warps * kStep;
  int64_t longest = std::max(depth, width), panel = isGrouped ? kPanel : 0, tileKeys = 64;
  if (isGrouped) {
    // As many sums as powers and scores leave registers for.
    warps = 2 * kGroupWarps;
    tileKeys = 128;
    stages = 2;
  } else if (rowsOfUnit > warps * kStep && longest <= 64 && !op.getMask()) {
    // Twice as many rows a warp read keys half as often, while registers last.
    warpRows = 2 * kStep;
  }
  rows = warps / deep * warpRows;
  auto columns = [&](int64_t size) {
    return isGrouped ? llvm::alignTo(size, kPanel)
                     : std::max<int64_t>(llvm::PowerOf2Ceil(size), kStep);
  };
  queryTile = {rows, int64_t(columns(depth)), panel};
  keyTile = {tileKeys, int64_t(columns(depth)), panel};
  valueTile = {tileKeys, int64_t(columns(width)), panel};
  parts =
      partsOf(chip, blocks(), /*each=*/2,
              {tiles() * (keyTile.bytes() + valueTile.bytes()), results().floats() * 4, tiles()});
}

AttentionRows::AttentionRows(Emitter &e, nn::AttentionOp op, ThreadBlock &block,
                             const AttentionPlan &plan)
    : e(e), b(e.builder), loc(e.loc), op(op), block(block), plan(plan),
      element(cast<RankedTensorType>(op.getQuery().getType()).getElementType()),
      warps(e, block, element), parts(e, block, plan.parts, plan.results().floats()) {
  down = plan.warpRows / kStep;
  across = ceilDiv(plan.width, kStep);
  keysOfWarp = plan.keyTile.rows / plan.deep;
  stride = across * kStep + kMatrix;
  // Results take the place of what was multiplied.
  int64_t allRows = plan.deep * plan.rows, results = allRows * stride;
  memory = e.reserve(std::max(plan.tileBytes() / 4, results + 2 * allRows));
  tops = memory + results;
  sums = tops + allRows;
  double scale = op.getScale().convertToDouble();
  isChanged = op.getMask() || op.getSoftcap().convertToDouble() != 0.0 || scale <= 0;
  scoreScale = isChanged ? scale : 1;
  powerScale = (isChanged ? 1 : scale) * std::numbers::log2e;
  findRows();
}

/// Batch, head and first row of this block; what the rows of this lane see.
void AttentionRows::findRows() {
  // The longest rows of a causal mask begin first, of all heads; otherwise those of one head,
  // which read the same keys.
  Index part, unit;
  int64_t blocks = plan.blocksOfUnit();
  if (op.getCausal()) {
    SmallVector<Index> place = e.delinearize(parts.result, {blocks, plan.batches, plan.units});
    part = Index(blocks - 1) - place[0], batch = place[1], unit = place[2];
  } else {
    SmallVector<Index> place = e.delinearize(parts.result, {plan.batches, plan.units, blocks});
    batch = place[0], unit = place[1], part = place[2];
  }
  batch = Index::of(e.symbol(e.value(batch), plan.batches));
  unit = Index::of(e.symbol(e.value(unit), plan.units));
  first = Index::of(e.symbol(e.value(part), blocks)) * plan.rows;
  queryBase = (batch * plan.units + unit) * plan.rowsOfUnit;
  Index group = plan.units == plan.groups ? unit : e.divide(unit, plan.units / plan.groups).first;
  keyBase = (batch * plan.groups + group) * plan.keys;

  warpDeep = warps.over(warps.warp, plan.warps / plan.deep);
  warpRow = warps.times(warps.modulo(warps.warp, plan.warps / plan.deep), plan.warpRows);
  Value row = warps.add(warpRow, warps.over(warps.lane, 4));
  for (int64_t i = 0; i < 2 * down; ++i) {
    Index within = warps.index(warps.add(row, i * kMatrix), plan.rows);
    rowsOfLane.push_back(e.clamp(first + within, plan.rowsOfUnit));
    if (isPositional())
      seen.push_back(toWord(seenBy(rowsOfLane.back())));
  }
}

Value AttentionRows::toWord(Value number) {
  return arith::TruncIOp::create(b, loc, b.getI32Type(), number);
}

Value AttentionRows::seenBy(const Index &row) {
  Index query = plan.rowsOfUnit == plan.queries ? row : e.divide(row, plan.queries).second;
  return emit::buildSeenKeys(e, op, batch, query);
}

std::pair<Value, Value> AttentionRows::tilesOfBlock() {
  Value all = tilesSeen(), begin = e.indexConstant(0);
  if (plan.parts == 1)
    return {begin, all};
  Value most = arith::AddIOp::create(b, loc, all, e.indexConstant(plan.parts - 1));
  most = arith::DivUIOp::create(b, loc, most, e.indexConstant(plan.parts));
  begin = arith::MulIOp::create(b, loc, most, e.value(parts.number));
  Value end = arith::AddIOp::create(b, loc, begin, most);
  return {begin, arith::MinUIOp::create(b, loc, end, all)};
}

Value AttentionRows::tilesSeen() {
  if (!isPositional())
    return e.indexConstant(plan.tiles());
  Index last = plan.rowsOfUnit == plan.queries ? e.clamp(first + (plan.rows - 1), plan.queries)
                                               : Index(plan.queries - 1);
  Value most = toWord(emit::buildSeenKeys(e, op, batch, last));
  Value tiles = warps.over(warps.add(most, plan.keyTile.rows - 1), plan.keyTile.rows);
  return arith::IndexCastOp::create(b, loc, b.getIndexType(), tiles);
}

Value AttentionRows::tilesWhole() {
  if (!isPositional())
    return e.indexConstant(plan.keys / plan.keyTile.rows);
  Index query = plan.rowsOfUnit == plan.queries ? e.clamp(first, plan.queries) : Index(0);
  Value least = toWord(emit::buildSeenKeys(e, op, batch, query));
  Value tiles = warps.over(least, plan.keyTile.rows);
  return arith::IndexCastOp::create(b, loc, b.getIndexType(), tiles);
}

Staging AttentionRows::staged(Value tensor) {
  bool isQuery = tensor == op.getQuery();
  Index base = isQuery ? queryBase : keyBase;
  int64_t columns = Emitter::shape(tensor)[3];
  auto at = [=](const Index &row, const Index &column) { return (base + row) * columns + column; };
  Matrix matrix{
      isQuery ? plan.rowsOfUnit : plan.keys, columns,
      [=, this](const Index &row, const Index &column) { return e.pull(tensor, at(row, column)); },
      [=, this](const Index &row, const Index &column) {
        return e.trace(tensor, at(row, column));
      }};
  return Staging(e, block, warps, element, std::move(matrix));
}

int64_t AttentionRows::keyByte(int64_t stage) const {
  return queryByte() + plan.queryTile.bytes() + stage * plan.keyTile.bytes();
}

int64_t AttentionRows::valueByte(int64_t stage) const {
  return keyByte(plan.stages) + stage * plan.valueTile.bytes();
}

void AttentionRows::fill(Staging &staging, const SharedTile &tile, Value number, Value to) {
  staging.fill(tile, firstKeyOf(number), 0, to);
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

/// First key of this lane in group `n` of 8, in the tile.
Value AttentionRows::keyOf(int64_t n) {
  Value pair = warps.times(warps.modulo(warps.lane, 4), 2);
  return warps.add(warps.add(warps.times(warpDeep, keysOfWarp), pair), n * kMatrix);
}

/// Calls `body` with each score, its row of the lane and its key in the tile.
void AttentionRows::forScores(MutableArrayRef<Value> scores,
                              function_ref<void(Value &, int64_t, Value)> body) {
  for (int64_t n = 0; n < keysOfWarp / kMatrix; ++n)
    for (int64_t odd = 0; odd < 2; ++odd) {
      Value key = warps.add(keyOf(n), odd);
      for (int64_t row = 0; row < 2 * down; ++row)
        body(scores[scoreAt(row / 2, n) + row % 2 * 2 + odd], row, key);
    }
}

Index AttentionRows::firstKeyOf(Value number) {
  return Index::of(e.symbol(number, plan.tiles())) * plan.keyTile.rows;
}

void AttentionRows::change(MutableArrayRef<Value> scores, Value number) {
  if (!isChanged)
    return;
  Index firstKey = firstKeyOf(number);
  forScores(scores, [&](Value &x, int64_t row, Value key) {
    x = arith::MulFOp::create(b, loc, x, e.splat(scoreScale, 1));
    Index at = e.clamp(firstKey + warps.index(key, plan.keyTile.rows), plan.keys);
    x = emit::buildScore(e, op, x, (queryBase + rowsOfLane[row]) * plan.keys + at);
  });
}

void AttentionRows::hide(MutableArrayRef<Value> scores, Value number) {
  Value begin = warps.number(firstKeyOf(number)), hidden = e.splat(-kInfinity, 1);
  forScores(scores, [&](Value &x, int64_t row, Value key) {
    Value bound = isPositional() ? seen[row] : warps.number(plan.keys);
    Value isSeen =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, warps.add(begin, key), bound);
    x = arith::SelectOp::create(b, loc, isSeen, x, hidden);
  });
}

/// Over the four lanes that have a row.
Value AttentionRows::overRow(Value x, Kind kind) {
  Value width = warps.number(kWarp);
  for (int64_t distance : {1, 2}) {
    auto other =
        gpu::ShuffleOp::create(b, loc, x, warps.number(distance), width, gpu::ShuffleMode::XOR);
    x = combine(e, kind, x, other.getShuffleResult());
  }
  return x;
}

/// 2^x; results below the smallest normal number are 0.
Value AttentionRows::power(Value x) {
  return LLVM::CallIntrinsicOp::create(b, loc, b.getF32Type(),
                                       b.getStringAttr("llvm.nvvm.ex2.approx.ftz"), x)
      .getResult(0);
}

SmallVector<Value> AttentionRows::weigh(MutableArrayRef<Value> scores,
                                        MutableArrayRef<Value> state) {
  SmallVector<Value> all;
  Value scale = e.splat(powerScale, 1), minus = e.splat(-powerScale, 1);
  for (int64_t row = 0; row < 2 * down; ++row) {
    auto ofRow = [&](function_ref<void(Value &)> body) {
      for (int64_t n = 0; n < keysOfWarp / kMatrix; ++n)
        for (int64_t odd = 0; odd < 2; ++odd)
          body(scores[scoreAt(row / 2, n) + row % 2 * 2 + odd]);
    };
    Value before = state[row], top = before;
    ofRow([&](Value &x) { top = arith::MaximumFOp::create(b, loc, top, x); });
    top = overRow(top, Kind::MAXIMUMF);
    Value base = arith::SelectOp::create(b, loc, isEmptyRow(e, top), e.zero(1), top);
    // Where a top stays nothing fades, exactly.
    Value risen = arith::SubFOp::create(b, loc, before, base);
    Value faded = power(arith::MulFOp::create(b, loc, risen, scale));
    base = arith::MulFOp::create(b, loc, base, minus);
    Value sum = arith::MulFOp::create(b, loc, state[2 * down + row], faded);
    ofRow([&](Value &x) {
      x = power(math::FmaOp::create(b, loc, x, scale, base));
      sum = arith::AddFOp::create(b, loc, sum, x);
    });
    state[row] = top;
    state[2 * down + row] = sum;
    all.push_back(faded);
  }
  return all;
}

void AttentionRows::fade(MutableArrayRef<Value> results, ArrayRef<Value> faded) {
  for (auto [i, x] : llvm::enumerate(results)) {
    int64_t row = int64_t(i) / (across * 8) * 2 + int64_t(i) % 4 / 2;
    x = arith::MulFOp::create(b, loc, x, faded[row]);
  }
}

SmallVector<Value> AttentionRows::packed(ArrayRef<Value> powers, int64_t i, int64_t k) {
  SmallVector<Value> fragment;
  for (int64_t r = 0; r < 4; ++r) {
    size_t at = scoreAt(i, 2 * k + r / 2) + r % 2 * 2;
    fragment.push_back(warps.pack(powers[at], powers[at + 1]));
  }
  return fragment;
}

SmallVector<Value> AttentionRows::emptyState() {
  SmallVector<Value> state(2 * down, e.splat(-kInfinity, 1));
  state.append(2 * down, e.zero(1));
  return state;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

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
  // Warps divide the keys of a tile.
  auto ofWarps = [=, this](const Index &row, const Index &w, int64_t lanes) -> RowShares {
    auto rowOf = [=, this](const Index &i) { return i * plan.rows + row; };
    return {
        plan.deep, [=, this](const Index &i) { return e.loadScratch(tops, rowOf(i), 1); },
        [=, this](const Index &i) { return e.loadScratch(sums, rowOf(i), 1); },
        [=, this](const Index &i) { return e.loadScratch(memory, rowOf(i) * stride + w, lanes); }};
  };
  auto decay = [this](Value x) {
    return power(arith::MulFOp::create(b, loc, x, e.splat(powerScale, 1)));
  };
  AttentionResults(e, op, block, parts, plan.results(), decay)
      .store(first, plan.rowsOfUnit, queryBase, ofWarps);
}
