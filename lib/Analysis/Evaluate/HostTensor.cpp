//===- HostTensor.cpp - elements between attributes, bytes and numbers ----===//

#include "cleave/Analysis/Evaluate.h"

#include "Nn/Nn.h"

#include "llvm/ADT/APFloat.h"

#include <cstring>

using namespace mlir;
using namespace cleave;

static double decode(const llvm::APFloat &value) {
  llvm::APFloat wide = value;
  bool lossy;
  wide.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &lossy);
  return wide.convertToDouble();
}

static llvm::APFloat encode(double value, FloatType type) {
  llvm::APFloat narrow(value);
  bool lossy;
  narrow.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &lossy);
  return narrow;
}

static int64_t wrap(int64_t value, IntegerType type) {
  unsigned width = type.getWidth();
  if (width == 1)
    return value != 0;
  if (width >= 64)
    return value;
  return type.isUnsigned()
             ? static_cast<int64_t>(static_cast<uint64_t>(value) & ((1ull << width) - 1))
             : llvm::SignExtend64(static_cast<uint64_t>(value), width);
}

HostTensor::HostTensor(RankedTensorType type) : type(type) {
  if (isFloat())
    floats.resize(size());
  else
    ints.resize(size());
}

HostTensor HostTensor::fromAttr(ElementsAttr attr) {
  HostTensor result(cast<RankedTensorType>(attr.getShapedType()));
  if (result.isFloat()) {
    for (auto [into, value] : llvm::zip(result.floats, attr.getValues<APFloat>()))
      into = decode(value);
    return result;
  }
  auto type = cast<IntegerType>(result.type.getElementType());
  for (auto [into, value] : llvm::zip(result.ints, attr.getValues<APInt>()))
    into = wrap(static_cast<int64_t>(value.getZExtValue()), type);
  return result;
}

HostTensor HostTensor::fromBytes(RankedTensorType type, ArrayRef<char> bytes) {
  HostTensor result(type);
  int64_t width = nn::elementBytes(type.getElementType());
  auto bitsAt = [&](int64_t i) {
    uint64_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * width, width);
    return bits;
  };
  for (int64_t i = 0; i < result.size(); ++i) {
    if (auto floatType = dyn_cast<FloatType>(type.getElementType()))
      result.floats[i] = decode(llvm::APFloat(floatType.getFloatSemantics(),
                                              llvm::APInt(floatType.getWidth(), bitsAt(i))));
    else
      result.ints[i] =
          wrap(static_cast<int64_t>(bitsAt(i)), cast<IntegerType>(type.getElementType()));
  }
  return result;
}

DenseElementsAttr HostTensor::toAttr() const {
  if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
    SmallVector<APFloat> values;
    for (double value : floats)
      values.push_back(encode(value, floatType));
    return DenseElementsAttr::get(type, values);
  }
  auto intType = cast<IntegerType>(type.getElementType());
  SmallVector<APInt> values;
  for (int64_t value : ints)
    values.push_back(APInt(intType.getWidth(), static_cast<uint64_t>(value),
                           /*isSigned=*/false, /*implicitTrunc=*/true));
  return DenseElementsAttr::get(type, values);
}

std::vector<char> HostTensor::toBytes() const {
  int64_t width = nn::elementBytes(type.getElementType());
  std::vector<char> bytes(size() * width);
  for (int64_t i = 0; i < size(); ++i) {
    uint64_t bits = isFloat() ? encode(floats[i], cast<FloatType>(type.getElementType()))
                                    .bitcastToAPInt()
                                    .getZExtValue()
                              : static_cast<uint64_t>(ints[i]);
    std::memcpy(bytes.data() + i * width, &bits, width);
  }
  return bytes;
}

void HostTensor::round() {
  if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
    if (floatType.isF64())
      return;
    for (double &value : floats)
      value = floatType.isF32() ? static_cast<double>(static_cast<float>(value))
                                : decode(encode(value, floatType));
    return;
  }
  for (int64_t &value : ints)
    value = wrap(value, cast<IntegerType>(type.getElementType()));
}
