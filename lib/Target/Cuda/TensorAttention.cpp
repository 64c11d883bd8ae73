//===- TensorAttention.cpp - softmax(q kᵀ) v on tensor cores --------------===//
//
// A block has rows of queries and walks over tiles of keys; scores, their powers and the
// weighted values stay in the registers of a warp, which has 16 or 32 rows whole (Dao et al.,
// FlashAttention). The fragments of two products fit together: what the first leaves in a
// lane is what the second takes from it. Keys and values have one tile each in shared
// memory; values arrive while scores are computed, the next keys while values are weighted.
//
// With few queries (decoding), all query heads that share keys are rows of one block, and
// its warps divide the keys of a tile, and where such blocks are few several divide the tiles
// (Parts.h); their shares of a row are combined at the end.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "Roots.h"
#include "Staging.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <limits>
#include <numbers>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using Kind = vector::CombiningKind;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kWarps = 4;
/// Keys of a tile, and the longest rows whose tiles fit into the shared memory that needs
/// no asking.
constexpr int64_t kKeys = 64, kDepth = 128;

/// How an attention is divided over blocks and their warps.
struct Plan {
  Plan(nn::AttentionOp op, const Chip &chip) {
    ArrayRef<int64_t> q = Emitter::shape(op.getQuery()), v = Emitter::shape(op.getValue());
    batches = q[0], heads = q[1], queries = q[2], depth = q[3];
    groups = v[1], keys = v[2], width = v[3];
    int64_t share = groups == 0 ? 0 : heads / groups;
    bool isShared = share * queries <= kWarps * kStep;
    units = isShared ? groups : heads;
    rowsOfUnit = isShared ? share * queries : queries;
    deep = rowsOfUnit <= kStep ? kWarps : 1;
    // Twice as many rows a warp read keys half as often, while registers last.
    bool isWide = rowsOfUnit > kWarps * kStep && std::max(depth, width) <= 64 && !op.getMask();
    warpRows = isWide ? 2 * kStep : kStep;
    rows = kWarps / deep * warpRows;
    auto columns = [](int64_t size) { return std::max<int64_t>(llvm::PowerOf2Ceil(size), kStep); };
    queryTile = {rows, columns(depth)};
    keyTile = {kKeys, columns(depth)};
    valueTile = {kKeys, columns(width)};
    int64_t tiles = ceilDiv(keys, kKeys);
    parts = partsOf(chip, blocks(), /*each=*/2,
                    {tiles * (keyTile.bytes() + valueTile.bytes()), floats() * 4, tiles});
  }
  int64_t blocksOfUnit() const { return ceilDiv(rowsOfUnit, rows); }
  int64_t blocks() const { return batches * units * blocksOfUnit(); }
  /// What a part of the keys leaves behind: of each row weighted values, then tops, then sums.
  int64_t rowsOfPart() const { return std::min(rows, rowsOfUnit); }
  int64_t topsOfPart() const { return rowsOfPart() * width; }
  int64_t sumsOfPart() const { return rowsOfPart() * (width + 1); }
  int64_t floats() const { return rowsOfPart() * (width + 2); }

  int64_t batches, heads, queries, depth, groups, keys, width;
  int64_t units, rowsOfUnit; ///< whose rows see the same keys and values, and how many these are
  int64_t rows, warpRows;    ///< of a block and a warp
  int64_t deep;              ///< warps that divide the keys of a tile
  int64_t parts;             ///< blocks that divide the tiles of keys
  SharedTile queryTile, keyTile, valueTile;
};

struct TensorAttention {
  TensorAttention(Emitter &e, nn::AttentionOp op, ThreadBlock &block, const Chip &chip)
      : e(e), b(e.builder), loc(e.loc), op(op), block(block), plan(op, chip),
        element(cast<RankedTensorType>(op.getQuery().getType()).getElementType()),
        warps(e, block, element), parts(e, block, plan.parts, plan.floats()) {
    down = plan.warpRows / kStep;
    across = ceilDiv(plan.width, kStep);
    keysOfWarp = kKeys / plan.deep;
    stride = across * kStep + kMatrix;
    // Results take the place of what was multiplied.
    int64_t tiles = plan.queryTile.bytes() + plan.keyTile.bytes() + plan.valueTile.bytes();
    int64_t allRows = plan.deep * plan.rows, results = allRows * stride;
    memory = e.reserve(std::max(tiles / 4, results + 2 * allRows));
    tops = memory + results;
    sums = tops + allRows;
    double scale = op.getScale().convertToDouble();
    isChanged = op.getMask() || op.getSoftcap().convertToDouble() != 0.0 || scale <= 0;
    scoreScale = isChanged ? scale : 1;
    powerScale = (isChanged ? 1 : scale) * std::numbers::log2e;
  }

  void run() {
    findRows();
    Value queryByte = warps.number(memory * 4);
    keyByte = warps.add(queryByte, plan.queryTile.bytes());
    valueByte = warps.add(keyByte, plan.keyTile.bytes());
    Staging queries(e, block, warps, element, matrixOf(op.getQuery(), queryBase, plan.rowsOfUnit));
    Staging keys(e, block, warps, element, matrixOf(op.getKey(), keyBase, plan.keys));
    Staging values(e, block, warps, element, matrixOf(op.getValue(), keyBase, plan.keys));
    queries.fill(plan.queryTile, first, 0, queryByte);
    auto [begin, end] = tilesOfBlock();
    fillKeys(keys, begin, end);
    warps.commit();
    warps.wait(0);
    block.sync();
    point();
    for (int64_t k = 0; k < ceilDiv(plan.depth, kStep); ++k)
      for (int64_t i = 0; i < down; ++i)
        query.push_back(
            warps.load(plan.queryTile, queryByte, queryPoint, i, k, /*transposed=*/false));

    SmallVector<Value> carried(2 * down, e.splat(-kInfinity, 1));
    carried.append(2 * down + down * across * 8, e.zero(1));
    finish(e.loop(begin, end, 1, carried, [&, end = end](Value number, ValueRange before) {
      return step(number, end, before, keys, values);
    }));
  }

private:
  /// Batch, head and first row of this block; what the rows of this lane see.
  void findRows() {
    SmallVector<Index> place =
        e.delinearize(parts.result, {plan.batches, plan.units, plan.blocksOfUnit()});
    batch = Index::of(e.symbol(e.value(place[0]), plan.batches));
    Index unit = Index::of(e.symbol(e.value(place[1]), plan.units));
    // The longest rows of a causal mask begin first.
    Index part = op.getCausal() ? Index(plan.blocksOfUnit() - 1) - place[2] : place[2];
    first = Index::of(e.symbol(e.value(part), plan.blocksOfUnit())) * plan.rows;
    queryBase = (batch * plan.units + unit) * plan.rowsOfUnit;
    Index group = plan.units == plan.groups ? unit : e.divide(unit, plan.units / plan.groups).first;
    keyBase = (batch * plan.groups + group) * plan.keys;

    warpDeep = warps.over(warps.warp, kWarps / plan.deep);
    warpRow = warps.times(warps.modulo(warps.warp, kWarps / plan.deep), plan.warpRows);
    Value row = warps.add(warpRow, warps.over(warps.lane, 4));
    for (int64_t i = 0; i < 2 * down; ++i) {
      Index within = warps.index(warps.add(row, i * kMatrix), plan.rows);
      rowsOfLane.push_back(e.clamp(first + within, plan.rowsOfUnit));
      if (isPositional())
        seen.push_back(toWord(seenBy(rowsOfLane.back())));
    }
  }

  bool isPositional() { return op.getCausal() || op.getLengths(); }

  Value toWord(Value number) { return arith::TruncIOp::create(b, loc, b.getI32Type(), number); }

  Value seenBy(const Index &row) {
    Index query = plan.rowsOfUnit == plan.queries ? row : e.divide(row, plan.queries).second;
    return emit::buildSeenKeys(e, op, batch, query);
  }

  /// Tiles with keys that any row of the block sees, and that are its part of them.
  std::pair<Value, Value> tilesOfBlock() {
    Value all = tilesSeen(), begin = e.indexConstant(0);
    if (plan.parts == 1)
      return {begin, all};
    Value most = arith::AddIOp::create(b, loc, all, e.indexConstant(plan.parts - 1));
    most = arith::DivUIOp::create(b, loc, most, e.indexConstant(plan.parts));
    begin = arith::MulIOp::create(b, loc, most, e.value(parts.number));
    Value end = arith::AddIOp::create(b, loc, begin, most);
    return {begin, arith::MinUIOp::create(b, loc, end, all)};
  }

  Value tilesSeen() {
    if (!isPositional())
      return e.indexConstant(ceilDiv(plan.keys, kKeys));
    Index last = plan.rowsOfUnit == plan.queries ? e.clamp(first + (plan.rows - 1), plan.queries)
                                                 : Index(plan.queries - 1);
    Value most = toWord(emit::buildSeenKeys(e, op, batch, last));
    Value tiles = warps.over(warps.add(most, kKeys - 1), kKeys);
    return arith::IndexCastOp::create(b, loc, b.getIndexType(), tiles);
  }

  Matrix matrixOf(Value tensor, const Index &base, int64_t rows) {
    int64_t columns = Emitter::shape(tensor)[3];
    auto at = [=](const Index &row, const Index &column) {
      return (base + row) * columns + column;
    };
    return {rows, columns,
            [=, this](const Index &row, const Index &column) {
              return e.pull(tensor, at(row, column));
            },
            [=, this](const Index &row, const Index &column) {
              return e.trace(tensor, at(row, column));
            }};
  }

  /// Where this lane finds its rows of all three.
  void point() {
    Value none = warps.number(int64_t(0)), firstKey = warps.times(warpDeep, keysOfWarp);
    queryPoint = warps.point(plan.queryTile, /*downFirst=*/true, warpRow, none);
    keyPoint = warps.point(plan.keyTile, /*downFirst=*/false, firstKey, none);
    valuePoint = warps.point(plan.valueTile, /*downFirst=*/true, firstKey, none);
  }

  //===--- a tile of keys ---===//

  /// Tile `number`, if it is in front of `end`.
  void fillKeys(Staging &keys, Value number, Value end) {
    Value isThere = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, number, end);
    e.when(isThere, [&] {
      Index tile = Index::of(e.symbol(number, ceilDiv(plan.keys, kKeys)));
      keys.fill(plan.keyTile, tile * kKeys, 0, keyByte);
    });
  }

  SmallVector<Value> step(Value number, Value end, ValueRange before, Staging &keys,
                          Staging &values) {
    Index tile = Index::of(e.symbol(number, ceilDiv(plan.keys, kKeys)));
    // Keys are there; nobody reads the values before.
    warps.wait(0);
    block.sync();
    values.fill(plan.valueTile, tile * kKeys, 0, valueByte);
    warps.commit();
    SmallVector<Value> scores = multiplyKeys();
    change(scores, tile * kKeys);
    hide(scores, tile * kKeys);
    SmallVector<Value> after(before);
    MutableArrayRef<Value> state = after;
    weigh(scores, state);
    // Values are there; nobody reads the keys.
    warps.wait(0);
    block.sync();
    fillKeys(keys, arith::AddIOp::create(b, loc, number, e.indexConstant(1)), end);
    warps.commit();
    multiplyValues(scores, state.drop_front(4 * down));
    return after;
  }

  /// Of a row block and 8 keys the four registers.
  size_t scoreAt(int64_t i, int64_t n) const { return (i * keysOfWarp / kMatrix + n) * 4; }

  SmallVector<Value> multiplyKeys() {
    SmallVector<Value> scores(down * keysOfWarp / kMatrix * 4, e.zero(1));
    for (int64_t k = 0; k < ceilDiv(plan.depth, kStep); ++k)
      for (int64_t n = 0; n < keysOfWarp / kStep; ++n) {
        SmallVector<Value> both =
            warps.load(plan.keyTile, keyByte, keyPoint, n, k, /*transposed=*/false);
        for (int64_t i = 0; i < down; ++i)
          for (int64_t half = 0; half < 2; ++half)
            warps.accumulate(query[k * down + i], ValueRange(both).slice(2 * half, 2), scores,
                             scoreAt(i, 2 * n + half));
      }
    return scores;
  }

  /// First key of this lane in group `n` of 8, in the tile.
  Value keyOf(int64_t n) {
    Value pair = warps.times(warps.modulo(warps.lane, 4), 2);
    return warps.add(warps.add(warps.times(warpDeep, keysOfWarp), pair), n * kMatrix);
  }

  /// Calls `body` with each score, its row of the lane and its key in the tile.
  void forScores(MutableArrayRef<Value> scores, function_ref<void(Value &, int64_t, Value)> body) {
    for (int64_t n = 0; n < keysOfWarp / kMatrix; ++n)
      for (int64_t odd = 0; odd < 2; ++odd) {
        Value key = warps.add(keyOf(n), odd);
        for (int64_t row = 0; row < 2 * down; ++row)
          body(scores[scoreAt(row / 2, n) + row % 2 * 2 + odd], row, key);
      }
  }

  /// Scales, caps and masks, where the powers cannot.
  void change(MutableArrayRef<Value> scores, const Index &firstKey) {
    if (!isChanged)
      return;
    forScores(scores, [&](Value &x, int64_t row, Value key) {
      x = arith::MulFOp::create(b, loc, x, e.splat(scoreScale, 1));
      Index at = e.clamp(firstKey + warps.index(key, kKeys), plan.keys);
      x = emit::buildScore(e, op, x, (queryBase + rowsOfLane[row]) * plan.keys + at);
    });
  }

  /// Hides what positions do, in tiles that hold such keys; that is the same for all threads.
  void hide(SmallVector<Value> &scores, const Index &firstKey) {
    if (!isPositional() && plan.keys % kKeys == 0)
      return;
    Value begin = warps.number(firstKey);
    Value least = warps.number(plan.keys);
    if (isPositional()) {
      Index query = plan.rowsOfUnit == plan.queries ? e.clamp(first, plan.queries) : Index(0);
      least = toWord(emit::buildSeenKeys(e, op, batch, query));
    }
    Value isCut =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, warps.add(begin, kKeys), least);
    SmallVector<Type> types(scores.size(), b.getF32Type());
    auto branch = scf::IfOp::create(b, loc, types, isCut, /*addThenBlock=*/true,
                                    /*addElseBlock=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.elseBlock());
    scf::YieldOp::create(b, loc, scores);
    b.setInsertionPointToStart(branch.thenBlock());
    Value hidden = e.splat(-kInfinity, 1);
    forScores(scores, [&](Value &x, int64_t row, Value key) {
      Value bound = isPositional() ? seen[row] : least;
      Value isSeen =
          arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, warps.add(begin, key), bound);
      x = arith::SelectOp::create(b, loc, isSeen, x, hidden);
    });
    scf::YieldOp::create(b, loc, scores);
    llvm::copy(branch.getResults(), scores.begin());
  }

  /// Over the four lanes that have a row.
  Value overRow(Value x, Kind kind) {
    Value width = warps.number(kWarp);
    for (int64_t distance : {1, 2}) {
      auto other =
          gpu::ShuffleOp::create(b, loc, x, warps.number(distance), width, gpu::ShuffleMode::XOR);
      x = combine(e, kind, x, other.getShuffleResult());
    }
    return x;
  }

  /// 2^x; results below the smallest normal number are 0.
  Value power(Value x) {
    return LLVM::CallIntrinsicOp::create(b, loc, b.getF32Type(),
                                         b.getStringAttr("llvm.nvvm.ex2.approx.ftz"), x)
        .getResult(0);
  }

  /// Powers instead of scores; `state` are the tops, sums and weighted values of rows, of
  /// which the sums are those of this lane.
  void weigh(MutableArrayRef<Value> scores, MutableArrayRef<Value> state) {
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
      Value base = arith::MulFOp::create(b, loc, top, minus);
      base = arith::SelectOp::create(b, loc, isEmpty(top), e.zero(1), base);
      Value faded = power(math::FmaOp::create(b, loc, before, scale, base));
      Value sum = arith::MulFOp::create(b, loc, state[2 * down + row], faded);
      ofRow([&](Value &x) {
        x = power(math::FmaOp::create(b, loc, x, scale, base));
        sum = arith::AddFOp::create(b, loc, sum, x);
      });
      state[row] = top;
      state[2 * down + row] = sum;
      for (int64_t j = 0; j < 2 * across; ++j)
        for (int64_t odd = 0; odd < 2; ++odd) {
          Value &x = state[4 * down + (row / 2 * 2 * across + j) * 4 + row % 2 * 2 + odd];
          x = arith::MulFOp::create(b, loc, x, faded);
        }
    }
  }

  void multiplyValues(ArrayRef<Value> powers, MutableArrayRef<Value> results) {
    for (int64_t k = 0; k < keysOfWarp / kStep; ++k) {
      SmallVector<SmallVector<Value>> left(down);
      for (int64_t i = 0; i < down; ++i)
        for (int64_t r = 0; r < 4; ++r) {
          size_t at = scoreAt(i, 2 * k + r / 2) + r % 2 * 2;
          left[i].push_back(warps.pack(powers[at], powers[at + 1]));
        }
      for (int64_t j = 0; j < across; ++j) {
        SmallVector<Value> both =
            warps.load(plan.valueTile, valueByte, valuePoint, k, j, /*transposed=*/true);
        for (int64_t i = 0; i < down; ++i)
          for (int64_t half = 0; half < 2; ++half)
            warps.accumulate(left[i], ValueRange(both).slice(2 * half, 2), results,
                             (i * 2 * across + 2 * j + half) * 4);
      }
    }
  }

  //===--- results ---===//

  /// Of all warps, [deep][rows], to shared memory; then rows of them leave in vectors.
  void finish(ArrayRef<Value> state) {
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
        auto from = state.slice(4 * down + (i / 2 * 2 * across + j) * 4 + i % 2 * 2, 2);
        Value both = vector::FromElementsOp::create(b, loc, two, from);
        e.storeScratch(memory, at + j * kMatrix + e.laneSymbol(2), both);
      }
    }
    block.sync();
    store();
  }

  /// What several have of one row, each of its own keys: the tops, the sums and the weighted
  /// values.
  struct Shares {
    int64_t count;
    std::function<Value(const Index &)> top, sum, value;
  };
  struct Share {
    Value top, sum, value;
  };

  /// Of the warps that divide the keys of a tile.
  Shares ofWarps(const Index &row, const Index &w, int64_t lanes) {
    auto rowOf = [=, this](const Index &i) { return i * plan.rows + row; };
    return {
        plan.deep, [=, this](const Index &i) { return e.loadScratch(tops, rowOf(i), 1); },
        [=, this](const Index &i) { return e.loadScratch(sums, rowOf(i), 1); },
        [=, this](const Index &i) { return e.loadScratch(memory, rowOf(i) * stride + w, lanes); }};
  }

  /// Of the blocks that divide the tiles: values of all rows, then tops, then sums.
  Shares ofBlocks(const Index &row, const Index &w) {
    return {plan.parts,
            [=, this](const Index &i) { return parts.load(i, row + plan.topsOfPart()); },
            [=, this](const Index &i) { return parts.load(i, row + plan.sumsOfPart()); },
            [=, this](const Index &i) { return parts.load(i, row * plan.width + w); }};
  }

  /// Calls `body` with the elements of all rows that there are; `at` is the place of one
  /// in the result.
  void forRows(function_ref<void(const Index &row, const Index &w, const Index &at)> body) {
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

  void store() {
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
      parts.store(row * plan.width + w,
                  combined(ofWarps(row, w, e.lanesOf(w)), e.lanesOf(w)).value);
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
  Share combined(const Shares &of, int64_t lanes) {
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

  Value isEmpty(Value top) {
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, top, e.splat(-kInfinity, 1));
  }

  Value mean(const Share &all) {
    if (e.isDry())
      return {};
    int64_t lanes = e.laneCount(all.value);
    double empty =
        op.getEmptyRows() == nn::EmptyRows::Nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    Value inverse = arith::DivFOp::create(b, loc, e.splat(1.0, 1), all.sum);
    Value mean = arith::MulFOp::create(b, loc, all.value, e.broadcast(inverse, lanes));
    return arith::SelectOp::create(b, loc, isEmpty(all.top), e.splat(empty, lanes), mean);
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  nn::AttentionOp op;
  ThreadBlock &block;
  Plan plan;
  Type element;
  Fragments warps;
  Parts parts;
  int64_t down, across;          ///< blocks of 16 rows and of 16 values of a warp
  int64_t keysOfWarp, stride;    ///< of a tile; floats from row to row of the results
  int64_t memory, tops, sums;    ///< of shared memory
  double scoreScale, powerScale; ///< of scores, and of what is a power of 2
  bool isChanged;                ///< whether a score is more than a scaled product
  Index batch, first, queryBase, keyBase;
  Value warpRow, warpDeep, keyByte, valueByte, queryPoint, keyPoint, valuePoint;
  SmallVector<Index> rowsOfLane; ///< of the unit
  SmallVector<Value> seen;       ///< keys that each of them sees
  SmallVector<SmallVector<Value>> query;
};

} // namespace

bool cleave::cuda::isTensorAttention(nn::AttentionOp op, const Chip &chip) {
  auto typeOf = [](Value tensor) {
    return cast<RankedTensorType>(tensor.getType()).getElementType();
  };
  Type element = typeOf(op.getQuery());
  int64_t depth = Emitter::shape(op.getQuery())[3], width = Emitter::shape(op.getValue())[3];
  return chip.hasTensorCores && (element.isF16() || element.isBF16()) &&
         typeOf(op.getKey()) == element && typeOf(op.getValue()) == element &&
         Emitter::size(op.getKey()) > 0 && depth <= kDepth && width <= kDepth;
}

Launch cleave::cuda::launchTensorAttention(nn::AttentionOp op, const Chip &chip) {
  Plan plan(op, chip);
  return launchParts(plan.blocks(), plan.parts, kWarps * kWarp, plan.floats());
}

void cleave::cuda::emitTensorAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                                       const Chip &chip) {
  TensorAttention(emitter, root, block, chip).run();
}
