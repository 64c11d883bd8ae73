//===- WarpGroup.cpp - products of four warps -----------------------------===//

#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

/// Descriptors count in chunks of 16 bytes (PTX ISA, matrix descriptor).
static constexpr int64_t kChunkBits = 4, kCoreBytes = 1024;

Value WarpGroup::number() {
  Value own = warps.over(warps.warp, kGroupWarps), first = warps.number(int64_t(0));
  return gpu::ShuffleOp::create(b, loc, own, first, warps.number(kWarp), gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

WarpGroup::Operand WarpGroup::describe(const SharedTile &tile, bool isDeep, Value at) {
  // Cores are 8 rows of 128 bytes, whose chunks change places. Along K there is but one;
  // otherwise panels follow each other in the outer dimension.
  int64_t leading = isDeep ? 1 << kChunkBits : tile.panelBytes();
  constexpr int64_t swizzleOf128Bytes = 1;
  int64_t constant =
      leading >> kChunkBits << 16 | kCoreBytes >> kChunkBits << 32 | swizzleOf128Bytes << 62;
  Type wide = b.getI64Type();
  auto number = [&](int64_t value) { return e.constantOf(wide, value, 1); };
  constexpr int64_t window = (1 << 18) - 1;
  Value address = arith::AndIOp::create(b, loc, warps.address(at), number(window));
  address = arith::ShRUIOp::create(b, loc, address, number(kChunkBits));
  address = arith::OrIOp::create(b, loc, address, number(constant));
  return {address, isDeep, tile.panelBytes()};
}

void WarpGroup::publish() {
  NVVM::FenceProxyOp::create(
      b, loc, NVVM::ProxyKindAttr::get(b.getContext(), NVVM::ProxyKind::async_shared),
      NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

/// The operand `number` times 16 of K further: along rows 32 bytes, and panel by panel, or two
/// cores.
Value WarpGroup::step(const Operand &from, int64_t number) {
  constexpr int64_t steps = kPanel / kStep;
  int64_t bytes = from.isDeep ? number / steps * from.panelBytes + number % steps * 2 * kStep
                              : number * (kStep / kMatrix * kCoreBytes);
  if (bytes == 0)
    return from.descriptor;
  Value by = e.constantOf(b.getI64Type(), bytes >> kChunkBits, 1);
  return arith::AddIOp::create(b, loc, from.descriptor, by);
}

SmallVector<Value> WarpGroup::members(Value all) {
  size_t count = cast<LLVM::LLVMStructType>(all.getType()).getBody().size();
  SmallVector<Value> values;
  for (size_t i = 0; i < count; ++i)
    values.push_back(LLVM::ExtractValueOp::create(b, loc, all, ArrayRef<int64_t>{int64_t(i)}));
  return values;
}

/// The constraints of `registers` that assembly changes.
static std::string tiedConstraints(ValueRange registers) {
  std::string outputs, inputs;
  for (auto [i, one] : llvm::enumerate(registers)) {
    outputs += isa<FloatType>(one.getType()) ? "=f," : "=r,";
    inputs += std::to_string(i) + ",";
  }
  return outputs + inputs;
}

/// To LLVM fences and waits have nothing to do with registers.
SmallVector<Value> WarpGroup::pin(ValueRange registers) {
  SmallVector<Type> types(registers.getTypes());
  auto all = LLVM::InlineAsmOp::create(
      b, loc, TypeRange(LLVM::LLVMStructType::getLiteral(b.getContext(), types)), registers,
      /*asm_string=*/"", StringRef(tiedConstraints(registers)).drop_back(),
      /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None,
      LLVM::AsmDialectAttr(), ArrayAttr());
  return members(all.getResult(0));
}

static NVVM::WGMMATypes wgmmaTypeOf(Type element) {
  if (element.isF16())
    return NVVM::WGMMATypes::f16;
  if (element.isBF16())
    return NVVM::WGMMATypes::bf16;
  if (nn::isByteFloat(element))
    return isa<Float8E4M3FNType>(element) ? NVVM::WGMMATypes::e4m3 : NVVM::WGMMATypes::e5m2;
  return element.isUnsignedInteger() ? NVVM::WGMMATypes::u8 : NVVM::WGMMATypes::s8;
}

SmallVector<Value> WarpGroup::multiply(const Operand &left, const Operand &right, int64_t depth,
                                       ValueRange sums) {
  return multiply(left, right, depth, sums, /*adds=*/true);
}

SmallVector<Value> WarpGroup::multiply(const Operand &left, const Operand &right, int64_t depth,
                                       int64_t columns) {
  Value none = LLVM::UndefOp::create(b, loc, b.getF32Type());
  return multiply(left, right, depth, SmallVector<Value>(columns / 2, none), /*adds=*/false);
}

SmallVector<Value> WarpGroup::multiply(const Operand &left, const Operand &right, int64_t depth,
                                       ValueRange sums, bool adds) {
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  MLIRContext *context = b.getContext();
  bool isByte = element.isInteger(8);
  SmallVector<Type> types(sums.size(), sums[0].getType());
  auto struct_ = LLVM::LLVMStructType::getLiteral(context, types);
  Value all = LLVM::PoisonOp::create(b, loc, struct_);
  for (auto [i, sum] : llvm::enumerate(sums))
    all = LLVM::InsertValueOp::create(b, loc, all, sum, ArrayRef<int64_t>{int64_t(i)});
  // NVVM takes the layout of A as it is said, and that of B the other way about.
  auto layout = [](bool isRow) { return isRow ? NVVM::MMALayout::row : NVVM::MMALayout::col; };
  int64_t columns = 2 * int64_t(sums.size());
  for (int64_t i = 0; i < depth / kStep; ++i)
    all = NVVM::WgmmaMmaAsyncOp::create(
        b, loc, struct_, all, step(left, i), step(right, i),
        NVVM::MMAShapeAttr::get(context, kGroupRows, columns, kStep * perHalf(element)),
        wgmmaTypeOf(element), wgmmaTypeOf(other),
        isByte ? NVVM::WGMMATypes::s32 : NVVM::WGMMATypes::f32,
        adds || i ? NVVM::WGMMAScaleOut::one : NVVM::WGMMAScaleOut::zero, NVVM::WGMMAScaleIn::one,
        NVVM::WGMMAScaleIn::one, layout(left.isDeep), layout(!right.isDeep), nullptr);
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  return members(all);
}

SmallVector<Value> WarpGroup::multiply(ValueRange left, const Operand &right, ValueRange sums) {
  size_t count = sums.size();
  SmallVector<Value> all(sums);
  llvm::append_range(all, left);
  all = pin(all);
  ValueRange a = ValueRange(all).drop_front(count);
  SmallVector<Value> registers(ArrayRef(all).take_front(count));
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  // NVVM has no words for registers of A.
  auto list = [](size_t from, size_t count) {
    std::string all;
    for (size_t i = 0; i < count; ++i)
      all += (i ? ", $" : "{$") + std::to_string(from + i);
    return all + "}";
  };
  StringRef type = element.isF16() ? ".f16" : ".bf16";
  std::string text = ("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                      "wgmma.mma_async.sync.aligned.m64n" +
                      Twine(2 * count) + "k16.f32" + type + type + " " + list(0, count) + ", " +
                      list(2 * count, 4) + ", $" + Twine(2 * count + 4) + ", p, 1, 1, " +
                      (right.isDeep ? "0" : "1") + ";\n}")
                         .str();
  std::string constraints = tiedConstraints(registers) + "r,r,r,r,l";
  SmallVector<Type> types(count, b.getF32Type());
  auto struct_ = LLVM::LLVMStructType::getLiteral(b.getContext(), types);
  for (size_t i = 0; i < a.size() / 4; ++i) {
    SmallVector<Value> operands(registers);
    llvm::append_range(operands, a.slice(4 * i, 4));
    operands.push_back(step(right, int64_t(i)));
    auto product =
        LLVM::InlineAsmOp::create(b, loc, TypeRange(struct_), operands, text, constraints,
                                  /*has_side_effects=*/true, /*is_align_stack=*/false,
                                  LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
    registers = members(product.getResult(0));
  }
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  return registers;
}

void WarpGroup::wait(int64_t count) { NVVM::WgmmaWaitGroupSyncOp::create(b, loc, count); }

SmallVector<Value> WarpGroup::wait(int64_t count, ValueRange sums) {
  wait(count);
  return pin(sums);
}
