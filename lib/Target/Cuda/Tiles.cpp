//===- Tiles.cpp - the tiles of a product ---------------------------------===//

#include "Tiles.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

int64_t cleave::cuda::groupColumns(const emit::ProductSizes &sizes, Type factor, const Chip &chip) {
  if (!chip.hasGroups || sizes.m <= kGroupTileRows / 2)
    return 0;
  for (int64_t columns : {256, 128}) {
    int64_t tiles = sizes.batch * ceilDiv(sizes.m, kGroupTileRows) * ceilDiv(sizes.n, columns);
    bool fits = columns == 128 || !nn::isByteFloat(factor);
    if (fits && sizes.n > columns / 2 && isBusy(chip, tiles))
      return columns;
  }
  return 0;
}

TilePlace cleave::cuda::placeOf(Emitter &e, const Index &number, int64_t batches, int64_t down,
                                int64_t across) {
  // Of all blocks of a chip the tiles are about as high as they are wide.
  constexpr int64_t together = 16;
  int64_t rows = std::min(down, together), rest = down % rows;
  auto [batch, within] = e.divide(number, down * across);
  auto [band, inBand] = e.divide(within, rows * across);
  auto [column, row] = e.divide(inBand, rows);
  batch = Index::of(e.symbol(e.value(batch), batches));
  if (rest == 0)
    return {batch, band * rows + row, column};
  // The last band is narrower.
  auto [lastColumn, lastRow] = e.divide(inBand, rest);
  Value isLast = arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::eq, e.value(band),
                                       e.indexConstant(down / rows));
  auto either = [&](const Index &last, const Index &other, int64_t extent) {
    Value value = arith::SelectOp::create(e.builder, e.loc, isLast, e.value(last), e.value(other));
    return Index::of(e.symbol(value, extent));
  };
  Index at = band * rows;
  return {batch, either(at + lastRow, at + row, down), either(lastColumn, column, across)};
}

void cleave::cuda::inside(Emitter &e, const emit::ProductSizes &sizes, const Index &batch,
                          const Index &m, const Index &n, function_ref<void(const Index &)> body) {
  e.when({e.isBelow(m, sizes.m), e.isBelow(n, sizes.n)},
         [&] { body((batch * sizes.m + e.clamp(m, sizes.m)) * sizes.n + e.clamp(n, sizes.n)); });
}
