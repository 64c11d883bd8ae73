//===- Narrow.h - operands that are computed from bytes -------*- C++ -*-===//
//
// Weights of 2, 4 or 8 bits become numbers in the kernel that multiplies them. What neighbours
// are computed from lies together, so it is loaded once for all of them: of n elements in a
// byte every n-th makes one vector, in which each lane does the same to a byte of its own.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_NARROW_H
#define CLEAVE_LIB_TARGET_CUDA_NARROW_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// Neighbours that one thread computes together: 16 bytes of f16 twice.
inline constexpr int64_t kNeighbours = 16;

/// Bytes that an operand is computed from, each of which is in so many of its elements.
struct Narrow {
  Value bytes;
  int64_t ofByte;
};

/// Those of `operand`, if it is computed from an argument of 8 bits, element by element; 8-bit
/// floats become others by themselves.
std::optional<Narrow> narrowOf(Value operand);

/// Whether elements that `pull` gives for 0, 1, … up to `count` are computed from bytes that
/// lie in this order.
bool runsAlong(Emitter &emitter, const Narrow &narrow, int64_t count,
               mlir::function_ref<Value(const Index &)> pull);

/// What `pull` gives for 0, 1, … of kNeighbours elements that run along; nothing while the
/// emitter walks.
mlir::SmallVector<Value> pullNeighbours(Emitter &emitter, const Narrow &narrow,
                                        mlir::function_ref<Value(const Index &)> pull);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_NARROW_H
