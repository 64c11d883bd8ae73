//===- Product.cpp - products in tiles of shared memory -------------------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n]: a block has a tile of c, a thread a
// square of 4 x 4 in it. For each step of K the block pulls what it needs of a
// and b into shared memory, whatever computes them, in f32. What follows is
// pulled from the sums.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

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

struct TiledProduct {
  TiledProduct(Emitter &e, const emit::Product &product, ThreadBlock &block)
      : e(e), b(e.builder), loc(e.loc), product(product), sizes(product.sizes), block(block),
        outputs(e.kernel, product.root), rows(rowsOfTile(sizes.m)), stride(kDepth + kSide) {
    baseA = e.reserve(rows * stride);
    baseB = e.reserve(kDepth * kColumns);
  }

  void run() {
    findTile();
    SmallVector<Value> zeros(kSide, e.zero(kSide));
    Value end = e.indexConstant(sizes.k);
    SmallVector<Value> sums =
        e.loop(e.indexConstant(0), end, kDepth, zeros, [&](Value k, ValueRange before) {
          Index depth = Index::of(e.symbol(k, sizes.k, kDepth));
          fill(depth);
          block.sync();
          SmallVector<Value> after = multiply(before);
          block.sync();
          return after;
        });
    finish(sums);
  }

private:
  Value below(Value at, int64_t bound) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, at, e.indexConstant(bound));
  }

  /// Batch, first row and first column of this block; the square of this thread.
  void findTile() {
    int64_t down = ceilDiv(sizes.m, rows), across = ceilDiv(sizes.n, kColumns);
    Index at = Index::of(e.symbol(block.number, block.launch.blocks));
    SmallVector<Index> tile = e.delinearize(at, {sizes.batch, down, across});
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
    return arith::SelectOp::create(b, loc, e.broadcast(test.value, lanes), x, e.zero(lanes));
  }

  void fill(const Index &depth) {
    e.team = block.whole();
    e.nest(rows * kDepth, [&](const Index &at) {
      auto [row, k] = e.divide(at, kDepth);
      Index m = e.clamp(top + row, sizes.m);
      Value x =
          inside(depth + k, [&](const Index &k) { return product.operands.pullA(batch, m, k); });
      e.storeScratch(baseA, row * stride + k, x);
    });
    e.nest(kDepth * kColumns, [&](const Index &at) {
      auto [k, column] = e.divide(at, kColumns);
      Index n = e.clamp(left + column, sizes.n);
      Value x =
          inside(depth + k, [&](const Index &k) { return product.operands.pullB(batch, k, n); });
      e.storeScratch(baseB, at, x);
    });
    e.team.reset();
  }

  SmallVector<Value> multiply(ValueRange before) {
    SmallVector<Value> sums = llvm::to_vector(before);
    Index lanes = e.laneSymbol(kSide);
    for (int64_t k = 0; k < kDepth; k += kSide) {
      SmallVector<Value> left;
      for (int64_t i = 0; i < kSide; ++i)
        left.push_back(e.loadScratch(baseA, (threadRow + i) * stride + k + lanes, kSide));
      for (int64_t j = 0; j < kSide; ++j) {
        Value right = e.loadScratch(baseB, threadColumn + (k + j) * kColumns + lanes, kSide);
        for (int64_t i = 0; i < kSide; ++i) {
          Value one = vector::ExtractOp::create(b, loc, left[i], ArrayRef<int64_t>{j});
          sums[i] = math::FmaOp::create(b, loc, e.broadcast(one, kSide), right, sums[i]);
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
  int64_t rows, stride, baseA, baseB;
  Index batch, top, left, threadRow, threadColumn;
};

} // namespace

Launch cleave::cuda::launchProduct(const emit::ProductSizes &sizes) {
  int64_t rows = rowsOfTile(sizes.m);
  return {sizes.batch * ceilDiv(sizes.m, rows) * ceilDiv(sizes.n, kColumns),
          rows / kSide * (kColumns / kSide), 0};
}

void cleave::cuda::emitProduct(Emitter &emitter, const emit::Product &product, ThreadBlock &block) {
  TiledProduct(emitter, product, block).run();
}
