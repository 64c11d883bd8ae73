//===- Attention.cpp - softmax(q kᵀ) v, block by block --------------------===//
//
// A block has some query rows and walks over tiles of keys, keeping of each row the highest
// score, the sum of the powers and the weighted values (Dao et al., FlashAttention).
// Everything is f32 in shared memory. Few queries of heads that share keys are rows of one
// block, and where such blocks are few several divide the tiles (Parts.h).
//
//===----------------------------------------------------------------------===//

#include "AttentionResults.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using Kind = vector::CombiningKind;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kThreads = 128;

/// How an attention is divided over blocks, and how much a block has in shared memory.
struct Plan {
  Plan(nn::AttentionOp op, const Chip &chip) {
    ArrayRef<int64_t> q = Emitter::shape(op.getQuery()), v = Emitter::shape(op.getValue());
    batches = q[0], heads = q[1], queries = q[2], depth = q[3];
    groups = v[1], keys = v[2], width = v[3];
    constexpr int64_t most = 16;
    int64_t share = groups == 0 ? 0 : heads / groups;
    bool isShared = share * queries <= most;
    units = isShared ? groups : heads;
    rowsOfUnit = isShared ? share * queries : queries;
    rows = std::min<int64_t>(most, llvm::PowerOf2Ceil(rowsOfUnit));
    auto floats = [&] {
      return rows * (depth + width + tileKeys + 3) + tileKeys * (depth + 1 + width) + 7 * 16;
    };
    while (floats() > kSharedBytes / 4 && tileKeys > 8)
      tileKeys /= 2;
    while (floats() > kSharedBytes / 4 && rows > 1)
      rows /= 2;
    int64_t tiles = ceilDiv(keys, tileKeys);
    parts = tiles == 0 ? 1
                       : partsOf(chip, blocks(), /*each=*/2,
                                 {keys * (depth + width) * 4, results().floats() * 4, tiles});
  }
  int64_t blocksOfUnit() const { return ceilDiv(rowsOfUnit, rows); }
  int64_t blocks() const { return batches * units * blocksOfUnit(); }
  ResultRows results() const { return {std::min(rows, rowsOfUnit), width}; }

  int64_t batches, heads, queries, depth, groups, keys, width;
  int64_t units, rowsOfUnit; ///< whose rows see the same keys and values, and how many these are
  int64_t rows, tileKeys = 64;
  int64_t parts; ///< blocks that divide the tiles of keys
};

struct AttentionEmitter {
  AttentionEmitter(Emitter &e, nn::AttentionOp op, ThreadBlock &block, const Plan &plan)
      : e(e), b(e.builder), loc(e.loc), op(op), block(block), plan(plan),
        parts(e, block, plan.parts, plan.results().floats()) {
    queryAt = e.reserve(plan.rows * plan.depth);
    keyAt = e.reserve(plan.tileKeys * (plan.depth + 1));
    valueAt = e.reserve(plan.tileKeys * plan.width);
    scoreAt = e.reserve(plan.rows * plan.tileKeys);
    resultAt = e.reserve(plan.rows * plan.width);
    topAt = e.reserve(plan.rows);
    sumAt = e.reserve(plan.rows);
    scaleAt = e.reserve(plan.rows);
  }

  void run() {
    SmallVector<Index> at =
        e.delinearize(parts.result, {plan.batches, plan.units, plan.blocksOfUnit()});
    batch = Index::of(e.symbol(e.value(at[0]), plan.batches));
    Index unit = Index::of(e.symbol(e.value(at[1]), plan.units));
    Index group = plan.units == plan.groups ? unit : e.divide(unit, plan.units / plan.groups).first;
    queryBase = (batch * plan.units + unit) * plan.rowsOfUnit;
    keyBase = (batch * plan.groups + group) * plan.keys;
    first = at[2] * plan.rows;
    start();
    auto [begin, end] = keysOfPart();
    e.loop(begin, end, plan.tileKeys, {}, [&](Value k, ValueRange) -> SmallVector<Value> {
      firstKey = Index::of(e.symbol(k, std::max<int64_t>(plan.keys, 1), plan.tileKeys));
      fill();
      block.sync();
      scores();
      block.sync();
      softmax();
      block.sync();
      weigh();
      block.sync();
      return {};
    });
    finish();
  }

private:
  Index rowOf(const Index &row) { return e.clamp(first + row, plan.rowsOfUnit); }

  void share(int64_t count, const std::function<void(const Index &)> &body, bool vectors = true) {
    e.team = block.whole();
    e.nest(count, body, Emitter::Tail::Exact, vectors);
    e.team.reset();
  }

  Value seenBy(const Index &row) {
    Index query = plan.rowsOfUnit == plan.queries ? row : e.divide(row, plan.queries).second;
    return emit::buildSeenKeys(e, op, batch, query);
  }

  /// Behind the last key that any row of the block sees.
  Value keysOfBlock() {
    if (!op.getCausal() && !op.getLengths())
      return e.indexConstant(plan.keys);
    Index last = plan.rowsOfUnit == plan.queries ? rowOf(plan.rows - 1) : Index(plan.queries - 1);
    return arith::IndexCastOp::create(b, loc, b.getIndexType(),
                                      emit::buildSeenKeys(e, op, batch, last));
  }

  /// Whole tiles of them, but for the last.
  std::pair<Value, Value> keysOfPart() {
    Value all = keysOfBlock(), begin = e.indexConstant(0);
    if (plan.parts == 1)
      return {begin, all};
    int64_t keysOfTurn = plan.parts * plan.tileKeys;
    Value most = arith::AddIOp::create(b, loc, all, e.indexConstant(keysOfTurn - 1));
    most = arith::DivUIOp::create(b, loc, most, e.indexConstant(keysOfTurn));
    most = arith::MulIOp::create(b, loc, most, e.indexConstant(plan.tileKeys));
    begin = arith::MulIOp::create(b, loc, most, e.value(parts.number));
    Value end = arith::AddIOp::create(b, loc, begin, most);
    return {begin, arith::MinUIOp::create(b, loc, end, all)};
  }

  void start() {
    double scale = op.getScale().convertToDouble();
    share(plan.rows * plan.depth, [&](const Index &at) {
      auto [row, d] = e.divide(at, plan.depth);
      Value x = e.pull(op.getQuery(), (queryBase + rowOf(row)) * plan.depth + d);
      if (!e.isDry())
        x = arith::MulFOp::create(b, loc, x, e.splat(scale, e.laneCount(x)));
      e.storeScratch(queryAt, at, x);
    });
    share(plan.rows * plan.width, [&](const Index &at) {
      e.storeScratch(resultAt, at, e.isDry() ? Value() : e.zero(e.lanesOf(at)));
    });
    share(plan.rows, [&](const Index &at) {
      if (e.isDry())
        return;
      e.storeScratch(topAt, at, e.splat(-kInfinity, e.lanesOf(at)));
      e.storeScratch(sumAt, at, e.zero(e.lanesOf(at)));
    });
    block.sync();
  }

  void fill() {
    // Rows of keys are one longer than they are, so that a column is in all banks.
    share(
        plan.tileKeys * plan.depth,
        [&](const Index &at) {
          auto [k, d] = e.divide(at, plan.depth);
          Index key = e.clamp(firstKey + k, plan.keys);
          e.storeScratch(keyAt, k * (plan.depth + 1) + d,
                         e.pull(op.getKey(), (keyBase + key) * plan.depth + d));
        },
        /*vectors=*/false);
    share(plan.tileKeys * plan.width, [&](const Index &at) {
      auto [k, w] = e.divide(at, plan.width);
      Index key = e.clamp(firstKey + k, plan.keys);
      e.storeScratch(valueAt, at, e.pull(op.getValue(), (keyBase + key) * plan.width + w));
    });
  }

  void scores() {
    share(
        plan.rows * plan.tileKeys,
        [&](const Index &at) {
          auto [row, k] = e.divide(at, plan.tileKeys);
          Value zero = e.isDry() ? Value() : e.zero(1);
          Value x = e.carry(0, plan.depth, zero, [&](const Index &d, ValueRange sum) {
            if (e.isDry())
              return llvm::to_vector(sum);
            Value q = e.loadScratch(queryAt, row * plan.depth + d, 1);
            Value key = e.loadScratch(keyAt, k * (plan.depth + 1) + d, 1);
            return SmallVector<Value>{math::FmaOp::create(b, loc, q, key, sum[0]).getResult()};
          })[0];
          Index own = rowOf(row), key = e.clamp(firstKey + k, plan.keys);
          x = emit::buildScore(e, op, x, (queryBase + own) * plan.keys + key);
          if (e.isDry())
            return;
          Value number = arith::IndexCastOp::create(b, loc, b.getI64Type(), e.value(firstKey + k));
          Value isSeen =
              arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, number, seenBy(own));
          e.storeScratch(scoreAt, at,
                         arith::SelectOp::create(b, loc, isSeen, x, e.splat(-kInfinity, 1)));
        },
        /*vectors=*/false);
  }

  /// A warp has a row: powers instead of scores, and what was summed before is scaled.
  void softmax() {
    int64_t warps = block.launch.threads / kWarp;
    e.loop(block.warpNumber, e.indexConstant(plan.rows), warps, {},
           [&](Value r, ValueRange) -> SmallVector<Value> {
             Index row = Index::of(e.symbol(r, plan.rows));
             auto over = [&](double init, Kind kind, function_ref<Value(Index)> step) {
               Value total =
                   e.loop(block.lane, e.indexConstant(plan.tileKeys), kWarp, e.splat(init, 1),
                          [&](Value k, ValueRange acc) -> SmallVector<Value> {
                            Index at = row * plan.tileKeys + Index::of(e.symbol(k, plan.tileKeys));
                            return {combine(e, kind, acc[0], step(at))};
                          })[0];
               return block.reduce(total, kind, /*isWhole=*/false, 0);
             };
             Value before = e.loadScratch(topAt, row, 1), sum = e.loadScratch(sumAt, row, 1);
             Value top = over(-kInfinity, Kind::MAXIMUMF,
                              [&](const Index &at) { return e.loadScratch(scoreAt, at, 1); });
             top = arith::MaximumFOp::create(b, loc, top, before);
             Value base = arith::SelectOp::create(b, loc, isEmptyRow(e, top), e.splat(0.0, 1), top);
             Value added = over(0.0, Kind::ADD, [&](const Index &at) {
               Value x = e.loadScratch(scoreAt, at, 1);
               Value power = emit::buildDecay(e, arith::SubFOp::create(b, loc, x, base));
               e.storeScratch(scoreAt, at, power);
               return power;
             });
             Value scale = emit::buildDecay(e, arith::SubFOp::create(b, loc, before, base));
             // All lanes have read the row's state.
             block.syncWarp();
             Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block.lane,
                                                   e.indexConstant(0));
             e.when(isFirst, [&] {
               e.storeScratch(topAt, row, top);
               e.storeScratch(scaleAt, row, scale);
               e.storeScratch(sumAt, row, math::FmaOp::create(b, loc, sum, scale, added));
             });
             return {};
           });
  }

  void weigh() {
    share(plan.rows * plan.width, [&](const Index &at) {
      auto [row, w] = e.divide(at, plan.width);
      int64_t lanes = e.lanesOf(at);
      Value old;
      if (!e.isDry()) {
        Value scale = e.broadcast(e.loadScratch(scaleAt, row, 1), lanes);
        old = arith::MulFOp::create(b, loc, e.loadScratch(resultAt, at, lanes), scale);
      }
      Value x =
          e.carry(0, plan.tileKeys, old, [&, w = w, row = row](const Index &k, ValueRange sum) {
            if (e.isDry())
              return llvm::to_vector(sum);
            Value power = e.broadcast(e.loadScratch(scoreAt, row * plan.tileKeys + k, 1), lanes);
            Value value = e.loadScratch(valueAt, k * plan.width + w, lanes);
            return SmallVector<Value>{
                math::FmaOp::create(b, loc, power, value, sum[0]).getResult()};
          })[0];
      e.storeScratch(resultAt, at, x);
    });
  }

  void finish() {
    auto own = [=, this](const Index &row, const Index &w, int64_t lanes) -> RowShares {
      return {1, [=, this](const Index &) { return e.loadScratch(topAt, row, 1); },
              [=, this](const Index &) { return e.loadScratch(sumAt, row, 1); },
              [=, this](const Index &) {
                return e.loadScratch(resultAt, row * plan.width + w, lanes);
              }};
    };
    auto decay = [this](Value x) { return emit::buildDecay(e, x); };
    AttentionResults(e, op, block, parts, plan.results(), decay)
        .store(first, plan.rowsOfUnit, queryBase, own);
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  nn::AttentionOp op;
  ThreadBlock &block;
  Plan plan;
  Parts parts;
  int64_t queryAt, keyAt, valueAt, scoreAt, resultAt, topAt, sumAt, scaleAt; ///< shared memory
  Index batch, queryBase, keyBase; ///< the last two in rows
  Index first;                     ///< row of this block
  Index firstKey;
};

} // namespace

Launch cleave::cuda::launchAttention(nn::AttentionOp op, const Chip &chip) {
  Plan plan(op, chip);
  return launchParts(plan.blocks(), plan.parts, kThreads, plan.results().floats());
}

void cleave::cuda::emitAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                                 const Chip &chip) {
  AttentionEmitter(emitter, root, block, Plan(root, chip)).run();
}
