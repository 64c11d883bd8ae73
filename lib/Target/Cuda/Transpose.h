//===- Transpose.h - kernels without a root, in tiles -----------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_TRANSPOSE_H
#define CLEAVE_LIB_TARGET_CUDA_TRANSPOSE_H

#include "ThreadBlock.h"

#include <optional>

namespace cleave::cuda {

/// Where an argument is read, as a sum over the dimensions of a result.
struct Access {
  Index at(llvm::ArrayRef<Index> indices) const;
  bool operator==(const Access &) const = default;

  unsigned argument;
  int64_t constant;
  llvm::SmallVector<int64_t> factors; ///< by dimension
};

/// A result in square tiles: it is contiguous along its last dimension, and some of what it
/// reads along another.
struct Tiling {
  int64_t tiles() const;
  /// Words of shared memory for what a tile reads of one argument.
  int64_t words() const;
  int64_t total() const { return words() * turned.size(); }

  /// Of the result, where neighbours that are one dimension wherever it reads are one.
  llvm::SmallVector<int64_t> sizes;
  size_t dim = 0;   ///< along which `turned` are contiguous
  int64_t side = 0; ///< elements
  llvm::SmallVector<Access, 2> turned;
};

/// A kernel without a root. A thread takes elements of a result as they lie, and reads what
/// it needs wherever that lies; what lies across comes through shared memory, so that threads
/// which are neighbours read and write neighbours.
class Transposes {
public:
  explicit Transposes(Emitter &emitter);

  Launch launch() const;
  void emit(ThreadBlock &block);

private:
  llvm::SmallVector<Access> accessesOf(Value result, llvm::ArrayRef<int64_t> sizes);
  std::optional<Tiling> tilingOf(Value result);

  Emitter &e;
  mlir::ValueRange results;
  std::vector<std::optional<Tiling>> tilings; ///< by result
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_TRANSPOSE_H
