//===- TopK.cpp - the first of a column by a heap -------------------------===//
//
// The first k elements are a heap whose root is the last of them. Whatever is in front of
// the root takes its place; vectors of which nothing is are passed by. In the end the root
// is taken again and again, which gives the order from behind.
//
//===----------------------------------------------------------------------===//

#include "../Emit/Keys.h"

#include "Roots.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

namespace {

struct TopK : Keys {
  TopK(Emitter &e, nn::TopKOp op) : Keys(e, op) { list = e.reserve(listWords(op)); }

  void run() {
    e.loop(0, count(), 1, [&](const Index &its) {
      column = its;
      first = start(column, length);
      fill();
      pass();
      takeInOrder();
    });
  }

private:
  Value index(int64_t value) { return e.indexConstant(value); }
  Index symbol(Value at, int64_t extent) { return Index::of(e.symbol(at, extent)); }

  /// Calls `body` with each number of [begin, end).
  void each(int64_t begin, int64_t end, int64_t step, function_ref<void(Value)> body) {
    e.loop(index(begin), index(end), step, {}, [&](Value at, ValueRange) -> SmallVector<Value> {
      body(at);
      return {};
    });
  }

  /// Has the entry at `at` go down, of the first `size`, until all below are in front of it.
  void sink(Value at, Value size) {
    Entry own = loadEntry(symbol(at, wanted));
    Type place = b.getIndexType();
    auto loop = scf::WhileOp::create(b, loc, {place, place, keyType, word}, at);
    {
      OpBuilder::InsertionGuard guard(b);
      b.createBlock(&loop.getBefore(), {}, place, loc);
      Value here = loop.getBefore().getArgument(0);
      Value left = add(add(here, here), index(1)), right = add(left, index(1));
      auto isThere = [&](Value child) { return compare(arith::CmpIPredicate::ult, child, size); };
      Value isParent = isThere(left), hasTwo = isThere(right);
      left = select(isParent, left, index(0));
      right = select(hasTwo, right, left);
      Entry one = loadEntry(symbol(left, wanted)), other = loadEntry(symbol(right, wanted));
      Value isOther = isInFront(one, other);
      Entry last{select(isOther, other.key, one.key), select(isOther, other.number, one.number)};
      Value child = select(isOther, right, left);
      scf::ConditionOp::create(b, loc, both(isParent, isInFront(own, last)),
                               ValueRange{here, child, last.key, last.number});

      SmallVector<Type> types{place, place, keyType, word};
      SmallVector<Location> locs(types.size(), loc);
      b.createBlock(&loop.getAfter(), {}, types, locs);
      auto its = loop.getAfter().getArguments();
      storeEntry(symbol(its[0], wanted), {its[2], its[3]});
      scf::YieldOp::create(b, loc, its[1]);
    }
    storeEntry(symbol(loop.getResult(0), wanted), own);
  }

  void fill() {
    each(0, wanted, 1, [&](Value at) {
      storeEntry(symbol(at, wanted), {pullKey(first, symbol(at, length)), numberOf(at)});
    });
    int64_t parents = wanted / 2;
    each(0, parents, 1, [&](Value i) { sink(subtract(index(parents - 1), i), index(wanted)); });
  }

  /// Each of the elements behind the first k; later ones are in front by their key alone.
  void pass() {
    int64_t lanes = inner == 1 ? e.machine.lanes : 1, end = wanted;
    if (lanes > 1) {
      end += (length - wanted) / lanes * lanes;
      each(wanted, end, lanes, [&](Value at) {
        Value keys = pullKey(first, symbol(at, length) + e.laneSymbol(lanes));
        Value root = e.broadcast(loadEntry(0).key, lanes);
        Value isAny =
            vector::ReductionOp::create(b, loc, vector::CombiningKind::OR, greater(keys, root));
        e.when(isAny, [&] { each(0, lanes, 1, [&](Value lane) { offer(add(at, lane)); }); });
      });
    }
    each(end, length, 1, [&](Value at) { offer(at); });
  }

  void offer(Value at) {
    Value key = pullKey(first, symbol(at, length));
    e.when(greater(key, loadEntry(0).key), [&] {
      storeEntry(0, {key, numberOf(at)});
      sink(index(0), index(wanted));
    });
  }

  void takeInOrder() {
    each(0, wanted, 1, [&](Value i) {
      Value last = subtract(index(wanted - 1), i);
      storeResult(column, first, symbol(last, wanted), loadEntry(0).number);
      storeEntry(0, loadEntry(symbol(last, wanted)));
      sink(index(0), last);
    });
  }

  Index column, first;
};

} // namespace

void cleave::cpu::emitTopK(Emitter &emitter, nn::TopKOp root) {
  if (root.getK() > 0)
    TopK(emitter, root).run();
}
