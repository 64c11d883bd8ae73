//===- Tiles.h - the tiles of a product ------------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_TILES_H
#define CLEAVE_LIB_TARGET_CUDA_TILES_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// Whether as many blocks keep two thirds of a chip at work.
inline bool isBusy(const Chip &chip, int64_t blocks) {
  return 3 * blocks >= 2 * chip.multiprocessors;
}

/// Rows of a tile that groups of warps multiply, of which two have half each.
inline constexpr int64_t kGroupTileRows = 128;

/// Columns of such tiles: as many as registers hold sums of, which take the operands from
/// shared memory least often; of 8-bit floats, twice. 0 where groups are not worth it, or there
/// are none.
int64_t groupColumns(const emit::ProductSizes &sizes, mlir::Type factor, const Chip &chip);

/// A tile among those of a product: numbers, not elements.
struct TilePlace {
  Index batch, row, column;
};

/// Which tile is the one of `number`. Blocks of neighbouring numbers run at one time, and their
/// tiles lie side by side both ways, so that they find what they read in the cache.
TilePlace placeOf(Emitter &emitter, const Index &number, int64_t batches, int64_t down,
                  int64_t across);

/// Runs `body` with the place in the result of an element of a tile, if it has one.
void inside(Emitter &emitter, const emit::ProductSizes &sizes, const Index &batch, const Index &m,
            const Index &n, mlir::function_ref<void(const Index &)> body);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_TILES_H
