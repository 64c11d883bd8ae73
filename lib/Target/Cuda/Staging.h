//===- Staging.h - matrices on their way to shared memory -----*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_STAGING_H
#define CLEAVE_LIB_TARGET_CUDA_STAGING_H

#include "Fragments.h"
#include "Narrow.h"

namespace cleave::cuda {

/// Where the elements of a matrix come from, by row and column.
struct Matrix {
  int64_t rows, columns;
  std::function<Value(const Index &, const Index &)> pull;
  std::function<std::optional<Emitter::Leaf>(const Index &, const Index &)> trace;
  std::optional<Narrow> narrow = {}; ///< what they are computed from
};

/// Brings tiles of one matrix to shared memory, with zeros behind its edges. What lies in
/// memory in whole chunks is copied asynchronously; anything else is pulled, whatever
/// computes it, rounded, and stored to the same places: what is computed from bytes that lie
/// along the rows by neighbours. Bytes whose columns lie together are pulled four by four and
/// change places.
class Staging {
public:
  Staging(Emitter &emitter, ThreadBlock &block, Fragments &warps, mlir::Type element,
          Matrix matrix);

  /// Whether the elements of a row are neighbours in memory.
  bool runsAlongRows() const { return isContiguous || isNarrow; }
  /// Whether they are bytes, and columns come four at a time.
  bool turns() const { return isTurnable; }

  /// The tile that begins at `row` and `column`, multiples of its size, to byte `to`; all
  /// threads take part.
  void fill(const SharedTile &tile, const Index &row, const Index &column, Value to);
  /// The same of a matrix that `turns`, to a tile whose rows are its columns from `column` on.
  void fillTurned(const SharedTile &tile, const Index &row, const Index &column, Value to);

private:
  void copy(const SharedTile &tile, const Index &row, const Index &column, Value to);
  void compute(const SharedTile &tile, const Index &row, const Index &column, Value to);
  void computeNeighbours(const SharedTile &tile, const Index &row, const Index &column, Value to);
  /// Four neighbours of a matrix that `turns`, as its bytes, 0 behind an edge.
  Value loadWord(const Index &row, const Index &column);
  /// The element at a place, 0 behind an edge; in all lanes of `column`.
  Value pull(const Index &row, const Index &column);
  int64_t columnsOf(const SharedTile &tile) const { return tile.columns * 2 / bytes; }

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  ThreadBlock &block;
  Fragments &warps;
  mlir::Type element;
  Matrix matrix;
  int64_t bytes;   ///< of an element
  int64_t ofChunk; ///< elements
  bool isContiguous = false, isCopied = false, isTurnable = false, isNarrow = false;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_STAGING_H
