//===- Oracle.cpp - what collectives mean, one element at a time ----------===//

#include "Oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace cleave::test;

static float readBf16(const uint8_t *at) {
  uint16_t half;
  memcpy(&half, at, 2);
  uint32_t bits = uint32_t(half) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// Of the two neighbours the nearer one, of equally near ones the even one.
static void writeBf16(uint8_t *at, float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint16_t low = uint16_t(bits >> 16);
  if (std::isnan(value)) {
    low = 0x7fc0;
  } else if (!std::isinf(value)) {
    uint32_t fraction = bits & 0xffff;
    if (fraction > 0x8000 || (fraction == 0x8000 && (low & 1)))
      ++low;
  }
  memcpy(at, &low, 2);
}

static bool isByteFloat(uint8_t type) { return type == CLEAVE_F8E4M3FN || type == CLEAVE_F8E5M2; }

/// The finite ones without their sign are the bytes up to this; what is larger is the next.
static unsigned largestByte(uint8_t type) { return type == CLEAVE_F8E4M3FN ? 0x7e : 0x7b; }

static double magnitudeOfByte(uint8_t type, unsigned bits) {
  int fractionBits = type == CLEAVE_F8E4M3FN ? 3 : 2, bias = type == CLEAVE_F8E4M3FN ? 7 : 15;
  int exponent = int(bits) >> fractionBits;
  double fraction = std::ldexp(bits % (1u << fractionBits), -fractionBits);
  return exponent ? std::ldexp(1 + fraction, exponent - bias) : std::ldexp(fraction, 1 - bias);
}

static float readByteFloat(uint8_t type, const uint8_t *at) {
  unsigned bits = *at & 0x7f;
  double value = magnitudeOfByte(type, bits);
  if (bits > largestByte(type))
    value = type == CLEAVE_F8E5M2 && bits == 0x7c ? INFINITY : NAN;
  return float(*at & 0x80 ? -value : value);
}

/// The nearest of all, of equally near ones the even one.
static void writeByteFloat(uint8_t type, uint8_t *at, float value) {
  unsigned best = 0;
  double magnitude = std::abs(double(value));
  for (unsigned bits = 1; bits <= largestByte(type) + 1; ++bits) {
    double distance = std::abs(magnitudeOfByte(type, bits) - magnitude);
    double least = std::abs(magnitudeOfByte(type, best) - magnitude);
    if (distance < least || (distance == least && bits % 2 == 0) || std::isinf(magnitude))
      best = bits;
  }
  if (std::isnan(value))
    best = 0x7f;
  *at = uint8_t(best | (std::signbit(value) ? 0x80u : 0u));
}

template <typename W> static W combine(uint8_t reduction, W a, W b) {
  if constexpr (std::is_floating_point_v<W>)
    if (std::isnan(a) || std::isnan(b))
      return NAN;
  switch (reduction) {
  case CLEAVE_SUM: return W(a + b);
  case CLEAVE_PROD: return W(a * b);
  case CLEAVE_MAX: return std::max(a, b);
  default: return std::min(a, b);
  }
}

/// `Calc` holds any sum or product of T modulo the range of T.
template <typename T, typename Calc>
static void combineAs(uint8_t reduction, uint8_t *result,
                      const std::vector<const uint8_t *> &elements) {
  auto read = [](const uint8_t *at) {
    T value;
    memcpy(&value, at, sizeof value);
    return value;
  };
  T value = read(elements[0]);
  for (size_t i = 1; i < elements.size(); ++i) {
    if (reduction == CLEAVE_MAX || reduction == CLEAVE_MIN)
      value = combine<T>(reduction, value, read(elements[i]));
    else
      value = T(combine<Calc>(reduction, Calc(value), Calc(read(elements[i]))));
  }
  memcpy(result, &value, sizeof value);
}

static void combineInFloat(uint8_t type, uint8_t reduction, uint8_t *result,
                           const std::vector<const uint8_t *> &elements) {
  auto read = [&](const uint8_t *at) {
    if (isByteFloat(type))
      return readByteFloat(type, at);
    if (type == CLEAVE_BF16)
      return readBf16(at);
    _Float16 half;
    memcpy(&half, at, 2);
    return float(half);
  };
  float value = read(elements[0]);
  for (size_t i = 1; i < elements.size(); ++i)
    value = combine<float>(reduction, value, read(elements[i]));
  if (isByteFloat(type))
    return writeByteFloat(type, result, value);
  if (type == CLEAVE_BF16)
    return writeBf16(result, value);
  _Float16 half = _Float16(value);
  memcpy(result, &half, 2);
}

static void combineElement(uint8_t type, uint8_t reduction, uint8_t *result,
                           const std::vector<const uint8_t *> &elements) {
  switch (type) {
  case CLEAVE_F8E4M3FN:
  case CLEAVE_F8E5M2:
  case CLEAVE_F16:
  case CLEAVE_BF16: return combineInFloat(type, reduction, result, elements);
  case CLEAVE_F32: return combineAs<float, float>(reduction, result, elements);
  case CLEAVE_F64: return combineAs<double, double>(reduction, result, elements);
  case CLEAVE_I8: return combineAs<int8_t, uint64_t>(reduction, result, elements);
  case CLEAVE_I16: return combineAs<int16_t, uint64_t>(reduction, result, elements);
  case CLEAVE_I32: return combineAs<int32_t, uint64_t>(reduction, result, elements);
  case CLEAVE_I64: return combineAs<int64_t, uint64_t>(reduction, result, elements);
  case CLEAVE_U8: return combineAs<uint8_t, uint64_t>(reduction, result, elements);
  case CLEAVE_U16: return combineAs<uint16_t, uint64_t>(reduction, result, elements);
  case CLEAVE_U32: return combineAs<uint32_t, uint64_t>(reduction, result, elements);
  case CLEAVE_U64: return combineAs<uint64_t, uint64_t>(reduction, result, elements);
  case CLEAVE_BOOL: {
    bool every = true, some = false;
    for (const uint8_t *element : elements) {
      every &= *element != 0;
      some |= *element != 0;
    }
    bool any = reduction == CLEAVE_SUM || reduction == CLEAVE_MAX;
    *result = any ? some : every;
    return;
  }
  }
}

static Bytes combineAll(uint8_t type, uint8_t reduction, uint64_t begin, uint64_t count,
                        const std::vector<Bytes> &inputs) {
  uint64_t bytes = cleave_type_bytes(type);
  Bytes result(count * bytes);
  for (uint64_t i = 0; i < count; ++i) {
    std::vector<const uint8_t *> elements;
    for (const Bytes &input : inputs)
      elements.push_back(input.data() + (begin + i) * bytes);
    combineElement(type, reduction, result.data() + i * bytes, elements);
  }
  return result;
}

std::vector<Bytes> cleave::test::expected(uint8_t op, uint8_t type, uint8_t reduction,
                                          const std::vector<uint64_t> &counts,
                                          const std::vector<Bytes> &inputs) {
  uint64_t bytes = cleave_type_bytes(type);
  size_t p = inputs.size();
  std::vector<Bytes> results(p);
  for (size_t me = 0; me < p; ++me) {
    Bytes &result = results[me];
    if (op == CLEAVE_OP_ALL_REDUCE) {
      result = combineAll(type, reduction, 0, counts[0], inputs);
    } else if (op == CLEAVE_OP_REDUCE_SCATTER) {
      uint64_t begin = std::accumulate(counts.begin(), counts.begin() + long(me), 0ull);
      result = combineAll(type, reduction, begin, counts[me], inputs);
    } else if (op == CLEAVE_OP_ALL_GATHER) {
      for (const Bytes &input : inputs)
        result.insert(result.end(), input.begin(), input.end());
    } else {
      for (size_t i = 0; i < p; ++i) {
        auto row = counts.begin() + long(i * p);
        auto block = inputs[i].begin() + long(std::accumulate(row, row + long(me), 0ull) * bytes);
        result.insert(result.end(), block, block + long(row[long(me)] * bytes));
      }
    }
  }
  return results;
}

/// Whether the element at `at` is a NaN of its type.
static bool isNan(uint8_t type, const uint8_t *at) {
  float f32;
  double f64;
  _Float16 f16;
  switch (type) {
  case CLEAVE_F32: memcpy(&f32, at, 4); return std::isnan(f32);
  case CLEAVE_F64: memcpy(&f64, at, 8); return std::isnan(f64);
  case CLEAVE_F16: memcpy(&f16, at, 2); return std::isnan(float(f16));
  case CLEAVE_BF16: return std::isnan(readBf16(at));
  case CLEAVE_F8E4M3FN:
  case CLEAVE_F8E5M2: return std::isnan(readByteFloat(type, at));
  }
  return false;
}

bool cleave::test::equal(uint8_t type, const void *got, const Bytes &want) {
  uint64_t bytes = cleave_type_bytes(type);
  auto *given = static_cast<const uint8_t *>(got);
  for (size_t i = 0; i < want.size(); i += bytes) {
    bool same = !memcmp(given + i, &want[i], bytes);
    if (!same && !(isNan(type, given + i) && isNan(type, &want[i])))
      return false;
  }
  return true;
}
