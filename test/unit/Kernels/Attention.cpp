//===- Attention.cpp - masks, heads, lengths, empty rows ------------------===//

#include "Harness.h"

#include <gtest/gtest.h>

using namespace cleave::test;

namespace {

struct Case {
  int b, h, g, s, t, d, e;
  std::string attributes;
  std::string mask; ///< shape and type of the mask, or nothing
};

std::string attention(const Case &c, const std::string &type) {
  auto tensor = [&](int heads, int rows, int width) {
    return "tensor<" + std::to_string(c.b) + "x" + std::to_string(heads) + "x" +
           std::to_string(rows) + "x" + std::to_string(width) + "x" + type + ">";
  };
  std::string q = tensor(c.h, c.s, c.d), k = tensor(c.g, c.t, c.d), v = tensor(c.g, c.t, c.e);
  std::string y = tensor(c.h, c.s, c.e), extra, use;
  if (!c.mask.empty()) {
    extra = ", %m: tensor<" + c.mask + ">";
    use = " mask %m : tensor<" + c.mask + ">";
  }
  return "func.func @main(%q: " + q + ", %k: " + k + ", %v: " + v + extra + ") -> " + y +
         " {\n %y = nn.attention %q, %k, %v" + use + " " + c.attributes + " : " + q + ", " + k +
         ", " + v + "\n return %y : " + y + "\n}";
}

class Attention : public testing::TestWithParam<Case> {};

TEST_P(Attention, EqualsItsMeaning) {
  for (const char *type : {"f32", "f16", "bf16"}) {
    Check check;
    check.absolute = 1e-4;
    EXPECT_EQ(differs(attention(GetParam(), type), check), "") << type;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Attention,
    testing::Values(Case{2, 4, 4, 9, 9, 16, 16, "scale 0.25", ""},
                    Case{1, 4, 2, 9, 9, 16, 16, "scale 0.25 causal", ""},
                    Case{2, 4, 2, 1, 37, 16, 24, "scale 0.25", ""},
                    Case{1, 6, 2, 3, 70, 8, 7, "scale 0.3 causal offset 67", ""},
                    Case{1, 2, 1, 130, 130, 64, 64, "scale 0.125 causal", ""},
                    Case{1, 1, 1, 100, 33, 20, 20, "scale 0.2 softcap 3.0", ""},
                    Case{1, 2, 2, 5, 6, 4, 4, "scale 0.5 causal offset -2", ""},
                    Case{2, 2, 2, 5, 6, 4, 4, "scale 0.5", "2x1x1x6xi1"},
                    Case{2, 2, 2, 5, 19, 4, 4, "scale 0.5", "5x19xi1"},
                    Case{2, 2, 1, 5, 19, 4, 4, "scale 0.5 softcap 2.0", "2x2x5x19xf32"},
                    Case{1, 2, 2, 4, 0, 4, 4, "scale 0.5", ""},
                    Case{0, 2, 2, 4, 3, 4, 4, "scale 0.5", ""},
                    Case{1, 2, 2, 1, 1, 1, 1, "scale 1.0", ""}));

/// Rows and keys of several tiles with what is left over of them, rows of every length that
/// a block can have, and heads that share keys in one block or in several.
INSTANTIATE_TEST_SUITE_P(
    Tiles, Attention,
    testing::Values(Case{1, 2, 2, 136, 136, 64, 64, "scale 0.125 causal", ""},
                    Case{1, 2, 1, 200, 72, 32, 32, "scale 0.2", ""},
                    Case{1, 2, 1, 70, 150, 128, 128, "scale 0.09 causal offset 80", ""},
                    Case{1, 1, 1, 66, 66, 96, 40, "scale 0.1 causal offset -3", ""},
                    Case{2, 8, 2, 1, 300, 64, 64, "scale 0.125", ""},
                    Case{1, 8, 2, 4, 133, 128, 128, "scale 0.09 causal offset 129", ""},
                    Case{2, 8, 2, 8, 70, 80, 80, "scale 0.1 causal offset 62", ""},
                    Case{1, 4, 4, 70, 70, 16, 16, "scale -0.3", ""},
                    Case{1, 2, 1, 40, 130, 64, 64, "scale 0.125 causal offset 90", "40x130xi1"},
                    Case{1, 4, 1, 3, 130, 64, 64, "scale 0.125 softcap 2.0", "4x1x130xf32"},
                    Case{1, 2, 2, 65, 9, 200, 8, "scale 0.07", ""}));

/// So many keys for so few rows that several blocks of a GPU divide them, some of which
/// may find none to see.
class AttentionInParts : public testing::TestWithParam<Case> {};

TEST_P(AttentionInParts, GivesTheSameBitsAgain) {
  for (const char *type : {"f32", "f16"}) {
    Check check;
    check.absolute = 1e-4;
    check.runs = 2;
    EXPECT_EQ(differs(attention(GetParam(), type), check), "") << type;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, AttentionInParts,
    testing::Values(Case{1, 3, 1, 1, 700, 32, 32, "scale 0.2", ""},
                    Case{2, 4, 2, 2, 330, 16, 23, "scale 0.3 causal offset 40", ""},
                    Case{1, 2, 2, 3, 200, 16, 16, "scale 0.5", "1x2x1x200xi1"},
                    Case{1, 2, 1, 70, 260, 16, 16, "scale 0.2 softcap 2.0", ""},
                    Case{1, 1, 1, 2, 300, 8, 8, "scale 0.5 causal offset -2", ""}));

TEST(Attention, SeesWhatLengthsSay) {
  for (const char *type : {"f32", "f16"})
    for (const char *causal : {"", "causal "}) {
      std::string t = std::string("tensor<2x2x3x8x") + type + ">";
      std::string k = std::string("tensor<2x2x99x8x") + type + ">";
      Check check;
      check.draw = {-2, 2, 3, 99};
      EXPECT_EQ(
          differs("func.func @main(%q: " + t + ", %k: " + k + ", %v: " + k +
                      ", %l: tensor<2xi64>) -> " + t +
                      " {\n %y = nn.attention %q, %k, %v lengths %l : tensor<2xi64> scale 0.5 " +
                      causal + ": " + t + ", " + k + ", " + k + "\n return %y : " + t + "\n}",
                  check),
          "")
          << type << " " << causal;
    }
}

TEST(Attention, ReadsThroughRopeAndTransposes) {
  std::string text =
      R"(func.func @main(%q: tensor<1x9x64xf32>, %k: tensor<1x9x32xf32>, %v: tensor<1x9x32xf32>, %c: tensor<1x1x9x8xf32>, %s: tensor<1x1x9x8xf32>) -> tensor<1x9x64xf32> {
    %q1 = nn.reshape %q : tensor<1x9x64xf32> to tensor<1x9x4x16xf32>
    %q2 = nn.transpose %q1 [0, 2, 1, 3] : tensor<1x9x4x16xf32>
    %q3 = nn.rope %q2, %c, %s : tensor<1x4x9x16xf32>, tensor<1x1x9x8xf32>, tensor<1x1x9x8xf32>
    %k1 = nn.reshape %k : tensor<1x9x32xf32> to tensor<1x9x2x16xf32>
    %k2 = nn.transpose %k1 [0, 2, 1, 3] : tensor<1x9x2x16xf32>
    %k3 = nn.rope %k2, %c, %s : tensor<1x2x9x16xf32>, tensor<1x1x9x8xf32>, tensor<1x1x9x8xf32>
    %v1 = nn.reshape %v : tensor<1x9x32xf32> to tensor<1x9x2x16xf32>
    %v2 = nn.transpose %v1 [0, 2, 1, 3] : tensor<1x9x2x16xf32>
    %o = nn.attention %q3, %k3, %v2 scale 0.25 causal : tensor<1x4x9x16xf32>, tensor<1x2x9x16xf32>, tensor<1x2x9x16xf32>
    %o1 = nn.transpose %o [0, 2, 1, 3] : tensor<1x4x9x16xf32>
    %y = nn.reshape %o1 : tensor<1x9x4x16xf32> to tensor<1x9x64xf32>
    return %y : tensor<1x9x64xf32> })";
  EXPECT_EQ(differs(text), "");
  for (size_t at; (at = text.find("f32")) != std::string::npos;)
    text.replace(at, 3, "f16");
  EXPECT_EQ(differs(text), "");
}

} // namespace
