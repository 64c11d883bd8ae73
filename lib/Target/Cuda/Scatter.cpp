//===- Scatter.cpp - copies with parts replaced ---------------------------===//
//
// Blocks run in no order, so nobody writes over what another has written: each
// thread finds out what the last writer of its element would have been.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

void cleave::cuda::emitScatterNd(Emitter &e, nn::ScatterNdOp root, ThreadBlock &block) {
  ArrayRef<int64_t> data = Emitter::shape(root.getData());
  ArrayRef<int64_t> tuples = Emitter::shape(root.getIndices());
  int64_t length = tuples.back(), count = 1, inner = 1, places = 1;
  for (int64_t size : tuples.drop_back())
    count *= size;
  for (int64_t size : data.drop_front(length))
    inner *= size;
  for (int64_t size : data.take_front(length))
    places *= size;
  OpBuilder &b = e.builder;
  e.team = block.grid();
  e.nest(
      places * inner,
      [&](const Index &at) {
        auto [place, rest] = e.divide(at, inner);
        Value start = e.pull(root.getData(), at);
        Value last = e.carry(0, count, start, [&](const Index &tuple, ValueRange current) {
          Index target;
          for (int64_t i = 0; i < length; ++i)
            target = target * data[i] +
                     e.checkedIndex(e.pull(root.getIndices(), tuple * length + i), data[i]);
          Value update = e.pull(root.getUpdates(), tuple * inner + rest);
          if (e.isDry())
            return llvm::to_vector(current);
          Value hits = arith::CmpIOp::create(b, e.loc, arith::CmpIPredicate::eq, e.value(target),
                                             e.value(place));
          return SmallVector<Value>{
              arith::SelectOp::create(b, e.loc, hits, update, current[0]).getResult()};
        })[0];
        e.store(0, at, last);
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
}

void cleave::cuda::emitCacheUpdate(Emitter &e, nn::CacheUpdateOp root, ThreadBlock &block) {
  // [batch, outer, axis, inner]
  ArrayRef<int64_t> cache = Emitter::shape(root.getCache());
  int64_t axis = root.getAxis(), outer = 1, inner = 1;
  for (int64_t dim = 1; dim < axis; ++dim)
    outer *= cache[dim];
  for (int64_t size : cache.drop_front(axis + 1))
    inner *= size;
  int64_t added = Emitter::shape(root.getUpdate())[axis], length = cache[axis];
  bool isEmpty = Emitter::size(root.getUpdate()) == 0;
  OpBuilder &b = e.builder;
  e.team = block.grid();
  e.nest(
      Emitter::size(root.getResult()),
      [&](const Index &at) {
        Value old = e.pull(root.getCache(), at);
        if (isEmpty)
          return e.store(0, at, old);
        SmallVector<Index> i = e.delinearize(at, {cache[0], outer, length, inner});
        // The first row fits `length - added + 1` places.
        Index first = e.checkedIndex(e.pull(root.getPositions(), i[0]), length - added + 1,
                                     /*allowNegative=*/false);
        Index row = i[2] - first;
        Index source = ((i[0] * outer + i[1]) * added + e.clamp(row, added)) * inner + i[3];
        Value fresh = e.pull(root.getUpdate(), source);
        if (e.isDry())
          return;
        Value place = e.value(row);
        Value isBehind =
            arith::CmpIOp::create(b, e.loc, arith::CmpIPredicate::sge, place, e.indexConstant(0));
        Value isBefore = arith::CmpIOp::create(b, e.loc, arith::CmpIPredicate::slt, place,
                                               e.indexConstant(added));
        Value isNew = arith::AndIOp::create(b, e.loc, isBehind, isBefore);
        e.store(0, at, arith::SelectOp::create(b, e.loc, isNew, fresh, old));
      },
      Emitter::Tail::Exact, /*allowVectors=*/false);
  e.team.reset();
}
