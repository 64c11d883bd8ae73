//===- Tile.h - the innermost product -------------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_TILE_H
#define CLEAVE_LIB_TARGET_CPU_TILE_H

#include "../Emit/Emitter.h"

namespace cleave::cpu {

using emit::Value;

/// How far ahead of its one reader a stream is fetched, and what a fetch brings.
inline constexpr int64_t kBytesAhead = 4096, kLineBytes = 64;

/// Σk a(row, k) * b(k, column): `rows` scalars of a times `vectors` of b, all
/// sums in registers.
struct Tile {
  int64_t rows, vectors;
  /// Element of a, and vector of b, at a k that is computed when run plus one
  /// known here.
  std::function<Value(int64_t row, Value k, int64_t plus)> a;
  std::function<Value(int64_t vector, Value k, int64_t plus)> b;
  /// Called once a step of the loop with its first k and the number of its k;
  /// may prefetch.
  std::function<void(Value k, int64_t count)> ahead;
  /// `sum` and the product of an element of a, in all lanes, and a vector of b; without it an
  /// fma.
  std::function<Value(Value a, Value b, Value sum)> add = nullptr;

  /// From `begin` to `end`, both computed when run. `start` and the result hold
  /// rows * vectors sums, by row. With few rows, `parts` independent sets of sums
  /// hide the latency of an fma.
  llvm::SmallVector<Value> multiply(emit::Emitter &emitter, Value begin, Value end,
                                    llvm::ArrayRef<Value> start, int64_t parts = 1) const;

private:
  llvm::SmallVector<Value> steps(emit::Emitter &emitter, Value begin, Value end, int64_t step,
                                 llvm::ArrayRef<Value> start, int64_t parts) const;
};

/// Rows of a tile of `vectors` vectors that fit the registers.
int64_t tileRows(const emit::Machine &machine, int64_t vectors);

/// Splits `count` rows into tiles of nearly equal height, `body` being emitted
/// once a height. Tiles are numbered.
void forTiles(
    emit::Emitter &emitter, int64_t count, int64_t height,
    const std::function<void(const emit::Index &row, int64_t rows, const emit::Index &tile)> &body);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_TILE_H
