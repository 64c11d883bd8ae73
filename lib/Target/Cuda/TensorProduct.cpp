//===- TensorProduct.cpp - products of f16 and bf16 on tensor cores -------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n]: a block has a tile of c, its warps have parts
// of it or, where there are few rows, parts of K. K is walked in steps that lie in several
// stages of shared memory: while one is multiplied the next are on their way.
//
// Of each operand apart: what lies in memory in whole chunks of 16 bytes is copied
// asynchronously, along K or across it, whichever way it lies; anything else is pulled,
// whatever computes it, rounded, and stored to the same places.
//
// Sums leave their fragments through shared memory, so that what follows is emitted once,
// for whole vectors of a row.
//
//===----------------------------------------------------------------------===//

#include "Fragments.h"
#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;

namespace {

constexpr int64_t kWarps = 4;
/// Blocks that keep all of the larger chips busy.
constexpr int64_t kManyBlocks = 96;

/// How a product is divided: over blocks, over the warps of one, and over time.
struct Tile {
  int64_t rows, columns, depth;  ///< of a block, at a time
  int64_t warpRows, warpColumns; ///< of these, a warp's
  int64_t stages;

  int64_t down() const { return rows / warpRows; }
  int64_t across() const { return columns / warpColumns; }
  /// Warps that share a tile and divide its depth.
  int64_t deep() const { return kWarps / (down() * across()); }
  int64_t blocks(const emit::ProductSizes &sizes) const {
    return sizes.batch * ceilDiv(sizes.m, rows) * ceilDiv(sizes.n, columns);
  }
};

/// Large tiles read each operand least often; smaller ones waste less of few rows and give
/// more blocks. All of them fit into the shared memory that needs no asking.
Tile tileFor(const emit::ProductSizes &sizes) {
  const Tile large{128, 128, 32, 64, 64, 3}, medium{64, 64, 64, 32, 32, 3};
  if (sizes.m <= 16)
    return {16, 64, 64, 16, 64, 4};
  if (sizes.m <= 32)
    return {32, 64, 64, 32, 64, 4};
  bool isWide = sizes.m > 64 && sizes.n > 64;
  return isWide && large.blocks(sizes) >= kManyBlocks ? large : medium;
}

/// An operand as [outer, k], outer being rows of c for A and columns for B.
struct Operand {
  bool isLeft, isCopied, isDeep; ///< whether K is contiguous
  int64_t outer, extent;         ///< of a tile, of all
  SharedTile tile;
  int64_t base = 0; ///< of the tile in a stage
  Index origin;     ///< of the block
  Value fragment;   ///< what this lane points at in the first step
  std::function<Value(const Index &, const Index &)> pull;
  std::function<std::optional<Emitter::Leaf>(const Index &, const Index &)> trace;
};

struct TensorProduct {
  TensorProduct(Emitter &e, const emit::Product &product, Type element, ThreadBlock &block)
      : e(e), b(e.builder), loc(e.loc), product(product), sizes(product.sizes), block(block),
        outputs(e.kernel, product.root), warps(e, block, element), element(element),
        tile(tileFor(sizes)) {}

  void run() {
    findTile();
    for (Operand *operand : {&left, &right})
      prepare(*operand);
    stageBytes = left.tile.bytes() + right.tile.bytes();
    right.base = left.tile.bytes();
    int64_t steps = ceilDiv(sizes.k, tile.depth);
    stages = std::clamp<int64_t>(steps, 2, tile.stages);
    int64_t sumFloats = tile.deep() * slabRows() * tile.down() * stride();
    memory = e.reserve(std::max(stages * stageBytes / 4, sumFloats));
    finish(multiply(steps));
  }

private:
  /// The columns of a row of sums, one and a quarter times all banks apart.
  int64_t stride() const { return tile.columns + kMatrix; }
  /// Rows of each warp that leave their fragments at a time.
  int64_t slabRows() const { return std::min<int64_t>(tile.warpRows, 32); }
  int64_t stepsOfWarp() const { return tile.depth / kStep / tile.deep(); }

  void findTile() {
    Index at = Index::of(e.symbol(block.number, block.launch.blocks));
    SmallVector<Index> place = e.delinearize(
        at, {sizes.batch, ceilDiv(sizes.m, tile.rows), ceilDiv(sizes.n, tile.columns)});
    batch = Index::of(e.symbol(e.value(place[0]), sizes.batch));
    Value across = warps.modulo(warps.warp, tile.across());
    Value rest = warps.over(warps.warp, tile.across());
    left.isLeft = true, left.outer = tile.rows, left.extent = sizes.m;
    left.origin = place[1] * tile.rows;
    warpRow = warps.times(warps.modulo(rest, tile.down()), tile.warpRows);
    left.pull = [&](const Index &m, const Index &k) { return product.operands.pullA(batch, m, k); };
    left.trace = [&](const Index &m, const Index &k) {
      return product.operands.traceA(batch, m, k);
    };
    right.isLeft = false, right.outer = tile.columns, right.extent = sizes.n;
    right.origin = place[2] * tile.columns;
    warpColumn = warps.times(across, tile.warpColumns);
    right.pull = [&](const Index &n, const Index &k) {
      return product.operands.pullB(batch, k, n);
    };
    right.trace = [&](const Index &n, const Index &k) {
      return product.operands.traceB(batch, k, n);
    };
    warpDepth = warps.over(rest, tile.down());
  }

  /// Decides how an operand comes, and where a lane finds its rows of it.
  void prepare(Operand &operand) {
    bool isCopied = false;
    auto runsAlong = [&](bool isDeep) {
      Index outer = Index::of(e.symbol(e.indexConstant(0), operand.extent, isDeep ? 1 : kMatrix));
      Index k = Index::of(e.symbol(e.indexConstant(0), sizes.k, isDeep ? kMatrix : 1));
      std::optional<Emitter::Leaf> leaf = operand.trace(outer, k);
      if (!leaf || leaf->at.factor((isDeep ? k : outer).terms.front().first) != 1)
        return false;
      isCopied |= leaf->element == element && e.multipleOf(leaf->at) % kMatrix == 0 &&
                  (isDeep ? sizes.k : operand.extent) % kMatrix == 0;
      return true;
    };
    // What is computed is taken for row-major.
    operand.isDeep = runsAlong(true) || (operand.isLeft && !runsAlong(false));
    if (!operand.isDeep && !operand.isLeft)
      runsAlong(false);
    operand.isCopied = isCopied;
    operand.tile = operand.isDeep ? SharedTile{operand.outer, tile.depth}
                                  : SharedTile{tile.depth, operand.outer};

    // ldmatrix gives matrices in the order of the lanes that point at them: of A first
    // down and then along K, of B the other way about.
    Value row = warps.modulo(warps.lane, kStep), chunk = warps.over(warps.lane, kStep);
    if (operand.isLeft != operand.isDeep) {
      row = warps.add(warps.modulo(row, kMatrix), warps.times(chunk, kMatrix));
      chunk = warps.modulo(warps.over(warps.lane, kMatrix), 2);
    }
    Value outer = operand.isLeft ? warpRow : warpColumn;
    Value first = warps.times(warpDepth, stepsOfWarp() * kStep);
    row = warps.add(row, operand.isDeep ? outer : first);
    chunk = warps.add(chunk, warps.over(operand.isDeep ? first : outer, kMatrix));
    operand.fragment = warps.place(operand.tile, row, chunk);
  }

  //===--- filling a stage ---===//

  /// The tiles of both operands at `k`, to byte `stage`.
  void fill(const Index &k, Value stage) {
    for (Operand *operand : {&left, &right}) {
      Value to = warps.add(stage, operand->base);
      operand->isCopied ? copy(*operand, k, to) : compute(*operand, k, to);
    }
  }

  void copy(const Operand &operand, const Index &depth, Value to) {
    int64_t threads = block.launch.threads, chunks = operand.tile.chunks();
    Value column = warps.modulo(warps.thread, chunks);
    bool isWhole = operand.extent % operand.outer == 0 && sizes.k % tile.depth == 0;
    for (int64_t i = 0; i < operand.tile.rows * chunks; i += threads) {
      Value row = warps.over(warps.add(warps.thread, i), chunks);
      Value place = warps.place(operand.tile, row, column);
      Value outer = row, k = warps.times(column, kMatrix);
      if (!operand.isDeep)
        std::swap(outer, k);
      outer = warps.add(outer, warps.number(operand.origin));
      k = warps.add(k, warps.number(depth));
      Value isThere;
      if (!isWhole)
        isThere = arith::AndIOp::create(b, loc, warps.isBelow(outer, operand.extent),
                                        warps.isBelow(k, sizes.k));
      std::optional<Emitter::Leaf> leaf =
          operand.trace(indexOf(outer, operand.extent), indexOf(k, sizes.k));
      warps.copy(warps.add(to, place), *leaf, isThere);
    }
  }

  Index indexOf(Value number, int64_t extent) {
    Value at = arith::IndexCastOp::create(b, loc, b.getIndexType(), number);
    return Index::of(e.symbol(at, extent));
  }

  void compute(const Operand &operand, const Index &depth, Value to) {
    const SharedTile &shared = operand.tile;
    e.team = block.whole();
    e.nest(shared.rows * shared.columns, [&](const Index &at) {
      auto [row, column] = e.divide(at, shared.columns);
      auto [outer, k] = operand.isDeep ? std::pair(row, column) : std::pair(column, row);
      Index last = e.clamp(operand.origin + outer, operand.extent);
      Value x = below(depth + k, sizes.k, [&](const Index &k) { return operand.pull(last, k); });
      if (e.isDry())
        return;
      Value place = warps.number(column);
      Value within = warps.times(warps.modulo(place, kMatrix), 2);
      place = warps.place(shared, warps.number(row), warps.over(place, kMatrix));
      warps.store(warps.add(to, warps.add(place, within)), e.broadcast(x, e.lanesOf(at)));
    });
    e.team.reset();
  }

  /// What `pull` gives at k, 0 behind the last.
  Value below(const Index &k, int64_t bound, function_ref<Value(const Index &)> pull) {
    Emitter::Test test = e.isBelow(k, bound);
    Value x = pull(e.clamp(k, bound));
    if (e.isDry() || !test.value)
      return x;
    int64_t lanes = std::max(e.laneCount(x), e.laneCount(test.value));
    return arith::SelectOp::create(b, loc, e.broadcast(test.value, lanes), e.broadcast(x, lanes),
                                   e.zero(lanes));
  }

  //===--- multiplying ---===//

  Value byteOf(int64_t stage) { return warps.number(memory * 4 + stage * stageBytes); }

  /// The stage behind `stage`, after the last the first.
  Value next(Value stage) {
    Value isLast =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, stage, byteOf(stages - 1));
    return arith::SelectOp::create(b, loc, isLast, byteOf(0), warps.add(stage, stageBytes));
  }

  SmallVector<Value> multiply(int64_t steps) {
    // Where nothing is copied a wait costs nothing.
    for (int64_t i = 0; i + 1 < stages; ++i) {
      if (i < steps)
        fill(Index(i * tile.depth), byteOf(i));
      warps.commit();
    }
    SmallVector<Value> carried(tile.warpRows * tile.warpColumns / kWarp, e.zero(1));
    size_t numSums = carried.size();
    carried.append({byteOf(0), byteOf(stages - 1)});
    auto step = [&](Value number, ValueRange before) {
      Value reading = before[numSums], writing = before[numSums + 1];
      warps.wait(stages - 2);
      block.sync();
      Value ahead = arith::AddIOp::create(b, loc, number, e.indexConstant(stages - 1));
      Value isThere =
          arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, ahead, e.indexConstant(steps));
      e.when(isThere, [&] {
        Index k = Index::of(e.symbol(ahead, steps)) * tile.depth;
        fill(Index::of(e.symbol(e.value(k), sizes.k, tile.depth)), writing);
      });
      warps.commit();
      SmallVector<Value> after = multiplyStage(reading, before.take_front(numSums));
      after.append({next(reading), next(writing)});
      return after;
    };
    SmallVector<Value> sums = e.loop(e.indexConstant(0), e.indexConstant(steps), 1, carried, step);
    sums.truncate(numSums);
    return sums;
  }

  /// 16 by 16 elements: block `i` along the outer dimension, step `k` of the warp.
  SmallVector<Value> load(const Operand &operand, Value stage, int64_t i, int64_t k) {
    auto [down, along] = operand.isDeep ? std::pair(i, k) : std::pair(k, i);
    Value place = warps.flip(operand.fragment, 4 * kMatrix * along);
    place = warps.add(place, operand.base + down * kStep * operand.tile.rowBytes());
    return warps.load(warps.add(stage, place), !operand.isDeep);
  }

  /// Sums are in the order of row blocks, column blocks of 8, and registers.
  SmallVector<Value> multiplyStage(Value stage, ValueRange before) {
    SmallVector<Value> sums(before);
    int64_t down = tile.warpRows / kStep, across = tile.warpColumns / kStep;
    for (int64_t k = 0; k < stepsOfWarp(); ++k) {
      SmallVector<SmallVector<Value>> a, c;
      for (int64_t i = 0; i < down; ++i)
        a.push_back(load(left, stage, i, k));
      for (int64_t j = 0; j < across; ++j)
        c.push_back(load(right, stage, j, k));
      for (int64_t i = 0; i < down; ++i)
        for (int64_t j = 0; j < 2 * across; ++j) {
          size_t first = (i * 2 * across + j) * 4;
          ValueRange columns = ValueRange(c[j / 2]).slice(j % 2 * 2, 2);
          llvm::copy(warps.multiply(a[i], columns, ValueRange(sums).slice(first, 4)),
                     sums.begin() + first);
        }
    }
    return sums;
  }

  //===--- what follows ---===//

  void finish(ArrayRef<Value> sums) {
    warps.wait(0);
    for (int64_t first = 0; first < tile.warpRows; first += slabRows()) {
      block.sync();
      spill(sums, first);
      block.sync();
      storeSlabs(first);
    }
  }

  /// Writes rows from `first` on of each warp: [deep][down, slab rows][columns].
  void spill(ArrayRef<Value> sums, int64_t first) {
    Value group = warps.over(warps.lane, 4), pair = warps.times(warps.modulo(warps.lane, 4), 2);
    int64_t rows = slabRows() * tile.down();
    Value row = warps.add(warps.times(warpDepth, rows),
                          warps.times(warps.over(warpRow, tile.warpRows), slabRows()));
    row = warps.add(row, group);
    Value at = warps.add(warps.add(warps.times(row, stride()), warpColumn), pair);
    Index place = indexOf(at, tile.deep() * rows * stride());
    int64_t across = tile.warpColumns / kMatrix;
    auto two = VectorType::get({2}, b.getF32Type());
    for (int64_t i = 0; i < slabRows() / kStep; ++i)
      for (int64_t j = 0; j < across; ++j)
        for (int64_t half = 0; half < 2; ++half) {
          auto from = sums.slice((((first / kStep) + i) * across + j) * 4 + 2 * half, 2);
          Value both = vector::FromElementsOp::create(b, loc, two, from);
          Index down = place + ((i * 2 + half) * kMatrix * stride() + j * kMatrix);
          e.storeScratch(memory, down + e.laneSymbol(2), both);
        }
  }

  void storeSlabs(int64_t first) {
    int64_t rows = slabRows() * tile.down();
    e.team = block.whole();
    e.nest(
        rows * tile.columns,
        [&](const Index &at) {
          auto [row, column] = e.divide(at, tile.columns);
          auto [slab, inner] = e.divide(row, slabRows());
          Index m = left.origin + slab * tile.warpRows + first + inner;
          Index n = right.origin + column;
          inside({{e.isBelow(m, sizes.m), e.isBelow(n, sizes.n)}}, [&] {
            Index place = (batch * sizes.m + e.clamp(m, sizes.m)) * sizes.n + e.clamp(n, sizes.n);
            Value sum = total(row * stride() + column, rows);
            e.define(product.root->getResult(0), [=](const Index &) { return sum; });
            e.forget();
            outputs.storeBehind(e, place);
            e.undefine(product.root->getResult(0));
          });
        },
        emit::Emitter::Tail::Exact, /*allowVectors=*/sizes.n % kLanes == 0);
    e.team.reset();
  }

  /// Of the warps that divided K, always in their order.
  Value total(const Index &at, int64_t rows) {
    int64_t lanes = e.lanesOf(at);
    Value sum = e.loadScratch(memory, at, lanes);
    for (int64_t i = 1; i < tile.deep(); ++i) {
      Value more = e.loadScratch(memory, at + i * rows * stride(), lanes);
      if (!e.isDry())
        sum = arith::AddFOp::create(b, loc, sum, more);
    }
    return sum;
  }

  /// Runs `body` where all tests hold.
  void inside(ArrayRef<Emitter::Test> tests, function_ref<void()> body) {
    Value all;
    for (const Emitter::Test &test : tests) {
      if (test.known && !*test.known)
        return;
      if (test.value)
        all = all ? arith::AndIOp::create(b, loc, all, test.value).getResult() : test.value;
    }
    return all ? e.when(all, body) : body();
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  const emit::Product &product;
  emit::ProductSizes sizes;
  ThreadBlock &block;
  Outputs outputs;
  Fragments warps;
  Type element;
  Tile tile;
  int64_t stages = 0, stageBytes = 0, memory = 0;
  Index batch;
  Operand left, right;
  Value warpRow, warpColumn, warpDepth;
};

} // namespace

Launch cleave::cuda::launchTensorProduct(const emit::ProductSizes &sizes) {
  return {tileFor(sizes).blocks(sizes), kWarps * kWarp, 0};
}

void cleave::cuda::emitTensorProduct(Emitter &emitter, const emit::Product &product,
                                     ThreadBlock &block) {
  Type type = product.root->getOperand(0).getType();
  TensorProduct(emitter, product, cast<RankedTensorType>(type).getElementType(), block).run();
}
