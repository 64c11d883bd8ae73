//===- Staging.cpp - matrices on their way to shared memory ---------------===//

#include "Staging.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace cleave::cuda;

/// Bytes that change places lie in squares, of words along either side.
static constexpr int64_t kSquare = 4;

Staging::Staging(Emitter &emitter, ThreadBlock &block, Fragments &warps, Type element,
                 Matrix source)
    : e(emitter), b(e.builder), loc(e.loc), block(block), warps(warps), element(element),
      matrix(std::move(source)), bytes(element.getIntOrFloatBitWidth() / 8),
      ofChunk(2 * kMatrix / bytes) {
  Value any = e.indexConstant(0);
  Index column = Index::of(e.symbol(any, matrix.columns, ofChunk));
  std::optional<Emitter::Leaf> leaf = matrix.trace(Index::of(e.symbol(any, matrix.rows)), column);
  isContiguous = leaf && leaf->at.factor(column.terms.front().first) == 1;
  auto comes = [&](int64_t elements) {
    return isContiguous && leaf->element == element && matrix.columns % elements == 0 &&
           e.multipleOf(leaf->at) % elements == 0;
  };
  isCopied = comes(ofChunk);
  isTurnable = bytes == 1 && comes(kSquare);
  Index row = Index::of(e.symbol(any, matrix.rows));
  isNarrow = matrix.narrow && runsAlong(e, *matrix.narrow, matrix.columns,
                                        [&](const Index &at) { return matrix.pull(row, at); });
}

void Staging::fill(const SharedTile &tile, const Index &row, const Index &column, Value to) {
  if (isCopied)
    return copy(tile, row, column, to);
  isNarrow ? computeNeighbours(tile, row, column, to) : compute(tile, row, column, to);
}

void Staging::copy(const SharedTile &tile, const Index &firstRow, const Index &firstColumn,
                   Value to) {
  int64_t threads = block.launch.threads, chunks = tile.chunks(), count = tile.rows * chunks;
  int64_t atOnce = std::max<int64_t>(threads / chunks, 1);
  Value chunk = warps.modulo(warps.thread, chunks), down = warps.over(warps.thread, chunks);
  Value column = warps.add(warps.times(chunk, ofChunk), warps.number(firstColumn));
  Index along = warps.index(column, matrix.columns), own = warps.index(down, atOnce);
  // Threads take every so many rows, whose places are as far apart.
  std::optional<Emitter::Leaf> first = matrix.trace(firstRow + own, along);
  bool isSwizzledAlike = atOnce % kMatrix == 0;
  auto step = [&](int64_t further) {
    Value row = warps.add(warps.add(down, warps.number(firstRow)), further);
    Value isThere;
    auto test = [&](Value at, int64_t bound, int64_t step) {
      if (bound % step == 0)
        return;
      Value isBelow = warps.isBelow(at, bound);
      isThere = isThere ? arith::AndIOp::create(b, loc, isThere, isBelow).getResult() : isBelow;
    };
    test(row, matrix.rows, tile.rows);
    test(column, matrix.columns, columnsOf(tile));
    std::optional<Emitter::Leaf> leaf = matrix.trace(firstRow + own + further, along);
    Index distance = leaf->at - first->at;
    if (isSwizzledAlike && distance.isConstant())
      return warps.copy(warps.add(to, warps.place(tile, down, chunk)), *first, isThere,
                        further * tile.rowBytes(), distance.constant * bytes);
    // Behind an edge a row has no place, and is not read.
    leaf = matrix.trace(warps.index(row, matrix.rows), along);
    warps.copy(warps.add(to, warps.place(tile, warps.add(down, further), chunk)), *leaf, isThere);
  };
  if (count < threads)
    return e.when(warps.isBelow(warps.thread, count), [&] { step(0); });
  for (int64_t further = 0; further < tile.rows; further += atOnce)
    step(further);
}

Value Staging::pull(const Index &row, const Index &column) {
  Emitter::Test tests[] = {e.isBelow(row, matrix.rows), e.isBelow(column, matrix.columns)};
  Value x = matrix.pull(e.clamp(row, matrix.rows), e.clamp(column, matrix.columns));
  if (e.isDry())
    return x;
  int64_t lanes = e.lanesOf(column);
  x = e.broadcast(x, lanes);
  for (const Emitter::Test &test : tests) {
    Value holds = test.value;
    if (test.known)
      holds = *test.known ? Value() : e.constantOf(b.getI1Type(), 0, 1);
    if (holds)
      x = arith::SelectOp::create(b, loc, e.broadcast(holds, lanes), x,
                                  e.constantOf(getElementTypeOrSelf(x.getType()), 0, lanes));
  }
  return x;
}

void Staging::compute(const SharedTile &tile, const Index &firstRow, const Index &firstColumn,
                      Value to) {
  e.team = block.whole();
  e.nest(tile.rows * columnsOf(tile), [&](const Index &at) {
    auto [down, along] = e.divide(at, columnsOf(tile));
    Value x = pull(firstRow + down, firstColumn + along);
    if (e.isDry())
      return;
    Value place = warps.number(along);
    Value within = warps.times(warps.modulo(place, ofChunk), bytes);
    place = warps.place(tile, warps.number(down), warps.over(place, ofChunk));
    warps.store(warps.add(to, warps.add(place, within)), x, element);
  });
  e.team.reset();
}

void Staging::computeNeighbours(const SharedTile &tile, const Index &firstRow,
                                const Index &firstColumn, Value to) {
  int64_t groups = columnsOf(tile) / kNeighbours;
  e.team = block.whole();
  e.nest(
      tile.rows * groups,
      [&](const Index &at) {
        auto [down, group] = e.divide(at, groups);
        Index row = firstRow + down, first = firstColumn + group * kNeighbours;
        SmallVector<Value> elements = pullNeighbours(
            e, *matrix.narrow, [&](const Index &further) { return pull(row, first + further); });
        if (e.isDry())
          return;
        Value place = warps.number(down), chunk = warps.number(group * (kNeighbours / ofChunk));
        auto type = VectorType::get({ofChunk}, elements[0].getType());
        for (int64_t i = 0; i < kNeighbours / ofChunk; ++i) {
          ArrayRef<Value> own = ArrayRef(elements).slice(i * ofChunk, ofChunk);
          warps.store(warps.add(to, warps.place(tile, place, warps.add(chunk, i))),
                      vector::FromElementsOp::create(b, loc, type, own), element);
        }
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
}

/// The bytes of four words, by the number of the byte: what was in one is in all.
static SmallVector<Value> turned(OpBuilder &b, Location loc, ArrayRef<Value> words) {
  auto permute = [&](Value low, Value high, int64_t selector) {
    Value which = arith::ConstantIntOp::create(b, loc, selector, 32);
    return LLVM::CallIntrinsicOp::create(b, loc, b.getI32Type(), b.getStringAttr("llvm.nvvm.prmt"),
                                         ValueRange{low, high, which})
        .getResult(0);
  };
  SmallVector<Value> all;
  // Bytes 0 and 1 of pairs of words beside each other, then 2 and 3.
  for (int64_t selector : {0x5140, 0x7362}) {
    Value first = permute(words[0], words[1], selector);
    Value second = permute(words[2], words[3], selector);
    all.append({permute(first, second, 0x5410), permute(first, second, 0x7632)});
  }
  return all;
}

Value Staging::loadWord(const Index &row, const Index &column) {
  std::optional<Emitter::Leaf> leaf =
      matrix.trace(e.clamp(row, matrix.rows), e.clamp(column, matrix.columns - kSquare + 1));
  Value bytes = vector::LoadOp::create(b, loc, VectorType::get({kSquare}, b.getI8Type()),
                                       e.argumentMemory(leaf->argument), e.value(leaf->at),
                                       /*nontemporal=*/false, llvm::MaybeAlign(kSquare));
  Value word = LLVM::BitcastOp::create(b, loc, b.getI32Type(), bytes);
  for (const Emitter::Test &test :
       {e.isBelow(row, matrix.rows), e.isBelow(column, matrix.columns)}) {
    if (test.known && *test.known)
      continue;
    Value none = warps.number(int64_t(0));
    word = test.known ? none : arith::SelectOp::create(b, loc, test.value, word, none).getResult();
  }
  return word;
}

void Staging::fillTurned(const SharedTile &tile, const Index &firstRow, const Index &firstColumn,
                         Value to) {
  // A warp reads 16 neighbours of 32 rows, so that what it writes lies in half of all banks.
  constexpr int64_t acrossWarp = 4, downWarp = kWarp / acrossWarp;
  int64_t across = tile.rows / kSquare, down = columnsOf(tile) / kSquare;
  e.team = block.whole();
  e.nest(
      across * down,
      [&](const Index &at) {
        SmallVector<Index> square =
            e.delinearize(at, {down / downWarp, across / acrossWarp, downWarp, acrossWarp});
        Index k = (square[0] * downWarp + square[2]) * kSquare;
        Index outer = (square[1] * acrossWarp + square[3]) * kSquare;
        SmallVector<Value> words;
        if (e.isDry())
          return;
        for (int64_t i = 0; i < kSquare; ++i)
          words.push_back(loadWord(firstRow + k + i, firstColumn + outer));
        Value place = warps.number(k);
        Value within = warps.modulo(place, ofChunk), chunk = warps.over(place, ofChunk);
        Value row = warps.number(outer);
        for (auto [i, word] : llvm::enumerate(turned(b, loc, words)))
          warps.storeWord(
              warps.add(to,
                        warps.add(warps.place(tile, warps.add(row, int64_t(i)), chunk), within)),
              word);
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
}
