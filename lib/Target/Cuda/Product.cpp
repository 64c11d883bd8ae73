//===- Product.cpp - products in tiles of shared memory -------------------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n]: a block has a tile of c, or where
// tiles are few a part of K of one (Parts.h), a thread a square of 4 x 4 in it.
// For each step of K the block pulls what it needs of a and b into shared memory,
// whatever computes them, in f32, or in i32 if they are bytes. What follows is pulled from
// the sums.
//
//===----------------------------------------------------------------------===//

#include "Narrow.h"
#include "Parts.h"
#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;

namespace {

/// Rows and columns of a thread.
constexpr int64_t kSide = 4;
constexpr int64_t kColumns = 64, kDepth = 16;

/// Rows of a tile: little is wasted on few.
int64_t rowsOfTile(int64_t m) { return m > 32 ? 64 : m > 16 ? 32 : 16; }

/// Steps that a block has at least where several divide K.
constexpr int64_t kStepsOfPart = 8;

/// How a product is divided over blocks, and K over those of one tile.
struct Plan {
  Plan(const emit::ProductSizes &sizes, const Chip &chip)
      : rows(rowsOfTile(sizes.m)), rowsOfPart(std::min(rows, sizes.m)),
        steps(ceilDiv(sizes.k, kDepth)),
        blocks(sizes.batch * ceilDiv(sizes.m, rows) * ceilDiv(sizes.n, kColumns)) {
    // They wait for what they read, so it takes more of them to keep memory busy.
    parts = partsOf(chip, blocks, /*each=*/8,
                    {sizes.k * (rowsOfPart + kColumns) * 4, floats() * 4, steps / kStepsOfPart});
  }
  int64_t floats() const { return rowsOfPart * kColumns; }
  int64_t rows, rowsOfPart, steps, blocks, parts;
};

struct TiledProduct {
  TiledProduct(Emitter &e, const emit::Product &product, ThreadBlock &block, const Chip &chip)
      : e(e), b(e.builder), loc(e.loc), product(product), sizes(product.sizes), block(block),
        outputs(e.kernel, product.root),
        words(e, getElementTypeOrSelf(product.root->getOperand(0).getType())), plan(sizes, chip),
        parts(e, block, plan.parts, plan.floats()), rows(plan.rows), stride(kDepth + kSide) {
    baseA = e.reserve(rows * stride);
    baseB = e.reserve(kDepth * kColumns);
  }

  void run() {
    findTile();
    if (!isNarrow())
      narrow.reset();
    SmallVector<Value> zeros(kSide, words.zero(kSide));
    auto firstOf = [&](const Index &part) {
      return e.value(e.divide(part * plan.steps, plan.parts).first * kDepth);
    };
    SmallVector<Value> sums = e.loop(firstOf(parts.number), firstOf(parts.number + 1), kDepth,
                                     zeros, [&](Value k, ValueRange before) {
                                       Index depth = Index::of(e.symbol(k, sizes.k, kDepth));
                                       fill(depth);
                                       block.sync();
                                       SmallVector<Value> after = multiply(before);
                                       block.sync();
                                       return after;
                                     });
    if (plan.parts == 1)
      return finish(sums);
    auto placeOf = [&](int64_t i) {
      Index row = e.clamp(threadRow + i, plan.rowsOfPart);
      return row * kColumns + threadColumn + e.laneSymbol(kSide);
    };
    for (int64_t i = 0; i < kSide; ++i)
      e.when(e.isBelow(threadRow + i, plan.rowsOfPart),
             [&] { parts.store(placeOf(i), words.toWords(sums[i])); });
    parts.whenLast([&] {
      for (int64_t i = 0; i < kSide; ++i)
        sums[i] = words.ofWords(parts.sum(placeOf(i), words));
      finish(sums);
    });
  }

private:
  Value below(Value at, int64_t bound) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, at, e.indexConstant(bound));
  }

  /// Batch, first row and first column of this block; the square of this thread.
  void findTile() {
    int64_t down = ceilDiv(sizes.m, rows), across = ceilDiv(sizes.n, kColumns);
    SmallVector<Index> tile = e.delinearize(parts.result, {sizes.batch, down, across});
    batch = Index::of(e.symbol(e.value(tile[0]), sizes.batch));
    top = tile[1] * rows;
    left = tile[2] * kColumns;
    auto [y, x] =
        e.divide(Index::of(e.symbol(block.thread, block.launch.threads)), kColumns / kSide);
    threadRow = y * kSide;
    threadColumn = x * kSide;
  }

  /// What `pull` gives at k, 0 behind the last.
  Value inside(const Index &k, function_ref<Value(const Index &)> pull) {
    Emitter::Test test = e.isBelow(k, sizes.k);
    Value x = pull(e.clamp(k, sizes.k));
    if (e.isDry() || !test.value)
      return x;
    int64_t lanes = e.laneCount(x);
    return arith::SelectOp::create(b, loc, e.broadcast(test.value, lanes), x, words.zero(lanes));
  }

  /// Whether B is computed from bytes that lie along K, in whole steps.
  bool isNarrow() {
    narrow = narrowOf(product.root->getOperand(1));
    Index column = Index::of(e.symbol(e.indexConstant(0), sizes.n));
    return narrow && runsAlong(e, *narrow, sizes.k, [&](const Index &k) {
             return product.operands.pullB(batch, k, column);
           });
  }

  /// A column of a step is a thread's.
  void fillNarrow(const Index &depth) {
    static_assert(kDepth == kNeighbours);
    Index step = e.divide(depth, kDepth).first * kDepth;
    e.nest(
        kColumns,
        [&](const Index &column) {
          Index n = e.clamp(left + column, sizes.n);
          SmallVector<Value> elements = pullNeighbours(e, *narrow, [&](const Index &further) {
            return product.operands.pullB(batch, step + further, n);
          });
          for (auto [k, x] : llvm::enumerate(elements))
            e.storeScratch(baseB, column + int64_t(k) * kColumns, x);
        },
        Emitter::Tail::Exact, /*allowVectors=*/false);
  }

  void fill(const Index &depth) {
    e.team = block.whole();
    e.nest(rows * kDepth, [&](const Index &at) {
      auto [row, k] = e.divide(at, kDepth);
      Index m = e.clamp(top + row, sizes.m);
      Value x =
          inside(depth + k, [&](const Index &k) { return product.operands.pullA(batch, m, k); });
      e.storeScratch(baseA, row * stride + k, words.toWords(x));
    });
    e.team = block.whole();
    if (narrow) {
      fillNarrow(depth);
      e.team.reset();
      return;
    }
    e.nest(kDepth * kColumns, [&](const Index &at) {
      auto [k, column] = e.divide(at, kColumns);
      Index n = e.clamp(left + column, sizes.n);
      Value x =
          inside(depth + k, [&](const Index &k) { return product.operands.pullB(batch, k, n); });
      e.storeScratch(baseB, at, words.toWords(x));
    });
    e.team.reset();
  }

  SmallVector<Value> multiply(ValueRange before) {
    SmallVector<Value> sums = llvm::to_vector(before);
    Index lanes = e.laneSymbol(kSide);
    for (int64_t k = 0; k < kDepth; k += kSide) {
      SmallVector<Value> left;
      for (int64_t i = 0; i < kSide; ++i)
        left.push_back(
            words.ofWords(e.loadScratch(baseA, (threadRow + i) * stride + k + lanes, kSide)));
      for (int64_t j = 0; j < kSide; ++j) {
        Value right =
            words.ofWords(e.loadScratch(baseB, threadColumn + (k + j) * kColumns + lanes, kSide));
        for (int64_t i = 0; i < kSide; ++i) {
          Value one = vector::ExtractOp::create(b, loc, left[i], ArrayRef<int64_t>{j});
          sums[i] = words.multiplyAdd(e.broadcast(one, kSide), right, sums[i]);
        }
      }
    }
    return sums;
  }

  void finish(ArrayRef<Value> sums) {
    // Whole vectors, or nothing but ragged ones.
    bool isWhole = sizes.n % kSide == 0;
    Value column = e.value(left + threadColumn);
    for (int64_t i = 0; i < kSide; ++i) {
      Value row = e.value(top + threadRow + i);
      for (int64_t j = 0; j < (isWhole ? 1 : kSide); ++j) {
        Value place = j == 0 ? column : e.value(left + threadColumn + j);
        Value isInside = arith::AndIOp::create(b, loc, below(row, sizes.m), below(place, sizes.n));
        e.when(isInside, [&] {
          Index r = Index::of(e.symbol(row, sizes.m));
          Index c = Index::of(e.symbol(place, sizes.n, isWhole ? kSide : 1));
          Value sum = sums[i];
          if (isWhole)
            c = c + e.laneSymbol(kSide);
          else
            sum = vector::ExtractOp::create(b, loc, sum, ArrayRef<int64_t>{j});
          outputs.storeBehind(e, sum, (batch * sizes.m + r) * sizes.n + c);
        });
      }
    }
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  const emit::Product &product;
  emit::ProductSizes sizes;
  ThreadBlock &block;
  Outputs outputs;
  Accumulator words;
  Plan plan;
  Parts parts;
  int64_t rows, stride, baseA, baseB;
  Index batch, top, left, threadRow, threadColumn;
  std::optional<Narrow> narrow; ///< what columns of B are computed from
};

} // namespace

Launch cleave::cuda::launchProduct(const emit::ProductSizes &sizes, const Chip &chip) {
  Plan plan(sizes, chip);
  return launchParts(plan.blocks, plan.parts, plan.rows / kSide * (kColumns / kSide),
                     plan.floats());
}

void cleave::cuda::emitProduct(Emitter &emitter, const emit::Product &product, ThreadBlock &block,
                               const Chip &chip) {
  TiledProduct(emitter, product, block, chip).run();
}
