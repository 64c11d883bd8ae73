//===- TopK.cpp - the first of a long column by its digits ----------------===//
//
// A radix select (Alabi et al., "Fast k-Selection Algorithms for Graphics Processing
// Units", 2012). A block counts what keys have as their first digit, which says the digit
// of the last that is taken; it goes on with those that share that digit, until all that do
// are taken. The k that are have a list, in any order, in which each is behind as many as
// are greater.
//
//===----------------------------------------------------------------------===//

#include "../Emit/Keys.h"

#include "Roots.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

namespace {

constexpr int64_t kDigit = 8, kBins = 1 << kDigit, kBinsOfLane = kBins / kWarp;
/// Lists up to here are in memory that a block shares.
constexpr int64_t kSharedWords = 8 << 10;

bool isListShared(nn::TopKOp op) { return emit::Keys::listWords(op) <= kSharedWords; }

struct TopK : emit::Keys {
  TopK(Emitter &e, nn::TopKOp op, ThreadBlock &block)
      : Keys(e, op), block(block), bins(e.reserve(kBins)), chosen(e.reserve(kChosen)) {
    if (isListShared(op))
      list = e.reserve(listWords(op));
  }

  void run() {
    e.loop(block.number, e.indexConstant(count()), block.launch.blocks, {},
           [&](Value at, ValueRange) -> SmallVector<Value> {
             column = Index::of(e.symbol(at, count()));
             if (!isListShared(op))
               workspace = column * listWords(op);
             first = start(column, length);
             takeInOrder(findLast());
             return {};
           });
  }

private:
  /// What the block is told of a turn: a digit, how many are in front of it, and how many have it.
  enum { kDigitChosen, kInFront, kOfDigit, kListed, kChosen };

  /// The last that is taken; where all with some first digits are, what they have at least.
  struct Last {
    Value key, earliness;
  };

  /// Adds one to a word that all count in, and says what it was.
  Value countIn(int64_t base, Value at) {
    Value memory = pointerOf(b, loc, e.scratchMemory(), kSharedSpace);
    Value place = add(number(base), at);
    Value counter =
        LLVM::GEPOp::create(b, loc, memory.getType(), word, memory, ArrayRef<LLVM::GEPArg>{place});
    return LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, counter, number(1),
                                     LLVM::AtomicOrdering::monotonic, "block");
  }
  Value earlinessOf(Value place) { return subtract(number(length - 1), place); }

  void eachElement(Value end, function_ref<void(Value key, Value place)> body) {
    e.loop(block.thread, end, block.launch.threads, {},
           [&](Value k, ValueRange) -> SmallVector<Value> {
             body(pullKey(first, Index::of(e.symbol(k, length))), numberOf(k));
             return {};
           });
  }

  //===--- the last that is taken ---===//

  struct Turn {
    Value prefix, mask; ///< the digits that are known, and where they are
    Value missing;      ///< how many of those that share them are taken
    Value isDone;       ///< all of them
  };

  /// One digit of `values`; of elements for which there is none nothing is counted.
  Turn choose(const Turn &before, Value shift, function_ref<Value(Value, Value)> valueOf,
              function_ref<Value(Value)> isMeant) {
    Type type = before.prefix.getType();
    Value ones = constant(type, kBins - 1);
    e.loop(block.thread, e.indexConstant(kBins), block.launch.threads, {},
           [&](Value bin, ValueRange) -> SmallVector<Value> {
             storeWord(bins, Index::of(e.symbol(bin, kBins)), number(0));
             return {};
           });
    block.sync();
    Value end = select(before.isDone, e.indexConstant(0), e.indexConstant(length));
    eachElement(end, [&](Value key, Value place) {
      Value value = valueOf(key, place);
      Value shares = both(isMeant(key), equal(both(value, before.mask), before.prefix));
      e.when(shares, [&] {
        Value digit = both(arith::ShRUIOp::create(b, loc, value, shift), ones);
        countIn(bins, resize(word, digit));
      });
    });
    block.sync();
    Value isFirstWarp = equal(block.warpNumber, e.indexConstant(0));
    e.when(isFirstWarp, [&] { chooseBin(before.missing); });
    block.sync();

    auto told = [&](int64_t what) { return loadWord(chosen, what); };
    auto unlessDone = [&](Value old, Value now) { return select(before.isDone, old, now); };
    Value digit = arith::ShLIOp::create(b, loc, resize(type, told(kDigitChosen)), shift);
    Value missing = subtract(before.missing, told(kInFront));
    return {unlessDone(before.prefix, either(before.prefix, digit)),
            either(before.mask, arith::ShLIOp::create(b, loc, ones, shift)),
            unlessDone(before.missing, missing),
            either(before.isDone, equal(missing, told(kOfDigit)))};
  }

  /// The bin in which the last is: each lane has neighbours, the first lane the greatest.
  void chooseBin(Value missing) {
    Value lane = arith::IndexCastOp::create(b, loc, word, block.lane);
    Value greatest =
        subtract(number(kBins - 1), arith::MulIOp::create(b, loc, lane, number(kBinsOfLane)));
    SmallVector<Value> counts;
    Value own = number(0);
    for (int64_t i = 0; i < kBinsOfLane; ++i) {
      counts.push_back(loadWord(bins, indexOf(subtract(greatest, number(i)), kBins)));
      own = add(own, counts.back());
    }
    Value upTo = own;
    for (int64_t distance = 1; distance < kWarp; distance *= 2) {
      Value more = gpu::ShuffleOp::create(b, loc, upTo, number(distance), number(kWarp),
                                          gpu::ShuffleMode::UP)
                       .getShuffleResult();
      Value isBehind = compare(arith::CmpIPredicate::sge, lane, number(distance));
      upTo = select(isBehind, add(upTo, more), upTo);
    }
    Value inFront = subtract(upTo, own);
    Value isIts = both(compare(arith::CmpIPredicate::ult, inFront, missing),
                       compare(arith::CmpIPredicate::uge, upTo, missing));
    // The first of the neighbours with whom those that are missing are there.
    Value digit = greatest, ofDigit = counts.front();
    for (Value next : llvm::drop_begin(counts)) {
      Value isFurther = compare(arith::CmpIPredicate::ult, add(inFront, ofDigit), missing);
      inFront = select(isFurther, add(inFront, ofDigit), inFront);
      digit = select(isFurther, subtract(digit, number(1)), digit);
      ofDigit = select(isFurther, next, ofDigit);
    }
    e.when(isIts, [&] {
      storeWord(chosen, kDigitChosen, digit);
      storeWord(chosen, kInFront, inFront);
      storeWord(chosen, kOfDigit, ofDigit);
    });
  }

  /// All digits of a value, the first one first.
  Turn chooseAll(int64_t bits, Type type, Value missing, Value isDone,
                 function_ref<Value(Value, Value)> valueOf, function_ref<Value(Value)> isMeant) {
    SmallVector<Value> end =
        e.loop(e.indexConstant(0), e.indexConstant(bits / kDigit), 1,
               {constant(type, 0), constant(type, 0), missing, isDone},
               [&](Value turn, ValueRange its) -> SmallVector<Value> {
                 Value left = subtract(e.indexConstant(bits / kDigit - 1), turn);
                 Value shift =
                     arith::MulIOp::create(b, loc, arith::IndexCastOp::create(b, loc, type, left),
                                           constant(type, kDigit));
                 Turn now = choose({its[0], its[1], its[2], its[3]}, shift, valueOf, isMeant);
                 return {now.prefix, now.mask, now.missing, now.isDone};
               });
    return {end[0], end[1], end[2], end[3]};
  }

  Last findLast() {
    Value yes = e.constantOf(b.getI1Type(), 1, 1), no = e.constantOf(b.getI1Type(), 0, 1);
    Turn keys = chooseAll(
        bits, keyType, number(wanted), no, [](Value key, Value) { return key; },
        [&](Value) { return yes; });
    int64_t placeBits = llvm::alignTo(llvm::Log2_64_Ceil(length), kDigit);
    Turn places = chooseAll(
        placeBits, word, keys.missing, keys.isDone,
        [&](Value, Value place) { return earlinessOf(place); },
        [&](Value key) { return equal(key, keys.prefix); });
    return {keys.prefix, places.prefix};
  }

  //===--- those that are taken ---===//

  /// A block that does so for another column has met before it fills the list again.
  void takeInOrder(const Last &last) {
    auto isOne = [&] { return equal(block.thread, e.indexConstant(0)); };
    e.when(isOne(), [&] { storeWord(chosen, kListed, number(0)); });
    block.sync();
    eachElement(e.indexConstant(length), [&](Value key, Value place) {
      Value isEarly = compare(arith::CmpIPredicate::uge, earlinessOf(place), last.earliness);
      Value isTaken = either(greater(key, last.key), both(equal(key, last.key), isEarly));
      e.when(isTaken,
             [&] { storeEntry(indexOf(countIn(chosen, number(kListed)), wanted), {key, place}); });
    });
    block.sync();
    e.loop(block.thread, e.indexConstant(wanted), block.launch.threads, {},
           [&](Value i, ValueRange) -> SmallVector<Value> {
             Entry own = loadEntry(Index::of(e.symbol(i, wanted)));
             Value rank = e.loop(e.indexConstant(0), e.indexConstant(wanted), 1, number(0),
                                 [&](Value k, ValueRange before) -> SmallVector<Value> {
                                   Entry other = loadEntry(Index::of(e.symbol(k, wanted)));
                                   Value isFirst = isInFront(other, own);
                                   return {add(before[0], resize(word, isFirst))};
                                 })[0];
             storeResult(column, first, indexOf(rank, wanted), own.number);
             return {};
           });
  }

  ThreadBlock &block;
  int64_t bins, chosen;
  Index column, first;
};

} // namespace

emit::Workspace cleave::cuda::workspaceOfTopK(nn::TopKOp root) {
  if (isListShared(root))
    return {};
  // There is none without a counter.
  return {emit::ColumnSizes(root).count() * emit::Keys::listWords(root), 1};
}

void cleave::cuda::emitTopK(Emitter &emitter, nn::TopKOp root, ThreadBlock &block) {
  TopK(emitter, root, block).run();
}
