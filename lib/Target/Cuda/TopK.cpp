//===- TopK.cpp - the first of a long column by its digits ----------------===//
//
// A radix select (Alabi et al., "Fast k-Selection Algorithms for Graphics Processing
// Units", 2012). Elements become keys, integers that are the greater the further in front
// they belong, and of equal ones the earlier has the greater. A block counts what keys have
// as their first digit, which says the digit of the last that is taken; it goes on with
// those that share that digit, until all that do are taken. The k that are have a list, in
// any order, in which each is behind as many as are greater.
//
//===----------------------------------------------------------------------===//

#include "../Emit/Columns.h"

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

namespace {

constexpr int64_t kDigit = 8, kBins = 1 << kDigit, kBinsOfLane = kBins / kWarp;
/// Lists up to here are in memory that a block shares.
constexpr int64_t kSharedWords = 8 << 10;

int64_t keyBits(Type element) {
  return llvm::alignTo(std::max(element.getIntOrFloatBitWidth(), 1u), kDigit);
}

/// Of an entry: its key, then its number in the column.
int64_t wordsOf(nn::TopKOp op) { return keyBits(nn::elementOf(op.getInput())) > 32 ? 3 : 2; }

int64_t listWords(nn::TopKOp op) { return op.getK() * wordsOf(op); }

struct TopK : emit::Columns {
  TopK(Emitter &e, nn::TopKOp op, ThreadBlock &block)
      : Columns(e, op), e(e), b(e.builder), loc(e.loc), op(op), block(block), word(b.getI32Type()),
        wanted(op.getK()), entryWords(wordsOf(op)), isShared(listWords(op) <= kSharedWords),
        bins(e.reserve(kBins)), chosen(e.reserve(kChosen)),
        list(isShared ? e.reserve(listWords(op)) : 0) {
    bits = llvm::alignTo(compute.getIntOrFloatBitWidth(), kDigit);
    keyType = bits > 32 ? b.getI64Type() : word;
  }

  void run() {
    e.loop(block.number, e.indexConstant(count()), block.launch.blocks, {},
           [&](Value at, ValueRange) -> SmallVector<Value> {
             column = Index::of(e.symbol(at, count()));
             first = start(column, length);
             takeInOrder(findLast());
             return {};
           });
  }

private:
  /// What the block is told of a turn: a digit, how many are in front of it, and how many have it.
  enum { kDigitChosen, kInFront, kOfDigit, kListed, kChosen };

  struct Entry {
    Value key, number;
  };
  /// The last that is taken; where all with some first digits are, what they have at least.
  struct Last {
    Value key, earliness;
  };

  Value constant(Type type, int64_t value) {
    return arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value));
  }
  Value number(int64_t value) { return constant(word, value); }
  Value compare(arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(b, loc, predicate, x, y);
  }
  Value equal(Value x, Value y) { return compare(arith::CmpIPredicate::eq, x, y); }
  Value greater(Value x, Value y) { return compare(arith::CmpIPredicate::ugt, x, y); }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, loc, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, loc, x, y); }
  Value select(Value test, Value x, Value y) { return arith::SelectOp::create(b, loc, test, x, y); }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, loc, x, y); }
  Value subtract(Value x, Value y) { return arith::SubIOp::create(b, loc, x, y); }
  Value resize(Type type, Value x) {
    unsigned from = x.getType().getIntOrFloatBitWidth(), to = type.getIntOrFloatBitWidth();
    if (from == to)
      return x;
    return from < to ? arith::ExtUIOp::create(b, loc, type, x).getResult()
                     : arith::TruncIOp::create(b, loc, type, x).getResult();
  }
  Index indexOf(Value number, int64_t extent) {
    return Index::of(
        e.symbol(arith::IndexCastOp::create(b, loc, b.getIndexType(), number), extent));
  }

  //===--- memory of the block ---===//

  Value loadWord(int64_t base, const Index &at) {
    return arith::BitcastOp::create(b, loc, word, e.loadScratch(base, at, 1));
  }
  void storeWord(int64_t base, const Index &at, Value x) {
    e.storeScratch(base, at, arith::BitcastOp::create(b, loc, b.getF32Type(), x));
  }
  /// Adds one to a word that all count in, and says what it was.
  Value countIn(int64_t base, Value at) {
    Value memory = pointerOf(b, loc, e.scratchMemory(), kSharedSpace);
    Value place = add(number(base), at);
    Value counter =
        LLVM::GEPOp::create(b, loc, memory.getType(), word, memory, ArrayRef<LLVM::GEPArg>{place});
    return LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, counter, number(1),
                                     LLVM::AtomicOrdering::monotonic, "block");
  }
  Value loadEntryWord(int64_t part, const Index &at) {
    if (isShared)
      return loadWord(list, at * entryWords + part);
    Value x = e.loadWorkspace((column * wanted + at) * entryWords + part);
    return arith::BitcastOp::create(b, loc, word, x);
  }
  void storeEntryWord(int64_t part, const Index &at, Value x) {
    if (isShared)
      return storeWord(list, at * entryWords + part, x);
    e.storeWorkspace((column * wanted + at) * entryWords + part,
                     arith::BitcastOp::create(b, loc, b.getF32Type(), x));
  }
  Entry loadEntry(const Index &at) {
    Value key = loadEntryWord(0, at);
    if (entryWords == 3) {
      Value high = arith::ShLIOp::create(b, loc, resize(keyType, loadEntryWord(1, at)),
                                         constant(keyType, 32));
      key = either(resize(keyType, key), high);
    }
    return {key, loadEntryWord(entryWords - 1, at)};
  }
  void storeEntry(const Index &at, const Entry &entry) {
    storeEntryWord(0, at, resize(word, entry.key));
    if (entryWords == 3) {
      Value high = arith::ShRUIOp::create(b, loc, entry.key, constant(keyType, 32));
      storeEntryWord(1, at, resize(word, high));
    }
    storeEntryWord(entryWords - 1, at, entry.number);
  }

  //===--- keys ---===//

  /// NaN is greater than any number, and zeros are equal.
  Value keyOf(Value x) {
    Type type = b.getIntegerType(compute.getIntOrFloatBitWidth());
    unsigned width = type.getIntOrFloatBitWidth();
    Value key = x, sign = constant(type, APInt::getSignMask(width).getSExtValue());
    if (isa<FloatType>(compute)) {
      Value zero = e.constantOf(compute, 0, 1);
      Value isZero = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, x, zero);
      Value isNaN = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
      key = arith::BitcastOp::create(b, loc, type, select(isZero, zero, x));
      // Below zero the smaller number has the greater bits.
      Value isNegative = arith::ShRSIOp::create(b, loc, key, constant(type, width - 1));
      key = arith::XOrIOp::create(b, loc, key, either(isNegative, sign));
      key = select(isNaN, constant(type, -1), key);
    } else if (isSigned) {
      key = arith::XOrIOp::create(b, loc, key, sign);
    }
    if (op.getKind() == nn::ArgKind::Min)
      key = arith::XOrIOp::create(b, loc, key, constant(type, -1));
    return resize(keyType, key);
  }
  Value earlinessOf(Value place) { return subtract(number(length - 1), place); }

  void eachElement(Value end, function_ref<void(Value key, Value place)> body) {
    e.loop(block.thread, end, block.launch.threads, {},
           [&](Value k, ValueRange) -> SmallVector<Value> {
             Value x = pull(first + Index::of(e.symbol(k, length)) * inner, 1);
             body(keyOf(x), arith::IndexCastOp::create(b, loc, word, k));
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
    Index target = start(column, wanted);
    e.loop(block.thread, e.indexConstant(wanted), block.launch.threads, {},
           [&](Value i, ValueRange) -> SmallVector<Value> {
             Entry own = loadEntry(Index::of(e.symbol(i, wanted)));
             Value rank = e.loop(e.indexConstant(0), e.indexConstant(wanted), 1, number(0),
                                 [&](Value k, ValueRange before) -> SmallVector<Value> {
                                   Entry other = loadEntry(Index::of(e.symbol(k, wanted)));
                                   Value isFirst = isInFront(other, own);
                                   return {add(before[0], resize(word, isFirst))};
                                 })[0];
             Index at = target + indexOf(rank, wanted) * inner;
             e.store(0, at, pull(first + indexOf(own.number, length) * inner, 1));
             e.store(1, at, resize(b.getI64Type(), own.number));
             return {};
           });
  }

  Value isInFront(const Entry &x, const Entry &y) {
    Value isEarlier = compare(arith::CmpIPredicate::ult, x.number, y.number);
    return either(greater(x.key, y.key), both(equal(x.key, y.key), isEarlier));
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  nn::TopKOp op;
  ThreadBlock &block;
  Type word, keyType;
  int64_t wanted, entryWords;
  bool isShared;
  int64_t bins, chosen, list, bits;
  Index column, first;
};

} // namespace

emit::Workspace cleave::cuda::workspaceOfTopK(nn::TopKOp root) {
  if (listWords(root) <= kSharedWords)
    return {};
  // There is none without a counter.
  return {emit::ColumnSizes(root).count() * listWords(root), 1};
}

void cleave::cuda::emitTopK(Emitter &emitter, nn::TopKOp root, ThreadBlock &block) {
  TopK(emitter, root, block).run();
}
