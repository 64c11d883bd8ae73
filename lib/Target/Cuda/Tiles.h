//===- Tiles.h - the tiles of a product ------------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_TILES_H
#define CLEAVE_LIB_TARGET_CUDA_TILES_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// A tile among those of a product: numbers, not elements.
struct TilePlace {
  Index batch, row, column;
};

/// Which tile is the one of `number`. Blocks of neighbouring numbers run at one time, and their
/// tiles lie side by side both ways, so that they find what they read in the cache.
TilePlace placeOf(Emitter &emitter, const Index &number, int64_t batches, int64_t down,
                  int64_t across);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_TILES_H
