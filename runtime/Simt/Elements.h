//===- Elements.h - elements of matrices in registers -----------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_SIMT_ELEMENTS_H
#define CLEAVE_RUNTIME_SIMT_ELEMENTS_H

#include "cleave/Runtime/SimtAbi.h"

#include <bit>
#include <cmath>
#include <limits>

namespace cleave::simt {

inline float fromHalf(uint16_t bits) { return float(std::bit_cast<_Float16>(bits)); }
inline float fromBrain(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

/// Four bits of exponent, no infinities.
inline float fromE4M3(uint8_t bits) {
  uint32_t exponent = bits >> 3 & 15, fraction = bits & 7;
  float value = exponent == 15 && fraction == 7 ? std::numeric_limits<float>::quiet_NaN()
                : exponent ? std::ldexp(float(8 + fraction), int(exponent) - 10)
                           : std::ldexp(float(fraction), -9);
  return bits & 128 ? -value : value;
}

/// What A and B of an operand type are.
inline uint32_t leftOf(uint32_t type) {
  switch (type) {
  case CLEAVE_SIMT_S8_U8: return CLEAVE_SIMT_S8;
  case CLEAVE_SIMT_U8_S8: return CLEAVE_SIMT_U8;
  case CLEAVE_SIMT_E4M3_E5M2: return CLEAVE_SIMT_E4M3;
  case CLEAVE_SIMT_E5M2_E4M3: return CLEAVE_SIMT_E5M2;
  default: return type;
  }
}
inline uint32_t rightOf(uint32_t type) {
  switch (type) {
  case CLEAVE_SIMT_S8_U8: return CLEAVE_SIMT_U8;
  case CLEAVE_SIMT_U8_S8: return CLEAVE_SIMT_S8;
  case CLEAVE_SIMT_E4M3_E5M2: return CLEAVE_SIMT_E5M2;
  case CLEAVE_SIMT_E5M2_E4M3: return CLEAVE_SIMT_E4M3;
  default: return type;
  }
}
inline bool isOfIntegers(uint32_t type) {
  return leftOf(type) == CLEAVE_SIMT_S8 || leftOf(type) == CLEAVE_SIMT_U8;
}

/// The element of a register, in the type of the sum.
template <typename Sum> Sum element(uint32_t type, uint32_t bits, uint32_t index) {
  switch (type) {
  case CLEAVE_SIMT_BF16: return Sum(fromBrain(uint16_t(bits >> 16 * index)));
  // The tensor core looks at 19 bits.
  case CLEAVE_SIMT_TF32: return Sum(std::bit_cast<float>(bits & 0xffffe000));
  case CLEAVE_SIMT_S8: return Sum(int8_t(bits >> 8 * index));
  case CLEAVE_SIMT_U8: return Sum(uint8_t(bits >> 8 * index));
  case CLEAVE_SIMT_E4M3: return Sum(fromE4M3(uint8_t(bits >> 8 * index)));
  // The first half of a half.
  case CLEAVE_SIMT_E5M2: return Sum(fromHalf(uint16_t(bits >> 8 * index << 8)));
  default: return Sum(fromHalf(uint16_t(bits >> 16 * index)));
  }
}

/// How many of them 32 bits hold.
inline uint32_t elementsOf(uint32_t type) {
  switch (leftOf(type)) {
  case CLEAVE_SIMT_TF32: return 1;
  case CLEAVE_SIMT_S8:
  case CLEAVE_SIMT_U8:
  case CLEAVE_SIMT_E4M3:
  case CLEAVE_SIMT_E5M2: return 4;
  default: return 2;
  }
}

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_ELEMENTS_H
