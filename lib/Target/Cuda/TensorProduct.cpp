//===- TensorProduct.cpp - products on tensor cores -----------------------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n]: a block has a tile of c, its warps have parts
// of it or, where there are few rows, parts of K, which several blocks divide where tiles
// are few (Parts.h). K is walked in steps that lie in several stages of shared memory: while
// one is multiplied the next are on their way.
//
// Each operand comes its own way (Staging.h), along K or across it, whichever way it lies;
// bytes always along K. K is counted in elements of 16 bits. Sums of 8-bit floats leave the
// tensor cores after each step.
//
// Sums leave their fragments through shared memory, so that what follows is emitted once,
// for whole vectors of a row.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "Roots.h"
#include "Staging.h"
#include "Tiles.h"
#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;

namespace {

/// Steps that a block has at least where several divide K, so that their stages fill.
constexpr int64_t kStepsOfPart = 4;

/// How a product is divided: over blocks, over the warps of one, and over time.
struct Tile {
  int64_t rows, columns, depth;  ///< of a block, at a time
  int64_t warpRows, warpColumns; ///< of these, a warp's
  int64_t stages;
  int64_t warps = 4;
  bool isGrouped = false; ///< whether groups of warps multiply together
  int64_t parts = 1;      ///< blocks that divide K

  int64_t down() const { return rows / warpRows; }
  int64_t across() const { return columns / warpColumns; }
  /// Warps that share a tile and divide its depth.
  int64_t deep() const { return warps / (down() * across()); }
  int64_t blocks(const emit::ProductSizes &sizes) const {
    return sizes.batch * ceilDiv(sizes.m, rows) * ceilDiv(sizes.n, columns);
  }
  int64_t rowsOfPart(const emit::ProductSizes &sizes) const { return std::min(rows, sizes.m); }
  /// The same, with K divided over blocks where these are few. Those that `wait` for what they
  /// read keep memory busy only if they are more.
  Tile inParts(const emit::ProductSizes &sizes, bool wait, const Chip &chip) const {
    Tile tile = *this;
    int64_t outer = rowsOfPart(sizes) + columns;
    tile.parts = partsOf(chip, blocks(sizes), /*each=*/wait ? 8 : 2,
                         {sizes.k * outer * 2, rowsOfPart(sizes) * columns * 4,
                          ceilDiv(sizes.k, depth) / kStepsOfPart});
    return tile;
  }
};

/// Large tiles read each operand least often; smaller ones waste less of few rows, and give
/// more blocks, of which the smallest divide K. A tile is large enough if its blocks keep two
/// thirds of the chip busy. All but those of groups fit into the shared memory that needs no
/// asking.
Tile tileFor(const emit::ProductSizes &sizes, Type factor, bool wait, const Chip &chip) {
  auto isEnough = [&](const Tile &tile) { return isBusy(chip, tile.blocks(sizes) * tile.parts); };
  if (int64_t columns = groupColumns(sizes, factor, chip))
    return {kGroupTileRows, columns, kPanel, 16, columns, 4, 8, true};
  int64_t rows = sizes.m <= 16 ? 16 : sizes.m <= 32 ? 32 : 64;
  Tile large{128, 128, 32, 64, 64, 3};
  const Tile small{rows, 32, 64, rows, 32, 4};
  // Beside their sums registers hold those of a step.
  if (nn::isByteFloat(factor))
    large.warpColumns = 32, large.warps = 8;
  Tile medium = rows == 64 ? Tile{64, 64, 64, 32, 32, 3} : Tile{rows, 64, 64, rows, 64, 4};
  if (sizes.m > 64 && sizes.n > 64 && isEnough(large))
    return large;
  medium = medium.inParts(sizes, wait, chip);
  return isEnough(medium) ? medium : small.inParts(sizes, wait, chip);
}

/// The bytes that an operand is computed from, where it is not multiplied as it is.
std::optional<Narrow> computedFrom(Operation *root, unsigned operand, const Chip &chip) {
  bool isTaken = nn::isByteFloat(factorOf(root, operand, chip));
  return isTaken ? std::nullopt : narrowOf(root->getOperand(operand));
}

/// That of a product of these sizes.
Tile tileOf(emit::ProductSizes sizes, Operation *root, const Chip &chip) {
  Type factor = factorOf(root, 0, chip);
  sizes.k = ceilDiv(sizes.k, perHalf(factor));
  // Nothing is copied of what is computed.
  return tileFor(sizes, factor, /*wait=*/computedFrom(root, 1, chip).has_value(), chip);
}

/// An operand as [outer, k], outer being rows of c for A and columns for B.
struct Operand {
  bool isDeep;           ///< whether K runs along the rows of `tile`, or down
  bool isTurned = false; ///< whether it lies the other way
  SharedTile tile;
  int64_t base; ///< of the tile in a stage
  Index origin; ///< of the block, in the outer dimension
  Value point;  ///< of this lane in the first step
  std::unique_ptr<Staging> staging;
};

struct TensorProduct {
  TensorProduct(Emitter &e, const emit::Product &product, Type element, Type other,
                ThreadBlock &block, const Chip &chip)
      : e(e), b(e.builder), loc(e.loc), product(product), sizes(product.sizes), block(block),
        outputs(e.kernel, product.root), words(e, element), warps(e, block, element, other),
        element(element), other(other), group(e, warps, element, other),
        narrowA(computedFrom(product.root, 0, chip)), narrowB(computedFrom(product.root, 1, chip)),
        tile(tileOf(sizes, product.root, chip)),
        parts(e, block, tile.parts, tile.rowsOfPart(sizes) * tile.columns) {}

  void run() {
    findTile();
    left.base = 0, right.base = left.tile.bytes();
    stageBytes = left.tile.bytes() + right.tile.bytes();
    int64_t steps = ceilDiv(sizes.k, depth());
    stages = std::clamp<int64_t>(steps, 2 + tile.isGrouped, tile.stages);
    int64_t sumFloats = tile.deep() * slabRows() * tile.down() * stride();
    memory = e.reserve(std::max(stages * stageBytes / 4, sumFloats));
    finish(multiply(steps));
  }

private:
  /// Floats from one row of sums to the next, which begins a quarter of all banks further.
  int64_t stride() const { return tile.columns + kMatrix; }
  /// Rows of each warp that leave their fragments at a time.
  int64_t slabRows() const { return std::min<int64_t>(tile.warpRows, 32); }
  /// Elements of K in a step.
  int64_t depth() const { return tile.depth * perHalf(element); }
  int64_t stepsOfWarp() const { return tile.depth / kStep / tile.deep(); }

  void findTile() {
    TilePlace place = placeOf(e, parts.result, sizes.batch, ceilDiv(sizes.m, tile.rows),
                              ceilDiv(sizes.n, tile.columns));
    batch = place.batch;
    Value rest = warps.over(warps.warp, tile.across());
    warpRow = warps.times(warps.modulo(rest, tile.down()), tile.warpRows);
    warpColumn = warps.times(warps.modulo(warps.warp, tile.across()), tile.warpColumns);
    warpDepth = warps.over(rest, tile.down());
    left.origin = place.row * tile.rows;
    right.origin = place.column * tile.columns;
    const emit::ProductOperands &from = product.operands;
    auto turned = [](const auto &f) {
      return [f](const Index &x, const Index &y) { return f(y, x); };
    };
    auto ofBatch = [&](const auto &f) {
      return [&f, this](const Index &x, const Index &y) { return f(batch, x, y); };
    };
    auto pullA = ofBatch(from.pullA), pullB = ofBatch(from.pullB);
    auto traceA = ofBatch(from.traceA), traceB = ofBatch(from.traceB);
    Matrix deepA{sizes.m, sizes.k, pullA, traceA, narrowA};
    Matrix acrossA{sizes.k, sizes.m, turned(pullA), turned(traceA), narrowA};
    Matrix deepB{sizes.n, sizes.k, turned(pullB), turned(traceB), narrowB};
    Matrix acrossB{sizes.k, sizes.n, pullB, traceB, narrowB};
    prepare(left, deepA, acrossA, tile.rows, warpRow, /*isLeft=*/true);
    prepare(right, deepB, acrossB, tile.columns, warpColumn, /*isLeft=*/false);
  }

  /// Decides how an operand comes, and where a lane finds its rows of it.
  void prepare(Operand &operand, Matrix deep, Matrix across, int64_t outer, Value warpOuter,
               bool isLeft) {
    auto stage = [&](Matrix &matrix) {
      return std::make_unique<Staging>(e, block, warps, isLeft ? element : other, matrix);
    };
    // What runs neither way is pulled row by row of A and of B.
    std::unique_ptr<Staging> rows = stage(isLeft ? deep : across);
    std::unique_ptr<Staging> columns = stage(isLeft ? across : deep);
    bool isTurned = !rows->runsAlongRows() && columns->runsAlongRows();
    operand.isDeep = isLeft != isTurned;
    if (perHalf(element) > 1) {
      // Bytes that lie across are turned on their way, or pulled one by one.
      std::unique_ptr<Staging> &other = isLeft ? columns : rows;
      operand.isTurned = !operand.isDeep && other->turns();
      operand.isDeep = true;
      operand.staging = std::move(isLeft == operand.isTurned ? columns : rows);
    } else {
      operand.staging = std::move(isTurned ? columns : rows);
    }
    int64_t panel = tile.isGrouped ? kPanel : 0;
    operand.tile = operand.isDeep ? SharedTile{outer, tile.depth, panel}
                                  : SharedTile{tile.depth, outer, panel};
    if (tile.isGrouped) {
      // The rows of its group, which are a panel of its own or as many rows of one.
      operand.point =
          isLeft ? warps.times(group.number(), kGroupRows * 2 * kPanel) : warps.number(int64_t(0));
      return;
    }
    // Matrices come in the order of the fragments: of A down and then along K, of B along K
    // and then across.
    Value k = warps.times(warpDepth, stepsOfWarp() * kStep);
    Value row = operand.isDeep ? warpOuter : k, column = operand.isDeep ? k : warpOuter;
    operand.point =
        warps.point(operand.tile, isLeft == operand.isDeep, row, warps.over(column, kMatrix));
  }

  /// The tiles of both operands at `k`, to byte `stage`.
  void fill(const Index &k, Value stage) {
    for (Operand *operand : {&left, &right}) {
      Value to = warps.add(stage, operand->base);
      if (operand->isTurned)
        operand->staging->fillTurned(operand->tile, k, operand->origin, to);
      else if (operand->isDeep)
        operand->staging->fill(operand->tile, operand->origin, k, to);
      else
        operand->staging->fill(operand->tile, k, operand->origin, to);
    }
  }

  //===--- multiplying ---===//

  Value byteOf(int64_t stage) { return warps.number(memory * 4 + stage * stageBytes); }

  /// The stage behind `stage`, after the last the first.
  Value next(Value stage) {
    Value isLast =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, stage, byteOf(stages - 1));
    return arith::SelectOp::create(b, loc, isLast, byteOf(0), warps.add(stage, stageBytes));
  }

  /// The first step of part `number` of K.
  Index firstStep(const Index &number, int64_t steps) {
    Index at = e.divide(number * steps, tile.parts).first;
    return at.isConstant() ? at : Index::of(e.symbol(e.value(at), steps));
  }

  SmallVector<Value> multiply(int64_t steps) {
    Index begin = firstStep(parts.number, steps);
    Value end = e.value(firstStep(parts.number + 1, steps));
    // What groups multiply goes on into the next step, and is not overwritten in it.
    int64_t before = stages - 1 - tile.isGrouped;
    // Where nothing is copied a wait costs nothing.
    for (int64_t i = 0; i < before; ++i) {
      if (i < steps)
        fill((begin + i) * depth(), byteOf(i));
      warps.commit();
    }
    SmallVector<Value> carried(tile.warpRows * tile.warpColumns / kWarp, words.zero(1));
    size_t numSums = carried.size();
    carried.append({byteOf(0), byteOf(before)});
    auto step = [&](Value number, ValueRange values) {
      Value reading = values[numSums], writing = values[numSums + 1];
      warps.wait(before - 1);
      if (tile.isGrouped)
        group.publish();
      block.sync();
      Value ahead = arith::AddIOp::create(b, loc, number, e.indexConstant(before));
      Value isThere = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, ahead, end);
      e.when(isThere, [&] { fill(Index::of(e.symbol(ahead, steps)) * depth(), writing); });
      warps.commit();
      ValueRange sums = values.take_front(numSums);
      SmallVector<Value> after =
          tile.isGrouped ? multiplyGrouped(reading, sums) : multiplyStage(reading, sums);
      after.append({next(reading), next(writing)});
      return after;
    };
    SmallVector<Value> sums = e.loop(e.value(begin), end, 1, carried, step);
    sums.truncate(numSums);
    if (tile.isGrouped)
      group.wait(0);
    return sums;
  }

  SmallVector<Value> multiplyGrouped(Value stage, ValueRange before) {
    auto describe = [&](const Operand &operand) {
      Value at = warps.add(warps.add(stage, operand.base), operand.point);
      return group.describe(operand.tile, operand.isDeep, at);
    };
    WarpGroup::Operand a = describe(left), c = describe(right);
    if (warps.addsCoarsely())
      return words.add(before, group.wait(0, group.multiply(a, c, tile.depth, tile.columns)));
    SmallVector<Value> sums = group.multiply(a, c, tile.depth, before);
    group.wait(1);
    return sums;
  }

  /// 16 by 16 elements: block `i` of the outer dimension, step `k` of the warp.
  SmallVector<Value> load(const Operand &operand, Value stage, int64_t i, int64_t k) {
    auto [down, along] = operand.isDeep ? std::pair(i, k) : std::pair(k, i);
    return warps.load(operand.tile, warps.add(stage, operand.base), operand.point, down, along,
                      /*transposed=*/!operand.isDeep);
  }

  /// Sums are in the order of row blocks, column blocks of 8, and registers.
  SmallVector<Value> multiplyStage(Value stage, ValueRange before) {
    if (warps.addsCoarsely())
      return multiplyCoarsely(stage, before);
    SmallVector<Value> sums(before);
    for (int64_t k = 0; k < stepsOfWarp(); ++k) {
      SmallVector<SmallVector<Value>> a, c;
      for (int64_t i = 0; i < blocksDown(); ++i)
        a.push_back(load(left, stage, i, k));
      for (int64_t j = 0; j < blocksAcross() / 2; ++j)
        c.push_back(load(right, stage, j, k));
      for (int64_t i = 0; i < blocksDown(); ++i)
        for (int64_t j = 0; j < blocksAcross(); ++j)
          warps.accumulate(a[i], ValueRange(c[j / 2]).slice(j % 2 * 2, 2), sums,
                           (i * blocksAcross() + j) * 4);
    }
    return sums;
  }

  /// The sums of a step are complete, block by block, before they are added to all, since
  /// registers do not hold those of all blocks twice, nor all fragments of B beside them.
  SmallVector<Value> multiplyCoarsely(Value stage, ValueRange before) {
    SmallVector<Value> sums(before);
    SmallVector<SmallVector<Value>> a;
    for (int64_t k = 0; k < stepsOfWarp(); ++k)
      for (int64_t i = 0; i < blocksDown(); ++i)
        a.push_back(load(left, stage, i, k));
    for (int64_t pair = 0; pair < blocksAcross() / 2; ++pair) {
      SmallVector<SmallVector<Value>> c;
      for (int64_t k = 0; k < stepsOfWarp(); ++k)
        c.push_back(load(right, stage, pair, k));
      for (int64_t i = 0; i < blocksDown(); ++i)
        for (int64_t half : {0, 1}) {
          SmallVector<Value> own(4, words.zero(1));
          for (int64_t k = 0; k < stepsOfWarp(); ++k)
            warps.accumulate(a[k * blocksDown() + i], ValueRange(c[k]).slice(half * 2, 2), own, 0);
          auto all = MutableArrayRef(sums).slice((i * blocksAcross() + 2 * pair + half) * 4, 4);
          llvm::copy(words.add(all, own), all.begin());
        }
    }
    return sums;
  }

  int64_t blocksDown() const { return tile.warpRows / kStep; }
  int64_t blocksAcross() const { return tile.warpColumns / kMatrix; }

  //===--- what follows ---===//

  void finish(ArrayRef<Value> sums) {
    warps.wait(0);
    for (int64_t first = 0; first < tile.warpRows; first += slabRows()) {
      block.sync();
      spill(sums, first);
      block.sync();
      storeSlabs(first);
    }
    if (tile.parts > 1)
      parts.whenLast([&] { storeWhole(); });
  }

  /// Writes rows from `first` on of each warp: [deep][down, slab rows][columns].
  void spill(ArrayRef<Value> sums, int64_t first) {
    int64_t rows = slabRows() * tile.down();
    Value row = warps.add(warps.times(warpDepth, rows),
                          warps.times(warps.over(warpRow, tile.warpRows), slabRows()));
    Value at = warps.add(warps.times(row, stride()), warpColumn);
    int64_t count = tile.warpColumns / kMatrix * 4;
    for (int64_t i = 0; i < slabRows() / kStep; ++i)
      warps.spill(sums.slice((first / kStep + i) * count, count), memory + i * kStep * stride(),
                  warps.index(at, tile.deep() * rows * stride()), stride());
  }

  /// Calls `body` with each element of `rows` rows of the tile's columns.
  void share(int64_t rows, function_ref<void(const Index &, const Index &)> body) {
    e.team = block.whole();
    e.nest(
        rows * tile.columns,
        [&](const Index &at) {
          auto [row, column] = e.divide(at, tile.columns);
          body(row, column);
        },
        emit::Emitter::Tail::Exact, /*allowVectors=*/sizes.n % kLanes == 0);
    e.team.reset();
  }

  void storeSlabs(int64_t first) {
    int64_t rows = slabRows() * tile.down();
    share(rows, [&](const Index &row, const Index &column) {
      auto [slab, within] = e.divide(row, slabRows());
      Index down = slab * tile.warpRows + first + within;
      inside(e, sizes, batch, left.origin + down, right.origin + column, [&](const Index &place) {
        Value sum = total(row * stride() + column, rows);
        if (tile.parts == 1)
          outputs.storeBehind(e, words.ofWords(sum), place);
        else
          parts.store(down * tile.columns + column, sum);
      });
    });
  }

  /// Of all blocks that divided K.
  void storeWhole() {
    share(tile.rowsOfPart(sizes), [&](const Index &row, const Index &column) {
      inside(e, sizes, batch, left.origin + row, right.origin + column, [&](const Index &place) {
        Value sum = parts.sum(row * tile.columns + column, words);
        outputs.storeBehind(e, words.ofWords(sum), place);
      });
    });
  }

  /// Of the warps that divided K, always in their order; words.
  Value total(const Index &at, int64_t rows) {
    int64_t lanes = e.lanesOf(at);
    Value sum = e.loadScratch(memory, at, lanes);
    for (int64_t i = 1; i < tile.deep(); ++i) {
      Value more = e.loadScratch(memory, at + i * rows * stride(), lanes);
      if (!e.isDry())
        sum = words.toWords(words.add(words.ofWords(sum), words.ofWords(more)));
    }
    return sum;
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  const emit::Product &product;
  emit::ProductSizes sizes;
  ThreadBlock &block;
  Outputs outputs;
  Accumulator words;
  Fragments warps;
  Type element, other;
  WarpGroup group;
  std::optional<Narrow> narrowA, narrowB;
  Tile tile;
  Parts parts;
  int64_t stages = 0, stageBytes = 0, memory = 0;
  Index batch;
  Operand left, right;
  Value warpRow, warpColumn, warpDepth;
};

} // namespace

Launch cleave::cuda::launchTensorProduct(const emit::ProductSizes &sizes, Operation *root,
                                         const Chip &chip) {
  Tile tile = tileOf(sizes, root, chip);
  return launchParts(tile.blocks(sizes), tile.parts, tile.warps * kWarp,
                     tile.rowsOfPart(sizes) * tile.columns);
}

void cleave::cuda::emitTensorProduct(Emitter &emitter, const emit::Product &product,
                                     ThreadBlock &block, const Chip &chip) {
  Operation *root = product.root;
  // A convolution multiplies its filter, the second operand, from the left.
  unsigned left = isa<nn::ConvOp>(root);
  TensorProduct(emitter, product, factorOf(root, left, chip), factorOf(root, 1 - left, chip), block,
                chip)
      .run();
}
