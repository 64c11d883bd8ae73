//===- Fragments.cpp - what tensor cores read and multiply ----------------===//

#include "Fragments.h"

#include "Nn/Functions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

Type cleave::cuda::factorOf(Operation *root, unsigned operand, const Chip &chip) {
  Type element = getElementTypeOrSelf(root->getOperand(operand).getType());
  // A window is read element by element, and becomes f16 sooner than bytes again.
  if (chip.hasByteFloats && isa<nn::MatmulOp>(root))
    return element;
  return nn::isByteFloat(element) ? Float16Type::get(element.getContext()) : element;
}

Fragments::Fragments(Emitter &emitter, ThreadBlock &block, Type element, Type other)
    : e(emitter), b(e.builder), loc(e.loc), element(element), other(other ? other : element),
      word(b.getI32Type()) {
  auto cast = [&](Value x) { return arith::IndexCastOp::create(b, loc, word, x).getResult(); };
  lane = cast(block.lane);
  warp = cast(block.warpNumber);
  thread = cast(block.thread);
  shared = pointerOf(b, loc, e.scratchMemory(), kSharedSpace);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Value Fragments::number(int64_t constant) { return e.constantOf(word, constant, 1); }

Value Fragments::number(const Index &at) {
  return arith::IndexCastOp::create(b, loc, word, e.value(at));
}

Value Fragments::add(Value x, Value y) { return arith::AddIOp::create(b, loc, x, y); }

Value Fragments::times(Value x, int64_t by) {
  return by == 1 ? x : arith::MulIOp::create(b, loc, x, number(by)).getResult();
}

Value Fragments::over(Value x, int64_t by) {
  return by == 1 ? x : arith::DivUIOp::create(b, loc, x, number(by)).getResult();
}

Value Fragments::modulo(Value x, int64_t by) {
  return arith::RemUIOp::create(b, loc, x, number(by));
}

Value Fragments::flip(Value x, Value bits) { return arith::XOrIOp::create(b, loc, x, bits); }

Value Fragments::isBelow(Value x, int64_t bound) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, number(bound));
}

Index Fragments::index(Value number, int64_t extent) {
  Value at = arith::IndexCastOp::create(b, loc, b.getIndexType(), number);
  return Index::of(e.symbol(at, extent));
}

Value Fragments::place(const SharedTile &tile, Value row, Value chunk) {
  if (tile.panel && tile.panel < tile.columns) {
    int64_t chunks = tile.panel / kMatrix;
    return add(times(over(chunk, chunks), tile.panelBytes()),
               place({tile.rows, tile.panel}, row, modulo(chunk, chunks)));
  }
  // As many rows as fill all banks share a permutation.
  int64_t different = std::min(tile.chunks(), kMatrix);
  Value bits = modulo(over(row, kMatrix / different), different);
  return add(times(row, tile.rowBytes()), times(flip(chunk, bits), 2 * kMatrix));
}

Value Fragments::point(const SharedTile &tile, bool downFirst, Value row, Value chunk) {
  Value below = modulo(lane, kStep), right = over(lane, kStep);
  if (!downFirst) {
    below = add(modulo(lane, kMatrix), times(right, kMatrix));
    right = modulo(over(lane, kMatrix), 2);
  }
  return place(tile, add(row, below), add(chunk, right));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value Fragments::pointer(Value offset) {
  return LLVM::GEPOp::create(b, loc, shared.getType(), b.getI8Type(), shared,
                             ArrayRef<LLVM::GEPArg>{offset});
}

Value Fragments::address(Value offset) {
  return LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), pointer(offset));
}

SmallVector<Value> Fragments::members(Value four) {
  SmallVector<Value> values;
  for (int64_t i = 0; i < 4; ++i)
    values.push_back(LLVM::ExtractValueOp::create(b, loc, four, ArrayRef<int64_t>{i}));
  return values;
}

Value Fragments::further(Value pointer, int64_t bytes) {
  return LLVM::GEPOp::create(b, loc, pointer.getType(), b.getI8Type(), pointer,
                             ArrayRef<LLVM::GEPArg>{int32_t(bytes)});
}

void Fragments::copy(Value to, const Emitter::Leaf &from, Value isThere, int64_t toFurther,
                     int64_t fromFurther) {
  Value memory = pointerOf(b, loc, e.argumentMemory(from.argument), 0);
  Value global = LLVM::AddrSpaceCastOp::create(
      b, loc, LLVM::LLVMPointerType::get(b.getContext(), kGlobalSpace), memory);
  Value at = arith::IndexCastOp::create(b, loc, b.getI64Type(), e.value(from.at));
  Type stored = b.getIntegerType(from.element.getIntOrFloatBitWidth());
  Value source =
      LLVM::GEPOp::create(b, loc, global.getType(), stored, global, ArrayRef<LLVM::GEPArg>{at});
  Value bytes;
  if (isThere)
    bytes = arith::SelectOp::create(b, loc, isThere, number(2 * kMatrix), number(0));
  NVVM::CpAsyncOp::create(b, loc, further(pointer(to), toFurther), further(source, fromFurther),
                          2 * kMatrix, NVVM::LoadCacheModifierKind::CG, bytes);
}

void Fragments::commit() { NVVM::CpAsyncCommitGroupOp::create(b, loc); }

void Fragments::wait(int64_t groups) { NVVM::CpAsyncWaitGroupOp::create(b, loc, groups); }

void Fragments::storeWord(Value to, Value x) {
  LLVM::StoreOp::create(b, loc, x, pointer(to), /*alignment=*/4);
}

Value Fragments::bytes(Value x, Type element) {
  if (nn::isByteFloat(element))
    x = nn::buildF8Bits(b, loc, x, element, /*saturates=*/false);
  return arith::TruncIOp::create(b, loc, e.vectorOf(b.getI8Type(), e.laneCount(x)), x);
}

void Fragments::store(Value to, Value x, Type element) {
  int64_t lanes = e.laneCount(x);
  if (isOfBytes(element)) {
    LLVM::StoreOp::create(b, loc, bytes(x, element), pointer(to), /*alignment=*/lanes);
    return;
  }
  auto one = [&](int64_t i) {
    return vector::ExtractOp::create(b, loc, x, ArrayRef<int64_t>{i}).getResult();
  };
  Value stored;
  if (lanes == 1) {
    stored = arith::TruncIOp::create(b, loc, b.getI16Type(), pack(x, e.zero(1)));
  } else {
    SmallVector<Value> words;
    for (int64_t i = 0; i < lanes; i += 2)
      words.push_back(pack(one(i), one(i + 1)));
    auto type = VectorType::get({lanes / 2}, word);
    stored = vector::FromElementsOp::create(b, loc, type, words);
  }
  LLVM::StoreOp::create(b, loc, stored, pointer(to), /*alignment=*/2 * lanes);
}

SmallVector<Value> Fragments::load(const SharedTile &tile, Value from, Value point, int64_t down,
                                   int64_t along, bool transposed) {
  // Two chunks further along differ in bits that neither the first chunk nor a row has.
  Value place = add(flip(point, 4 * kMatrix * along), down * kStep * tile.rowBytes());
  SmallVector<Type> types(4, word);
  auto layout = transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row;
  auto shape = NVVM::LdStMatrixShapeAttr::get(b.getContext(), kMatrix, kMatrix);
  Value all = NVVM::LdMatrixOp::create(
      b, loc, LLVM::LLVMStructType::getLiteral(b.getContext(), types), pointer(add(from, place)), 4,
      layout, shape, NVVM::LdStMatrixEltType::B16);
  return members(all);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

static NVVM::MMATypes mmaTypeOf(Type element) {
  if (element.isF16())
    return NVVM::MMATypes::f16;
  if (element.isBF16())
    return NVVM::MMATypes::bf16;
  return element.isUnsignedInteger() ? NVVM::MMATypes::u8 : NVVM::MMATypes::s8;
}

/// mma.m16n8k32 of 8-bit floats, for which NVVM has no word; of `operands` A, B and the sums.
static Value multiplyByteFloats(OpBuilder &b, Location loc, Type left, Type right,
                                ValueRange operands) {
  auto nameOf = [](Type type) { return isa<Float8E4M3FNType>(type) ? "e4m3" : "e5m2"; };
  std::string name =
      (Twine("llvm.nvvm.mma.m16n8k32.row.col.f32.") + nameOf(left) + "." + nameOf(right) + ".f32")
          .str();
  SmallVector<Type> types(4, b.getF32Type());
  return LLVM::CallIntrinsicOp::create(b, loc,
                                       LLVM::LLVMStructType::getLiteral(b.getContext(), types),
                                       b.getStringAttr(name), operands)
      .getResult(0);
}

void Fragments::accumulate(ValueRange left, ValueRange right, MutableArrayRef<Value> sums,
                           size_t at) {
  bool isHalf = element.isF16(), isByte = element.isInteger(8);
  auto operands = [&](ValueRange registers) {
    SmallVector<Value> list(registers);
    if (isHalf)
      for (Value &x : list)
        x = LLVM::BitcastOp::create(b, loc, VectorType::get({2}, element), x);
    return list;
  };
  MutableArrayRef<Value> own = sums.slice(at, 4);
  if (nn::isByteFloat(element)) {
    SmallVector<Value> all(left);
    llvm::append_range(all, right);
    llvm::append_range(all, own);
    llvm::copy(members(multiplyByteFloats(b, loc, element, other, all)), own.begin());
    return;
  }
  SmallVector<Type> types(4, own[0].getType());
  auto overflow = isByte ? std::optional(NVVM::MMAIntOverflow::wrapped) : std::nullopt;
  Value all = NVVM::MmaOp::create(
      b, loc, LLVM::LLVMStructType::getLiteral(b.getContext(), types), operands(left),
      operands(right), own, ArrayRef<int64_t>{kStep, kMatrix, kStep * perHalf(element)},
      std::nullopt, overflow, std::array{mmaTypeOf(element), mmaTypeOf(other)},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  llvm::copy(members(all), own.begin());
}

void Fragments::spill(ArrayRef<Value> sums, int64_t memory, const Index &place, int64_t stride) {
  Value own = add(times(over(lane, 4), stride), times(modulo(lane, 4), 2));
  Index at = place + index(own, kMatrix * stride);
  auto two = VectorType::get({2}, sums[0].getType()), words = VectorType::get({2}, b.getF32Type());
  for (size_t i = 0; i < sums.size(); i += 2) {
    Value both = vector::FromElementsOp::create(b, loc, two, sums.slice(i, 2));
    if (two != words)
      both = arith::BitcastOp::create(b, loc, words, both);
    int64_t block = int64_t(i) / 4, half = int64_t(i) / 2 % 2;
    Index there = at + (half * kMatrix * stride + block * kMatrix);
    e.storeScratch(memory, there + e.laneSymbol(2), both);
  }
}

Value Fragments::pack(Value low, Value high) {
  if (element.isF16()) {
    auto wide = VectorType::get({2}, b.getF32Type());
    Value pair = vector::FromElementsOp::create(b, loc, wide, ValueRange{low, high});
    Value halves = arith::TruncFOp::create(b, loc, VectorType::get({2}, element), pair);
    return LLVM::BitcastOp::create(b, loc, word, halves);
  }
  return packBf16(b, loc, low, high);
}

Value cleave::cuda::packBf16(OpBuilder &b, Location loc, Value low, Value high) {
  Value halves = LLVM::CallIntrinsicOp::create(b, loc, VectorType::get({2}, b.getBF16Type()),
                                               b.getStringAttr("llvm.nvvm.ff2bf16x2.rn"),
                                               ValueRange{high, low})
                     .getResult(0);
  return LLVM::BitcastOp::create(b, loc, b.getI32Type(), halves);
}
