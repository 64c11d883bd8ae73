//===- Bytes.h - operands of products of bytes ----------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_BYTES_H
#define CLEAVE_LIB_TARGET_CPU_BYTES_H

#include "../Emit/Emitter.h"

namespace cleave::cpu {

/// k that a dot product of bytes adds up.
constexpr int64_t kBytesOfDot = 4;

/// Products of two bytes of these types whose sums f32 holds exactly.
int64_t exactProducts(mlir::Type lhs, mlir::Type rhs);

/// Whether the operands of `root` are of the kinds that dot products take: ui8 and i8.
bool isDotProduct(mlir::Operation *root);

/// Whether the bytes of a dot product lie side by side, `at` saying where the first and those
/// behind it lie.
bool areBeside(const std::function<std::optional<emit::Emitter::Leaf>(int64_t)> &at);

/// `count` times four bytes from `memory`, or from words of f32, as i32.
mlir::Value loadFours(emit::Emitter &emitter, mlir::Value memory, mlir::Value address,
                      int64_t count);

/// Stores the f32 at `from` of scratch as bytes at `to`, in whole vectors.
void storeBytes(emit::Emitter &emitter, int64_t from, int64_t to, int64_t count);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_BYTES_H
