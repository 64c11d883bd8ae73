//===- Tensor.cpp - elements as numbers, and how far two tensors differ ---===//

#include "cleave/Support/Tensor.h"

#include <cmath>
#include <cstring>

using namespace cleave;

Tensor::Tensor(cleave_type type, llvm::ArrayRef<int64_t> dims)
    : type(type), dims(dims.begin(), dims.end()) {
  bytes.resize(size() * cleave_type_bytes(type));
}

int64_t Tensor::size() const {
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= dim;
  return count;
}

static float fromHalf(uint16_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1f;
  uint32_t fraction = bits & 0x3ff, result;
  if (exponent == 0) {
    float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  result = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  float value;
  std::memcpy(&value, &result, 4);
  return value;
}

double Tensor::at(int64_t i) const {
  auto load = [&]<typename T>(T value) {
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  };
  switch (type) {
  case CLEAVE_F32: return load(float());
  case CLEAVE_F64: return load(double());
  case CLEAVE_F16: return fromHalf(load(uint16_t()));
  case CLEAVE_BF16: {
    uint32_t bits = static_cast<uint32_t>(load(uint16_t())) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  case CLEAVE_I8: return load(int8_t());
  case CLEAVE_I16: return load(int16_t());
  case CLEAVE_I32: return load(int32_t());
  case CLEAVE_I64: return static_cast<double>(load(int64_t()));
  case CLEAVE_U8:
  case CLEAVE_BOOL: return load(uint8_t());
  case CLEAVE_U16: return load(uint16_t());
  case CLEAVE_U32: return load(uint32_t());
  case CLEAVE_U64: return static_cast<double>(load(uint64_t()));
  case CLEAVE_NUM_TYPES: break;
  }
  return 0;
}

std::string cleave::shapeText(llvm::ArrayRef<int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

llvm::Expected<Difference> cleave::compareTensors(const Tensor &got, const Tensor &want,
                                                  double atol, double rtol) {
  if (got.type != want.type)
    return llvm::createStringError("has type %s, want: %s", cleave_type_name(got.type),
                                   cleave_type_name(want.type));
  if (got.dims != want.dims)
    return llvm::createStringError("has the shape %s, want: %s", shapeText(got.dims).c_str(),
                                   shapeText(want.dims).c_str());
  bool isFloat = got.type == CLEAVE_F32 || got.type == CLEAVE_F64 || got.type == CLEAVE_F16 ||
                 got.type == CLEAVE_BF16;
  Difference result;
  for (int64_t i = 0; i < got.size(); ++i) {
    double a = got.at(i), b = want.at(i);
    // Large integers that differ may be one double.
    size_t width = cleave_type_bytes(got.type);
    if (!isFloat && std::memcmp(&got.bytes[i * width], &want.bytes[i * width], width) == 0)
      continue;
    if ((isFloat && a == b) || (std::isnan(a) && std::isnan(b)))
      continue;
    double difference = std::abs(a - b);
    double allowed = isFloat ? atol + rtol * std::abs(b) : 0;
    double share = std::isfinite(difference) && allowed > 0 ? difference / allowed : INFINITY;
    if (!(difference <= result.largest))
      result.largest = difference;
    if (share > result.share) {
      result.share = share;
      result.index = i;
    }
  }
  return result;
}
