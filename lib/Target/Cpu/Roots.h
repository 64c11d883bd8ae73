//===- Roots.h - one emitter a kind of root -------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_ROOTS_H
#define CLEAVE_LIB_TARGET_CPU_ROOTS_H

#include "Emitter.h"

namespace cleave::cpu {

/// The results of a kernel, by what they depend on.
struct Outputs {
  explicit Outputs(mlir::func::FuncOp kernel, mlir::Operation *root);

  /// Stores what the root's value leads to, at `at` of the root's result.
  void storeBehind(Emitter &emitter, const Index &at) const;
  /// Stores what leads to the root, at `at` of its first operand.
  void storeInFront(Emitter &emitter, const Index &at) const;

  mlir::Operation *end;
  mlir::SmallVector<unsigned> behind, inFront;
};

/// Reductions along trailing dimensions in f32: a row lies in scratch.
bool isRow(mlir::Operation *root);
void emitRows(Emitter &emitter, mlir::Operation *root);
/// Reductions along any dimension of any type.
void emitColumns(Emitter &emitter, mlir::Operation *root);
void emitMatmul(Emitter &emitter, nn::MatmulOp root);
void emitConv(Emitter &emitter, nn::ConvOp root);
void emitAttention(Emitter &emitter, nn::AttentionOp root);
void emitScatterNd(Emitter &emitter, nn::ScatterNdOp root);
void emitCacheUpdate(Emitter &emitter, nn::CacheUpdateOp root);

/// e^x for x <= 0, 0 below the smallest normal number.
Value buildDecay(Emitter &emitter, Value x);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_ROOTS_H
