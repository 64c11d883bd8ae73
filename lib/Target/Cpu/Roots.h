//===- Roots.h - emitters for CPU cores -----------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_ROOTS_H
#define CLEAVE_LIB_TARGET_CPU_ROOTS_H

#include "../Emit/Roots.h"

namespace cleave::cpu {

/// Reductions of contiguous rows in f32: a row lies in scratch.
void emitRows(emit::Emitter &emitter, mlir::Operation *root);
/// Whether both operands of a product are of 8-bit integers.
bool isByteProduct(mlir::Operation *root);
/// Of floats narrower than f64, or of bytes.
void emitProduct(emit::Emitter &emitter, const emit::Product &product);
void emitScatterNd(emit::Emitter &emitter, nn::ScatterNdOp root);
void emitCacheUpdate(emit::Emitter &emitter, nn::CacheUpdateOp root);
void emitTopK(emit::Emitter &emitter, nn::TopKOp root);
void emitAttention(emit::Emitter &emitter, nn::AttentionOp root);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_ROOTS_H
