//===- Columns.cpp - long columns by many threads -------------------------===//
//
// What an element is compared or added with is spread over the threads: a block looks for
// the first of a column, and a warp adds up.
//
//===----------------------------------------------------------------------===//

#include "../Emit/Columns.h"

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

namespace {

/// Columns shorter than this are a thread's.
constexpr int64_t kLong = 64;
/// Elements of a column that a thread looks at, until there are no more threads.
constexpr int64_t kEach = 8, kMostThreads = 512;

struct LongColumns : emit::Columns {
  LongColumns(Emitter &e, Operation *root, ThreadBlock &block)
      : Columns(e, root), e(e), b(e.builder), loc(e.loc), root(root), block(block),
        word(b.getI32Type()), slots(e.reserve(warps())) {}

  void run() {
    e.loop(block.number, e.indexConstant(count()), block.launch.blocks, {},
           [&](Value at, ValueRange) -> SmallVector<Value> {
             column = Index::of(e.symbol(at, count()));
             first = start(column, length);
             if (auto op = dyn_cast<nn::ArgReduceOp>(root))
               argReduce(op);
             else
               cumSum(cast<nn::CumSumOp>(root));
             return {};
           });
  }

private:
  int64_t warps() const { return block.launch.threads / kWarp; }
  Value number(int64_t value) { return e.constantOf(word, value, 1); }
  Value select(Value test, Value x, Value y) { return arith::SelectOp::create(b, loc, test, x, y); }
  Value compare(arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(b, loc, predicate, x, y);
  }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, loc, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, loc, x, y); }
  Value isOne(Value thread) {
    return compare(arith::CmpIPredicate::eq, thread, e.indexConstant(0));
  }

  /// An element and its number in the column.
  struct Found {
    Value x, number;
  };

  Value elementAt(Value number) {
    Value at = arith::IndexCastOp::create(b, loc, b.getIndexType(), number);
    return pull(first + Index::of(e.symbol(at, length)) * inner, 1);
  }

  /// Which of two goes in front; of equals the first, or the last.
  Value wins(bool isMax, bool last, const Found &x, const Found &y) {
    auto side = last ? arith::CmpIPredicate::sgt : arith::CmpIPredicate::slt;
    Value equal = both(precedes(isMax, true, x.x, y.x), compare(side, x.number, y.number));
    return either(precedes(isMax, false, x.x, y.x), equal);
  }

  /// The first of all threads' `own`; elements are read again rather than handed on.
  Found firstOfAll(Found own, function_ref<Value(const Found &, const Found &)> isBetter) {
    auto take = [&](Value number) {
      Found other{elementAt(number), number};
      Value isTaken = isBetter(other, own);
      own = {select(isTaken, other.x, own.x), select(isTaken, number, own.number)};
    };
    Value width = number(kWarp);
    for (int64_t distance = kWarp / 2; distance > 0; distance /= 2)
      take(
          gpu::ShuffleOp::create(b, loc, own.number, number(distance), width, gpu::ShuffleMode::XOR)
              .getShuffleResult());
    if (warps() == 1)
      return own;
    e.when(isOne(block.lane), [&] {
      Index at = Index::of(e.symbol(block.warpNumber, warps()));
      e.storeScratch(slots, at, arith::BitcastOp::create(b, loc, b.getF32Type(), own.number));
    });
    block.sync();
    for (int64_t warp = 0; warp < warps(); ++warp)
      take(arith::BitcastOp::create(b, loc, word, e.loadScratch(slots, warp, 1)));
    // The slots are filled again.
    block.sync();
    return own;
  }

  /// The first of the elements, starting with `begin`.
  Found search(const Found &begin, function_ref<Value(const Found &, const Found &)> isBetter) {
    SmallVector<Value> own =
        e.loop(block.thread, e.indexConstant(length), block.launch.threads, {begin.x, begin.number},
               [&](Value k, ValueRange best) -> SmallVector<Value> {
                 Found x{pull(first + Index::of(e.symbol(k, length)) * inner, 1),
                         arith::IndexCastOp::create(b, loc, word, k)};
                 Found before{best[0], best[1]};
                 Value isTaken = isBetter(x, before);
                 return {select(isTaken, x.x, before.x), select(isTaken, x.number, before.number)};
               });
    return firstOfAll({own[0], own[1]}, isBetter);
  }

  Value asI64(Value number) { return arith::ExtSIOp::create(b, loc, b.getI64Type(), number); }

  void argReduce(nn::ArgReduceOp op) {
    bool isMax = op.getKind() == nn::ArgKind::Max, last = op.getLast();
    auto isBetter = [&](const Found &x, const Found &y) { return wins(isMax, last, x, y); };
    // From the first element on, as nothing is in front of a NaN there.
    Found found = search({pull(first, 1), number(0)}, isBetter);
    e.when(isOne(block.thread), [&] { e.store(0, column, asI64(found.number)); });
  }

  //===--- sums ---===//

  /// A word, or the two of something longer, from another lane.
  Value shuffle(Value x, int64_t by, gpu::ShuffleMode mode) {
    Type type = x.getType();
    auto move = [&](Value one) {
      return gpu::ShuffleOp::create(b, loc, one, number(by), number(kWarp), mode)
          .getShuffleResult();
    };
    unsigned width = type.getIntOrFloatBitWidth();
    if (width < 32)
      return arith::TruncIOp::create(b, loc, type, move(arith::ExtUIOp::create(b, loc, word, x)));
    if (width == 32)
      return move(x);
    Type wide = b.getI64Type();
    Value bits = isa<FloatType>(type) ? arith::BitcastOp::create(b, loc, wide, x).getResult() : x;
    Value half = e.constantOf(wide, 32, 1);
    Value low = move(arith::TruncIOp::create(b, loc, word, bits));
    Value high = arith::ShRUIOp::create(b, loc, bits, half);
    high = move(arith::TruncIOp::create(b, loc, word, high));
    high = arith::ShLIOp::create(b, loc, arith::ExtUIOp::create(b, loc, wide, high), half);
    bits = arith::OrIOp::create(b, loc, high, arith::ExtUIOp::create(b, loc, wide, low));
    return isa<FloatType>(type) ? arith::BitcastOp::create(b, loc, type, bits).getResult() : bits;
  }

  Value add(Value x, Value y) {
    return isa<FloatType>(compute) ? arith::AddFOp::create(b, loc, x, y).getResult()
                                   : arith::AddIOp::create(b, loc, x, y).getResult();
  }

  /// A warp adds up 32 elements at a time.
  void cumSum(nn::CumSumOp op) {
    Value zero = e.constantOf(compute, 0, 1);
    Value lane = arith::IndexCastOp::create(b, loc, word, block.lane);
    auto isBehind = [&](int64_t distance) {
      return compare(arith::CmpIPredicate::sge, lane, number(distance));
    };
    int64_t last = (length - 1) / kWarp * kWarp;
    e.loop(e.indexConstant(0), e.indexConstant(length), kWarp, zero,
           [&](Value k, ValueRange before) -> SmallVector<Value> {
             Index own =
                 Index::of(e.symbol(k, last + 1, kWarp)) + Index::of(e.symbol(block.lane, kWarp));
             Emitter::Test isThere = e.isBelow(own, length);
             Index at = e.clamp(own, length);
             Index place = first + (op.getReverse() ? Index(length - 1) - at : at) * inner;
             Value x = pull(place, 1);
             if (isThere.value)
               x = select(isThere.value, x, zero);
             for (int64_t distance = 1; distance < kWarp; distance *= 2) {
               Value more = shuffle(x, distance, gpu::ShuffleMode::UP);
               x = select(isBehind(distance), add(more, x), x);
             }
             Value shown = x;
             if (op.getExclusive())
               shown = select(isBehind(1), shuffle(x, 1, gpu::ShuffleMode::UP), zero);
             e.when(isThere, [&] { e.store(0, place, add(before[0], shown)); });
             return {add(before[0], shuffle(x, kWarp - 1, gpu::ShuffleMode::IDX))};
           });
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  ThreadBlock &block;
  Type word;
  int64_t slots;
  Index column, first;
};

} // namespace

bool cleave::cuda::isLongColumns(Operation *root, const Chip &chip) {
  if (!isa<nn::ArgReduceOp, nn::TopKOp, nn::CumSumOp>(root))
    return false;
  // Threads with a column each read neighbours together where columns lie side by side, which
  // is enough if they are many.
  emit::ColumnSizes sizes(root);
  bool isFew = sizes.count() < 2 * kWarp * chip.multiprocessors;
  return sizes.length >= kLong && (sizes.inner == 1 || isFew);
}

Launch cleave::cuda::launchLongColumns(Operation *root) {
  emit::ColumnSizes sizes(root);
  int64_t threads = llvm::alignTo(ceilDiv(sizes.length, kEach), kWarp);
  if (isa<nn::CumSumOp>(root))
    threads = kWarp;
  Launch launch{sizes.count(), std::min(threads, kMostThreads)};
  if (auto op = dyn_cast<nn::TopKOp>(root))
    launch.workspace = workspaceOfTopK(op);
  return launch;
}

void cleave::cuda::emitLongColumns(Emitter &emitter, Operation *root, ThreadBlock &block) {
  if (auto op = dyn_cast<nn::TopKOp>(root))
    return emitTopK(emitter, op, block);
  LongColumns(emitter, root, block).run();
}
