//===- Rows.cpp - reductions of every kind, type and dimension ------------===//

#include "Harness.h"

#include <gtest/gtest.h>

using namespace cleave::test;

namespace {

std::string reduce(const std::string &kind, const std::string &type, const std::string &shape,
                   const std::string &dims, const std::string &result) {
  std::string in = "tensor<" + shape + type + ">", out = "tensor<" + result + type + ">";
  return "func.func @main(%x: " + in + ") -> " + out + " {\n  %y = nn.reduce " + kind +
         " %x dims " + dims + " : " + in + "\n  return %y : " + out + "\n}\n";
}

TEST(Reduce, EveryKindAndDimension) {
  Check check;
  check.draw = {0.5, 1.5, 0, 3};
  for (const char *type : {"f32", "f16", "bf16", "f64", "i64", "i32"})
    for (const char *kind : {"sum", "mean", "max", "min", "prod"})
      for (auto [shape, dims, result] :
           {std::tuple("3x5x19x", "[2]", "3x5x1x"), std::tuple("3x5x19x", "[1]", "3x1x19x"),
            std::tuple("3x5x19x", "[0, 2]", "1x5x1x"), std::tuple("7x", "[0]", "1x"),
            std::tuple("2x64x", "[1]", "2x1x"), std::tuple("0x4x", "[1]", "0x1x")})
        EXPECT_EQ(differs(reduce(kind, type, shape, dims, result), check), "")
            << kind << " " << shape << type << " " << dims;
}

/// Columns that several blocks and their warps add up, with edges both ways and more behind.
TEST(Reduce, LongColumnsSideBySide) {
  for (const char *type : {"f32", "bf16"})
    for (const char *kind : {"sum", "mean"})
      for (auto [shape, dims, result] :
           {std::tuple("64x32x", "[0]", "1x32x"), std::tuple("333x130x", "[0]", "1x130x"),
            std::tuple("2x70x3x33x", "[1, 2]", "2x1x1x33x"),
            std::tuple("1x900x260x", "[1]", "1x1x260x")}) {
        std::string in = std::string("tensor<") + shape + type + ">";
        std::string out = std::string("tensor<") + result + type + ">";
        Check check;
        check.draw = {0.5, 1.5, 0, 3};
        EXPECT_EQ(differs("func.func @main(%x: " + in + ", %r: " + out + ") -> " + out +
                              " {\n %y = nn.reduce " + kind + " %x dims " + dims + " : " + in +
                              "\n %z = nn.add %y, %r : " + out + ", " + out +
                              "\n return %z : " + out + "\n}",
                          check),
                  "")
            << kind << " " << shape << type;
      }
}

TEST(Reduce, AnEmptyRowGivesTheIdentity) {
  for (const char *kind : {"sum", "mean", "max", "min", "prod"})
    EXPECT_EQ(differs(reduce(kind, "f32", "3x0x", "[1]", "3x1x")), "") << kind;
}

TEST(Softmax, AlongAnyDimension) {
  for (const char *type : {"f32", "f16", "bf16", "f64"})
    for (auto [shape, dim] : {std::pair("3x4x17x", 2), std::pair("3x4x17x", 1),
                              std::pair("5x1x", 1), std::pair("2x128x", 1), std::pair("0x4x", 1)}) {
      std::string t = std::string("tensor<") + shape + type + ">";
      EXPECT_EQ(differs("func.func @main(%x: " + t + ") -> " + t + " {\n %y = nn.softmax %x dim " +
                        std::to_string(dim) + " : " + t + "\n return %y : " + t + "\n}"),
                "")
          << t << dim;
    }
}

class Norms : public testing::TestWithParam<std::tuple<const char *, int>> {};

TEST_P(Norms, WithTheSumInFront) {
  auto [type, width] = GetParam();
  std::string w = std::to_string(width) + "x" + type;
  std::string x = "tensor<3x" + w + ">", v = "tensor<" + w + ">";
  Check check;
  check.absolute = 1e-4;
  EXPECT_EQ(differs("func.func @main(%x: " + x + ", %r: " + x + ", %g: " + v + ", %b: " + v +
                        ") -> (" + x + ", " + x + ", " + x + ") {\n %s = nn.add %x, %r : " + x +
                        ", " + x + "\n %y = nn.layer_norm %s, %g, %b epsilon 1.0e-5 : " + x + ", " +
                        v + ", " + v + "\n %z = nn.rms_norm %s, %g epsilon 1.0e-5 : " + x + ", " +
                        v + "\n %n = nn.neg %z : " + x + "\n return %s, %y, %n : " + x + ", " + x +
                        ", " + x + "\n}",
                    check),
            "");
}

INSTANTIATE_TEST_SUITE_P(Widths, Norms,
                         testing::Combine(testing::Values("f32", "f16", "bf16", "f64"),
                                          testing::Values(1, 7, 16, 37, 64, 96, 768)));

TEST(ArgReduce, FirstOrLastOfEquals) {
  for (const char *type : {"f32", "i64"})
    for (const char *kind : {"max", "min"})
      for (const char *last : {"", "last "})
        for (auto [shape, dim, result] :
             {std::tuple("4x19x", 1, "4x1x"), std::tuple("4x19x", 0, "1x19x"),
              std::tuple("3x70x", 1, "3x1x"), std::tuple("700x3x", 0, "1x3x")}) {
          std::string in = std::string("tensor<") + shape + type + ">";
          std::string out = std::string("tensor<") + result + "i64>";
          EXPECT_EQ(differs("func.func @main(%x: " + in + ") -> " + out +
                            " {\n %y = nn.arg_reduce " + kind + " %x dim " + std::to_string(dim) +
                            " " + last + ": " + in + "\n return %y : " + out + "\n}"),
                    "")
              << type << kind << last << dim;
        }
}

/// Short ones, and long ones that many threads look through; integers are equal often.
TEST(TopK, InOrderWithIndices) {
  for (const char *type : {"f32", "bf16", "i64"})
    for (const char *kind : {"max", "min"})
      for (const char *length : {"19", "70", "600"}) {
        std::string in = std::string("tensor<4x") + length + "x" + type + ">";
        std::string out = std::string("tensor<4x5x") + type + ">";
        EXPECT_EQ(differs("func.func @main(%x: " + in + ") -> (" + out +
                          ", tensor<4x5xi64>) {\n %v, %i = nn.top_k " + kind + " 5 of %x dim 1 : " +
                          in + "\n return %v, %i : " + out + ", tensor<4x5xi64>\n}"),
                  "")
            << type << kind << length;
      }
}

/// Many of many, also all or none, and more than a list in shared memory holds; columns side by
/// side; bytes, halves and zeros of two signs are equal often.
TEST(TopK, ManyOfALongColumn) {
  struct Case {
    const char *type, *kind, *sizes, *kept;
    int k, dim;
  };
  for (auto [type, kind, sizes, kept, k, dim] :
       {Case{"f32", "max", "2x900x", "2x50x", 50, 1}, Case{"f32", "min", "2x900x", "2x50x", 50, 1},
        Case{"f16", "max", "900x", "400x", 400, 0}, Case{"bf16", "min", "900x", "400x", 400, 0},
        Case{"i8", "max", "700x", "300x", 300, 0}, Case{"ui8", "min", "700x", "300x", 300, 0},
        Case{"i32", "min", "700x", "700x", 700, 0}, Case{"f64", "max", "2x300x", "2x77x", 77, 1},
        Case{"ui64", "max", "300x", "77x", 77, 0}, Case{"f32", "max", "200x3x", "60x3x", 60, 0},
        Case{"f32", "max", "4500x", "4200x", 4200, 0}, Case{"f32", "max", "5x", "0x", 0, 0}}) {
    std::string in = std::string("tensor<") + sizes + type + ">";
    std::string out = std::string("tensor<") + kept + type + ">";
    std::string indices = std::string("tensor<") + kept + "i64>";
    EXPECT_EQ(differs("func.func @main(%x: " + in + ") -> (" + out + ", " + indices +
                      ") {\n %v, %i = nn.top_k " + kind + " " + std::to_string(k) + " of %x dim " +
                      std::to_string(dim) + " : " + in + "\n return %v, %i : " + out + ", " +
                      indices + "\n}"),
              "")
        << type << kind << sizes;
  }
  EXPECT_EQ(differs("func.func @main(%x: tensor<200xf32>) -> (tensor<90xf32>, tensor<90xi64>) {\n"
                    " %r = nn.round %x : tensor<200xf32>\n"
                    " %v, %i = nn.top_k max 90 of %r dim 0 : tensor<200xf32>\n"
                    " return %v, %i : tensor<90xf32>, tensor<90xi64>\n}"),
            "");
}

/// Half of the roots are none; rows of 3 have nothing else at times.
TEST(TopK, WhatIsNoNumberIsAboveAll) {
  for (const char *kind : {"max", "min"})
    for (const char *length : {"3", "19", "70"}) {
      std::string in = std::string("tensor<16x") + length + "xf32>";
      EXPECT_EQ(differs("func.func @main(%x: " + in +
                        ") -> (tensor<16x3xf32>, tensor<16x3xi64>) {\n %r = nn.sqrt %x : " + in +
                        "\n %v, %i = nn.top_k " + kind + " 3 of %r dim 1 : " + in +
                        "\n return %v, %i : tensor<16x3xf32>, tensor<16x3xi64>\n}"),
                "")
          << kind << length;
    }
}

TEST(CumSum, BothDirections) {
  for (const char *type : {"f32", "i64"})
    for (const char *flags : {"", "exclusive ", "reverse ", "exclusive reverse "})
      for (auto [shape, dim] : {std::pair("5x18x", 0), std::pair("5x18x", 1), std::pair("3x77x", 1),
                                std::pair("96x2x", 0)}) {
        std::string t = std::string("tensor<") + shape + type + ">";
        EXPECT_EQ(differs("func.func @main(%x: " + t + ") -> " + t + " {\n %y = nn.cumsum %x dim " +
                          std::to_string(dim) + " " + flags + ": " + t + "\n return %y : " + t +
                          "\n}"),
                  "")
            << t << flags << dim;
      }
}

} // namespace
