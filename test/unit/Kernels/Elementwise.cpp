//===- Elementwise.cpp - every elementwise op, on vectors and tails -------===//

#include "Harness.h"

#include <gtest/gtest.h>

using namespace cleave::test;

namespace {

/// func @main of one op with operands of `type` each of `shape`.
std::string unary(const std::string &op, const std::string &shape, const std::string &type,
                  const std::string &result) {
  std::string in = "tensor<" + shape + type + ">", out = "tensor<" + shape + result + ">";
  return "func.func @main(%x: " + in + ") -> " + out + " {\n  %y = nn." + op + " %x : " + in +
         "\n  return %y : " + out + "\n}\n";
}

std::string binary(const std::string &op, const std::string &left, const std::string &right,
                   const std::string &result) {
  return "func.func @main(%x: tensor<" + left + ">, %y: tensor<" + right + ">) -> tensor<" +
         result + "> {\n  %z = nn." + op + " %x, %y : tensor<" + left + ">, tensor<" + right +
         ">\n  return %z : tensor<" + result + ">\n}\n";
}

/// Domains in which the functions are smooth enough to compare by value.
struct UnaryCase {
  const char *op;
  double low, high;
};

class Unary : public testing::TestWithParam<UnaryCase> {};

TEST_P(Unary, EqualsItsMeaning) {
  UnaryCase unaryCase = GetParam();
  Check check;
  check.draw = {unaryCase.low, unaryCase.high, 0, 3};
  for (const char *type : {"f32", "f16", "bf16"})
    for (const char *shape : {"", "1x", "7x", "3x37x", "0x4x"})
      EXPECT_EQ(differs(unary(unaryCase.op, shape, type, type), check), "")
          << unaryCase.op << " " << shape << type;
}

INSTANTIATE_TEST_SUITE_P(
    Ops, Unary,
    testing::Values(UnaryCase{"neg", -9, 9}, UnaryCase{"abs", -9, 9}, UnaryCase{"sign", -2, 2},
                    UnaryCase{"exp", -9, 9}, UnaryCase{"log", 0.01, 90}, UnaryCase{"sqrt", 0, 90},
                    UnaryCase{"rsqrt", 0.1, 90}, UnaryCase{"reciprocal", 0.1, 9},
                    UnaryCase{"tanh", -11, 11}, UnaryCase{"erf", -5, 5},
                    UnaryCase{"sigmoid", -90, 90}, UnaryCase{"silu", -20, 20},
                    UnaryCase{"sin", -100, 100}, UnaryCase{"cos", -100, 100},
                    UnaryCase{"floor", -9, 9}, UnaryCase{"ceil", -9, 9}, UnaryCase{"round", -9, 9},
                    UnaryCase{"gelu erf", -6, 6}, UnaryCase{"gelu tanh", -6, 6},
                    UnaryCase{"gelu quick", -6, 6}),
    [](const auto &info) {
      std::string name = info.param.op;
      std::replace(name.begin(), name.end(), ' ', '_');
      return name;
    });

TEST(Angles, OfAnySize) {
  // Beyond 2^30 they are reduced another way; a range that holds both takes both.
  for (auto [low, high] : {std::pair(0x1p29, 0x1p31), std::pair(-4e9, 4e9), std::pair(1e12, 1e13),
                           std::pair(-1e20, 1e20), std::pair(-3.4e38, 3.4e38)})
    for (const char *op : {"sin", "cos"})
      for (const char *type : {"f32", "bf16", "f64"}) {
        Check check;
        check.draw = {low, high, 0, 3};
        for (const char *shape : {"", "257x"})
          EXPECT_EQ(differs(unary(op, shape, type, type), check), "") << op << low << type;
      }
}

TEST(Angles, NearAMultipleOfAQuarter) {
  // The f32 nearest to one, of all, and two that are reduced the short way.
  for (double x : {16367173 * 0x1p72, -16367173 * 0x1p72, 0x1.921fb6p0, 0x1.f9cbe2p+7})
    for (const char *op : {"sin", "cos"}) {
      Check check;
      check.absolute = 0;
      check.relative = 0x1p-22;
      check.draw = {x, x, 0, 3};
      EXPECT_EQ(differs(unary(op, "9x", "f32", "f32"), check), "") << op << x;
    }
}

TEST(Unary, OfTruthValues) {
  EXPECT_EQ(differs(unary("not", "19x", "i1", "i1")), "");
  EXPECT_EQ(differs(unary("is_nan", "19x", "f32", "i1")), "");
}

class Binary : public testing::TestWithParam<const char *> {};

TEST_P(Binary, BroadcastsAsNumpy) {
  std::string op = GetParam();
  Check check;
  check.draw = {0.5, 4.0, 1, 5};
  for (const char *type : {"f32", "f16", "bf16", "i64", "i32", "ui8"}) {
    std::string t = type;
    for (auto [left, right, result] :
         {std::tuple("5x17x", "5x17x", "5x17x"), std::tuple("5x17x", "17x", "5x17x"),
          std::tuple("5x1x", "1x33x", "5x33x"), std::tuple("", "2x3x", "2x3x"),
          std::tuple("2x1x8x", "3x1x", "2x3x8x"), std::tuple("0x3x", "3x", "0x3x")})
      EXPECT_EQ(differs(binary(op, left + t, right + t, result + t), check), "")
          << op << " " << left << right << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Binary,
                         testing::Values("add", "sub", "mul", "div", "pow", "max", "min", "rem",
                                         "mod"));

TEST(Binary, OfTruthValues) {
  for (const char *op : {"and", "or", "xor"})
    EXPECT_EQ(differs(binary(op, "3x21xi1", "21xi1", "3x21xi1")), "") << op;
  for (const char *kind : {"eq", "ne", "lt", "le", "gt", "ge"})
    for (const char *type : {"f32", "i64", "ui8", "bf16"}) {
      std::string t = type;
      EXPECT_EQ(differs(binary(std::string("compare ") + kind, "3x21x" + t, "21x" + t, "3x21xi1")),
                "")
          << kind << t;
    }
}

TEST(Binary, SignedRemainders) {
  Check check;
  check.draw = {-9, 9, -9, -1};
  for (const char *op : {"rem", "mod", "div"})
    EXPECT_EQ(differs(binary(op, "50xi32", "50xi32", "50xi32"), check), "") << op;
  for (const char *op : {"rem", "mod"})
    EXPECT_EQ(differs(binary(op, "50xf32", "50xf32", "50xf32"), check), "") << op;
}

TEST(Select, TakesBothBranches) {
  EXPECT_EQ(
      differs(
          R"(func.func @main(%c: tensor<4x1xi1>, %x: tensor<4x19xf32>, %y: tensor<f32>) -> tensor<4x19xf32> {
    %z = nn.select %c, %x, %y : tensor<4x1xi1>, tensor<4x19xf32>, tensor<f32>
    return %z : tensor<4x19xf32>
  })"),
      "");
}

TEST(Cast, BetweenAllTypes) {
  Check check;
  check.draw = {0, 100, 0, 100};
  const char *types[] = {"f32", "f16", "bf16", "f64", "i64", "i32", "i8", "ui8", "i1"};
  for (std::string from : types)
    for (std::string to : types)
      EXPECT_EQ(differs("func.func @main(%x: tensor<3x11x" + from + ">) -> tensor<3x11x" + to +
                            "> {\n %y = nn.cast %x : tensor<3x11x" + from + "> to tensor<3x11x" +
                            to + ">\n return %y : tensor<3x11x" + to + ">\n}",
                        check),
                "")
          << from << " to " << to;
}

/// Beyond the largest numbers of either, at the ties between them and below the smallest.
TEST(Cast, ToAndFromBytes) {
  for (double most : {0.02, 3.0, 600.0, 70000.0})
    for (std::string type : {"f8E4M3FN", "f8E5M2"})
      for (std::string from : {"f32", "f16", "bf16", "i32"})
        for (std::string how : {"", "saturate "}) {
          Check check;
          check.draw = {-most, most, -70000, 70000};
          std::string x = "tensor<8x61x" + from + ">", y = "tensor<8x61x" + type + ">",
                      z = "tensor<8x61xf32>";
          std::string text = "func.func @main(%x: " + x + ") -> (" + y + ", " + z + ") {\n";
          text += " %y = nn.cast " + how + "%x : " + x + " to " + y + "\n";
          text +=
              " %z = nn.cast %y : " + y + " to " + z + "\n return %y, %z : " + y + ", " + z + "\n}";
          EXPECT_EQ(differs(text, check), "") << how << from << " to " << type << " of " << most;
        }
}

/// Sums of them are sums of f32, rounded once.
TEST(Cast, OfSumsOfBytes) {
  for (std::string type : {"f8E4M3FN", "f8E5M2"}) {
    std::string x = "tensor<256x" + type + ">", y = "tensor<256xf32>";
    std::string text = "func.func @main(%s: " + x + ") -> (" + x + ", " + y + ") {\n" +
                       " %t = nn.add %s, %s : " + x + ", " + x + "\n %y = nn.cast %s : " + x +
                       " to " + y + "\n return %t, %y : " + x + ", " + y + "\n}";
    Check check;
    check.draw = {-500, 500, 0, 0};
    EXPECT_EQ(differs(text, check), "") << type;
  }
}

TEST(Chains, AreOneKernelOnBothMachines) {
  const char *text =
      R"(func.func @main(%x: tensor<6x50xf32>, %b: tensor<50xf32>) -> tensor<6x50xf32> {
    %s = nn.add %x, %b : tensor<6x50xf32>, tensor<50xf32>
    %t = nn.sigmoid %s : tensor<6x50xf32>
    %u = nn.mul %s, %t : tensor<6x50xf32>, tensor<6x50xf32>
    %v = nn.tanh %u : tensor<6x50xf32>
    return %v : tensor<6x50xf32>
  })";
  EXPECT_EQ(differs(text), "");
}

} // namespace
