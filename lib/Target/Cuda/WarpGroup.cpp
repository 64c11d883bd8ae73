//===- WarpGroup.cpp - products of four warps -----------------------------===//

#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave::cuda;

/// Descriptors count in chunks of 16 bytes (PTX ISA, matrix descriptor).
static constexpr int64_t kChunkBits = 4, kCoreBytes = 1024;

Value WarpGroup::describe(const SharedTile &tile, bool isDeep, Value at) {
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
  return arith::OrIOp::create(b, loc, address, number(constant));
}

void WarpGroup::publish() {
  NVVM::FenceProxyOp::create(
      b, loc, NVVM::ProxyKindAttr::get(b.getContext(), NVVM::ProxyKind::async_shared),
      NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

SmallVector<Value> WarpGroup::multiply(Value left, bool leftIsDeep, Value right, bool rightIsDeep,
                                       int64_t depth, ValueRange sums) {
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  MLIRContext *context = b.getContext();
  auto type = element.isF16() ? NVVM::WGMMATypes::f16 : NVVM::WGMMATypes::bf16;
  SmallVector<Type> types(sums.size(), b.getF32Type());
  auto struct_ = LLVM::LLVMStructType::getLiteral(context, types);
  Value all = LLVM::PoisonOp::create(b, loc, struct_);
  for (auto [i, sum] : llvm::enumerate(sums))
    all = LLVM::InsertValueOp::create(b, loc, all, sum, ArrayRef<int64_t>{int64_t(i)});
  // What 16 of K are further: along rows 32 bytes, or two cores.
  auto step = [&](Value from, bool isDeep, int64_t i) {
    int64_t bytes = i * (isDeep ? 2 * kStep : kStep / kMatrix * kCoreBytes);
    Value by = e.constantOf(b.getI64Type(), bytes >> kChunkBits, 1);
    return i ? arith::AddIOp::create(b, loc, from, by).getResult() : from;
  };
  // NVVM takes the layout of A as it is said, and that of B the other way about.
  auto layout = [](bool isRow) { return isRow ? NVVM::MMALayout::row : NVVM::MMALayout::col; };
  int64_t columns = 2 * int64_t(sums.size());
  for (int64_t i = 0; i < depth / kStep; ++i)
    all = NVVM::WgmmaMmaAsyncOp::create(
        b, loc, struct_, all, step(left, leftIsDeep, i), step(right, rightIsDeep, i),
        NVVM::MMAShapeAttr::get(context, kGroupRows, columns, kStep), type, type,
        NVVM::WGMMATypes::f32, NVVM::WGMMAScaleOut::one, NVVM::WGMMAScaleIn::one,
        NVVM::WGMMAScaleIn::one, layout(leftIsDeep), layout(!rightIsDeep), nullptr);
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  SmallVector<Value> after;
  for (size_t i = 0; i < sums.size(); ++i)
    after.push_back(LLVM::ExtractValueOp::create(b, loc, all, ArrayRef<int64_t>{int64_t(i)}));
  return after;
}

void WarpGroup::wait(int64_t count) { NVVM::WgmmaWaitGroupSyncOp::create(b, loc, count); }
