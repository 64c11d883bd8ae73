//===- Attention.cpp - softmax(q kᵀ) v without the scores in memory -------===//
//
// For each head of keys: k is packed [panels][d][NR], v lies as rows. Blocks of
// query rows multiply with it, get their softmax while the scores are in the
// nearest caches, and multiply with v. Causal blocks end where nothing is seen.
//
// With few queries (decoding), all query heads that share keys are rows of one
// block, so that keys and values are read once.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"
#include "Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;
using namespace cleave::emit;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// f32 scores of a block: half of a second level cache.
constexpr int64_t kScores = 128 * 1024;
constexpr int64_t kQueryRows = 64;

struct AttentionEmitter {
  AttentionEmitter(Emitter &e, nn::AttentionOp op)
      : e(e), b(e.builder), loc(e.loc), op(op), outputs(e.kernel, op), lanes(e.machine.lanes) {
    ArrayRef<int64_t> q = Emitter::shape(op.getQuery()), v = Emitter::shape(op.getValue());
    batches = q[0], heads = q[1], queries = q[2], depth = q[3];
    groups = v[1], keys = v[2], width = v[3];
    // Uneven cuts leave some ranks without a head.
    share = groups == 0 ? 0 : heads / groups;
    vectors = e.machine.registers >= 32 ? 4 : 2;
    panel = vectors * lanes;
    panels = llvm::divideCeil(keys, panel);
    paddedWidth = llvm::alignTo(width, lanes);
    // Rows of one head, or of all heads that share keys.
    isShared = queries * share <= kQueryRows;
    rows = isShared ? queries * share : queries;
    int64_t stride = std::max<int64_t>(panels * panel, 1);
    block = std::min(rows, std::clamp<int64_t>(kScores / stride / 8 * 8, 8, kQueryRows));
    scoreStride = stride;
    keyBase = e.reserve(panels * depth * panel);
    valueBase = e.reserve(keys * paddedWidth);
    queryBase = e.reserve(rows * depth);
    scoreBase = e.reserve(block * scoreStride);
    inverseBase = e.reserve(block);
    tileBase = e.reserve(block * paddedWidth);
  }

  void run() {
    if (batches * heads * queries * width == 0)
      return;
    e.loop(0, batches, 1, [&](const Index &atBatch) {
      batch = atBatch;
      e.loop(0, groups, 1, [&](const Index &atGroup) {
        group = atGroup;
        copyKeys();
        copyValues();
        if (isShared)
          return allRows(group * share);
        e.loop(0, share, 1, [&](const Index &h) { allRows(group * share + h); });
      });
    });
  }

private:
  /// Both halves of the last panel's columns, the one with keys and the other.
  void copyKeys() {
    Index base = (batch * groups + group) * keys;
    int64_t whole = keys / panel;
    e.nest(whole * depth * panel, [&](const Index &at) {
      SmallVector<Index> i = e.delinearize(at, {whole, depth, panel});
      e.storeScratch(keyBase, at, e.pull(op.getKey(), (base + i[0] * panel + i[2]) * depth + i[1]));
    });
    int64_t rest = keys - whole * panel;
    if (rest == 0)
      return;
    int64_t tail = keyBase + whole * depth * panel;
    e.loop(0, depth, 1, [&](const Index &d) {
      for (int64_t v = rest / lanes; v < vectors; ++v)
        e.storeScratch(tail, d * panel + v * lanes + e.laneSymbol(lanes), e.zero(lanes));
    });
    e.nest(depth * rest, [&](const Index &at) {
      SmallVector<Index> i = e.delinearize(at, {depth, rest});
      e.storeScratch(tail, i[0] * panel + i[1],
                     e.pull(op.getKey(), (base + whole * panel + i[1]) * depth + i[0]));
    });
  }

  void copyValues() {
    Index base = (batch * groups + group) * keys;
    if (paddedWidth != width)
      e.loop(0, keys, 1, [&](const Index &k) {
        e.storeScratch(valueBase, k * paddedWidth + (paddedWidth - lanes) + e.laneSymbol(lanes),
                       e.zero(lanes));
      });
    e.nest(keys * width, [&](const Index &at) {
      SmallVector<Index> i = e.delinearize(at, {keys, width});
      e.storeScratch(valueBase, i[0] * paddedWidth + i[1],
                     e.pull(op.getValue(), (base + i[0]) * width + i[1]));
    });
  }

  void allRows(const Index &firstHead) {
    head = firstHead;
    Index base = (batch * heads + head) * (queries * depth);
    double scale = op.getScale().convertToDouble();
    e.nest(rows * depth, [&](const Index &at) {
      Value x = e.pull(op.getQuery(), base + at);
      if (!e.isDry())
        x = arith::MulFOp::create(b, loc, x, e.splat(scale, e.laneCount(x)));
      e.storeScratch(queryBase, at, x);
    });
    e.loop(0, rows / block, 1, [&](const Index &at) { oneBlock(at * block, block); });
    if (rows % block != 0)
      oneBlock(Index(rows / block * block), rows % block);
  }

  /// Head and query of row `row` of the current heads.
  std::pair<Index, Index> placeOf(const Index &row) {
    if (!isShared)
      return {head, row};
    auto [h, s] = e.divide(row, queries);
    return {head + h, s};
  }

  Value seenBy(const Index &query) { return buildSeenKeys(e, op, batch, query); }

  void oneBlock(const Index &first, int64_t count) {
    // Panels that any row of the block sees.
    Value used = e.indexConstant(panels);
    if ((op.getCausal() || op.getLengths()) && panels > 0) {
      Index last = isShared ? Index(queries - 1) : first + (count - 1);
      Value seen = arith::IndexCastOp::create(b, loc, b.getIndexType(), seenBy(last));
      used = arith::CeilDivUIOp::create(b, loc, seen, e.indexConstant(panel));
    }
    scores(first, count, used);
    e.loop(0, count, 1, [&](const Index &row) { softmax(first, row, used); });
    product(first, count, used);
  }

  SmallVector<Value> zeros(int64_t n) { return SmallVector<Value>(n, e.zero(lanes)); }

  Value scratchAt(Value base, Value at, int64_t stride, int64_t plus, int64_t count) {
    Index address = Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * stride + plus;
    return e.loadScratch(0, address, count);
  }

  void scores(const Index &first, int64_t count, Value used) {
    e.loop(e.indexConstant(0), used, 1, {}, [&](Value p, ValueRange) -> SmallVector<Value> {
      Index number = Index::of(e.symbol(p, panels));
      forTiles(
          e, count, tileRows(e.machine, vectors), [&](const Index &row, int64_t r, const Index &) {
            Value query = e.value((first + row) * depth + queryBase);
            Value key = e.value(number * (depth * panel) + keyBase);
            Tile tile{r,
                      vectors,
                      [&](int64_t i, Value k, int64_t plus) {
                        return scratchAt(query, k, 1, i * depth + plus, 1);
                      },
                      [&](int64_t v, Value k, int64_t plus) {
                        return scratchAt(key, k, panel, v * lanes + plus * panel, lanes);
                      },
                      {}};
            SmallVector<Value> sums =
                tile.multiply(e, e.indexConstant(0), e.indexConstant(depth), zeros(r * vectors));
            for (int64_t i = 0; i < r; ++i)
              for (int64_t v = 0; v < vectors; ++v)
                e.storeScratch(scoreBase,
                               (row + i) * scoreStride + number * panel + v * lanes +
                                   e.laneSymbol(lanes),
                               sums[i * vectors + v]);
          });
      return {};
    });
  }

  void applyMask(const Index &row, const Index &start) {
    auto [h, s] = placeOf(row);
    Index place = ((batch * heads + h) * queries + s) * keys;
    // Each element once: scores are changed in place.
    e.nest(
        keys,
        [&](const Index &at) {
          Value x = e.loadScratch(scoreBase, start + at, e.lanesOf(at));
          e.storeScratch(scoreBase, start + at, buildScore(e, op, x, place + at));
        },
        Emitter::Tail::Exact);
  }

  void softmax(const Index &first, const Index &row, Value used) {
    Index start = row * scoreStride;
    if (op.getMask())
      applyMask(first + row, start);
    // Without a rule that hides keys, only what pads the last panel is hidden.
    bool hides = op.getCausal() || op.getLengths() || keys % panel != 0;
    bool changes = hides || (!op.getMask() && !op.getSoftcap().isZero());
    Value end = arith::MulIOp::create(b, loc, used, e.indexConstant(panel));
    Value seen = hides ? e.broadcast(seenBy(placeOf(first + row).second), lanes) : Value();
    auto over = [&](double init, function_ref<Value(Value acc, Value j, const Index &at)> step) {
      return e.loop(e.indexConstant(0), end, lanes, e.splat(init, lanes),
                    [&](Value j, ValueRange acc) {
                      Index at = start + Index::of(e.symbol(j, scoreStride));
                      return SmallVector<Value>{step(acc[0], j, at)};
                    })[0];
    };
    Value highest = over(-kInfinity, [&](Value acc, Value j, const Index &at) -> Value {
      Value x = e.loadScratch(scoreBase, at, lanes);
      if (!op.getMask())
        x = buildScore(e, op, x, at);
      if (hides) {
        Value number = arith::AddIOp::create(
            b, loc, e.iota(lanes),
            e.broadcast(arith::IndexCastOp::create(b, loc, b.getI64Type(), j), lanes));
        Value visible = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, number, seen);
        x = arith::SelectOp::create(b, loc, visible, x, e.splat(-kInfinity, lanes));
      }
      if (changes)
        e.storeScratch(scoreBase, at + e.laneSymbol(lanes), x);
      return arith::MaximumFOp::create(b, loc, acc, x);
    });
    Value top = vector::ReductionOp::create(b, loc, vector::CombiningKind::MAXIMUMF, highest);
    Value isEmpty =
        arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, top, e.splat(-kInfinity, 1));
    Value base = arith::SelectOp::create(b, loc, isEmpty, e.splat(0.0, 1), top);
    Value bases = e.broadcast(base, lanes);
    Value sums = over(0.0, [&](Value acc, Value, const Index &at) -> Value {
      Value x = e.loadScratch(scoreBase, at, lanes);
      Value power = buildDecay(e, arith::SubFOp::create(b, loc, x, bases));
      e.storeScratch(scoreBase, at + e.laneSymbol(lanes), power);
      return arith::AddFOp::create(b, loc, acc, power);
    });
    auto reassoc = arith::FastMathFlags::reassoc;
    Value sum =
        vector::ReductionOp::create(b, loc, vector::CombiningKind::ADD, sums, Value(), reassoc);
    double empty =
        op.getEmptyRows() == nn::EmptyRows::Nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    Value inverse = arith::DivFOp::create(b, loc, e.splat(1.0, 1), sum);
    e.storeScratch(inverseBase, row,
                   arith::SelectOp::create(b, loc, isEmpty, e.splat(empty, 1), inverse));
  }

  void product(const Index &first, int64_t count, Value used) {
    Value seen = arith::MulIOp::create(b, loc, used, e.indexConstant(panel));
    Value end = arith::MinUIOp::create(b, loc, seen, e.indexConstant(keys));
    for (int64_t column = 0; column < paddedWidth;) {
      int64_t n = std::min<int64_t>(vectors, (paddedWidth - column) / lanes);
      forTiles(e, count, tileRows(e.machine, n), [&](const Index &row, int64_t r, const Index &) {
        Value score = e.value(row * scoreStride + scoreBase);
        Value value = e.indexConstant(valueBase + column);
        Tile tile{r,
                  n,
                  [&](int64_t i, Value k, int64_t plus) {
                    return scratchAt(score, k, 1, i * scoreStride + plus, 1);
                  },
                  [&](int64_t v, Value k, int64_t plus) {
                    return scratchAt(value, k, paddedWidth, v * lanes + plus * paddedWidth, lanes);
                  },
                  {}};
        SmallVector<Value> sums = tile.multiply(e, e.indexConstant(0), end, zeros(r * n));
        for (int64_t i = 0; i < r; ++i) {
          Value inverse = e.broadcast(e.loadScratch(inverseBase, row + i, 1), lanes);
          for (int64_t v = 0; v < n; ++v) {
            Value x = arith::MulFOp::create(b, loc, sums[i * n + v], inverse);
            e.storeScratch(tileBase,
                           (row + i) * paddedWidth + column + v * lanes + e.laneSymbol(lanes), x);
          }
        }
      });
      column += n * lanes;
    }
    e.loop(0, count, 1, [&](const Index &row) {
      auto [h, s] = placeOf(first + row);
      Index at = ((batch * heads + h) * queries + s) * width;
      e.nest(width, [&](const Index &i) {
        Value x = e.loadScratch(tileBase, row * paddedWidth + i, e.lanesOf(i));
        e.store(0, pushed(e, op.getResult(), at + i), x);
      });
    });
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  nn::AttentionOp op;
  Outputs outputs;
  int64_t lanes, batches, heads, queries, depth, groups, keys, width, share;
  int64_t vectors, panel, panels, paddedWidth, rows, block, scoreStride;
  bool isShared;
  int64_t keyBase, valueBase, queryBase, scoreBase, inverseBase, tileBase;
  Index batch, group, head;
};

} // namespace

void cleave::cpu::emitAttention(Emitter &emitter, nn::AttentionOp root) {
  AttentionEmitter(emitter, root).run();
}
