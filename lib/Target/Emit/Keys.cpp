//===- Keys.cpp - what top-k looks at -------------------------------------===//

#include "Keys.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

static int64_t keyBits(Type element) { return llvm::alignTo(element.getIntOrFloatBitWidth(), 8); }

int64_t Keys::entryWords(nn::TopKOp op) {
  return keyBits(nn::elementOf(op.getInput())) > 32 ? 3 : 2;
}

Keys::Keys(Emitter &emitter, nn::TopKOp op)
    : Columns(emitter, op), e(emitter), b(e.builder), loc(e.loc), op(op), wanted(op.getK()),
      bits(keyBits(compute)), word(b.getI32Type()), keyType(bits > 32 ? b.getI64Type() : word) {}

Value Keys::constant(Type type, int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value));
}

Value Keys::resize(Type type, Value x) {
  unsigned from = getElementTypeOrSelf(x).getIntOrFloatBitWidth();
  unsigned to = type.getIntOrFloatBitWidth();
  if (from == to)
    return x;
  Type its = e.vectorOf(type, e.laneCount(x));
  return from < to ? arith::ExtUIOp::create(b, loc, its, x).getResult()
                   : arith::TruncIOp::create(b, loc, its, x);
}

Index Keys::indexOf(Value number, int64_t extent) {
  return Index::of(e.symbol(arith::IndexCastOp::create(b, loc, b.getIndexType(), number), extent));
}

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

/// NaN is greater than any number, and zeros are equal.
Value Keys::keyOf(Value x) {
  int64_t lanes = e.laneCount(x);
  unsigned width = compute.getIntOrFloatBitWidth();
  Type type = b.getIntegerType(width);
  auto all = [&](int64_t value) { return e.broadcast(constant(type, value), lanes); };
  Value key = x, sign = all(APInt::getSignMask(width).getSExtValue());
  if (isa<FloatType>(compute)) {
    Value zero = e.constantOf(compute, 0, lanes);
    Value isZero = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, x, zero);
    Value isNaN = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
    key = arith::BitcastOp::create(b, loc, e.vectorOf(type, lanes), select(isZero, zero, x));
    // Below zero the smaller number has the greater bits.
    Value isNegative = arith::ShRSIOp::create(b, loc, key, all(width - 1));
    key = arith::XOrIOp::create(b, loc, key, either(isNegative, sign));
    key = select(isNaN, all(-1), key);
  } else if (isSigned) {
    key = arith::XOrIOp::create(b, loc, key, sign);
  }
  if (op.getKind() == nn::ArgKind::Min)
    key = arith::XOrIOp::create(b, loc, key, all(-1));
  return resize(keyType, key);
}

Value Keys::pullKey(const Index &first, const Index &number) {
  Index at = first + number * inner;
  return keyOf(pull(at, e.lanesOf(at)));
}

Value Keys::isInFront(const Entry &x, const Entry &y) {
  Value isEarlier = compare(arith::CmpIPredicate::ult, x.number, y.number);
  return either(greater(x.key, y.key), both(equal(x.key, y.key), isEarlier));
}

void Keys::storeResult(const Index &column, const Index &first, const Index &rank, Value number) {
  Index at = start(column, wanted) + rank * inner;
  e.store(0, at, pull(first + indexOf(number, length) * inner, 1));
  e.store(1, at, resize(b.getI64Type(), number));
}

//===----------------------------------------------------------------------===//
// The list
//===----------------------------------------------------------------------===//

Value Keys::loadWord(int64_t base, const Index &at) {
  return arith::BitcastOp::create(b, loc, word, e.loadScratch(base, at, 1));
}

void Keys::storeWord(int64_t base, const Index &at, Value x) {
  e.storeScratch(base, at, arith::BitcastOp::create(b, loc, b.getF32Type(), x));
}

Keys::Entry Keys::loadEntry(const Index &at) {
  int64_t words = entryWords(op);
  auto part = [&](int64_t i) -> Value {
    if (!workspace)
      return loadWord(list, at * words + i);
    return arith::BitcastOp::create(b, loc, word, e.loadWorkspace(*workspace + at * words + i));
  };
  Value key = part(0);
  if (words == 3) {
    Value high = arith::ShLIOp::create(b, loc, resize(keyType, part(1)), constant(keyType, 32));
    key = either(resize(keyType, key), high);
  }
  return {key, part(words - 1)};
}

void Keys::storeEntry(const Index &at, const Entry &entry) {
  int64_t words = entryWords(op);
  auto part = [&](int64_t i, Value x) {
    if (!workspace)
      return storeWord(list, at * words + i, x);
    e.storeWorkspace(*workspace + at * words + i,
                     arith::BitcastOp::create(b, loc, b.getF32Type(), x));
  };
  part(0, resize(word, entry.key));
  if (words == 3)
    part(1, resize(word, arith::ShRUIOp::create(b, loc, entry.key, constant(keyType, 32))));
  part(words - 1, entry.number);
}
