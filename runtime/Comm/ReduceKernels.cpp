//===- ReduceKernels.cpp - the reductions, once per instruction set -------===//
//
// Compiled several times, each with its own flags and CLEAVE_REDUCE_ISA as the
// suffix of the one function that leaves this file: nothing else may, lest the
// linker give another file code of this one's instruction set. Results do not
// depend on which is used: elements combine in member order, and nothing is
// contracted.
//
//===----------------------------------------------------------------------===//

#include "Reduce.h"

#include <bit>
#include <cstring>
#include <type_traits>

using namespace cleave::runtime;

namespace {

/// Small enough that a chunk stays in the first-level cache while all inputs
/// pass over it.
constexpr uint64_t chunkBytes = 4096;

struct Bf16 {
  uint16_t bits;
};
/// A sign, an exponent, and a fraction of `fractionBits`. E4M3 has no infinity, and one NaN
/// (Micikevicius et al., FP8 Formats for Deep Learning, 2022).
template <unsigned fractionBits, unsigned bias, uint8_t largest, uint8_t overflow> struct Float8 {
  static constexpr unsigned shift = 23 - fractionBits;

  float toFloat() const {
    uint32_t magnitude = bits & 0x7f, sign = uint32_t(bits & 0x80) << 24;
    // Of numbers that are not normal the fraction counts steps.
    constexpr float step = std::bit_cast<float>((127 + 1 - bias - fractionBits) << 23);
    uint32_t wide = magnitude >> fractionBits ? (magnitude << shift) + ((127 - bias) << 23)
                                              : std::bit_cast<uint32_t>(float(magnitude) * step);
    if (magnitude > largest)
      wide = magnitude == overflow && overflow != 0x7f ? 0x7f800000 : 0x7fc00000;
    return std::bit_cast<float>(wide | sign);
  }
  /// To nearest, ties to even.
  static Float8 of(float value) {
    uint32_t all = std::bit_cast<uint32_t>(value), magnitude = all & 0x7fffffff;
    uint8_t sign = uint8_t(all >> 24 & 0x80);
    constexpr uint32_t smallest = (127 + 1 - bias) << 23;
    // The sum has the steps of the smallest numbers, and is rounded to them.
    constexpr float rounder = std::bit_cast<float>((127 + 1 - bias + shift) << 23);
    uint32_t small =
        std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + rounder) & ((1 << 23) - 1);
    uint32_t normal = magnitude - ((127 - bias) << 23);
    normal = (normal + ((1 << (shift - 1)) - 1) + (normal >> shift & 1)) >> shift;
    uint32_t rounded = magnitude < smallest ? small : normal > largest ? overflow : normal;
    return {uint8_t((value != value ? 0x7f : rounded) | sign)};
  }

  uint8_t bits;
};
using E4M3 = Float8<3, 7, 0x7e, 0x7f>;
using E5M2 = Float8<2, 15, 0x7b, 0x7c>;
struct Bool {
  uint8_t value;
};

/// Values are combined in Wide<T>: floats narrower than f32 in f32, so that the sum of
/// many ranks rounds once; integers unsigned, so that they wrap.
template <typename T> struct WideOf {
  using type = T;
};
template <> struct WideOf<_Float16> {
  using type = float;
};
template <> struct WideOf<Bf16> {
  using type = float;
};
template <> struct WideOf<E4M3> {
  using type = float;
};
template <> struct WideOf<E5M2> {
  using type = float;
};
template <> struct WideOf<Bool> {
  using type = uint8_t;
};
template <typename T> using Wide = typename WideOf<T>::type;

template <typename T> Wide<T> widen(T value) { return value; }
template <> float widen(Bf16 value) { return std::bit_cast<float>(uint32_t(value.bits) << 16); }
template <> float widen(E4M3 value) { return value.toFloat(); }
template <> float widen(E5M2 value) { return value.toFloat(); }
template <> uint8_t widen(Bool value) { return value.value != 0; }

template <typename T> T narrow(Wide<T> value) { return T(value); }
template <> Bf16 narrow<Bf16>(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  // To nearest, ties to even; a NaN keeps its sign and stays one.
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  uint32_t quiet = (bits >> 16) | 0x40;
  return {uint16_t(value != value ? quiet : rounded)};
}
template <> E4M3 narrow<E4M3>(float value) { return E4M3::of(value); }
template <> E5M2 narrow<E5M2>(float value) { return E5M2::of(value); }
template <> Bool narrow<Bool>(uint8_t value) { return {value}; }

template <typename W> W wrap(W a, W b, auto combine) {
  if constexpr (std::is_integral_v<W>) {
    using U = std::conditional_t<sizeof(W) == 8, uint64_t, uint32_t>;
    return W(combine(U(a), U(b)));
  } else {
    return combine(a, b);
  }
}

struct Sum {
  template <typename T> static Wide<T> apply(Wide<T> a, Wide<T> b) {
    if constexpr (std::is_same_v<T, Bool>)
      return a | b;
    return wrap(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Prod {
  template <typename T> static Wide<T> apply(Wide<T> a, Wide<T> b) {
    return wrap(a, b, [](auto x, auto y) { return x * y; });
  }
};
/// `a != a`: a NaN stays, whichever side it comes from.
struct Max {
  template <typename T> static Wide<T> apply(Wide<T> a, Wide<T> b) {
    return a > b || a != a ? a : b;
  }
};
struct Min {
  template <typename T> static Wide<T> apply(Wide<T> a, Wide<T> b) {
    return a < b || a != a ? a : b;
  }
};

/// An element at any address.
template <typename T> struct __attribute__((packed, may_alias)) Loose {
  T value;
};

template <typename T, typename Op> void reduce(const Reduction &r) {
  constexpr uint64_t chunk = chunkBytes / sizeof(Wide<T>);
  alignas(64) Wide<T> sum[chunk];
  alignas(64) T result[chunk];

  auto input = [&](uint32_t i, uint64_t at) {
    return static_cast<const Loose<T> *>(r.inputs[i]) + at;
  };
  for (uint64_t at = r.begin, end = r.begin + r.count; at < end; at += chunk) {
    uint64_t n = end - at < chunk ? end - at : chunk;
    const Loose<T> *first = input(0, at);
    if (r.numInputs == 1) {
      for (uint64_t i = 0; i < n; ++i)
        sum[i] = widen(T(first[i].value));
    } else {
      const Loose<T> *second = input(1, at);
      for (uint64_t i = 0; i < n; ++i)
        sum[i] = Op::template apply<T>(widen(T(first[i].value)), widen(T(second[i].value)));
    }
    for (uint32_t k = 2; k < r.numInputs; ++k) {
      const Loose<T> *next = input(k, at);
      for (uint64_t i = 0; i < n; ++i)
        sum[i] = Op::template apply<T>(sum[i], widen(T(next[i].value)));
    }
    const void *chunkResult = sum;
    if constexpr (!std::is_same_v<T, Wide<T>>) {
      for (uint64_t i = 0; i < n; ++i)
        result[i] = narrow<T>(sum[i]);
      chunkResult = result;
    }
    for (uint32_t k = 0; k < r.numOutputs; ++k)
      memcpy(static_cast<char *>(r.outputs[k]) + (at - r.shift) * sizeof(T), chunkResult,
             n * sizeof(T));
  }
}

template <typename T> ReduceFunction pick(uint8_t reduction) {
  switch (reduction) {
  case CLEAVE_SUM: return reduce<T, Sum>;
  case CLEAVE_PROD: return reduce<T, Prod>;
  case CLEAVE_MAX: return reduce<T, Max>;
  case CLEAVE_MIN: return reduce<T, Min>;
  }
  return nullptr;
}

} // namespace

#define CLEAVE_JOIN_(A, B) A##B
#define CLEAVE_JOIN(A, B) CLEAVE_JOIN_(A, B)

namespace cleave::runtime {

ReduceFunction CLEAVE_JOIN(findReduce, CLEAVE_REDUCE_ISA)(uint8_t type, uint8_t reduction);

ReduceFunction CLEAVE_JOIN(findReduce, CLEAVE_REDUCE_ISA)(uint8_t type, uint8_t reduction) {
  switch (type) {
  case CLEAVE_F32: return pick<float>(reduction);
  case CLEAVE_F16: return pick<_Float16>(reduction);
  case CLEAVE_BF16: return pick<Bf16>(reduction);
  case CLEAVE_F8E4M3FN: return pick<E4M3>(reduction);
  case CLEAVE_F8E5M2: return pick<E5M2>(reduction);
  case CLEAVE_F64: return pick<double>(reduction);
  case CLEAVE_I8: return pick<int8_t>(reduction);
  case CLEAVE_I16: return pick<int16_t>(reduction);
  case CLEAVE_I32: return pick<int32_t>(reduction);
  case CLEAVE_I64: return pick<int64_t>(reduction);
  case CLEAVE_U8: return pick<uint8_t>(reduction);
  case CLEAVE_U16: return pick<uint16_t>(reduction);
  case CLEAVE_U32: return pick<uint32_t>(reduction);
  case CLEAVE_U64: return pick<uint64_t>(reduction);
  case CLEAVE_BOOL: return pick<Bool>(reduction);
  }
  return nullptr;
}

} // namespace cleave::runtime
