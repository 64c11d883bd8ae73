//===- Scatter.cpp - copies with parts replaced ---------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

void cleave::cpu::emitScatterNd(Emitter &e, nn::ScatterNdOp root) {
  e.nest(Emitter::size(root.getResult()),
         [&](const Index &at) { e.store(0, at, e.pull(root.getData(), at)); });
  ArrayRef<int64_t> data = Emitter::shape(root.getData());
  ArrayRef<int64_t> tuples = Emitter::shape(root.getIndices());
  int64_t length = tuples.back(), count = 1, inner = 1;
  for (int64_t size : tuples.drop_back())
    count *= size;
  for (int64_t size : data.drop_front(length))
    inner *= size;
  if (Emitter::size(root.getData()) == 0)
    return;
  e.loop(0, count, 1, [&](const Index &tuple) {
    Index place;
    for (int64_t i = 0; i < length; ++i)
      place =
          place * data[i] + e.checkedIndex(e.pull(root.getIndices(), tuple * length + i), data[i]);
    e.nest(inner, [&](const Index &at) {
      e.store(0, place * inner + at, e.pull(root.getUpdates(), tuple * inner + at));
    });
  });
}

void cleave::cpu::emitCacheUpdate(Emitter &e, nn::CacheUpdateOp root) {
  e.nest(Emitter::size(root.getResult()),
         [&](const Index &at) { e.store(0, at, e.pull(root.getCache(), at)); });
  // [batch, outer, axis, inner]
  ArrayRef<int64_t> cache = Emitter::shape(root.getCache());
  int64_t axis = root.getAxis(), outer = 1, inner = 1;
  for (int64_t dim = 1; dim < axis; ++dim)
    outer *= cache[dim];
  for (int64_t size : cache.drop_front(axis + 1))
    inner *= size;
  int64_t added = Emitter::shape(root.getUpdate())[axis], length = cache[axis];
  if (Emitter::size(root.getUpdate()) == 0)
    return;
  e.loop(0, cache[0], 1, [&](const Index &batch) {
    // The first row fits `length - added + 1` places.
    Value position = e.pull(root.getPositions(), batch);
    Index first = e.checkedIndex(position, length - added + 1, /*allowNegative=*/false);
    e.nest(outer * added * inner, [&](const Index &at) {
      SmallVector<Index> i = e.delinearize(at, {outer, added * inner});
      Index target = (batch * outer + i[0]) * (length * inner) + first * inner + i[1];
      e.store(0, target, e.pull(root.getUpdate(), batch * (outer * added * inner) + at));
    });
  });
}
