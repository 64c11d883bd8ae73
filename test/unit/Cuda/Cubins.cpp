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
#include <iterator>
#include <map>
#include <regex>

using namespace cleave;

namespace {

/// M rows by [4096, 4096] weights of 4 bits, of which 32 have a scale.
#define NARROW(M, N, TYPE)                                                                         \
  "func.func @main(%x: tensor<" M "x4096x" TYPE ">, %w: tensor<" N "x2048xui8>, "                  \
  "%s: tensor<" N "x128x1xf32>) -> tensor<" M "x" N "x" TYPE "> {\n"                               \
  "%b = nn.reshape %w : tensor<" N "x2048xui8> to tensor<" N "x2048x1xui8>\n"                      \
  "%p = nn.constant dense<[1, 16]> : tensor<2xui8>\n"                                              \
  "%d = nn.div %b, %p : tensor<" N "x2048x1xui8>, tensor<2xui8>\n"                                 \
  "%m = nn.constant dense<16> : tensor<ui8>\n"                                                     \
  "%r = nn.rem %d, %m : tensor<" N "x2048x2xui8>, tensor<ui8>\n"                                   \
  "%q = nn.reshape %r : tensor<" N "x2048x2xui8> to tensor<" N "x128x32xui8>\n"                    \
  "%f = nn.cast %q : tensor<" N "x128x32xui8> to tensor<" N "x128x32xf32>\n"                       \
  "%z = nn.constant dense<8.0> : tensor<f32>\n"                                                    \
  "%e = nn.sub %f, %z : tensor<" N "x128x32xf32>, tensor<f32>\n"                                   \
  "%h = nn.mul %e, %s : tensor<" N "x128x32xf32>, tensor<" N "x128x1xf32>\n"                       \
  "%i = nn.reshape %h : tensor<" N "x128x32xf32> to tensor<" N "x4096xf32>\n"                      \
  "%j = nn.cast %i : tensor<" N "x4096xf32> to tensor<" N "x4096x" TYPE ">\n"                      \
  "%t = nn.transpose %j [1, 0] : tensor<" N "x4096x" TYPE ">\n"                                    \
  "%y = nn.matmul %x, %t : tensor<" M "x4096x" TYPE ">, tensor<4096x" N "x" TYPE ">\n"             \
  "return %y : tensor<" M "x" N "x" TYPE ">\n}"

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
    {"product of bytes",
     R"(func.func @main(%x: tensor<65x144xi8>, %w: tensor<67x144xui8>) -> tensor<65x67xi32> {
       %t = nn.transpose %w [1, 0] : tensor<67x144xui8>
       %y = nn.matmul %x, %t : tensor<65x144xi8>, tensor<144x67xui8>
       return %y : tensor<65x67xi32> })"},
    {"product of bytes in large tiles",
     R"(func.func @main(%x: tensor<4096x1024xi8>, %w: tensor<2048x1024xi8>, %s: tensor<2048xf32>) -> tensor<4096x2048xf32> {
       %t = nn.transpose %w [1, 0] : tensor<2048x1024xi8>
       %y = nn.matmul %x, %t : tensor<4096x1024xi8>, tensor<1024x2048xi8>
       %f = nn.cast %y : tensor<4096x2048xi32> to tensor<4096x2048xf32>
       %z = nn.mul %f, %s : tensor<4096x2048xf32>, tensor<2048xf32>
       return %z : tensor<4096x2048xf32> })"},
    {"product of bytes that are turned",
     R"(func.func @main(%x: tensor<4096x1024xui8>, %w: tensor<1024x2048xi8>) -> tensor<4096x2048xi32> {
       %y = nn.matmul %x, %w : tensor<4096x1024xui8>, tensor<1024x2048xi8>
       return %y : tensor<4096x2048xi32> })"},
    {"product of 8-bit floats",
     R"(func.func @main(%x: tensor<64x1024xf8E4M3FN>, %w: tensor<1024x1024xf8E4M3FN>) -> tensor<64x1024xf32> {
       %t = nn.transpose %w [1, 0] : tensor<1024x1024xf8E4M3FN>
       %y = nn.matmul %x, %t : tensor<64x1024xf8E4M3FN>, tensor<1024x1024xf8E4M3FN>
       return %y : tensor<64x1024xf32> })"},
    {"product of 8-bit floats in large tiles",
     R"(func.func @main(%x: tensor<4096x1024xf8E4M3FN>, %w: tensor<2048x1024xf8E5M2>, %s: tensor<2048xf32>) -> tensor<4096x2048xbf16> {
       %t = nn.transpose %w [1, 0] : tensor<2048x1024xf8E5M2>
       %y = nn.matmul %x, %t : tensor<4096x1024xf8E4M3FN>, tensor<1024x2048xf8E5M2>
       %z = nn.mul %y, %s : tensor<4096x2048xf32>, tensor<2048xf32>
       %r = nn.cast %z : tensor<4096x2048xf32> to tensor<4096x2048xbf16>
       return %r : tensor<4096x2048xbf16> })"},
    {"product of 8-bit floats that are turned",
     R"(func.func @main(%x: tensor<4096x1024xf8E5M2>, %w: tensor<1024x2048xf8E5M2>) -> tensor<4096x2048xf32> {
       %y = nn.matmul %x, %w : tensor<4096x1024xf8E5M2>, tensor<1024x2048xf8E5M2>
       return %y : tensor<4096x2048xf32> })"},
    {"one row by 8-bit floats",
     R"(func.func @main(%x: tensor<1x4096xf8E4M3FN>, %w: tensor<4096x4096xf8E4M3FN>) -> tensor<1x4096xf32> {
       %t = nn.transpose %w [1, 0] : tensor<4096x4096xf8E4M3FN>
       %y = nn.matmul %x, %t : tensor<1x4096xf8E4M3FN>, tensor<4096x4096xf8E4M3FN>
       return %y : tensor<1x4096xf32> })"},
    {"one row by weights of 4 bits", NARROW("1", "4096", "f16")},
    {"many rows by weights of 4 bits", NARROW("4096", "4096", "bf16")},
    {"one row by weights of 4 bits in f32", NARROW("1", "4096", "f32")},
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

/// 16 neighbours are computed from one load of 8 bytes and one of their scale, without a division,
/// wherever a step is filled.
TEST(Cubins, LoadWeightsOf4BitsTogether) {
  const std::regex divides("\t(div|rem)\\.[us]");
  auto count = [](const std::string &ptx, const char *pattern) {
    const std::regex load(std::string("\tld\\.global\\.nc\\.") + pattern);
    return std::distance(std::sregex_iterator(ptx.begin(), ptx.end(), load), {});
  };
  for (const Kernel &kernel : kernels) {
    if (!llvm::StringRef(kernel.name).contains("weights of 4 bits"))
      continue;
    Compiled made = compile(kernel, {"sm_80"});
    ASSERT_EQ(made.images.size(), 2u) << kernel.name;
    const std::string &ptx = made.images[1];
    EXPECT_FALSE(std::regex_search(ptx, divides)) << kernel.name;
    EXPECT_GT(count(ptx, "v2\\.b32"), 0) << kernel.name;
    EXPECT_EQ(count(ptx, "v2\\.b32"), count(ptx, "b32")) << kernel.name;
    EXPECT_EQ(count(ptx, "b8"), 0) << kernel.name;
    EXPECT_EQ(count(ptx, "b16"), 0) << kernel.name;
  }
}

TEST(Cubins, AreTheSameBytesTwice) {
  for (const Kernel &kernel : kernels) {
    Compiled first = compile(kernel, {"sm_90"}), second = compile(kernel, {"sm_90"});
    ASSERT_FALSE(first.images.empty()) << kernel.name;
    EXPECT_TRUE(first.images == second.images) << kernel.name;
  }
}
