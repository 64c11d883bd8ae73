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

/// What most numbers need of `encode`, without its generality: the bits of `value` as a
/// double once it is rounded to `type`; nothing where that is no normal number of it.
static std::optional<uint64_t> roundNormal(double value, FloatType type) {
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  unsigned precision = llvm::APFloat::semanticsPrecision(semantics);
  // Narrower ones have values of their own where others have infinities.
  if (type.getWidth() < 16 || precision >= 53)
    return std::nullopt;
  unsigned dropped = 53 - precision;
  auto bits = llvm::bit_cast<uint64_t>(value);
  bits += (uint64_t(1) << (dropped - 1)) - 1 + (bits >> dropped & 1);
  bits &= ~((uint64_t(1) << dropped) - 1);
  int exponent = int(bits >> 52 & 0x7ff) - 1023;
  bool isNormal = exponent >= llvm::APFloat::semanticsMinExponent(semantics) &&
                  exponent <= llvm::APFloat::semanticsMaxExponent(semantics);
  return isNormal ? std::optional(bits) : std::nullopt;
}

static uint64_t bitsOf(double value, FloatType type) {
  std::optional<uint64_t> rounded = roundNormal(value, type);
  if (!rounded)
    return encode(value, type).bitcastToAPInt().getZExtValue();
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  unsigned stored = llvm::APFloat::semanticsPrecision(semantics) - 1;
  uint64_t mantissa = (*rounded & ((uint64_t(1) << 52) - 1)) >> (52 - stored);
  uint64_t exponent = (*rounded >> 52 & 0x7ff) - 1023 + 1 -
                      uint64_t(llvm::APFloat::semanticsMinExponent(semantics));
  return *rounded >> 63 << (type.getWidth() - 1) | exponent << stored | mantissa;
}

static double roundTo(double value, FloatType type) {
  if (std::optional<uint64_t> rounded = roundNormal(value, type))
    return llvm::bit_cast<double>(*rounded);
  return decode(encode(value, type));
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
  auto floatType = dyn_cast<FloatType>(type.getElementType());
  for (int64_t i = 0; i < size(); ++i) {
    uint64_t bits = floatType ? bitsOf(floats[i], floatType) : static_cast<uint64_t>(ints[i]);
    std::memcpy(bytes.data() + i * width, &bits, width);
  }
  return bytes;
}

void HostTensor::round() {
  if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
    if (floatType.isF64())
      return;
    for (double &value : floats)
      value = roundTo(value, floatType);
    return;
  }
  for (int64_t &value : ints)
    value = wrap(value, cast<IntegerType>(type.getElementType()));
}
