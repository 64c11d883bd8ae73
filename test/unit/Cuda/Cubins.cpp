//===- Cubins.cpp - what ptxas says of kernels ----------------------------===//
//
// One of each kind, for the chips of every generation. Nothing here runs.
//
//===----------------------------------------------------------------------===//

#include "cleave/Target/Cuda.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Rt/Rt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>

using namespace cleave;

namespace {

struct Kernel {
  const char *name, *text;
  unsigned spillBytes = 0; ///< at most, where each warp multiplies alone
};

const Kernel kernels[] = {
    {"product",
     R"(func.func @main(%x: tensor<256x192xf32>, %w: tensor<192x256xf32>, %b: tensor<256xf32>) -> tensor<256x256xf32> {
       %y = nn.matmul %x, %w : tensor<256x192xf32>, tensor<192x256xf32>
       %z = nn.add %y, %b : tensor<256x256xf32>, tensor<256xf32>
       %a = nn.gelu erf %z : tensor<256x256xf32>
       return %a : tensor<256x256xf32> })"},
    {"product of bf16",
     R"(func.func @main(%x: tensor<65x130xbf16>, %w: tensor<130x67xbf16>) -> tensor<65x67xbf16> {
       %y = nn.matmul %x, %w : tensor<65x130xbf16>, tensor<130x67xbf16>
       return %y : tensor<65x67xbf16> })"},
    {"product in large tiles",
     R"(func.func @main(%x: tensor<2048x512xf16>, %w: tensor<512x1024xf16>, %b: tensor<1024xf16>) -> tensor<2048x1024xf16> {
       %y = nn.matmul %x, %w : tensor<2048x512xf16>, tensor<512x1024xf16>
       %z = nn.add %y, %b : tensor<2048x1024xf16>, tensor<1024xf16>
       %a = nn.gelu erf %z : tensor<2048x1024xf16>
       return %a : tensor<2048x1024xf16> })"},
    {"product in large tiles with edges, of rows that no chunks divide",
     R"(func.func @main(%x: tensor<2051x514xbf16>, %w: tensor<1032x514xbf16>) -> tensor<2051x1032xbf16> {
       %t = nn.transpose %w [1, 0] : tensor<1032x514xbf16>
       %y = nn.matmul %x, %t : tensor<2051x514xbf16>, tensor<514x1032xbf16>
       return %y : tensor<2051x1032xbf16> })"},
    {"product in large tiles of 256 columns",
     R"(func.func @main(%x: tensor<1x4096x1024xbf16>, %w: tensor<2048x1024xbf16>, %r: tensor<1x4096x2048xbf16>) -> tensor<1x4096x2048xbf16> {
       %t = nn.transpose %w [1, 0] : tensor<2048x1024xbf16>
       %y = nn.matmul %x, %t : tensor<1x4096x1024xbf16>, tensor<1024x2048xbf16>
       %a = nn.gelu erf %y : tensor<1x4096x2048xbf16>
       %z = nn.add %a, %r : tensor<1x4096x2048xbf16>, tensor<1x4096x2048xbf16>
       return %z : tensor<1x4096x2048xbf16> })"},
    {"product in medium tiles",
     R"(func.func @main(%x: tensor<256x1024xf16>, %w: tensor<1024x2048xf16>) -> tensor<256x2048xf16> {
       %y = nn.matmul %x, %w : tensor<256x1024xf16>, tensor<1024x2048xf16>
       return %y : tensor<256x2048xf16> })"},
    {"product of few rows",
     R"(func.func @main(%x: tensor<1x4096xf16>, %w: tensor<4096x8192xf16>) -> tensor<1x8192xf16> {
       %y = nn.matmul %x, %w : tensor<1x4096xf16>, tensor<4096x8192xf16>
       return %y : tensor<1x8192xf16> })"},
    {"product of some rows",
     R"(func.func @main(%x: tensor<32x1024xbf16>, %w: tensor<1024x7000xbf16>) -> tensor<32x7000xbf16> {
       %y = nn.matmul %x, %w : tensor<32x1024xbf16>, tensor<1024x7000xbf16>
       return %y : tensor<32x7000xbf16> })"},
    {"product of one row and few columns",
     R"(func.func @main(%x: tensor<1x4096xbf16>, %w: tensor<1024x4096xbf16>) -> tensor<1x1024xbf16> {
       %t = nn.transpose %w [1, 0] : tensor<1024x4096xbf16>
       %y = nn.matmul %x, %t : tensor<1x4096xbf16>, tensor<4096x1024xbf16>
       return %y : tensor<1x1024xbf16> })"},
    {"product of one row in f32",
     R"(func.func @main(%x: tensor<1x4096xf32>, %w: tensor<4096x1024xf32>) -> tensor<1x1024xf32> {
       %y = nn.matmul %x, %w : tensor<1x4096xf32>, tensor<4096x1024xf32>
       return %y : tensor<1x1024xf32> })"},
    {"product in few blocks",
     R"(func.func @main(%x: tensor<64x1024xbf16>, %w: tensor<1024x1024xbf16>) -> tensor<64x1024xbf16> {
       %y = nn.matmul %x, %w : tensor<64x1024xbf16>, tensor<1024x1024xbf16>
       return %y : tensor<64x1024xbf16> })"},
    {"attention",
     R"(func.func @main(%q: tensor<1x8x256x128xf16>, %k: tensor<1x2x256x128xf16>, %v: tensor<1x2x256x128xf16>) -> tensor<1x8x256x128xf16> {
       %y = nn.attention %q, %k, %v scale 0.088 causal : tensor<1x8x256x128xf16>, tensor<1x2x256x128xf16>, tensor<1x2x256x128xf16>
       return %y : tensor<1x8x256x128xf16> })",
     32},
    {"attention of many rows",
     R"(func.func @main(%q: tensor<1x8x512x64xbf16>, %k: tensor<1x2x512x64xbf16>, %v: tensor<1x2x512x64xbf16>) -> tensor<1x8x512x64xbf16> {
       %y = nn.attention %q, %k, %v scale 0.125 causal : tensor<1x8x512x64xbf16>, tensor<1x2x512x64xbf16>, tensor<1x2x512x64xbf16>
       return %y : tensor<1x8x512x64xbf16> })"},
    {"attention with a mask",
     R"(func.func @main(%q: tensor<1x8x100x128xf16>, %k: tensor<1x8x100x128xf16>, %v: tensor<1x8x100x128xf16>, %m: tensor<1x1x100x100xf16>) -> tensor<1x8x100x128xf16> {
       %y = nn.attention %q, %k, %v mask %m : tensor<1x1x100x100xf16> scale 0.088 softcap 30.0 : tensor<1x8x100x128xf16>, tensor<1x8x100x128xf16>, tensor<1x8x100x128xf16>
       return %y : tensor<1x8x100x128xf16> })",
     32},
    {"attention of one query",
     R"(func.func @main(%q: tensor<2x32x1x128xbf16>, %k: tensor<2x8x4096x128xbf16>, %v: tensor<2x8x4096x128xbf16>, %l: tensor<2xi64>) -> tensor<2x32x1x128xbf16> {
       %y = nn.attention %q, %k, %v lengths %l : tensor<2xi64> scale 0.088 causal : tensor<2x32x1x128xbf16>, tensor<2x8x4096x128xbf16>, tensor<2x8x4096x128xbf16>
       return %y : tensor<2x32x1x128xbf16> })"},
    {"short rows", R"(func.func @main(%x: tensor<33x768xf16>) -> tensor<33x768xf16> {
       %y = nn.softmax %x dim 1 : tensor<33x768xf16>
       return %y : tensor<33x768xf16> })"},
    {"long rows", R"(func.func @main(%x: tensor<3x50257xf32>) -> tensor<3x50257xf32> {
       %y = nn.softmax %x dim 1 : tensor<3x50257xf32>
       return %y : tensor<3x50257xf32> })"},
    {"largest of long rows",
     R"(func.func @main(%x: tensor<4x50257xf16>) -> (tensor<4x40xf16>, tensor<4x40xi64>) {
       %v, %i = nn.top_k max 40 of %x dim 1 : tensor<4x50257xf16>
       return %v, %i : tensor<4x40xf16>, tensor<4x40xi64> })"},
    {"sums of long rows", R"(func.func @main(%x: tensor<4x5000xi64>) -> tensor<4x5000xi64> {
       %y = nn.cumsum %x dim 1 : tensor<4x5000xi64>
       return %y : tensor<4x5000xi64> })"},
    {"transpose of bf16",
     R"(func.func @main(%x: tensor<16384x4096xbf16>) -> tensor<4096x16384xbf16> {
       %y = nn.transpose %x [1, 0] : tensor<16384x4096xbf16>
       return %y : tensor<4096x16384xbf16> })"},
    {"elements", R"(func.func @main(%x: tensor<64x127xf64>) -> tensor<127x64xf64> {
       %y = nn.sin %x : tensor<64x127xf64>
       %z = nn.transpose %y [1, 0] : tensor<64x127xf64>
       return %z : tensor<127x64xf64> })"},
};

struct Compiled {
  std::vector<CubinReport> reports;
  std::vector<std::string> images;
  std::map<uint32_t, uint32_t> threads; ///< of a block, by chip
};

Compiled compile(const Kernel &kernel, const std::vector<std::string> &chips) {
  mlir::MLIRContext context;
  context.loadDialect<dist::DistDialect, mlir::func::FuncDialect, nn::NnDialect, rt::RtDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(kernel.text, &context);
  Compiled made;
  if (!module)
    return made;
  CudaOptions options;
  options.chips = chips;
  auto program = compileCuda(*module, options, &made.reports);
  EXPECT_TRUE(bool(program)) << kernel.name << ": " << llvm::toString(program.takeError());
  if (!program)
    return made;
  const cleave_program &whole = *(*program)->program();
  for (uint32_t i = 0; i < whole.num_images; ++i) {
    const cleave_image &image = whole.images[i];
    made.images.emplace_back(static_cast<const char *>(image.data), image.bytes);
    made.threads[image.chip] = image.threads;
  }
  return made;
}

} // namespace

TEST(Cubins, KeepTheirSumsInRegistersOnEveryChip) {
  const std::vector<std::string> chips = {"sm_80", "sm_90a", "sm_100a", "sm_120"};
  for (const Kernel &kernel : kernels) {
    Compiled made = compile(kernel, chips);
    ASSERT_EQ(made.reports.size(), chips.size()) << kernel.name;
    // And PTX for the chips to come.
    EXPECT_EQ(made.images.size(), chips.size() + 1) << kernel.name;
    for (const CubinReport &report : made.reports) {
      EXPECT_GT(report.registers, 0u) << kernel.name << " on " << report.chip;
      EXPECT_LE(report.spillBytes, report.chip == "sm_90a" ? 0 : kernel.spillBytes)
          << kernel.name << " on " << report.chip;
    }
  }
}

/// Groups of warps multiply what is large where a chip has them, and no warps alone: two, and
/// of a product a third that brings operands where they come in boxes.
TEST(Cubins, AreStartedAsTheirChipsWant) {
  auto threadsOf = [](const std::string &name, uint32_t chip) {
    const Kernel &product = *std::find_if(std::begin(kernels), std::end(kernels),
                                          [&](const Kernel &one) { return name == one.name; });
    return compile(product, {"sm_80", "sm_90a"}).threads[chip];
  };
  EXPECT_EQ(threadsOf("product in large tiles", 80), 128u);
  EXPECT_EQ(threadsOf("product in large tiles", 90), 384u);
  EXPECT_EQ(threadsOf("attention", 80), 128u);
  EXPECT_EQ(threadsOf("attention", 90), 256u);
  EXPECT_EQ(threadsOf("product in large tiles with edges, of rows that no chunks divide", 90),
            256u);
}

/// What begins early touches nothing before it has waited: no pass has moved a load, and
/// ptxas will not.
TEST(Cubins, WaitBeforeTheyTouchMemory) {
  const std::regex touches("\t((ld|st|red|atom)(\\.[a-z]+)*\\.global|cp\\.)");
  for (const Kernel &kernel : kernels) {
    Compiled made = compile(kernel, {"sm_90"});
    ASSERT_EQ(made.images.size(), 2u) << kernel.name;
    const std::string &ptx = made.images[1];
    std::smatch first;
    ASSERT_TRUE(std::regex_search(ptx, first, touches)) << kernel.name;
    EXPECT_LT(ptx.find("griddepcontrol.wait"), size_t(first.position())) << kernel.name;
    // ptxas moves those to the front, as what never changes: tables of libdevice do not.
    if (ptx.find("__cudart_") == ptx.npos)
      EXPECT_EQ(ptx.find("ld.global.nc"), ptx.npos) << kernel.name;
  }
}

TEST(Cubins, AreTheSameBytesTwice) {
  for (const Kernel &kernel : kernels) {
    Compiled first = compile(kernel, {"sm_90"}), second = compile(kernel, {"sm_90"});
    ASSERT_FALSE(first.images.empty()) << kernel.name;
    EXPECT_TRUE(first.images == second.images) << kernel.name;
  }
}
