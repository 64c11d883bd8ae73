//===- Roots.h - emitters for GPUs ----------------------------*- C++ -*-===//
//
// Each kind of root first says how its kernel is started, then writes what one
// thread does.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_ROOTS_H
#define CLEAVE_LIB_TARGET_CUDA_ROOTS_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// Vectors of 16 bytes of f32.
inline constexpr int64_t kLanes = 4;
/// Shared memory that every chip gives a block without being asked.
inline constexpr int64_t kSharedBytes = 48 << 10;

/// One thread takes a vector of elements at a time.
Launch launchElements(int64_t elements);

/// Reductions of contiguous rows in f32: a row lies in shared memory if it fits.
Launch launchRows(mlir::Operation *root);
void emitRows(Emitter &emitter, mlir::Operation *root, ThreadBlock &block);

/// Arg-reductions, top-k and sums along columns that are too long for one thread.
bool isLongColumns(mlir::Operation *root, const Chip &chip);
Launch launchLongColumns(mlir::Operation *root);
void emitLongColumns(Emitter &emitter, mlir::Operation *root, ThreadBlock &block);

/// Top-k along such columns; long lists lie in a workspace.
emit::Workspace workspaceOfTopK(nn::TopKOp root);
void emitTopK(Emitter &emitter, nn::TopKOp root, ThreadBlock &block);

/// Sums and means of floats narrower than f64 along long columns that lie side by side; nothing
/// for other roots, and where columns are so many that a thread each is enough.
std::optional<Launch> launchColumnSums(mlir::Operation *root, const Chip &chip);
void emitColumnSums(Emitter &emitter, mlir::Operation *root, ThreadBlock &block, const Chip &chip);

/// Floats narrower than f64, and bytes, in tiles of shared memory.
Launch launchProduct(const emit::ProductSizes &sizes, const Chip &chip);
void emitProduct(Emitter &emitter, const emit::Product &product, ThreadBlock &block,
                 const Chip &chip);

/// Of f16, bf16 or bytes, on tensor cores; K is not empty. Large ones by groups of warps where
/// there are such.
Launch launchTensorProduct(const emit::ProductSizes &sizes, mlir::Operation *root,
                           const Chip &chip);
void emitTensorProduct(Emitter &emitter, const emit::Product &product, ThreadBlock &block,
                       const Chip &chip);

/// The same where both operands come in boxes; nothing where they do not, or are small. The
/// emitter only looks for where they lie.
std::optional<Launch> launchBulkProduct(Emitter &emitter, const emit::Product &product,
                                        const Chip &chip);
void emitBulkProduct(Emitter &emitter, const emit::Product &product, ThreadBlock &block,
                     const Chip &chip);

Launch launchAttention(nn::AttentionOp root, const Chip &chip);
void emitAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block, const Chip &chip);

/// Whether tensor cores take the operands of an attention as they are.
bool isTensorAttention(nn::AttentionOp root, const Chip &chip);
Launch launchTensorAttention(nn::AttentionOp root, const Chip &chip);
void emitTensorAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                         const Chip &chip);

/// Each thread looks for the last update of its element.
void emitScatterNd(Emitter &emitter, nn::ScatterNdOp root, ThreadBlock &block);
void emitCacheUpdate(Emitter &emitter, nn::CacheUpdateOp root, ThreadBlock &block);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_ROOTS_H
