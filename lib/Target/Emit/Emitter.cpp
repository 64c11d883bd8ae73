//===- Emitter.cpp - memory, indices and stores ---------------------------===//

#include "Emitter.h"

#include "Nn/Functions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace cleave::emit;

Emitter::Emitter(func::FuncOp kernel, func::FuncOp target, Machine machine)
    : kernel(kernel), target(target), builder(kernel.getContext()), loc(kernel.getLoc()),
      machine(machine) {
  Block *entry = target.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  auto arguments = entry->getArguments();
  memory.assign(arguments.begin(), arguments.end() - (machine.isParallel ? 3 : 2));
  scratch = arguments[memory.size()];
  coordinates = arguments[memory.size() + 1];
  if (machine.isParallel) {
    faultCell = arguments.back();
    return;
  }
  auto cell = MemRefType::get({1}, builder.getI32Type());
  faultCell = memref::AllocaOp::create(builder, loc, cell);
  Value none = arith::ConstantOp::create(builder, loc, builder.getI32IntegerAttr(0));
  memref::StoreOp::create(builder, loc, none, faultCell, indexConstant(0));
}

Value Emitter::outputMemory(unsigned number) { return memory[kernel.getNumArguments() + number]; }

int64_t Emitter::size(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getNumElements();
}

ArrayRef<int64_t> Emitter::shape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

int64_t Emitter::reserve(int64_t elements) {
  int64_t base = scratchElements;
  scratchElements += llvm::alignTo(elements, 16);
  return base;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Type Emitter::vectorOf(Type element, int64_t lanes) const {
  return lanes == 1 ? element : VectorType::get({lanes}, element);
}

Value Emitter::indexConstant(int64_t number) {
  return arith::ConstantIndexOp::create(builder, loc, number);
}

Value Emitter::splat(double number, int64_t lanes) {
  return constantOf(builder.getF32Type(), number, lanes);
}

Value Emitter::constantOf(Type element, double number, int64_t lanes) {
  Type type = vectorOf(element, lanes);
  Attribute attr;
  if (isa<FloatType>(element))
    attr = builder.getFloatAttr(element, number);
  else
    attr = builder.getIntegerAttr(element, static_cast<int64_t>(number));
  if (lanes > 1)
    attr = DenseElementsAttr::get(cast<VectorType>(type), attr);
  return arith::ConstantOp::create(builder, loc, type, cast<TypedAttr>(attr));
}

Value Emitter::broadcast(Value scalar, int64_t lanes) {
  if (lanes == 1 || isa<VectorType>(scalar.getType()))
    return scalar;
  return vector::BroadcastOp::create(builder, loc, vectorOf(scalar.getType(), lanes), scalar);
}

int64_t Emitter::laneCount(Value value) const {
  auto vector = dyn_cast<VectorType>(value.getType());
  return vector ? vector.getNumElements() : 1;
}

Value Emitter::iota(int64_t lanes) {
  auto type = VectorType::get({lanes}, builder.getI64Type());
  return arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(type,
                             ArrayRef<int64_t>(llvm::to_vector(llvm::seq<int64_t>(0, lanes)))));
}

/// bf16 is bits: LLVM calls a library for scalars of it. It has no 8-bit floats.
Type Emitter::storedType(Type element) {
  if (auto integer = dyn_cast<IntegerType>(element))
    return IntegerType::get(element.getContext(), std::max(integer.getWidth(), 8u));
  if (element.isBF16() || nn::isByteFloat(element))
    return IntegerType::get(element.getContext(), element.getIntOrFloatBitWidth());
  return element;
}

Value Emitter::widen(Value stored, Type element) {
  int64_t lanes = laneCount(stored);
  if (element.isInteger(1)) {
    Type type = stored.getType();
    Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, stored, none);
  }
  if (element.isBF16()) {
    Type bits = vectorOf(builder.getI32Type(), lanes);
    Value wide = arith::ExtUIOp::create(builder, loc, bits, stored);
    Value shift = constantOf(builder.getI32Type(), 16, lanes);
    return arith::BitcastOp::create(builder, loc, vectorOf(builder.getF32Type(), lanes),
                                    arith::ShLIOp::create(builder, loc, wide, shift));
  }
  if (nn::isByteFloat(element))
    return nn::buildOfF8Bits(builder, loc, stored, element);
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32)
    return arith::ExtFOp::create(builder, loc, vectorOf(builder.getF32Type(), lanes), stored);
  return stored;
}

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

Symbol Emitter::addSymbol(SymbolInfo info) {
  symbols.push_back(info);
  return symbols.size() - 1;
}

Symbol Emitter::symbol(Value value, int64_t extent, int64_t multiple) {
  SymbolInfo info;
  info.value = value;
  info.low = 0;
  info.high = std::max<int64_t>(extent - 1, 0);
  info.multiple = multiple;
  return addSymbol(info);
}

Symbol Emitter::opaque(Value value, int64_t low, int64_t high, bool isVector) {
  SymbolInfo info;
  info.value = value;
  info.low = low;
  info.high = high;
  info.isVector = isVector;
  info.lanes = isVector && value ? laneCount(value) : 1;
  isOpaque = true;
  return addSymbol(info);
}

std::pair<int64_t, int64_t> Emitter::range(const Index &at) const {
  int64_t low = at.constant, high = at.constant;
  for (auto [symbol, factor] : at.terms) {
    const SymbolInfo &info = symbols[symbol];
    low += factor * (factor > 0 ? info.low : info.high);
    high += factor * (factor > 0 ? info.high : info.low);
  }
  return {low, high};
}

int64_t Emitter::lanesOf(const Index &at) const {
  int64_t lanes = 1;
  for (auto [symbol, factor] : at.terms)
    lanes = std::max(lanes, symbols[symbol].lanes);
  return lanes;
}

Value Emitter::value(const Index &at) {
  Value sum;
  auto add = [&](Value term) {
    sum = sum ? arith::AddIOp::create(builder, loc, sum, term).getResult() : term;
  };
  for (auto [symbol, factor] : at.terms) {
    Value term = symbols[symbol].value;
    if (factor != 1)
      term = arith::MulIOp::create(builder, loc, term, indexConstant(factor));
    add(term);
  }
  if (at.constant != 0 || !sum)
    add(indexConstant(at.constant));
  return sum;
}

/// The index of every lane, as a vector of `index`.
Value Emitter::vectorValue(const Index &at, int64_t lanes) {
  Type type = vectorOf(builder.getIndexType(), lanes);
  Index uniform(at.constant);
  Value sum;
  auto add = [&](Value term) {
    sum = sum ? arith::AddIOp::create(builder, loc, sum, term).getResult() : term;
  };
  auto scale = [&](Value term, int64_t factor) -> Value {
    if (factor == 1)
      return term;
    Value by = vector::BroadcastOp::create(builder, loc, type, indexConstant(factor));
    return arith::MulIOp::create(builder, loc, term, by);
  };
  for (auto [symbol, factor] : at.terms) {
    const SymbolInfo &info = symbols[symbol];
    if (info.isVector) {
      add(scale(info.value, factor));
      continue;
    }
    uniform = uniform + Index::of(symbol, factor);
    if (info.lanes > 1)
      add(scale(arith::IndexCastOp::create(builder, loc, type, iota(lanes)), factor));
  }
  Value base = vector::BroadcastOp::create(builder, loc, type, value(uniform));
  return sum ? arith::AddIOp::create(builder, loc, sum, base).getResult() : base;
}

int64_t Emitter::multipleOf(const Index &at) const {
  int64_t multiple = std::abs(at.constant);
  for (auto [symbol, factor] : at.terms)
    multiple = std::gcd(multiple, factor * symbols[symbol].multiple);
  return multiple;
}

std::optional<Index> Emitter::lanesWithin(const Index &at, int64_t size) {
  int64_t lanes = lanesOf(at);
  if (lanes == 1)
    return Index(0);
  std::optional<int64_t> stride = laneStride(at);
  if (!stride || *stride <= 0)
    return std::nullopt;
  int64_t span = *stride * lanes;
  if (multipleOf(at - behindMultiple(at)) % span != 0 || size % span != 0)
    return std::nullopt;
  return laneSymbol(lanes) * *stride;
}

int64_t Emitter::behindMultiple(const Index &at) const {
  std::optional<int64_t> stride = laneStride(at);
  if (!stride || *stride <= 1)
    return 0;
  return (at.constant % *stride + *stride) % *stride;
}

std::pair<Index, Index> Emitter::divide(const Index &at, int64_t by) {
  if (by == 1)
    return {at, Index(0)};
  Index quotient, rest;
  int64_t whole = at.constant / by - (at.constant % by < 0 ? 1 : 0);
  quotient.constant = whole;
  rest.constant = at.constant - whole * by;
  for (auto [symbol, factor] : at.terms) {
    if (factor % by == 0)
      quotient = quotient + Index::of(symbol, factor / by);
    else
      rest = rest + Index::of(symbol, factor);
  }
  auto [low, high] = range(rest);
  if (low >= 0 && high < by)
    return {quotient, rest};
  if (low >= 0 && low / by == high / by)
    return {quotient + low / by, rest - (low / by) * by};

  for (auto [symbol, factor] : rest.terms) {
    const SymbolInfo &info = symbols[symbol];
    if (!mayRequest() || info.owner < 0 || factor < 0 || machine.isParallel)
      continue;
    int64_t step = by / std::gcd(factor, by), extent = current->loops[info.owner].extent;
    if (step > 1 && step < extent && extent % step == 0) {
      request({Request::Split, info.owner, step});
      return {quotient, rest};
    }
  }

  // Divide at run time.
  auto [known, isNew] = memo.quotients.try_emplace({rest, by});
  if (!isNew)
    return {quotient + known->second.first, known->second.second};
  std::optional<Index> within = lanesWithin(rest, by);
  if (int64_t behind = behindMultiple(rest); behind && within) {
    auto [ofMultiple, restOfMultiple] = divide(rest - behind, by);
    memo.quotients[{rest, by}] = {ofMultiple, restOfMultiple + behind};
    return {quotient + ofMultiple, restOfMultiple + behind};
  }
  if (!within)
    narrow();
  int64_t lanes = within ? 1 : lanesOf(rest);
  bool isVector = lanes > 1;
  Value q, r;
  if (!dry) {
    Value dividend = isVector ? vectorValue(rest, lanes) : value(rest);
    Type type = dividend.getType();
    // Vectors have no product of 64 bits that a division by a constant could become.
    bool inWords = isVector && low >= 0 && high <= std::numeric_limits<int32_t>::max();
    auto resize = [&](Type to, Value x) -> Value {
      return inWords ? arith::IndexCastOp::create(builder, loc, to, x).getResult() : x;
    };
    dividend = resize(vectorOf(builder.getI32Type(), lanes), dividend);
    Type element = getElementTypeOrSelf(dividend);
    Value divisor = arith::ConstantOp::create(builder, loc, builder.getIntegerAttr(element, by));
    divisor = broadcast(divisor, lanes);
    q = resize(type, arith::DivUIOp::create(builder, loc, dividend, divisor));
    r = resize(type, arith::RemUIOp::create(builder, loc, dividend, divisor));
  }
  Symbol quotientSymbol = opaque(q, 0, std::max<int64_t>(high, 0) / by, isVector);
  Symbol restSymbol = opaque(r, 0, by - 1, isVector);
  symbols[quotientSymbol].lanes = symbols[restSymbol].lanes = lanes;
  if (within)
    symbols[restSymbol].multiple = std::gcd(multipleOf(rest), by);
  known->second = {Index::of(quotientSymbol), Index::of(restSymbol) + within.value_or(0)};
  return {quotient + known->second.first, known->second.second};
}

SmallVector<Index> Emitter::delinearize(Index at, ArrayRef<int64_t> sizes) {
  SmallVector<Index> indices(sizes.size());
  for (int64_t dim = static_cast<int64_t>(sizes.size()) - 1; dim > 0; --dim) {
    if (sizes[dim] == 0)
      continue;
    auto [quotient, rest] = divide(at, sizes[dim]);
    indices[dim] = rest;
    at = quotient;
  }
  if (!indices.empty())
    indices[0] = at;
  return indices;
}

Index Emitter::linearize(ArrayRef<Index> indices, ArrayRef<int64_t> sizes) {
  Index flat;
  for (auto [index, size] : llvm::zip_equal(indices, sizes))
    flat = flat * size + index;
  return flat;
}

Index Emitter::broadcastIndex(const Index &at, ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  // Neighbouring dimensions that are kept, or that repeat, count as one.
  SmallVector<int64_t> sizes;
  SmallVector<bool> kept;
  size_t missing = from.size() - to.size();
  int64_t toSize = 1;
  for (auto [dim, size] : llvm::enumerate(from)) {
    if (size == 1)
      continue;
    bool keep = dim >= missing && to[dim - missing] == size;
    toSize *= keep ? size : 1;
    if (!kept.empty() && kept.back() == keep) {
      sizes.back() *= size;
    } else {
      sizes.push_back(size);
      kept.push_back(keep);
    }
  }
  if (toSize == 1)
    return 0;
  if (sizes.size() == 1)
    return at;
  SmallVector<Index> indices = delinearize(at, sizes), keptIndices;
  SmallVector<int64_t> keptSizes;
  for (auto [index, size, keep] : llvm::zip_equal(indices, sizes, kept))
    if (keep) {
      keptIndices.push_back(index);
      keptSizes.push_back(size);
    }
  return linearize(keptIndices, keptSizes);
}

Emitter::Test Emitter::isBelow(const Index &at, int64_t bound) {
  auto [low, high] = range(at);
  if (high < bound)
    return {true, {}};
  if (low >= bound)
    return {false, {}};
  if (at.terms.size() == 1 && mayRequest()) {
    auto [symbol, factor] = at.terms.front();
    const SymbolInfo &info = symbols[symbol];
    int64_t pieces = 1;
    for (const Loop &loop : current->loops)
      pieces *= loop.cuts.size() + 1;
    int64_t cut = llvm::divideCeil(bound - at.constant, factor);
    bool isAligned = !machine.isParallel || cut % machine.lanes == 0;
    if (info.owner >= 0 && factor > 0 && pieces < 16 && isAligned) {
      request({Request::Cut, info.owner, cut});
      return {true, {}};
    }
  }
  std::optional<Index> within = lanesWithin(at, bound);
  if (!within)
    narrow();
  if (dry)
    return {std::nullopt, {}};
  int64_t lanes = within ? 1 : lanesOf(at);
  Value left = lanes > 1 ? vectorValue(at, lanes) : value(at);
  Value right = indexConstant(bound);
  if (lanes > 1)
    right = vector::BroadcastOp::create(builder, loc, left.getType(), right);
  return {std::nullopt,
          arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, left, right)};
}

Index Emitter::clamp(const Index &at, int64_t size) {
  auto [low, high] = range(at);
  if (low >= 0 && high < size)
    return at;
  auto [known, isNew] = memo.clamped.try_emplace({at, size});
  if (!isNew)
    return known->second;
  std::optional<Index> within = lanesWithin(at, size);
  if (int64_t behind = behindMultiple(at); behind && within) {
    Index clamped = clamp(at - behind, size) + behind;
    memo.clamped[{at, size}] = clamped;
    return clamped;
  }
  if (!within)
    narrow();
  int64_t lanes = within ? 1 : lanesOf(at);
  int64_t last = std::max<int64_t>(size - 1, 0);
  if (within && !within->isConstant())
    last = std::max<int64_t>(size - lanesOf(*within) * *laneStride(*within), 0);
  Value clamped;
  if (!dry) {
    Value v = lanes > 1 ? vectorValue(at, lanes) : value(at);
    auto bound = [&](int64_t number) -> Value {
      Value c = indexConstant(number);
      return lanes > 1 ? vector::BroadcastOp::create(builder, loc, v.getType(), c).getResult() : c;
    };
    v = arith::MaxSIOp::create(builder, loc, v, bound(0));
    clamped = arith::MinSIOp::create(builder, loc, v, bound(last));
  }
  // Of lanes that lie apart it is kept that their distance divides the first.
  int64_t multiple = within ? std::gcd(multipleOf(at), last) : 1;
  int64_t apart = within && !within->isConstant() ? *laneStride(*within) : 1;
  if (multiple % apart != 0)
    apart = 1;
  if (apart > 1 && !dry)
    clamped = arith::DivUIOp::create(builder, loc, clamped, indexConstant(apart));
  Symbol symbol = opaque(clamped, 0, last / apart, lanes > 1);
  symbols[symbol].lanes = lanes;
  symbols[symbol].multiple = multiple / apart;
  return known->second = Index::of(symbol, apart) + within.value_or(0);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

std::optional<int64_t> Emitter::laneStride(const Index &at) const {
  int64_t stride = 0;
  for (auto [symbol, factor] : at.terms) {
    if (symbols[symbol].isVector)
      return std::nullopt;
    stride += symbols[symbol].lanes > 1 ? factor : 0;
  }
  return stride;
}

void Emitter::forLanes(const Index &at, int64_t lanes, function_ref<void(int64_t, Value)> step) {
  std::optional<int64_t> stride = laneStride(at);
  Value places = machine.isParallel && stride ? Value() : vectorValue(at, lanes);
  for (int64_t lane = 0; lane < lanes; ++lane)
    step(lane,
         places
             ? vector::ExtractOp::create(builder, loc, places, ArrayRef<int64_t>{lane}).getResult()
             : value(at + lane * *stride));
}

llvm::MaybeAlign Emitter::alignmentOf(const Index &at, Type stored, int64_t lanes) const {
  if (!machine.alignment || multipleOf(at) % lanes != 0)
    return std::nullopt;
  int64_t bytes = lanes * stored.getIntOrFloatBitWidth() / 8;
  return llvm::Align(std::min(bytes, machine.alignment));
}

Value Emitter::loadMemory(Value memory, Type element, const Index &at) {
  int64_t lanes = lanesOf(at);
  if (dry)
    return {};
  if (lanes == 1)
    return widen(memref::LoadOp::create(builder, loc, memory, value(at)), element);

  Type stored = storedType(element);
  auto type = cast<VectorType>(vectorOf(stored, lanes));
  if (laneStride(at) == 1)
    return widen(vector::LoadOp::create(builder, loc, type, memory, value(at),
                                        /*nontemporal=*/false, alignmentOf(at, stored, lanes)),
                 element);

  if (stored.getIntOrFloatBitWidth() >= 32 && !machine.isParallel) {
    Value places = vectorValue(at, lanes);
    auto maskType = VectorType::get({lanes}, builder.getI1Type());
    Value all = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(maskType, true));
    Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
    return vector::GatherOp::create(builder, loc, type, memory, ValueRange{indexConstant(0)},
                                    places, all, none);
  }
  SmallVector<Value> elements;
  forLanes(at, lanes, [&](int64_t, Value place) {
    elements.push_back(memref::LoadOp::create(builder, loc, memory, place));
  });
  return widen(vector::FromElementsOp::create(builder, loc, type, elements), element);
}

Value Emitter::load(unsigned argument, const Index &at) {
  auto type = cast<RankedTensorType>(kernel.getArgument(argument).getType());
  return loadMemory(memory[argument], type.getElementType(), at);
}

Value Emitter::loadArgument(unsigned argument, Type element, Value address, int64_t lanes) {
  Value source = memory[argument];
  if (lanes == 1)
    return widen(memref::LoadOp::create(builder, loc, source, address), element);
  auto type = cast<VectorType>(vectorOf(storedType(element), lanes));
  return widen(vector::LoadOp::create(builder, loc, type, source, address), element);
}

Value Emitter::loadScratch(int64_t base, const Index &at, int64_t lanes) {
  if (dry)
    return {};
  Value address = value(at + base);
  if (lanes == 1)
    return memref::LoadOp::create(builder, loc, scratch, address);
  Type element = builder.getF32Type();
  auto type = cast<VectorType>(vectorOf(element, lanes));
  return vector::LoadOp::create(builder, loc, type, scratch, address, /*nontemporal=*/false,
                                alignmentOf(at + base, element, lanes));
}

void Emitter::storeMemory(Value memory, const Index &at, Value stored) {
  int64_t lanes = laneCount(stored);
  if (lanes == 1) {
    memref::StoreOp::create(builder, loc, stored, memory, value(at));
  } else if (laneStride(at) == 1 || lanesOf(at) == 1) {
    Type element = cast<VectorType>(stored.getType()).getElementType();
    vector::StoreOp::create(builder, loc, stored, memory, value(at), /*nontemporal=*/false,
                            alignmentOf(at, element, lanes));
  } else {
    forLanes(at, lanes, [&](int64_t lane, Value place) {
      Value one = vector::ExtractOp::create(builder, loc, stored, ArrayRef<int64_t>{lane});
      memref::StoreOp::create(builder, loc, one, memory, place);
    });
  }
}

void Emitter::storeScratch(int64_t base, const Index &at, Value stored) {
  if (!dry)
    storeMemory(scratch, at + base, broadcast(stored, lanesOf(at)));
}

Value Emitter::loadWorkspace(const Index &at) {
  return loadMemory(memory[memory.size() - 2], builder.getF32Type(), at);
}

void Emitter::storeWorkspace(const Index &at, Value stored) {
  if (!dry)
    storeMemory(memory[memory.size() - 2], at, broadcast(stored, lanesOf(at)));
}

void Emitter::store(unsigned number, const Index &at, Value stored) {
  if (dry)
    return;
  Type element = cast<RankedTensorType>(kernel.getResultTypes()[number]).getElementType();
  stored = broadcast(stored, lanesOf(at));
  int64_t lanes = laneCount(stored);
  Type narrow = vectorOf(storedType(element), lanes);
  if (element.isInteger(1)) {
    stored = arith::ExtUIOp::create(builder, loc, narrow, stored);
  } else if (element.isBF16()) {
    stored = machine.roundToBf16 && lanes % 2 == 0
                 ? machine.roundToBf16(builder, loc, stored)
                 : arith::TruncIOp::create(builder, loc, narrow,
                                           nn::buildBf16Bits(builder, loc, stored));
  } else if (nn::isByteFloat(element)) {
    stored = arith::TruncIOp::create(
        builder, loc, narrow, nn::buildF8Bits(builder, loc, stored, element, /*saturates=*/false));
  } else if (stored.getType() != narrow) {
    stored = arith::TruncFOp::create(builder, loc, narrow, stored);
  }
  storeMemory(outputMemory(number), at, stored);
}

void Emitter::fault(Value wild) {
  if (dry)
    return;
  if (isa<VectorType>(wild.getType()))
    wild = vector::ReductionOp::create(builder, loc, vector::CombiningKind::OR, wild);
  if (machine.isParallel) {
    when(wild, [&] {
      Value one = constantOf(builder.getI32Type(), 1, 1);
      memref::AtomicRMWOp::create(builder, loc, arith::AtomicRMWKind::ori, one, faultCell,
                                  indexConstant(0));
    });
    return;
  }
  Value flag = arith::ExtUIOp::create(builder, loc, builder.getI32Type(), wild);
  Value before = memref::LoadOp::create(builder, loc, faultCell, indexConstant(0));
  Value after = arith::OrIOp::create(builder, loc, before, flag);
  memref::StoreOp::create(builder, loc, after, faultCell, indexConstant(0));
}
