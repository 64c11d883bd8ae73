//===- Attention.cpp - softmax(q kᵀ) v, block by block --------------------===//
//
// A block has some query rows of a head and walks over tiles of keys, keeping of
// each row the highest score, the sum of the powers and the weighted values
// (Dao et al., FlashAttention). Everything is f32 in shared memory.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

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

/// How much of an attention a block has in shared memory.
struct Tiles {
  explicit Tiles(nn::AttentionOp op) {
    int64_t depth = Emitter::shape(op.getQuery())[3], width = Emitter::shape(op.getValue())[3];
    rows = std::min<int64_t>(16, llvm::PowerOf2Ceil(Emitter::shape(op.getQuery())[2]));
    keys = 64;
    auto floats = [&] {
      return rows * (depth + width + keys + 3) + keys * (depth + 1 + width) + 7 * 16;
    };
    while (floats() > kSharedBytes / 4 && keys > 8)
      keys /= 2;
    while (floats() > kSharedBytes / 4 && rows > 1)
      rows /= 2;
  }
  int64_t rows, keys;
};

struct AttentionEmitter {
  AttentionEmitter(Emitter &e, nn::AttentionOp op, ThreadBlock &block)
      : e(e), b(e.builder), loc(e.loc), op(op), block(block), tiles(op) {
    ArrayRef<int64_t> q = Emitter::shape(op.getQuery()), v = Emitter::shape(op.getValue());
    batches = q[0], heads = q[1], queries = q[2], depth = q[3];
    groups = v[1], keys = v[2], width = v[3];
    queryBase = e.reserve(tiles.rows * depth);
    keyBase = e.reserve(tiles.keys * (depth + 1));
    valueBase = e.reserve(tiles.keys * width);
    scoreBase = e.reserve(tiles.rows * tiles.keys);
    resultBase = e.reserve(tiles.rows * width);
    topBase = e.reserve(tiles.rows);
    sumBase = e.reserve(tiles.rows);
    scaleBase = e.reserve(tiles.rows);
  }

  void run() {
    int64_t blocks = ceilDiv(queries, tiles.rows);
    SmallVector<Index> at = e.delinearize(Index::of(e.symbol(block.number, block.launch.blocks)),
                                          {batches, heads, blocks});
    batch = Index::of(e.symbol(e.value(at[0]), batches));
    head = Index::of(e.symbol(e.value(at[1]), heads));
    group = groups == heads ? head : e.divide(head, heads / groups).first;
    first = at[2] * tiles.rows;
    start();
    e.loop(e.indexConstant(0), keysOfBlock(), tiles.keys, {},
           [&](Value k, ValueRange) -> SmallVector<Value> {
             firstKey = Index::of(e.symbol(k, std::max<int64_t>(keys, 1), tiles.keys));
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
  Index lastQuery(const Index &row) { return e.clamp(first + row, queries); }

  void share(int64_t count, const std::function<void(const Index &)> &body, bool vectors = true) {
    e.team = block.whole();
    e.nest(count, body, Emitter::Tail::Exact, vectors);
    e.team.reset();
  }

  Value seenBy(const Index &query) { return emit::buildSeenKeys(e, op, batch, query); }

  /// Behind the last key that any row of the block sees.
  Value keysOfBlock() {
    if (!op.getCausal() && !op.getLengths())
      return e.indexConstant(keys);
    return arith::IndexCastOp::create(b, loc, b.getIndexType(), seenBy(lastQuery(tiles.rows - 1)));
  }

  void start() {
    double scale = op.getScale().convertToDouble();
    Index base = (batch * heads + head) * (queries * depth);
    share(tiles.rows * depth, [&](const Index &at) {
      auto [row, d] = e.divide(at, depth);
      Value x = e.pull(op.getQuery(), base + lastQuery(row) * depth + d);
      if (!e.isDry())
        x = arith::MulFOp::create(b, loc, x, e.splat(scale, e.laneCount(x)));
      e.storeScratch(queryBase, at, x);
    });
    share(tiles.rows * width, [&](const Index &at) {
      e.storeScratch(resultBase, at, e.isDry() ? Value() : e.zero(e.lanesOf(at)));
    });
    share(tiles.rows, [&](const Index &at) {
      if (e.isDry())
        return;
      e.storeScratch(topBase, at, e.splat(-kInfinity, e.lanesOf(at)));
      e.storeScratch(sumBase, at, e.zero(e.lanesOf(at)));
    });
    block.sync();
  }

  void fill() {
    Index base = (batch * groups + group) * keys;
    // Rows of keys are one longer than they are, so that a column is in all banks.
    share(
        tiles.keys * depth,
        [&](const Index &at) {
          auto [k, d] = e.divide(at, depth);
          Index key = e.clamp(firstKey + k, keys);
          e.storeScratch(keyBase, k * (depth + 1) + d,
                         e.pull(op.getKey(), (base + key) * depth + d));
        },
        /*vectors=*/false);
    share(tiles.keys * width, [&](const Index &at) {
      auto [k, w] = e.divide(at, width);
      Index key = e.clamp(firstKey + k, keys);
      e.storeScratch(valueBase, at, e.pull(op.getValue(), (base + key) * width + w));
    });
  }

  void scores() {
    share(
        tiles.rows * tiles.keys,
        [&](const Index &at) {
          auto [row, k] = e.divide(at, tiles.keys);
          Value zero = e.isDry() ? Value() : e.zero(1);
          Value x = e.carry(0, depth, zero, [&](const Index &d, ValueRange sum) {
            if (e.isDry())
              return llvm::to_vector(sum);
            Value q = e.loadScratch(queryBase, row * depth + d, 1);
            Value key = e.loadScratch(keyBase, k * (depth + 1) + d, 1);
            return SmallVector<Value>{math::FmaOp::create(b, loc, q, key, sum[0]).getResult()};
          })[0];
          Index query = lastQuery(row), key = e.clamp(firstKey + k, keys);
          x = emit::buildScore(e, op, x, ((batch * heads + head) * queries + query) * keys + key);
          if (e.isDry())
            return;
          Value number = arith::IndexCastOp::create(b, loc, b.getI64Type(), e.value(firstKey + k));
          Value isSeen =
              arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, number, seenBy(query));
          e.storeScratch(scoreBase, at,
                         arith::SelectOp::create(b, loc, isSeen, x, e.splat(-kInfinity, 1)));
        },
        /*vectors=*/false);
  }

  /// A warp has a row: powers instead of scores, and what was summed before is scaled.
  void softmax() {
    int64_t warps = block.launch.threads / kWarp;
    e.loop(block.warpNumber, e.indexConstant(tiles.rows), warps, {},
           [&](Value r, ValueRange) -> SmallVector<Value> {
             Index row = Index::of(e.symbol(r, tiles.rows));
             auto over = [&](double init, Kind kind, function_ref<Value(Index)> step) {
               Value total =
                   e.loop(block.lane, e.indexConstant(tiles.keys), kWarp, e.splat(init, 1),
                          [&](Value k, ValueRange acc) -> SmallVector<Value> {
                            Index at = row * tiles.keys + Index::of(e.symbol(k, tiles.keys));
                            return {combine(e, kind, acc[0], step(at))};
                          })[0];
               return block.reduce(total, kind, /*isWhole=*/false, 0);
             };
             Value before = e.loadScratch(topBase, row, 1), sum = e.loadScratch(sumBase, row, 1);
             Value top = over(-kInfinity, Kind::MAXIMUMF,
                              [&](const Index &at) { return e.loadScratch(scoreBase, at, 1); });
             top = arith::MaximumFOp::create(b, loc, top, before);
             Value isEmpty = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, top,
                                                   e.splat(-kInfinity, 1));
             Value base = arith::SelectOp::create(b, loc, isEmpty, e.splat(0.0, 1), top);
             Value added = over(0.0, Kind::ADD, [&](const Index &at) {
               Value x = e.loadScratch(scoreBase, at, 1);
               Value power = emit::buildDecay(e, arith::SubFOp::create(b, loc, x, base));
               e.storeScratch(scoreBase, at, power);
               return power;
             });
             Value scale = emit::buildDecay(e, arith::SubFOp::create(b, loc, before, base));
             // All lanes have read the row's state.
             block.syncWarp();
             Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block.lane,
                                                   e.indexConstant(0));
             e.when(isFirst, [&] {
               e.storeScratch(topBase, row, top);
               e.storeScratch(scaleBase, row, scale);
               e.storeScratch(sumBase, row, math::FmaOp::create(b, loc, sum, scale, added));
             });
             return {};
           });
  }

  void weigh() {
    share(tiles.rows * width, [&](const Index &at) {
      auto [row, w] = e.divide(at, width);
      int64_t lanes = e.lanesOf(at);
      Value old;
      if (!e.isDry()) {
        Value scale = e.broadcast(e.loadScratch(scaleBase, row, 1), lanes);
        old = arith::MulFOp::create(b, loc, e.loadScratch(resultBase, at, lanes), scale);
      }
      Value x = e.carry(0, tiles.keys, old, [&, w = w, row = row](const Index &k, ValueRange sum) {
        if (e.isDry())
          return llvm::to_vector(sum);
        Value power = e.broadcast(e.loadScratch(scoreBase, row * tiles.keys + k, 1), lanes);
        Value value = e.loadScratch(valueBase, k * width + w, lanes);
        return SmallVector<Value>{math::FmaOp::create(b, loc, power, value, sum[0]).getResult()};
      })[0];
      e.storeScratch(resultBase, at, x);
    });
  }

  void finish() {
    double empty =
        op.getEmptyRows() == nn::EmptyRows::Nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    share(
        tiles.rows * width,
        [&](const Index &at) {
          auto [row, w] = e.divide(at, width);
          if (e.isDry())
            return;
          Value query = e.value(first + row);
          Value isInside = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, query,
                                                 e.indexConstant(queries));
          Value top = e.loadScratch(topBase, row, 1), sum = e.loadScratch(sumBase, row, 1);
          Value x = e.loadScratch(resultBase, at, 1);
          Value isEmpty =
              arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, top, e.splat(-kInfinity, 1));
          Value weighed = arith::DivFOp::create(b, loc, x, sum);
          Value result = arith::SelectOp::create(b, loc, isEmpty, e.splat(empty, 1), weighed);
          e.when(isInside, [&, w = w] {
            Index s = Index::of(e.symbol(query, queries));
            Index place = ((batch * heads + head) * queries + s) * width + w;
            e.store(0, emit::pushed(e, op.getResult(), place), result);
          });
        },
        /*vectors=*/false);
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  nn::AttentionOp op;
  ThreadBlock &block;
  Tiles tiles;
  int64_t batches, heads, queries, depth, groups, keys, width;
  int64_t queryBase, keyBase, valueBase, scoreBase, resultBase, topBase, sumBase, scaleBase;
  Index batch, head, group, first, firstKey;
};

} // namespace

Launch cleave::cuda::launchAttention(nn::AttentionOp op) {
  ArrayRef<int64_t> q = Emitter::shape(op.getQuery());
  return {q[0] * q[1] * ceilDiv(q[2], Tiles(op).rows), kThreads, 0};
}

void cleave::cuda::emitAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block) {
  AttentionEmitter(emitter, root, block).run();
}
