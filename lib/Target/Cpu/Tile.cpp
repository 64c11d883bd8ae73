//===- Tile.cpp - the innermost product -----------------------------------===//

#include "Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace cleave::cpu;

int64_t cleave::cpu::tileRows(const Machine &machine, int64_t vectors) {
  if (machine.registers >= 32)
    return vectors >= 4 ? 6 : vectors == 3 ? 8 : 12;
  return vectors >= 3 ? 4 : vectors == 2 ? 6 : 8;
}

void cleave::cpu::forTiles(
    Emitter &e, int64_t count, int64_t height,
    const std::function<void(const Index &, int64_t, const Index &)> &body) {
  if (count == 0)
    return;
  int64_t tiles = llvm::divideCeil(count, height), base = count / tiles, larger = count % tiles;
  e.loop(0, larger, 1, [&](const Index &t) { body(t * (base + 1), base + 1, t); });
  e.loop(0, tiles - larger, 1, [&](const Index &t) {
    body(t * base + larger * (base + 1), base, t + larger);
  });
}

SmallVector<Value> Tile::multiply(Emitter &e, Value begin, Value end, ArrayRef<Value> start,
                                  int64_t parts) const {
  int64_t sums = rows * vectors;
  SmallVector<Value> init(start);
  for (int64_t i = sums; i < sums * parts; ++i)
    init.push_back(e.zero(e.machine.lanes));
  SmallVector<Value> result =
      e.loop(begin, end, parts, init, [&](Value k, ValueRange carried) {
        SmallVector<Value> next(carried);
        for (int64_t part = 0; part < parts; ++part) {
          SmallVector<Value> columns;
          for (int64_t v = 0; v < vectors; ++v)
            columns.push_back(b(v, k, part));
          if (ahead)
            ahead(k, part);
          for (int64_t r = 0; r < rows; ++r) {
            Value scalar = e.broadcast(a(r, k, part), e.machine.lanes);
            for (int64_t v = 0; v < vectors; ++v) {
              Value &sum = next[part * sums + r * vectors + v];
              sum = math::FmaOp::create(e.builder, e.loc, scalar, columns[v], sum);
            }
          }
        }
        return next;
      });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < sums; ++i)
      result[i] = arith::AddFOp::create(e.builder, e.loc, result[i], result[part * sums + i]);
  result.truncate(sums);
  return result;
}
