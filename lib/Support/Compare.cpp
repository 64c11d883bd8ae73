//===- Compare.cpp - how far two tensors differ ---------------------------===//

#include "cleave/Support/Tensor.h"

#include <cmath>
#include <cstring>

using namespace cleave;

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
