//===- Bytes.cpp - operands of products of bytes --------------------------===//

#include "Bytes.h"

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace cleave::cpu;
using namespace cleave::emit;

bool cleave::cpu::isByteProduct(Operation *root) {
  return llvm::all_of(root->getOperandTypes(),
                      [](Type type) { return getElementTypeOrSelf(type).isInteger(8); });
}

bool cleave::cpu::isDotProduct(Operation *root) {
  auto isUnsigned = [&](unsigned number) {
    return getElementTypeOrSelf(root->getOperand(number).getType()).isUnsignedInteger();
  };
  return isByteProduct(root) && isUnsigned(0) && !isUnsigned(1);
}

int64_t cleave::cpu::exactProducts(Type lhs, Type rhs) {
  auto most = [](Type type) { return type.isUnsignedInteger() ? 255 : 128; };
  return (int64_t(1) << 24) / (most(lhs) * most(rhs)) / 8 * 8;
}

bool cleave::cpu::areBeside(const std::function<std::optional<Emitter::Leaf>(int64_t)> &at) {
  auto first = at(0);
  for (int64_t plus = 1; first && plus < kBytesOfDot; ++plus)
    if (auto next = at(plus); !next || !(next->at - first->at == Index(plus)))
      return false;
  return first.has_value();
}

Value cleave::cpu::loadFours(Emitter &e, Value memory, Value address, int64_t count) {
  OpBuilder &b = e.builder;
  Type element = cast<MemRefType>(memory.getType()).getElementType();
  int64_t each = 32 / element.getIntOrFloatBitWidth();
  auto type = VectorType::get({count * each}, element);
  Value loaded = vector::LoadOp::create(b, e.loc, type, memory, address);
  loaded = vector::BitCastOp::create(b, e.loc, VectorType::get({count}, b.getI32Type()), loaded);
  if (count == 1)
    loaded = vector::ExtractOp::create(b, e.loc, loaded, ArrayRef<int64_t>{0});
  return loaded;
}

void cleave::cpu::storeBytes(Emitter &e, int64_t from, int64_t to, int64_t count) {
  OpBuilder &b = e.builder;
  int64_t lanes = e.machine.lanes;
  e.loop(0, llvm::divideCeil(count, lanes), 1, [&](const Index &i) {
    Value x = e.loadScratch(from, i * lanes, lanes);
    x = arith::FPToSIOp::create(b, e.loc, VectorType::get({lanes}, b.getI32Type()), x);
    x = arith::TruncIOp::create(b, e.loc, VectorType::get({lanes}, b.getI8Type()), x);
    auto words = VectorType::get({lanes / kBytesOfDot}, b.getF32Type());
    e.storeScratch(to, i * (lanes / kBytesOfDot), vector::BitCastOp::create(b, e.loc, words, x));
  });
}
