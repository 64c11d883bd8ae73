//===- Quantised.cpp - weights that are held as bytes ---------------------===//
//
// Weights of 4 and 8 bits lie in a file and become numbers in the kernel of the
// product that reads them. Sizes are such that SplitLoad leaves them bytes.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <random>

using namespace cleave::test;

namespace {

std::string tensor(std::vector<int> shape, const std::string &type) {
  std::string text = "tensor<";
  for (int size : shape)
    text += std::to_string(size) + "x";
  return text + type + ">";
}

/// A file of drawn bytes, which are weights and, four of them, scales between 0.5 and 1.
class Weights {
public:
  Weights(const std::string &name, int64_t bytes, int64_t scales)
      : path(testing::TempDir() + name + std::to_string(::getpid())), bytes(bytes) {
    std::mt19937 random(bytes);
    std::ofstream file(path, std::ios::binary);
    for (int64_t i = 0; i < bytes; ++i)
      file.put(static_cast<char>(random()));
    for (int64_t i = 0; i < scales; ++i) {
      float scale = 0.5f + 0.5f * (random() % 256) / 256;
      file.write(reinterpret_cast<const char *>(&scale), sizeof scale);
    }
  }
  ~Weights() { std::remove(path.c_str()); }

  std::string weight(const std::string &name, const std::string &type) const {
    return weight(name, type, bytes);
  }
  /// The first of the bytes once more.
  std::string weight(const std::string &name, const std::string &type, int64_t length) const {
    return " %" + name + " = nn.weight \"" + name + "\" in \"" + path + "\" at 0 length " +
           std::to_string(length) + " : " + type + "\n";
  }
  std::string scale(const std::string &name, int64_t count, const std::string &type) const {
    return " %" + name + " = nn.weight \"" + name + "\" in \"" + path + "\" at " +
           std::to_string(bytes) + " length " + std::to_string(4 * count) + " : " + type + "\n";
  }

private:
  std::string path;
  int64_t bytes;
};

/// x [m, k] times weights of 8 bits, [n, k] or with `isTurned` [k, n], a scale a column.
std::string ofBytes(const Weights &file, int m, int k, int n, bool isTurned,
                    const std::string &type) {
  std::vector<int> shape = isTurned ? std::vector<int>{k, n} : std::vector<int>{n, k};
  std::vector<int> scales = isTurned ? std::vector<int>{1, n} : std::vector<int>{n, 1};
  std::string w = tensor(shape, type), f = tensor(shape, "f32"), s = tensor(scales, "f32");
  std::string x = tensor({m, k}, "f32"), b = tensor({k, n}, "f32"), y = tensor({m, n}, "f32");
  std::string text = "func.func @main(%x: " + x + ") -> " + y + " {\n" + file.weight("w", w) +
                     file.scale("s", n, s) + " %f = nn.cast %w : " + w + " to " + f +
                     "\n %d = nn.mul %f, %s : " + f + ", " + s + "\n";
  std::string right = "%d";
  if (!isTurned) {
    text += " %t = nn.transpose %d [1, 0] : " + f + "\n";
    right = "%t";
  }
  return text + " %y = nn.matmul %x, " + right + " : " + x + ", " + b + "\n return %y : " + y +
         "\n}";
}

TEST(Quantised, WeightsOfBytes) {
  EXPECT_TRUE(rc::check([] {
    int m = *rc::gen::element(1, 2, 5, 17, 70);
    int k = *rc::gen::element(300, 512), n = *rc::gen::element(96, 100, 129);
    bool isTurned = *rc::gen::arbitrary<bool>();
    std::string type = *rc::gen::element<std::string>("i8", "ui8");
    Weights file("bytes", int64_t(n) * k, n);
    Check check;
    // Sums of up to 512 products of numbers below 2 and 256.
    check.absolute = 512 * 2 * 256 * 0x1p-20;
    RC_ASSERT(differs(ofBytes(file, m, k, n, isTurned, type), check) == "");
  }));
}

/// What weights of few bits are like.
struct Bits {
  int bits, block;
  bool hasZeros; ///< a zero point a block, of a byte
  int left;      ///< of K, in the last block, that no product uses
};

/// x [m, k - left] times weights [n, k] of few bits, a scale for each block of k.
std::string ofBits(const Weights &file, int m, int k, int n, const Bits &of) {
  int each = 8 / of.bits, blocks = k / of.block, used = k - of.left;
  std::string w = tensor({n, k / each, 1}, "ui8"), u = tensor({n, k / each, each}, "ui8"),
              q = tensor({n, blocks, of.block}, "ui8"), f = tensor({n, blocks, of.block}, "f32"),
              s = tensor({n, blocks}, "f32"), l = tensor({n, blocks, 1}, "f32"),
              z = tensor({n, blocks, 1}, "ui8"), r = tensor({n, k}, "f32"),
              g = tensor({n, used}, "f32"), x = tensor({m, used}, "f32"),
              b = tensor({used, n}, "f32"), y = tensor({m, n}, "f32");
  std::string places = of.bits == 4 ? "1, 16" : "1, 4, 16, 64";
  std::string p = tensor({each}, "ui8"), zero = "tensor<f32>";
  std::string text = "func.func @main(%x: " + x + ") -> " + y + " {\n" + file.weight("w", w) +
                     file.scale("s", int64_t(n) * blocks, s) + " %p = nn.constant dense<[" +
                     places + "]> : " + p + "\n %m = nn.constant dense<" +
                     std::to_string(1 << of.bits) + "> : tensor<ui8>\n";
  if (of.hasZeros) {
    zero = l;
    text +=
        file.weight("h", z, int64_t(n) * blocks) + " %z = nn.cast %h : " + z + " to " + l + "\n";
  } else {
    text += " %z = nn.constant dense<" + std::to_string(1 << (of.bits - 1)) + ".0> : tensor<f32>\n";
  }
  text += " %u = nn.div %w, %p : " + w + ", " + p + "\n %v = nn.rem %u, %m : " + u +
          ", tensor<ui8>\n %q = nn.reshape %v : " + u + " to " + q + "\n %f = nn.cast %q : " + q +
          " to " + f + "\n %c = nn.sub %f, %z : " + f + ", " + zero +
          "\n %l = nn.reshape %s : " + s + " to " + l + "\n %d = nn.mul %c, %l : " + f + ", " + l +
          "\n %r = nn.reshape %d : " + f + " to " + r + "\n";
  std::string right = "%r";
  if (of.left > 0) {
    text += " %g = nn.slice %r starts [0, 0] sizes [" + std::to_string(n) + ", " +
            std::to_string(used) + "] steps [1, 1] : " + r + "\n";
    right = "%g";
  }
  return text + " %t = nn.transpose " + right + " [1, 0] : " + g +
         "\n %y = nn.matmul %x, %t : " + x + ", " + b + "\n return %y : " + y + "\n}";
}

TEST(Quantised, WeightsOfFewBits) {
  EXPECT_TRUE(rc::check([] {
    int m = *rc::gen::element(1, 3, 16, 40), n = *rc::gen::element(96, 130);
    Bits of{*rc::gen::element(2, 4), *rc::gen::element(16, 24, 32), *rc::gen::arbitrary<bool>(),
            *rc::gen::element(0, 5)};
    int k = of.block * *rc::gen::element(12, 16, 21);
    Weights file("bits", int64_t(n) * k * of.bits / 8, int64_t(n) * k / of.block);
    Check check;
    // Sums of up to 672 products of numbers below 2 and, with zero points of a byte, 256.
    check.absolute = 672 * 2 * (of.hasZeros ? 256 : 8) * 0x1p-20;
    RC_ASSERT(differs(ofBits(file, m, k, n, of), check) == "");
  }));
}

/// Bytes times weights of bytes, which lie in fours of K where the machine adds up as many; the
/// left operand is there or computed.
TEST(Quantised, ProductsOfBytes) {
  EXPECT_TRUE(rc::check([] {
    int m = *rc::gen::element(1, 2, 5, 17, 140), n = *rc::gen::element(7, 16, 96, 100, 129);
    int k = *rc::gen::element(4, 30, 260, 3300);
    std::string type = *rc::gen::element<std::string>("i8", "i8", "ui8");
    std::string x = tensor({m, k}, "ui8"), w = tensor({k, n}, type), y = tensor({m, n}, "i32"),
                z = tensor({m, n}, "f32");
    Weights file("fours", int64_t(n) * k, 0);
    std::string text = "func.func @main(%x: " + x + ") -> (" + y + ", " + z + ") {\n" +
                       file.weight("w", w),
                left = "%x";
    if (*rc::gen::arbitrary<bool>()) {
      text += " %h = nn.constant dense<3> : tensor<ui8>\n %a = nn.div %x, %h : " + x +
              ", tensor<ui8>\n";
      left = "%a";
    }
    text += " %y = nn.matmul " + left + ", %w : " + x + ", " + w + "\n %f = nn.cast %y : " + y +
            " to " + z + "\n";
    std::string result = "%f";
    if (*rc::gen::arbitrary<bool>()) {
      text += " %s = nn.sigmoid %f : " + z + "\n";
      result = "%s";
    }
    Check check;
    check.draw.least = 0, check.draw.most = 255;
    RC_ASSERT(differs(text + " return %y, " + result + " : " + y + ", " + z + "\n}", check) == "");
  }));
}

TEST(Quantised, WindowsOfBytes) {
  EXPECT_TRUE(rc::check([] {
    auto kind = rc::gen::element<std::string>("i8", "ui8");
    int groups = *rc::gen::element(1, 2, 6), filters = *rc::gen::element(6, 18);
    int size = *rc::gen::element(7, 16), stride = *rc::gen::element(1, 2);
    int low = *rc::gen::inRange(0, 2), high = *rc::gen::inRange(0, 2);
    std::string x = tensor({2, 6, size, 9}, *kind), f = tensor({filters, 6 / groups, 3, 3}, *kind);
    int down = (size + low + high - 3) / stride + 1;
    std::string y = tensor({2, filters, down, 9}, "i32");
    Check check;
    check.draw.least = -100, check.draw.most = 255;
    RC_ASSERT(differs("func.func @main(%x: " + x + ", %f: " + f + ") -> " + y +
                          " {\n %y = nn.conv %x, %f strides [" + std::to_string(stride) +
                          ", 1] dilations [1, 1] low [" + std::to_string(low) + ", 1] high [" +
                          std::to_string(high) + ", 1] groups " + std::to_string(groups) + " : " +
                          x + ", " + f + "\n return %y : " + y + "\n}",
                      check) == "");
  }));
}

} // namespace
