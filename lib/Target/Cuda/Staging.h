//===- Staging.h - matrices on their way to shared memory -----*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_STAGING_H
#define CLEAVE_LIB_TARGET_CUDA_STAGING_H

#include "Fragments.h"

namespace cleave::cuda {

/// Where the elements of a matrix come from, by row and column.
struct Matrix {
  int64_t rows, columns;
  std::function<Value(const Index &, const Index &)> pull;
  std::function<std::optional<Emitter::Leaf>(const Index &, const Index &)> trace;
};

/// Brings tiles of one matrix to shared memory, with zeros behind its edges. What lies in
/// memory in whole chunks is copied asynchronously; anything else is pulled, whatever
/// computes it, rounded, and stored to the same places.
class Staging {
public:
  Staging(Emitter &emitter, ThreadBlock &block, Fragments &warps, mlir::Type element,
          Matrix matrix);

  /// Whether the elements of a row are neighbours in memory.
  bool runsAlongRows() const { return isContiguous; }

  /// The tile that begins at `row` and `column`, multiples of its size, to byte `to`; all
  /// threads take part.
  void fill(const SharedTile &tile, const Index &row, const Index &column, Value to);

private:
  void copy(const SharedTile &tile, const Index &row, const Index &column, Value to);
  void compute(const SharedTile &tile, const Index &row, const Index &column, Value to);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  ThreadBlock &block;
  Fragments &warps;
  Matrix matrix;
  bool isContiguous = false, isCopied = false;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_STAGING_H
