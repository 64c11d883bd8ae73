//===- Movement.cpp - elements change place, faults are reported ----------===//

#include "Harness.h"

#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

using namespace cleave;
using namespace cleave::test;

namespace {

struct Case {
  const char *name, *text;
};

class Movement : public testing::TestWithParam<Case> {};

TEST_P(Movement, EqualsItsMeaning) {
  for (const char *type : {"f32", "bf16", "i64", "i1"}) {
    std::string text = GetParam().text;
    for (size_t at; (at = text.find("ELT")) != std::string::npos;)
      text.replace(at, 3, type);
    EXPECT_EQ(differs(text), "") << type;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ops, Movement,
    testing::Values(
        Case{"transpose", R"(func.func @main(%x: tensor<2x3x5x17xELT>) -> tensor<2x5x3x17xELT> {
          %y = nn.transpose %x [0, 2, 1, 3] : tensor<2x3x5x17xELT>
          return %y : tensor<2x5x3x17xELT> })"},
        Case{"transpose_inner", R"(func.func @main(%x: tensor<19x33xELT>) -> tensor<33x19xELT> {
          %y = nn.transpose %x [1, 0] : tensor<19x33xELT>
          return %y : tensor<33x19xELT> })"},
        Case{"split_heads", R"(func.func @main(%x: tensor<2x5x24xELT>) -> tensor<2x3x5x8xELT> {
          %r = nn.reshape %x : tensor<2x5x24xELT> to tensor<2x5x3x8xELT>
          %y = nn.transpose %r [0, 2, 1, 3] : tensor<2x5x3x8xELT>
          return %y : tensor<2x3x5x8xELT> })"},
        Case{"reshape_that_divides_nothing",
             R"(func.func @main(%x: tensor<6x35xELT>) -> tensor<10x21xELT> {
          %t = nn.transpose %x [1, 0] : tensor<6x35xELT>
          %r = nn.reshape %t : tensor<35x6xELT> to tensor<10x21xELT>
          return %r : tensor<10x21xELT> })"},
        Case{"broadcast", R"(func.func @main(%x: tensor<4x1xELT>) -> tensor<2x4x19xELT> {
          %y = nn.broadcast %x : tensor<4x1xELT> to tensor<2x4x19xELT>
          return %y : tensor<2x4x19xELT> })"},
        Case{"slice", R"(func.func @main(%x: tensor<5x40xELT>) -> tensor<3x19xELT> {
          %y = nn.slice %x starts [1, 2] sizes [3, 19] steps [1, 2] : tensor<5x40xELT>
          return %y : tensor<3x19xELT> })"},
        Case{"slice_backwards", R"(func.func @main(%x: tensor<5x40xELT>) -> tensor<5x40xELT> {
          %y = nn.slice %x starts [4, 39] sizes [5, 40] steps [-1, -1] : tensor<5x40xELT>
          return %y : tensor<5x40xELT> })"},
        Case{
            "parts_that_are_views",
            R"(func.func @main(%x: tensor<6x3x7xELT>) -> (tensor<2x3x7xELT>, tensor<3x7xELT>, tensor<1x2x7xELT>, tensor<0x3x7xELT>) {
          %a = nn.slice %x starts [3, 0, 0] sizes [2, 3, 7] steps [1, 1, 1] : tensor<6x3x7xELT>
          %p = nn.slice %a starts [1, 1, 0] sizes [1, 2, 7] steps [-1, 1, 1] : tensor<2x3x7xELT>
          %z = nn.slice %x starts [6, 0, 0] sizes [0, 3, 7] steps [1, 1, 1] : tensor<6x3x7xELT>
          %r = nn.reshape %x : tensor<6x3x7xELT> to tensor<18x7xELT>
          %b = nn.slice %r starts [15, 0] sizes [3, 7] steps [1, 1] : tensor<18x7xELT>
          %q = nn.transpose %b [1, 0] : tensor<3x7xELT>
          %c = nn.transpose %q [1, 0] : tensor<7x3xELT>
          return %a, %c, %p, %z : tensor<2x3x7xELT>, tensor<3x7xELT>, tensor<1x2x7xELT>, tensor<0x3x7xELT> })"},
        Case{
            "parts_that_are_shifted",
            R"(func.func @main(%x: tensor<3x5x7xELT>) -> (tensor<3x2x7xELT>, tensor<3x2x7xELT>, tensor<2x5x3xELT>, tensor<2x5x3xELT>) {
          %a = nn.slice %x starts [0, 0, 0] sizes [3, 2, 7] steps [1, 1, 1] : tensor<3x5x7xELT>
          %b = nn.slice %x starts [0, 3, 0] sizes [3, 2, 7] steps [1, 1, 1] : tensor<3x5x7xELT>
          %c = nn.slice %x starts [0, 0, 0] sizes [2, 5, 3] steps [2, 1, 2] : tensor<3x5x7xELT>
          %d = nn.slice %x starts [0, 0, 2] sizes [2, 5, 3] steps [2, 1, 2] : tensor<3x5x7xELT>
          return %a, %b, %c, %d : tensor<3x2x7xELT>, tensor<3x2x7xELT>, tensor<2x5x3xELT>, tensor<2x5x3xELT> })"},
        Case{
            "concat_inner",
            R"(func.func @main(%x: tensor<3x7xELT>, %y: tensor<3x18xELT>, %z: tensor<3x0xELT>) -> tensor<3x25xELT> {
          %c = nn.concat %x, %z, %y axis 1 : tensor<3x7xELT>, tensor<3x0xELT>, tensor<3x18xELT>
          return %c : tensor<3x25xELT> })"},
        Case{"concat_outer",
             R"(func.func @main(%x: tensor<2x3x9xELT>, %y: tensor<2x1x9xELT>) -> tensor<2x4x9xELT> {
          %c = nn.concat %x, %y axis 1 : tensor<2x3x9xELT>, tensor<2x1x9xELT>
          return %c : tensor<2x4x9xELT> })"},
        Case{"pad", R"(func.func @main(%x: tensor<3x18xELT>, %v: tensor<ELT>) -> tensor<6x20xELT> {
          %y = nn.pad %x, %v low [1, 2] high [2, 0] : tensor<3x18xELT>, tensor<ELT>
          return %y : tensor<6x20xELT> })"},
        Case{"gather_rows",
             R"(func.func @main(%x: tensor<4x20xELT>, %i: tensor<2x3xi64>) -> tensor<2x3x20xELT> {
          %y = nn.gather %x, %i axis 0 : tensor<4x20xELT>, tensor<2x3xi64>
          return %y : tensor<2x3x20xELT> })"},
        Case{"gather_columns",
             R"(func.func @main(%x: tensor<5x4xELT>, %i: tensor<21xi32>) -> tensor<5x21xELT> {
          %y = nn.gather %x, %i axis 1 : tensor<5x4xELT>, tensor<21xi32>
          return %y : tensor<5x21xELT> })"},
        Case{"gather_elements",
             R"(func.func @main(%x: tensor<4x20xELT>, %i: tensor<3x20xi64>) -> tensor<3x20xELT> {
          %y = nn.gather_elements %x, %i axis 0 : tensor<4x20xELT>, tensor<3x20xi64>
          return %y : tensor<3x20xELT> })"},
        Case{"gather_nd",
             R"(func.func @main(%x: tensor<4x4x6xELT>, %i: tensor<5x2xi64>) -> tensor<5x6xELT> {
          %y = nn.gather_nd %x, %i batch_dims 0 : tensor<4x4x6xELT>, tensor<5x2xi64>
          return %y : tensor<5x6xELT> })"},
        Case{"gather_nd_batched",
             R"(func.func @main(%x: tensor<2x4x6xELT>, %i: tensor<2x5x1xi64>) -> tensor<2x5x6xELT> {
          %y = nn.gather_nd %x, %i batch_dims 1 : tensor<2x4x6xELT>, tensor<2x5x1xi64>
          return %y : tensor<2x5x6xELT> })"},
        Case{
            "scatter_nd",
            R"(func.func @main(%x: tensor<4x18xELT>, %i: tensor<3x1xi64>, %u: tensor<3x18xELT>) -> tensor<4x18xELT> {
          %y = nn.scatter_nd %x, %i, %u : tensor<4x18xELT>, tensor<3x1xi64>, tensor<3x18xELT>
          return %y : tensor<4x18xELT> })"},
        Case{
            "cache_update",
            R"(func.func @main(%x: tensor<2x3x8x5xELT>, %u: tensor<2x3x2x5xELT>, %p: tensor<2xi64>) -> tensor<2x3x8x5xELT> {
          %y = nn.cache_update %x, %u, %p axis 2 : tensor<2x3x8x5xELT>, tensor<2x3x2x5xELT>, tensor<2xi64>
          return %y : tensor<2x3x8x5xELT> })"}),
    [](const auto &info) { return info.param.name; });

std::string tensorOf(const std::vector<int64_t> &shape, const std::string &type) {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + type + ">";
}

/// What is done beside a transpose.
enum Beside {
  kNothing,
  kBias,        ///< one row for all
  kColumn,      ///< one element a row
  kResidual,    ///< lies as the result does
  kBoth,        ///< is transposed too
  kPart,        ///< of something larger
  kJoined,      ///< the last two dimensions become one
  kDivided,     ///< the first is two in memory, as heads are
  kAcrossItself ///< with itself as it lies
};

std::string transposeOf(std::vector<int64_t> to, std::vector<size_t> permutation,
                        const std::string &type, Beside beside) {
  if (beside == kAcrossItself) {
    to.assign(2, to.front());
    permutation = {1, 0};
  }
  std::vector<int64_t> from(to.size()), other = to;
  std::string order, starts, sizes, steps;
  for (size_t i = 0; i < to.size(); ++i)
    from[permutation[i]] = to[i];
  for (size_t i = 0; i < to.size(); ++i) {
    std::string comma = i ? ", " : "";
    order += comma + std::to_string(permutation[i]);
    starts += comma + std::to_string(i + 1);
    sizes += comma + std::to_string(from[i]);
    steps += comma + "1";
  }
  std::string x = tensorOf(from, type), y = tensorOf(to, type), first = "%x", second = "%z";
  std::vector<int64_t> memory = from, result = to;
  std::string body;
  if (beside == kPart) {
    for (size_t i = 0; i < from.size(); ++i)
      memory[i] += i + 4;
    body += "  %p = nn.slice %x starts [" + starts + "] sizes [" + sizes + "] steps [" + steps +
            "] : " + tensorOf(memory, type) + "\n";
    first = "%p";
  }
  if (beside == kDivided) {
    memory.assign({1, from[0] * from[1]});
    memory.insert(memory.end(), from.begin() + 2, from.end());
    body += "  %p = nn.reshape %x : " + tensorOf(memory, type) + " to " + x + "\n";
    first = "%p";
  }
  if (beside == kBias)
    std::fill(other.begin(), other.end() - 1, 1);
  if (beside == kColumn)
    other.back() = 1;
  std::string z = tensorOf(beside == kBoth ? from : other, type);
  body += "  %t = nn.transpose " + first + " [" + order + "] : " + x + "\n";
  std::string last = "%t";
  if (beside == kBoth) {
    body += "  %u = nn.transpose %z [" + order + "] : " + x + "\n";
    second = "%u";
  }
  if (beside == kAcrossItself)
    second = "%x";
  if (beside == kJoined) {
    result.pop_back();
    result.back() *= to.back();
    body += "  %r = nn.reshape %t : " + y + " to " + tensorOf(result, type) + "\n";
    last = "%r";
  } else if (beside != kNothing) {
    body += "  %y = nn.max %t, " + second + " : " + y + ", " +
            (beside == kBoth || beside == kAcrossItself ? y : z) + "\n";
    last = "%y";
  }
  return "func.func @main(%x: " + tensorOf(memory, type) + ", %z: " + z + ") -> " +
         tensorOf(result, type) + " {\n" + body + "  return " + last + " : " +
         tensorOf(result, type) + "\n}";
}

TEST(Transposes, OfDrawnShapes) {
  std::mt19937_64 random(7);
  auto drawn = [&](auto first, auto last) {
    return first[std::uniform_int_distribution<size_t>(0, last - first - 1)(random)];
  };
  const std::vector<int64_t> sizes = {1, 2, 3, 15, 16, 17, 31, 32, 36, 64, 65, 68, 130};
  const std::vector<std::string> types = {"f32", "bf16", "f16", "i32", "i16",
                                          "i8",  "i1",   "i64", "f64"};
  for (int turn = 0; turn < 200; ++turn) {
    size_t rank = std::uniform_int_distribution<size_t>(2, 4)(random);
    std::vector<int64_t> to;
    int64_t size = 1;
    while (to.size() < rank) {
      int64_t next = drawn(sizes.begin(), sizes.end());
      to.push_back(size * next > 20000 ? 1 : next);
      size *= to.back();
    }
    std::vector<size_t> permutation(rank);
    std::iota(permutation.begin(), permutation.end(), 0);
    std::shuffle(permutation.begin(), permutation.end(), random);
    auto beside = Beside(std::uniform_int_distribution<int>(0, kAcrossItself)(random));
    std::string text = transposeOf(to, permutation, drawn(types.begin(), types.end()), beside);
    EXPECT_EQ(differs(text), "") << text;
  }
}

TEST(Rope, TurnsPairs) {
  for (const char *kind : {"", "interleaved "})
    for (auto [width, half] : {std::pair(16, 8), std::pair(20, 6), std::pair(64, 32)}) {
      std::string x = "tensor<2x3x5x" + std::to_string(width) + "xf32>";
      std::string t = "tensor<1x1x5x" + std::to_string(half) + "xf32>";
      EXPECT_EQ(differs("func.func @main(%x: " + x + ", %c: " + t + ", %s: " + t + ") -> " + x +
                        " {\n %y = nn.rope %x, %c, %s " + kind + ": " + x + ", " + t + ", " + t +
                        "\n return %y : " + x + "\n}"),
                "")
          << kind << width;
    }
}

TEST(Constants, AreReadFromTheCode) {
  EXPECT_EQ(
      differs(
          R"(func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<3xi64>, tensor<4xi1>) {
    %c = nn.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
    %i = nn.constant dense<[7, -8, 9]> : tensor<3xi64>
    %b = nn.constant dense<[true, false, true, true]> : tensor<4xi1>
    %y = nn.mul %x, %c : tensor<2x4xf32>, tensor<4xf32>
    return %y, %i, %b : tensor<2x4xf32>, tensor<3xi64>, tensor<4xi1> })"),
      "");
}

TEST(Results, MayBeInputsOrEqual) {
  EXPECT_EQ(
      differs(
          R"(func.func @main(%x: tensor<5xf32>) -> (tensor<5xf32>, tensor<5xf32>, tensor<5x1xf32>) {
    %y = nn.neg %x : tensor<5xf32>
    %r = nn.reshape %y : tensor<5xf32> to tensor<5x1xf32>
    return %x, %y, %r : tensor<5xf32>, tensor<5xf32>, tensor<5x1xf32> })"),
      "");
}

TEST(Gather, ReportsAWildIndex) {
  mlir::MLIRContext context;
  HostTensor data(mlir::RankedTensorType::get({4, 6}, mlir::Float32Type::get(&context)));
  HostTensor indices(mlir::RankedTensorType::get({2}, mlir::IntegerType::get(&context, 64)));
  const char *text = R"(func.func @main(%x: tensor<4x6xf32>, %i: tensor<2xi64>) -> tensor<2x6xf32> {
    %y = nn.gather %x, %i axis 0 : tensor<4x6xf32>, tensor<2xi64>
    return %y : tensor<2x6xf32> })";
  indices.ints = {-4, 3};
  EXPECT_EQ(runFault(text, {data, indices}), "");
  for (int64_t wild : {4, -5, 1 << 30}) {
    indices.ints = {0, wild};
    EXPECT_NE(runFault(text, {data, indices}), "") << wild;
  }
}

TEST(Gather, AbsoluteTakesNoneFromTheEnd) {
  mlir::MLIRContext context;
  HostTensor data(mlir::RankedTensorType::get({4}, mlir::Float32Type::get(&context)));
  HostTensor indices(mlir::RankedTensorType::get({19}, mlir::IntegerType::get(&context, 32)));
  const char *text = R"(func.func @main(%x: tensor<4xf32>, %i: tensor<19xi32>) -> tensor<19xf32> {
    %y = nn.gather %x, %i axis 0 absolute : tensor<4xf32>, tensor<19xi32>
    return %y : tensor<19xf32> })";
  EXPECT_EQ(runFault(text, {data, indices}), "");
  indices.ints[17] = -1;
  EXPECT_NE(runFault(text, {data, indices}), "");
}

} // namespace
