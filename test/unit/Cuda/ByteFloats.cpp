//===- ByteFloats.cpp - products of 8-bit floats, in the simulator --------===//
//
// As they are, on chips whose tensor cores take them.
//
//===----------------------------------------------------------------------===//

#include "Hopper.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

/// In batches that give enough blocks for groups of warps. Both operands in boxes, of several
/// steps.
const char *const inBoxes =
    R"(func.func @main(%x: tensor<88x66x400xf8E4M3FN>, %w: tensor<88x72x400xf8E5M2>) -> tensor<88x66x72xf32> {
      %t = nn.transpose %w [0, 2, 1] : tensor<88x72x400xf8E5M2>
      %c = nn.matmul %x, %t : tensor<88x66x400xf8E4M3FN>, tensor<88x400x72xf8E5M2>
      return %c : tensor<88x66x72xf32> })";

/// Columns that fill a tile of 256 of other types.
const char *const wide =
    R"(func.func @main(%x: tensor<44x72x48xf8E5M2>, %w: tensor<44x264x48xf8E4M3FN>) -> tensor<44x72x264xf32> {
      %t = nn.transpose %w [0, 2, 1] : tensor<44x264x48xf8E4M3FN>
      %c = nn.matmul %x, %t : tensor<44x72x48xf8E5M2>, tensor<44x48x264xf8E4M3FN>
      return %c : tensor<44x72x264xf32> })";

/// The right one lies across, so that its bytes are turned.
const char *const turned =
    R"(func.func @main(%x: tensor<88x66x144xf8E4M3FN>, %w: tensor<88x144x68xf8E4M3FN>) -> tensor<88x66x68xf32> {
      %c = nn.matmul %x, %w : tensor<88x66x144xf8E4M3FN>, tensor<88x144x68xf8E4M3FN>
      return %c : tensor<88x66x68xf32> })";

/// Rows and columns that no words divide.
const char *const ragged =
    R"(func.func @main(%x: tensor<88x65x65xf8E5M2>, %w: tensor<88x65x67xf8E5M2>) -> tensor<88x65x67xf32> {
      %c = nn.matmul %x, %w : tensor<88x65x65xf8E5M2>, tensor<88x65x67xf8E5M2>
      return %c : tensor<88x65x67xf32> })";

/// Too few for groups: warps alone, of which some divide K.
const char *const few =
    R"(func.func @main(%x: tensor<40x1040xf8E4M3FN>, %w: tensor<72x1040xf8E5M2>) -> tensor<40x72xf32> {
      %t = nn.transpose %w [1, 0] : tensor<72x1040xf8E5M2>
      %c = nn.matmul %x, %t : tensor<40x1040xf8E4M3FN>, tensor<1040x72xf8E5M2>
      return %c : tensor<40x72xf32> })";

/// Tiles of 128 x 128 where there are no groups, each warp with 64 x 64 of them.
const char *const large =
    R"(func.func @main(%x: tensor<80x72x80xf8E5M2>, %w: tensor<80x72x80xf8E4M3FN>) -> tensor<80x72x72xf32> {
      %t = nn.transpose %w [0, 2, 1] : tensor<80x72x80xf8E4M3FN>
      %c = nn.matmul %x, %t : tensor<80x72x80xf8E5M2>, tensor<80x80x72xf8E4M3FN>
      return %c : tensor<80x72x72xf32> })";

struct Seen {
  int boxes = 0, groups = 0, warps = 0, wide = 0;
  int begun = 0;   ///< products of groups that begin at nothing
  int longest = 0; ///< products of a warp that follow each other before their sums leave
};

/// How many products of a warp a sum has been through; many where it did not begin at nothing.
int lengthOf(Value sum) {
  auto part = sum.getDefiningOp<LLVM::ExtractValueOp>();
  auto call = part ? part.getContainer().getDefiningOp<LLVM::CallIntrinsicOp>() : nullptr;
  if (!call)
    return isa_and_nonnull<arith::ConstantOp>(sum.getDefiningOp()) ? 0 : 1000;
  return 1 + lengthOf(call.getArgs().back());
}

Seen look(ModuleOp module) {
  Seen seen;
  module.walk([&](Operation *op) {
    seen.boxes += isa<NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp>(op);
    if (auto product = dyn_cast<NVVM::WgmmaMmaAsyncOp>(op)) {
      ++seen.groups;
      seen.wide += product.getShape().getN() > 128;
      seen.begun += product.getScaleD() == NVVM::WGMMAScaleOut::zero;
    }
    auto call = dyn_cast<LLVM::CallIntrinsicOp>(op);
    if (call && call.getIntrin().starts_with("llvm.nvvm.mma.m16n8k32.")) {
      ++seen.warps;
      seen.longest = std::max(seen.longest, 1 + lengthOf(call.getArgs().back()));
    }
  });
  return seen;
}

Check exactly(const char *schedule) {
  Check check = checkFor(schedule);
  // Each product is exact, and 1040 of them are below 0.25.
  check.absolute = 1040 * 0.25 * 1040 * 0x1p-24;
  check.relative = 0;
  return check;
}

} // namespace

TEST(ByteFloats, ComeInBoxesWhereBothLieAlongK) {
  for (const char *schedule : {"greedy", "shuffled:1"})
    for (const char *product : {inBoxes, wide}) {
      Seen seen;
      EXPECT_EQ(differsOn(hopper([&](ModuleOp module) { seen = look(module); }), product,
                          exactly(schedule)),
                "")
          << product;
      EXPECT_GT(seen.boxes, 1) << product;
      EXPECT_EQ(seen.groups, 4) << product;
      EXPECT_EQ(seen.begun, 1) << product;
      EXPECT_EQ(seen.wide, 0) << product;
    }
}

TEST(ByteFloats, AreTurnedOrStoredOneByOne) {
  for (const char *product : {turned, ragged}) {
    Seen seen;
    EXPECT_EQ(differsOn(hopper([&](ModuleOp module) { seen = look(module); }), product,
                        exactly("greedy")),
              "")
        << product;
    EXPECT_EQ(seen.boxes, 0) << product;
    EXPECT_EQ(seen.groups, 4) << product;
  }
}

TEST(ByteFloats, AreMultipliedByWarpsAlone) {
  CudaOptions options;
  options.chips = {"sm_89"};
  options.simulate = true;
  for (const char *product : {few, large, turned, ragged}) {
    Seen seen;
    options.onLoops = [&](ModuleOp module) { seen = look(module); };
    Machine ada{"sm_89", [&](ModuleOp module) { return compileCuda(module, options); }};
    EXPECT_EQ(differsOn(ada, product, exactly("greedy")), "") << product;
    EXPECT_GT(seen.warps, 0) << product;
    // Of 32 each: 128 of K.
    EXPECT_LE(seen.longest, 4) << product;
    EXPECT_EQ(seen.groups, 0) << product;
  }
}

TEST(ByteFloats, ComeWithoutConflicts) {
  for (const char *product : {inBoxes, few})
    EXPECT_EQ(conflictsOnHopper(product, exactly("greedy")), 0u) << product;
}

TEST(ByteFloats, PlantedBugsAreTold) {
  const Bug bugs[] = {
      {"no fence of registers", "order", isA<NVVM::WgmmaFenceAlignedOp>},
      {"no wait for products", "order", isA<NVVM::WgmmaWaitGroupSyncOp>},
      {"no wait for boxes", "kernel", isA<NVVM::MBarrierTryWaitParityOp>},
  };
  expectTold(bugs, inBoxes);
  const Bug ofThreads[] = {
      {"no fence of the proxy", "proxy", isA<NVVM::FenceProxyOp>},
      {"no wait for copies", "race", isA<NVVM::CpAsyncWaitGroupOp>},
      {"no barrier", "kernel", isA<gpu::BarrierOp>},
  };
  expectTold(ofThreads, turned);
}
