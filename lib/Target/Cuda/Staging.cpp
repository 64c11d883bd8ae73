//===- Staging.cpp - matrices on their way to shared memory ---------------===//

#include "Staging.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave::cuda;

Staging::Staging(Emitter &emitter, ThreadBlock &block, Fragments &warps, Type element,
                 Matrix source)
    : e(emitter), b(e.builder), loc(e.loc), block(block), warps(warps), matrix(std::move(source)) {
  Value any = e.indexConstant(0);
  Index column = Index::of(e.symbol(any, matrix.columns, kMatrix));
  std::optional<Emitter::Leaf> leaf = matrix.trace(Index::of(e.symbol(any, matrix.rows)), column);
  isContiguous = leaf && leaf->at.factor(column.terms.front().first) == 1;
  isCopied = isContiguous && leaf->element == element && matrix.columns % kMatrix == 0 &&
             e.multipleOf(leaf->at) % kMatrix == 0;
}

void Staging::fill(const SharedTile &tile, const Index &row, const Index &column, Value to) {
  isCopied ? copy(tile, row, column, to) : compute(tile, row, column, to);
}

void Staging::copy(const SharedTile &tile, const Index &firstRow, const Index &firstColumn,
                   Value to) {
  int64_t threads = block.launch.threads, chunks = tile.chunks(), count = tile.rows * chunks;
  int64_t atOnce = std::max<int64_t>(threads / chunks, 1);
  Value chunk = warps.modulo(warps.thread, chunks), down = warps.over(warps.thread, chunks);
  Value column = warps.add(warps.times(chunk, kMatrix), warps.number(firstColumn));
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
    test(column, matrix.columns, tile.columns);
    std::optional<Emitter::Leaf> leaf = matrix.trace(firstRow + own + further, along);
    Index distance = leaf->at - first->at;
    if (isSwizzledAlike && distance.isConstant())
      return warps.copy(warps.add(to, warps.place(tile, down, chunk)), *first, isThere,
                        further * tile.rowBytes(), distance.constant * 2);
    // Behind an edge a row has no place, and is not read.
    leaf = matrix.trace(warps.index(row, matrix.rows), along);
    warps.copy(warps.add(to, warps.place(tile, warps.add(down, further), chunk)), *leaf, isThere);
  };
  if (count < threads)
    return e.when(warps.isBelow(warps.thread, count), [&] { step(0); });
  for (int64_t further = 0; further < tile.rows; further += atOnce)
    step(further);
}

void Staging::compute(const SharedTile &tile, const Index &firstRow, const Index &firstColumn,
                      Value to) {
  e.team = block.whole();
  e.nest(tile.rows * tile.columns, [&](const Index &at) {
    auto [down, along] = e.divide(at, tile.columns);
    Index row = firstRow + down, column = firstColumn + along;
    Emitter::Test tests[] = {e.isBelow(row, matrix.rows), e.isBelow(column, matrix.columns)};
    Value x = matrix.pull(e.clamp(row, matrix.rows), e.clamp(column, matrix.columns));
    if (e.isDry())
      return;
    int64_t lanes = e.lanesOf(at);
    x = e.broadcast(x, lanes);
    for (const Emitter::Test &test : tests) {
      Value holds = test.value;
      if (test.known)
        holds = *test.known ? Value() : e.constantOf(b.getI1Type(), 0, 1);
      if (holds)
        x = arith::SelectOp::create(b, loc, e.broadcast(holds, lanes), x, e.zero(lanes));
    }
    Value place = warps.number(along);
    Value within = warps.times(warps.modulo(place, kMatrix), 2);
    place = warps.place(tile, warps.number(down), warps.over(place, kMatrix));
    warps.store(warps.add(to, warps.add(place, within)), x);
  });
  e.team.reset();
}
