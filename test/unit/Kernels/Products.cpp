//===- Products.cpp - matmul and conv over shapes, types and machines -----===//

#include "Harness.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

using namespace cleave::test;

namespace {

std::string tensor(const std::vector<int> &shape, const std::string &type) {
  std::string text = "tensor<";
  for (int size : shape)
    text += std::to_string(size) + "x";
  return text + type + ">";
}

std::string matmul(const std::string &a, const std::string &b, const std::string &c) {
  return "func.func @main(%a: " + a + ", %b: " + b + ") -> " + c +
         " {\n %c = nn.matmul %a, %b : " + a + ", " + b + "\n return %c : " + c + "\n}";
}

TEST(Matmul, AnySize) {
  EXPECT_TRUE(rc::check([] {
    auto size = rc::gen::element(0, 1, 2, 3, 7, 8, 13, 16, 17, 31, 48, 64, 100);
    int m = *size, n = *size, k = *size;
    std::string type = *rc::gen::element<std::string>("f32", "f16", "bf16", "i32", "f64");
    Check check;
    check.absolute = 1e-4;
    if (type == "f16" || type == "bf16")
      check.relative = check.absolute = type == "f16" ? 2e-2 : 1.5e-1;
    RC_TAG(type);
    RC_ASSERT(differs(matmul(tensor({m, k}, type), tensor({k, n}, type), tensor({m, n}, type)),
                      check) == "");
  }));
}

TEST(Matmul, LongK) {
  Check check;
  check.runs = 2;
  check.absolute = 5e-4;
  for (int m : {1, 2, 5, 40})
    EXPECT_EQ(
        differs(matmul(tensor({m, 1700}, "f32"), tensor({1700, 96}, "f32"), tensor({m, 96}, "f32")),
                check),
        "")
        << m;
}

/// Blocks of rows, parts of K and what is left over of both, for each of a batch.
TEST(Matmul, BlocksAndParts) {
  Check check;
  check.absolute = 5e-4;
  for (int m : {3, 40, 150})
    EXPECT_EQ(differs(matmul(tensor({2, m, 3072}, "f32"), tensor({2, 3072, 53}, "f32"),
                             tensor({2, m, 53}, "f32")),
                      check),
              "")
        << m;
}

/// So few tiles that several blocks of a GPU divide K, of tiles of every height.
TEST(Matmul, OfHalvesInParts) {
  for (auto [m, n, k] : {std::tuple(1, 200, 1100), std::tuple(3, 1150, 1024),
                         std::tuple(20, 70, 1032), std::tuple(70, 66, 600)}) {
    Check check;
    check.runs = 2;
    check.draw.low = -0.5, check.draw.high = 0.5;
    EXPECT_EQ(
        differs(matmul(tensor({m, k}, "f16"), tensor({k, n}, "f16"), tensor({m, n}, "f16")), check),
        "")
        << m;
  }
}

TEST(Matmul, ManyRows) {
  Check check;
  check.absolute = 2e-4;
  EXPECT_EQ(
      differs(matmul(tensor({293, 65}, "f32"), tensor({65, 48}, "f32"), tensor({293, 48}, "f32")),
              check),
      "");
}

TEST(Matmul, BatchesBroadcast) {
  Check check;
  check.absolute = 1e-4;
  for (const char *type : {"f32", "bf16", "i64"}) {
    Check own = check;
    if (std::string(type) == "bf16")
      own.absolute = own.relative = 1e-1;
    EXPECT_EQ(differs(matmul(tensor({2, 3, 5, 8}, type), tensor({8, 33}, type),
                             tensor({2, 3, 5, 33}, type)),
                      own),
              "");
    EXPECT_EQ(differs(matmul(tensor({2, 1, 5, 8}, type), tensor({3, 8, 33}, type),
                             tensor({2, 3, 5, 33}, type)),
                      own),
              "");
    EXPECT_EQ(
        differs(matmul(tensor({5, 8}, type), tensor({3, 8, 17}, type), tensor({3, 5, 17}, type)),
                own),
        "");
  }
}

TEST(Matmul, OfTransposedOperandsWithAllThatFollows) {
  const char *text =
      R"(func.func @main(%q: tensor<2x21x24xf32>, %k: tensor<2x21x24xf32>, %b: tensor<21xf32>, %r: tensor<2x3x21x21xf32>) -> (tensor<2x3x21x21xf32>, tensor<2x3x21x21xf32>) {
    %q1 = nn.reshape %q : tensor<2x21x24xf32> to tensor<2x21x3x8xf32>
    %q2 = nn.transpose %q1 [0, 2, 1, 3] : tensor<2x21x3x8xf32>
    %k1 = nn.reshape %k : tensor<2x21x24xf32> to tensor<2x21x3x8xf32>
    %k2 = nn.transpose %k1 [0, 2, 3, 1] : tensor<2x21x3x8xf32>
    %s = nn.matmul %q2, %k2 : tensor<2x3x21x8xf32>, tensor<2x3x8x21xf32>
    %t = nn.add %s, %b : tensor<2x3x21x21xf32>, tensor<21xf32>
    %u = nn.gelu erf %t : tensor<2x3x21x21xf32>
    %v = nn.add %u, %r : tensor<2x3x21x21xf32>, tensor<2x3x21x21xf32>
    return %t, %v : tensor<2x3x21x21xf32>, tensor<2x3x21x21xf32>
  })";
  Check check;
  check.absolute = 1e-4;
  EXPECT_EQ(differs(text, check), "");
}

/// Tiles of every size, whole and with edges, of operands that lie in memory either way, in
/// chunks of 16 bytes or not.
TEST(Matmul, OfHalvesInTiles) {
  EXPECT_TRUE(rc::check([] {
    auto size = rc::gen::element(8, 16, 17, 24, 40, 64, 72, 128, 136);
    int m = *rc::gen::element(1, 8, 16, 24, 33, 64, 72, 136), n = *size, k = *size;
    int batch = *rc::gen::element(1, 1, 3);
    std::string type = *rc::gen::element<std::string>("f16", "bf16");
    std::string text, arguments;
    auto operand = [&](const std::string &name, int rows, int columns) {
      std::string whole = tensor({batch, rows, columns}, type);
      std::string turned = tensor({batch, columns, rows}, type);
      std::string wide = tensor({batch, rows, columns + 8}, type);
      int start = *rc::gen::element(0, 3, 8);
      switch (*rc::gen::element(0, 1, 2)) {
      case 1: // Lies across.
        arguments += "%" + name + "0: " + turned + ", ";
        text += "  %" + name + " = nn.transpose %" + name + "0 [0, 2, 1] : " + turned + "\n";
        break;
      case 2: // Is a part of the columns of another.
        arguments += "%" + name + "0: " + wide + ", ";
        text += "  %" + name + " = nn.slice %" + name + "0 starts [0, 0, " + std::to_string(start) +
                "] sizes [" + std::to_string(batch) + ", " + std::to_string(rows) + ", " +
                std::to_string(columns) + "] steps [1, 1, 1] : " + wide + "\n";
        break;
      default: arguments += "%" + name + ": " + whole + ", ";
      }
      return whole;
    };
    std::string a = operand("a", m, k), b = operand("b", k, n), c = tensor({batch, m, n}, type);
    std::string program = "func.func @main(" + arguments + "%r: " + tensor({n}, type) + ") -> (" +
                          c + ", " + c + ") {\n" + text + "  %c = nn.matmul %a, %b : " + a + ", " +
                          b + "\n  %d = nn.add %c, %r : " + c + ", " + tensor({n}, type) +
                          "\n  return %c, %d : " + c + ", " + c + "\n}";
    // Both sums are of numbers below 4 k, in another order; what is rounded between them is
    // rounded once more here.
    Check check;
    check.relative = check.absolute = (type == "f16" ? 0x1p-10 : 0x1p-7) * 8;
    RC_ASSERT(differs(program, check) == "");
  }));
}

/// Signed or not, with sums that f32 does not hold; rows and columns of every length, lying
/// either way, with what follows.
TEST(Matmul, OfBytes) {
  EXPECT_TRUE(rc::check([] {
    auto size = rc::gen::element(1, 3, 8, 16, 17, 32, 48, 64, 72, 100, 136);
    auto type = rc::gen::element<std::string>("i8", "ui8");
    int m = *size, n = *size, k = *rc::gen::element(0, 1, 7, 16, 32, 48, 65, 128, 1100);
    int batch = *rc::gen::element(1, 1, 3);
    std::string typeA = *type, typeB = *type, arguments, text;
    auto operand = [&](const char *name, int rows, int columns, const std::string &type) {
      std::string whole = tensor({batch, rows, columns}, type);
      if (!*rc::gen::arbitrary<bool>()) {
        arguments += "%" + std::string(name) + ": " + whole + ", ";
        return whole;
      }
      std::string turned = tensor({batch, columns, rows}, type);
      arguments += "%" + std::string(name) + "0: " + turned + ", ";
      text +=
          "  %" + std::string(name) + " = nn.transpose %" + name + "0 [0, 2, 1] : " + turned + "\n";
      return whole;
    };
    std::string a = operand("a", m, k, typeA), b = operand("b", k, n, typeB),
                c = tensor({batch, m, n}, "i32"), d = tensor({batch, m, n}, "f32"),
                s = tensor({n}, "f32");
    std::string program =
        "func.func @main(" + arguments + "%s: " + s + ") -> (" + c + ", " + d + ") {\n" + text +
        "  %c = nn.matmul %a, %b : " + a + ", " + b + "\n  %f = nn.cast %c : " + c + " to " + d +
        "\n  %d = nn.mul %f, %s : " + d + ", " + s + "\n  return %c, %d : " + c + ", " + d + "\n}";
    Check check;
    check.draw.least = -128, check.draw.most = 255;
    RC_ASSERT(differs(program, check) == "");
  }));
}

/// Of either kind of 8-bit floats and of both, with sums in f32.
TEST(Matmul, OfByteFloats) {
  const char *const kinds[] = {"f8E4M3FN", "f8E5M2"};
  for (auto [typeA, typeB] : {std::pair(kinds[0], kinds[0]), std::pair(kinds[1], kinds[1]),
                              std::pair(kinds[0], kinds[1]), std::pair(kinds[1], kinds[0])})
    for (auto [m, n, k] : {std::tuple(1, 64, 80), std::tuple(33, 70, 48), std::tuple(72, 136, 65),
                           std::tuple(130, 17, 7), std::tuple(5, 40, 1100)}) {
      Check check;
      // What tensor cores cut off (lib/Target/Cuda/README.md), the simulator does not; factors
      // are below 2.
      check.absolute = getenv("CLEAVE_TEST_GPU") ? 4.0 * k / 62 : 1e-3;
      std::string a = tensor({m, k}, typeA), b = tensor({k, n}, typeB), t = tensor({n, k}, typeB),
                  c = tensor({m, n}, "f32");
      EXPECT_EQ(differs(matmul(a, b, c), check), "") << typeA << ", " << typeB << ", " << m;
      EXPECT_EQ(differs("func.func @main(%a: " + a + ", %t: " + t + ") -> " + c +
                            " {\n %b = nn.transpose %t [1, 0] : " + t +
                            "\n %c = nn.matmul %a, %b : " + a + ", " + b + "\n return %c : " + c +
                            "\n}",
                        check),
                "")
          << typeA << ", " << typeB << ", " << m;
    }
}

/// Weights of 4 and 8 bits, in blocks along K with scales of their own, which become numbers in
/// the kernel: of every type of number, for few rows and many, with zero points or one for all.
TEST(Matmul, OfNarrowWeights) {
  EXPECT_TRUE(rc::check([] {
    int m = *rc::gen::element(1, 3, 17, 40, 72), n = *rc::gen::element(8, 17, 64, 130);
    int block = *rc::gen::element(16, 32), blocks = *rc::gen::element(1, 2, 3, 5, 20);
    int k = block * blocks, ofByte = *rc::gen::element(1, 2, 4);
    bool hasPoints = *rc::gen::arbitrary<bool>();
    std::string type = *rc::gen::element<std::string>("f16", "bf16", "f32");
    std::string number = std::to_string(n), places = std::to_string(blocks);
    auto shaped = [&](std::initializer_list<int> shape, const std::string &element) {
      return tensor(shape, element);
    };
    std::string powers = ofByte == 1 ? "1" : ofByte == 2 ? "1, 16" : "1, 4, 16, 64";
    std::string most = std::to_string(1 << 8 / ofByte), text;
    auto add = [&](const std::string &name, const std::string &what) {
      text += "  %" + name + " = nn." + what + "\n";
    };
    /// The elements of bytes [n, count / ofByte], as ui8 [n, count].
    auto unpack = [&](const std::string &name, int count) {
      std::string bytes = shaped({n, count / ofByte, 1}, "ui8"),
                  all = shaped({n, count / ofByte, ofByte}, "ui8"),
                  whole = shaped({n, count}, "ui8"), table = shaped({ofByte}, "ui8");
      if (ofByte == 1)
        return add(name, "reshape %" + name + "0 : " + whole + " to " + whole);
      add(name + "1",
          "reshape %" + name + "0 : " + shaped({n, count / ofByte}, "ui8") + " to " + bytes);
      add(name + "2", "constant dense<[" + powers + "]> : " + table);
      add(name + "3", "div %" + name + "1, %" + name + "2 : " + bytes + ", " + table);
      add(name + "4", "constant dense<" + most + "> : tensor<ui8>");
      add(name + "5", "rem %" + name + "3, %" + name + "4 : " + all + ", tensor<ui8>");
      add(name, "reshape %" + name + "5 : " + all + " to " + whole);
    };
    int padded = (blocks + ofByte - 1) / ofByte * ofByte;
    std::string a = shaped({m, k}, type), w = shaped({n, k / ofByte}, "ui8"),
                p = shaped({n, padded / ofByte}, "ui8"), s = shaped({n, blocks, 1}, type),
                inBlocks = shaped({n, blocks, block}, "f32"), c = shaped({m, n}, type);
    unpack("w", k);
    add("f", "cast %w : " + shaped({n, k}, "ui8") + " to " + shaped({n, k}, "f32"));
    add("g", "reshape %f : " + shaped({n, k}, "f32") + " to " + inBlocks);
    if (hasPoints) {
      unpack("p", padded);
      add("q", "slice %p starts [0, 0] sizes [" + number + ", " + places +
                   "] steps [1, 1] : " + shaped({n, padded}, "ui8"));
      add("r",
          "reshape %q : " + shaped({n, blocks}, "ui8") + " to " + shaped({n, blocks, 1}, "ui8"));
      add("z",
          "cast %r : " + shaped({n, blocks, 1}, "ui8") + " to " + shaped({n, blocks, 1}, "f32"));
      add("d", "sub %g, %z : " + inBlocks + ", " + shaped({n, blocks, 1}, "f32"));
    } else {
      add("z", "constant dense<8.0> : tensor<f32>");
      add("d", "sub %g, %z : " + inBlocks + ", tensor<f32>");
    }
    add("t", "cast %s : " + s + " to " + shaped({n, blocks, 1}, "f32"));
    add("u", "mul %d, %t : " + inBlocks + ", " + shaped({n, blocks, 1}, "f32"));
    add("v", "reshape %u : " + inBlocks + " to " + shaped({n, k}, "f32"));
    add("x", "cast %v : " + shaped({n, k}, "f32") + " to " + shaped({n, k}, type));
    add("y", "transpose %x [1, 0] : " + shaped({n, k}, type));
    add("c", "matmul %a, %y : " + a + ", " + shaped({k, n}, type));
    std::string program = "func.func @main(%a: " + a + ", %w0: " + w + ", %p0: " + p +
                          ", %s: " + s + ") -> " + c + " {\n" + text + "  return %c : " + c + "\n}";
    Check check;
    check.draw.low = -0.1, check.draw.high = 0.1;
    check.draw.least = 0, check.draw.most = 255;
    // Of k products of 0.1 by 255 * 0.1 each rounding is half a last place.
    check.absolute = type == "f32" ? 1e-3 : type == "f16" ? 0.25 : 2;
    RC_TAG(type);
    std::string wrong = differs(program, check);
    RC_LOG() << program << wrong;
    RC_ASSERT(wrong == "");
  }));
}

/// The tiles of products that keep a chip busy, with what is left over of them.
TEST(Matmul, OfHalvesInManyBlocks) {
  Check check;
  check.draw.low = -0.5, check.draw.high = 0.5;
  auto differ = [&](int batch, int m, int n, const std::string &type) {
    check.relative = check.absolute = type == "f16" ? 0x1p-9 : 0x1p-6;
    return differs(matmul(tensor({batch, m, 40}, type), tensor({batch, 40, n}, type),
                          tensor({batch, m, n}, type)),
                   check);
  };
  EXPECT_EQ(differ(24, 128, 256, "f16"), "");
  EXPECT_EQ(differ(24, 133, 251, "f16"), "");
  EXPECT_EQ(differ(24, 136, 248, "bf16"), "");
  EXPECT_EQ(differ(24, 70, 130, "bf16"), "");
  EXPECT_EQ(differ(8, 3, 770, "bf16"), "");
  EXPECT_EQ(differ(4, 32, 1600, "f16"), "");
}

TEST(Matmul, OfNoElements) {
  for (std::string type : {"f32", "f16", "i8"}) {
    std::string x = tensor({2, 7, 0}, type), b = tensor({0, 3}, type),
                y = tensor({2, 7, 3}, type == "i8" ? "i32" : type);
    EXPECT_EQ(
        differs("func.func @main(%x: " + x + ") -> " + y + " {\n %b = nn.constant dense<> : " + b +
                    "\n %y = nn.matmul %x, %b : " + x + ", " + b + "\n return %y : " + y + "\n}",
                Check()),
        "")
        << type;
  }
}

class Conv : public testing::TestWithParam<const char *> {};
INSTANTIATE_TEST_SUITE_P(Types, Conv, testing::Values("f32", "f16", "bf16"));

std::string convDiffers(const std::string &x, const std::string &f, const std::string &y,
                        const std::string &attributes) {
  Check check;
  check.absolute = 2e-4;
  return differs("func.func @main(%x: " + x + ", %f: " + f + ") -> " + y +
                     " {\n %s = nn.conv %x, %f " + attributes + " : " + x + ", " + f +
                     "\n %y = nn.neg %s : " + y + "\n return %y : " + y + "\n}",
                 check);
}

TEST_P(Conv, WindowsOfEveryKind) {
  std::string type = GetParam();
  auto conv = convDiffers;
  EXPECT_EQ(conv(tensor({2, 3, 9, 11}, type), tensor({4, 3, 3, 3}, type),
                 tensor({2, 4, 9, 11}, type),
                 "strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 1"),
            "");
  EXPECT_EQ(conv(tensor({1, 3, 16, 16}, type), tensor({20, 3, 4, 4}, type),
                 tensor({1, 20, 4, 4}, type),
                 "strides [4, 4] dilations [1, 1] low [0, 0] high [0, 0] groups 1"),
            "");
  EXPECT_EQ(conv(tensor({2, 6, 20}, type), tensor({4, 3, 3}, type), tensor({2, 4, 10}, type),
                 "strides [2] dilations [2] low [2] high [1] groups 2"),
            "");
}

/// Short sums and long ones; images as small as a window, and rows that vectors straddle.
TEST_P(Conv, OneFilterAGroup) {
  std::string type = GetParam();
  auto square = [&](std::vector<int> x, int side, std::vector<int> y, const std::string &strides,
                    int low, int high) {
    auto twice = [](int n) { return "[" + std::to_string(n) + ", " + std::to_string(n) + "]"; };
    return convDiffers(tensor(x, type), tensor({x[1], 1, side, side}, type), tensor(y, type),
                       "strides " + strides + " dilations [1, 1] low " + twice(low) + " high " +
                           twice(high) + " groups " + std::to_string(x[1]));
  };
  EXPECT_EQ(square({1, 5, 13, 21}, 3, {1, 5, 13, 21}, "[1, 1]", 1, 1), "");
  EXPECT_EQ(square({2, 3, 6, 56}, 3, {2, 3, 3, 28}, "[2, 2]", 1, 1), "");
  EXPECT_EQ(square({2, 3, 6, 19}, 3, {2, 3, 3, 9}, "[2, 2]", 0, 1), "");
  EXPECT_EQ(square({1, 3, 7, 7}, 7, {1, 3, 7, 7}, "[1, 1]", 3, 3), "");
  EXPECT_EQ(square({1, 2, 12, 35}, 9, {1, 2, 12, 35}, "[1, 1]", 4, 4), "");
  EXPECT_EQ(convDiffers(tensor({1, 3, 8, 20}, type), tensor({1, 3, 3, 3}, type),
                        tensor({1, 1, 8, 20}, type),
                        "strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 1"),
            "");
  EXPECT_EQ(convDiffers(tensor({2, 4, 70}, type), tensor({4, 1, 31}, type),
                        tensor({2, 4, 70}, type),
                        "strides [1] dilations [1] low [15] high [15] groups 4"),
            "");
}

TEST_P(Conv, PanelsAcrossTheRowsOfAnImage) {
  EXPECT_EQ(convDiffers(tensor({1, 5, 9, 56}, GetParam()), tensor({9, 5, 3, 3}, GetParam()),
                        tensor({1, 9, 9, 56}, GetParam()),
                        "strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 1"),
            "");
}

} // namespace
