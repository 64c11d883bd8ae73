//===- Transpose.cpp - kernels without a root, in tiles -------------------===//
//
// In a tile i counts along what is contiguous in memory that is read, j along what is in the
// result. A block brings the tile of each such operand to shared memory, its threads side by
// side along i, then computes and writes the elements, side by side along j. What computes
// them is emitted once, where such an operand is a word of shared memory.
//
//===----------------------------------------------------------------------===//

#include "Transpose.h"

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

/// Dimensions that are shorter have no tiles.
static constexpr int64_t kLeast = 16;
static constexpr int64_t kThreads = 256;
static constexpr int64_t kBanks = 32;
/// Words behind each row of a tile, and in front of the 33rd row or column. So the lanes of a
/// warp find different banks along rows and columns, one by one and in vectors.
static constexpr int64_t kBehind = 3, kBetween = 2;

//===----------------------------------------------------------------------===//
// What is read across
//===----------------------------------------------------------------------===//

Index Access::at(ArrayRef<Index> indices) const {
  Index sum(constant);
  for (auto [index, factor] : llvm::zip_equal(indices, factors))
    sum = sum + index * factor;
  return sum;
}

int64_t Tiling::tiles() const {
  int64_t count = 1;
  for (auto [number, size] : llvm::enumerate(sizes))
    count *= number == dim || number + 1 == sizes.size() ? ceilDiv(size, side) : size;
  return count;
}

int64_t Tiling::words() const {
  int64_t last = side - 1;
  return last * (side + kBehind) + last + 2 * (last / kBanks) * kBetween + 1;
}

SmallVector<Access> Transposes::accessesOf(Value result, ArrayRef<int64_t> sizes) {
  SmallVector<Access> accesses;
  e.rehearse([&] {
    SmallVector<Index> indices;
    for (int64_t size : sizes)
      indices.push_back(Index::of(e.symbol({}, size)));
    auto note = [&](unsigned argument, const Index &at) {
      Access access{argument, at.constant, {}};
      for (const Index &index : indices)
        access.factors.push_back(at.factor(index.terms.front().first));
      if (access.at(indices) == at && !llvm::is_contained(accesses, access))
        accesses.push_back(access);
      return Value();
    };
    for (BlockArgument argument : e.kernel.getArguments())
      e.define(argument, [=](const Index &at) { return note(argument.getArgNumber(), at); });
    e.pull(result, e.linearize(indices, sizes));
    for (BlockArgument argument : e.kernel.getArguments())
      e.undefine(argument);
  });
  return accesses;
}

/// Neighbours that are one dimension in all of `accesses` become one.
static SmallVector<int64_t, 6> merge(ArrayRef<int64_t> sizes, ArrayRef<Access> accesses) {
  SmallVector<int64_t, 6> merged;
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    auto isOne = [&](const Access &access) {
      return access.factors[dim - 1] == access.factors[dim] * sizes[dim];
    };
    if (dim > 0 && llvm::all_of(accesses, isOne))
      merged.back() *= sizes[dim];
    else
      merged.push_back(sizes[dim]);
  }
  return merged;
}

std::optional<Tiling> Transposes::tilingOf(Value result) {
  Tiling tiling;
  for (int64_t size : Emitter::shape(result))
    if (size != 1)
      tiling.sizes.push_back(size);
  if (Emitter::size(result) == 0)
    return std::nullopt;
  tiling.sizes = merge(tiling.sizes, accessesOf(result, tiling.sizes));
  ArrayRef<int64_t> sizes = tiling.sizes;
  if (sizes.size() < 2 || sizes.back() < kLeast)
    return std::nullopt;
  for (const Access &access : accessesOf(result, sizes)) {
    auto type = cast<RankedTensorType>(e.kernel.getArgument(access.argument).getType());
    size_t dim = llvm::find(access.factors, 1) - access.factors.begin();
    bool isTurned = dim + 1 < sizes.size() && sizes[dim] >= kLeast && access.factors.back() != 0;
    if (!isTurned || type.getElementTypeBitWidth() > 32)
      continue;
    if (tiling.turned.empty()) {
      tiling.dim = dim;
      tiling.side = std::min(sizes[dim], sizes.back()) > kBanks ? 2 * kBanks : kBanks;
    }
    bool isRoom = (tiling.total() + tiling.words()) * 4 <= kSharedBytes;
    if (dim == tiling.dim && isRoom)
      tiling.turned.push_back(access);
  }
  return tiling.turned.empty() ? std::nullopt : std::optional(tiling);
}

Transposes::Transposes(Emitter &emitter)
    : e(emitter), results(e.kernel.getBody().front().getTerminator()->getOperands()) {
  for (Value result : results)
    tilings.push_back(tilingOf(result));
}

Launch Transposes::launch() const {
  Launch launch;
  for (auto [result, tiling] : llvm::zip_equal(results, tilings)) {
    if (Emitter::size(result) == 0)
      continue;
    Launch own = launchElements(Emitter::size(result));
    if (tiling)
      own = {tiling->tiles(), kThreads};
    launch.blocks = std::max(launch.blocks, own.blocks);
    launch.threads = std::max(launch.threads, own.threads);
  }
  return launch;
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

namespace {

struct Tiles {
  Tiles(Emitter &e, ThreadBlock &block, const Tiling &tiling, int64_t base)
      : e(e), b(e.builder), loc(e.loc), block(block), tiling(tiling), dim(tiling.dim),
        side(tiling.side), base(base) {}

  void emit(unsigned number, Value result) {
    SmallVector<int64_t> counts(tiling.sizes);
    counts[dim] = ceilDiv(counts[dim], side);
    counts.back() = ceilDiv(counts.back(), side);
    e.loop(block.number, e.indexConstant(tiling.tiles()), block.launch.blocks, {},
           [&](Value tile, ValueRange) -> SmallVector<Value> {
             first = e.delinearize(Index::of(e.symbol(tile, tiling.tiles())), counts);
             first[dim] = first[dim] * side;
             first.back() = first.back() * side;
             for (size_t slot = 0; slot < tiling.turned.size(); ++slot)
               fill(slot);
             block.sync();
             forElements(tiling.sizes.back() % kLanes == 0, [&](const Index &at) {
               auto [i, j] = e.divide(at, side);
               write(number, result, i, j);
             });
             // Its words are filled again.
             block.sync();
             return {};
           });
  }

private:
  /// Of an element of the tile, or of the last in front of an edge.
  SmallVector<Index> indicesOf(const Index &i, const Index &j) {
    SmallVector<Index> indices = first;
    indices[dim] = e.clamp(first[dim] + i, tiling.sizes[dim]);
    indices.back() = e.clamp(first.back() + j, tiling.sizes.back());
    return indices;
  }

  /// Calls `body` with the index of each element of a tile. The threads take as many turns
  /// together as they need, so that what is read in all of them is on its way at once.
  void forElements(bool inVectors, const std::function<void(const Index &)> &body) {
    int64_t each = block.launch.threads * (inVectors ? kLanes : 1);
    e.loop(0, side * side, each, [&](const Index &first) {
      e.team = block.whole();
      e.nest(each, [&](const Index &at) { body(first + at); }, Emitter::Tail::Exact, inVectors);
    });
    e.team.reset();
  }

  /// Calls `step` with the word of each lane.
  void forWords(size_t slot, const Index &i, const Index &j, bool isAlongI, int64_t lanes,
                function_ref<void(int64_t lane, const Index &at)> step) {
    int64_t row = side + kBehind;
    Index between = e.divide(i, kBanks).first + e.divide(j, kBanks).first;
    Index at = j * row + i + between * kBetween;
    if (e.isDry())
      return;
    Index word =
        Index::of(e.symbol(e.value(at + base + slot * tiling.words()), base + tiling.total()));
    for (int64_t lane = 0; lane < lanes; ++lane)
      step(lane, word + lane * (isAlongI ? 1 : row));
  }

  void fill(size_t slot) {
    const Access &access = tiling.turned[slot];
    bool isAligned = access.constant % kLanes == 0 && tiling.sizes[dim] % kLanes == 0;
    for (auto [number, factor] : llvm::enumerate(access.factors))
      isAligned &= number == dim || factor % kLanes == 0;
    forElements(isAligned, [&](const Index &at) {
      auto [j, i] = e.divide(at, side);
      Value x = e.load(access.argument, access.at(indicesOf(i, j)));
      if (!e.isDry())
        x = pack(x);
      forWords(slot, i, j, /*isAlongI=*/true, e.lanesOf(at), [&](int64_t lane, const Index &word) {
        Value one = x;
        if (isa<VectorType>(x.getType()))
          one = vector::ExtractOp::create(b, loc, x, ArrayRef<int64_t>{lane});
        e.storeScratch(0, word, one);
      });
    });
  }

  void write(unsigned number, Value result, const Index &i, const Index &j) {
    SmallVector<Index> indices = indicesOf(i, j);
    for (BlockArgument argument : e.kernel.getArguments())
      e.define(argument, [&, argument](const Index &at) -> Value {
        for (auto [slot, access] : llvm::enumerate(tiling.turned))
          if (access.argument == argument.getArgNumber() && access.at(indices) == at)
            return read(argument, slot, i, j);
        return e.load(argument.getArgNumber(), at);
      });
    Emitter::Test tests[] = {e.isBelow(first[dim] + i, tiling.sizes[dim]),
                             e.isBelow(first.back() + j, tiling.sizes.back())};
    e.when(tests, [&] {
      Index at = e.linearize(indices, tiling.sizes);
      e.store(number, at, e.pull(result, at));
    });
    for (BlockArgument argument : e.kernel.getArguments())
      e.undefine(argument);
  }

  Value read(BlockArgument argument, size_t slot, const Index &i, const Index &j) {
    SmallVector<Value> words;
    int64_t lanes = e.lanesOf(j);
    forWords(slot, i, j, /*isAlongI=*/false, lanes,
             [&](int64_t, const Index &word) { words.push_back(e.loadScratch(0, word, 1)); });
    if (e.isDry())
      return {};
    Value x = words.front();
    if (lanes > 1)
      x = vector::FromElementsOp::create(
          b, loc, cast<VectorType>(e.vectorOf(b.getF32Type(), lanes)), words);
    return unpack(x, cast<RankedTensorType>(argument.getType()).getElementType());
  }

  Value pack(Value x) {
    Type element = getElementTypeOrSelf(x.getType());
    if (isa<FloatType>(element))
      return x;
    int64_t lanes = e.laneCount(x);
    if (element.getIntOrFloatBitWidth() < 32)
      x = arith::ExtUIOp::create(b, loc, e.vectorOf(b.getI32Type(), lanes), x);
    return arith::BitcastOp::create(b, loc, e.vectorOf(b.getF32Type(), lanes), x);
  }

  Value unpack(Value word, Type element) {
    if (isa<FloatType>(element))
      return word;
    int64_t lanes = e.laneCount(word);
    Value x = arith::BitcastOp::create(b, loc, e.vectorOf(b.getI32Type(), lanes), word);
    unsigned bits = element.getIntOrFloatBitWidth();
    if (bits == 32)
      return x;
    return arith::TruncIOp::create(b, loc, e.vectorOf(b.getIntegerType(bits), lanes), x);
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  ThreadBlock &block;
  const Tiling &tiling;
  size_t dim;
  int64_t side;
  int64_t base;             ///< of shared memory
  SmallVector<Index> first; ///< of the tile
};

} // namespace

void Transposes::emit(ThreadBlock &block) {
  int64_t words = 0;
  for (const std::optional<Tiling> &tiling : tilings)
    words = std::max(words, tiling ? tiling->total() : 0);
  int64_t base = e.reserve(words);
  for (auto [number, result] : llvm::enumerate(results)) {
    if (tilings[number]) {
      Tiles(e, block, *tilings[number], base).emit(number, result);
      continue;
    }
    e.team = block.grid();
    emit::emitResult(e, number);
    e.team.reset();
  }
}
