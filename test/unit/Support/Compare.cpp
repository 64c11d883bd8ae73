//===- Compare.cpp - what equal means -------------------------------------===//

#include "cleave/Support/Tensor.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstring>

using namespace cleave;

template <typename T> static Tensor vectorOf(cleave_type type, const std::vector<T> &values) {
  Tensor tensor(type, {static_cast<int64_t>(values.size())});
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

static Tensor floats(const std::vector<float> &values) { return vectorOf(CLEAVE_F32, values); }

/// The share of the tolerance that the worst element takes; -1 if they cannot be compared.
static double share(const Tensor &got, const Tensor &want, double atol, double rtol) {
  llvm::Expected<Difference> difference = compareTensors(got, want, atol, rtol);
  if (difference)
    return difference->share;
  llvm::consumeError(difference.takeError());
  return -1;
}

TEST(Compare, ToleranceIsOfTheWantedValue) {
  EXPECT_DOUBLE_EQ(share(floats({10.5f}), floats({10}), 0.25, 0.025), 1);
  EXPECT_GT(share(floats({10.625f}), floats({10}), 0.25, 0.025), 1);
  EXPECT_DOUBLE_EQ(share(floats({10}), floats({-10}), 0, 1), 2);
}

TEST(Compare, TheWorstElementIsNamed) {
  llvm::Expected<Difference> d = compareTensors(floats({1, 2, 3}), floats({1, 2.5f, 3.25f}), 1, 0);
  ASSERT_TRUE(bool(d));
  EXPECT_EQ(d->index, 1);
  EXPECT_DOUBLE_EQ(d->largest, 0.5);
}

TEST(Compare, NotANumberAndInfinity) {
  EXPECT_EQ(share(floats({NAN, INFINITY}), floats({NAN, INFINITY}), 0, 0), 0);
  EXPECT_GT(share(floats({NAN}), floats({1}), 1e9, 1e9), 1);
  EXPECT_GT(share(floats({1}), floats({NAN}), 1e9, 1e9), 1);
  EXPECT_GT(share(floats({-INFINITY}), floats({INFINITY}), 1e9, 1e9), 1);
  EXPECT_GT(share(floats({1}), floats({INFINITY}), 1e9, 1e9), 1);
}

TEST(Compare, IntegersAreEqualOrNot) {
  auto of = [](int64_t value) { return vectorOf<int64_t>(CLEAVE_I64, {value}); };
  EXPECT_EQ(share(of(7), of(7), 0, 0), 0);
  EXPECT_GT(share(of(7), of(8), 1e9, 1e9), 1);
  // Beyond 2^53 neighbours are one double.
  EXPECT_GT(share(of(INT64_MAX), of(INT64_MAX - 1), 0, 0), 1);
}

TEST(Compare, TypeAndShape) {
  EXPECT_EQ(share(floats({1}), vectorOf<double>(CLEAVE_F64, {1}), 1, 1), -1);
  EXPECT_EQ(share(floats({1}), floats({1, 1}), 1, 1), -1);
  Tensor row(CLEAVE_F32, {1, 2}), column(CLEAVE_F32, {2, 1});
  EXPECT_EQ(share(row, column, 1, 1), -1);
  EXPECT_EQ(share(Tensor(CLEAVE_F32, {0}), Tensor(CLEAVE_F32, {0}), 0, 0), 0);
}

/// f16 by arithmetic instead of by bits.
static double half(uint16_t bits) {
  int exponent = bits >> 10 & 31;
  double fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  if (exponent == 31)
    return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
}

TEST(Elements, HalfPrecision) {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = i;
  Tensor tensor = vectorOf(CLEAVE_F16, all);
  for (size_t i = 0; i < all.size(); ++i) {
    double want = half(all[i]), got = tensor.at(i);
    ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << i;
  }
}
