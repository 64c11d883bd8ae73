//===- Conflicts.cpp - lanes that wait for each other at shared memory ----===//

#include "../Kernels/Harness.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

using namespace cleave::test;

namespace {

/// Runs a function of one kernel; how often its warps took longer than any addresses need.
uint64_t conflictsOf(const std::string &function) {
  void *simulator = dlopen(CLEAVE_TEST_SIMT, RTLD_NOW);
  using Count = int (*)(const char *, uint64_t *, uint64_t *);
  auto count =
      reinterpret_cast<Count>(simulator ? dlsym(simulator, "cleave_simt_conflicts") : nullptr);
  if (!count) {
    ADD_FAILURE() << dlerror();
    return 0;
  }
  uint64_t extra = 0, accesses = 0;
  // Forgets kernels of that name that ran before.
  count("kernel_0", &extra, &accesses);
  Check check;
  check.draw.low = -0.5, check.draw.high = 0.5;
  EXPECT_EQ(differs(function, check), "");
  EXPECT_EQ(count("kernel_0", &extra, &accesses), 0);
  EXPECT_GT(accesses, 0u);
  return extra;
}

} // namespace

/// Every size of tile, and both operands either way.
TEST(Conflicts, NoneInProducts) {
  const std::pair<int, int> sizes[] = {{8, 256},   {32, 256},   {64, 256},   {8, 6144},
                                       {32, 6144}, {512, 1024}, {1536, 1024}};
  for (auto [m, n] : sizes) {
    std::string x = "tensor<" + std::to_string(m) + "x64xf16>";
    std::string w = "tensor<64x" + std::to_string(n) + "xf16>";
    std::string c = "tensor<" + std::to_string(m) + "x" + std::to_string(n) + "xf16>";
    EXPECT_EQ(conflictsOf("func.func @main(%x: " + x + ", %w: " + w + ") -> " + c +
                          " {\n %c = nn.matmul %x, %w : " + x + ", " + w + "\n return %c : " + c +
                          "\n}"),
              0u)
        << m << " rows, " << n << " columns";
  }
  EXPECT_EQ(
      conflictsOf(
          R"(func.func @main(%x: tensor<64x64xf16>, %w: tensor<64x64xf16>) -> tensor<64x64xf16> {
    %a = nn.transpose %x [1, 0] : tensor<64x64xf16>
    %b = nn.transpose %w [1, 0] : tensor<64x64xf16>
    %c = nn.matmul %a, %b : tensor<64x64xf16>, tensor<64x64xf16>
    return %c : tensor<64x64xf16> })"),
      0u);
}

/// Of few queries and of many, with the longest heads and with shorter ones.
TEST(Conflicts, NoneInAttention) {
  for (const char *queries : {"1", "70"})
    for (const char *depth : {"32", "64", "128"}) {
      std::string q = std::string("tensor<1x2x") + queries + "x" + depth + "xbf16>";
      std::string k = std::string("tensor<1x1x128x") + depth + "xbf16>";
      EXPECT_EQ(conflictsOf("func.func @main(%q: " + q + ", %k: " + k + ", %v: " + k + ") -> " + q +
                            " {\n %y = nn.attention %q, %k, %v scale 0.1 causal offset 50 : " + q +
                            ", " + k + ", " + k + "\n return %y : " + q + "\n}"),
                0u)
          << queries << ", " << depth;
    }
}

/// Of elements of all sizes that have tiles, with vectors and where edges allow none.
TEST(Conflicts, NoneInTransposes) {
  const std::pair<int, int> sizes[] = {{128, 128}, {32, 64}, {68, 200}, {65, 99}, {17, 31}};
  for (const char *type : {"f32", "bf16", "i8"})
    for (auto [rows, columns] : sizes) {
      std::string x = "tensor<2x" + std::to_string(rows) + "x" + std::to_string(columns) + "x";
      std::string y = "tensor<2x" + std::to_string(columns) + "x" + std::to_string(rows) + "x";
      x += std::string(type) + ">", y += std::string(type) + ">";
      EXPECT_EQ(conflictsOf("func.func @main(%x: " + x + ") -> " + y +
                            " {\n %y = nn.transpose %x [0, 2, 1] : " + x + "\n return %y : " + y +
                            "\n}"),
                0u)
          << rows << " rows, " << columns << " columns of " << type;
    }
}
