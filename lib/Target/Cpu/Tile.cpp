//===- Tile.cpp - the innermost product -----------------------------------===//

#include "Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace cleave::cpu;
using namespace cleave::emit;

/// k a step of the loop: its counter and its jump then cost nothing that shows.
static constexpr int64_t kUnroll = 4;

int64_t cleave::cpu::tileRows(const Machine &machine, int64_t vectors) {
  if (machine.registers >= 32)
    return vectors >= 4 ? 6 : vectors == 3 ? 8 : 12;
  return vectors >= 3 ? 4 : vectors == 2 ? 6 : 8;
}

void cleave::cpu::forTiles(Emitter &e, int64_t count, int64_t height,
                           const std::function<void(const Index &, int64_t, const Index &)> &body) {
  if (count == 0)
    return;
  int64_t tiles = llvm::divideCeil(count, height), base = count / tiles, larger = count % tiles;
  e.loop(0, larger, 1, [&](const Index &t) { body(t * (base + 1), base + 1, t); });
  e.loop(0, tiles - larger, 1,
         [&](const Index &t) { body(t * base + larger * (base + 1), base, t + larger); });
}

SmallVector<Value> Tile::steps(Emitter &e, Value begin, Value end, int64_t step,
                               ArrayRef<Value> start, int64_t parts) const {
  int64_t sums = rows * vectors;
  return e.loop(begin, end, step, start, [&](Value k, ValueRange carried) {
    SmallVector<Value> next(carried);
    if (ahead)
      ahead(k, step);
    for (int64_t plus = 0; plus < step; ++plus) {
      SmallVector<Value> columns;
      for (int64_t v = 0; v < vectors; ++v)
        columns.push_back(b(v, k, plus));
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar = e.broadcast(a(r, k, plus), e.machine.lanes);
        for (int64_t v = 0; v < vectors; ++v) {
          Value &sum = next[plus % parts * sums + r * vectors + v];
          sum = add ? add(scalar, columns[v], sum)
                    : math::FmaOp::create(e.builder, e.loc, scalar, columns[v], sum).getResult();
        }
      }
    }
    return next;
  });
}

SmallVector<Value> Tile::multiply(Emitter &e, Value begin, Value end, ArrayRef<Value> start,
                                  int64_t parts) const {
  int64_t sums = rows * vectors;
  SmallVector<Value> result(start);
  Type element = getElementTypeOrSelf(start.front().getType());
  for (int64_t i = sums; i < sums * parts; ++i)
    result.push_back(e.constantOf(element, 0, e.machine.lanes));
  // Whole steps first; what is known to be left over is not emitted in vain.
  std::optional<int64_t> first = getConstantIntValue(begin), last = getConstantIntValue(end);
  bool isKnown = first && last;
  Value whole = end;
  if (isKnown) {
    whole = e.indexConstant(*last - (*last - *first) % kUnroll);
  } else {
    Value count = arith::SubIOp::create(e.builder, e.loc, end, begin);
    Value rest = arith::RemUIOp::create(e.builder, e.loc, count, e.indexConstant(kUnroll));
    whole = arith::SubIOp::create(e.builder, e.loc, end, rest);
  }
  if (!isKnown || *last - *first >= kUnroll)
    result = steps(e, begin, whole, kUnroll, result, parts);
  if (!isKnown || (*last - *first) % kUnroll != 0)
    result = steps(e, whole, end, 1, result, parts);
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < sums; ++i) {
      Value more = result[part * sums + i];
      result[i] = isa<FloatType>(element)
                      ? arith::AddFOp::create(e.builder, e.loc, result[i], more).getResult()
                      : arith::AddIOp::create(e.builder, e.loc, result[i], more).getResult();
    }
  result.truncate(sums);
  return result;
}
