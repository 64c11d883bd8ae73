//===- Bytes.cpp - products of 8-bit integers, in the simulator -----------===//

#include "Hopper.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave::test;

namespace {

/// In batches that give enough blocks for groups of warps. Both operands in boxes.
const char *const inBoxes =
    R"(func.func @main(%x: tensor<88x66x144xi8>, %w: tensor<88x72x144xui8>) -> tensor<88x66x72xi32> {
      %t = nn.transpose %w [0, 2, 1] : tensor<88x72x144xui8>
      %c = nn.matmul %x, %t : tensor<88x66x144xi8>, tensor<88x144x72xui8>
      return %c : tensor<88x66x72xi32> })";

/// The right one lies across, so that its bytes are turned.
const char *const turned =
    R"(func.func @main(%x: tensor<88x66x144xi8>, %w: tensor<88x144x68xi8>) -> tensor<88x66x68xi32> {
      %c = nn.matmul %x, %w : tensor<88x66x144xi8>, tensor<88x144x68xi8>
      return %c : tensor<88x66x68xi32> })";

/// Rows and columns that no words divide.
const char *const ragged =
    R"(func.func @main(%x: tensor<88x65x65xui8>, %w: tensor<88x65x67xi8>) -> tensor<88x65x67xi32> {
      %c = nn.matmul %x, %w : tensor<88x65x65xui8>, tensor<88x65x67xi8>
      return %c : tensor<88x65x67xi32> })";

/// 256 columns of a tile, with edges.
const char *const wide =
    R"(func.func @main(%x: tensor<88x72x48xui8>, %w: tensor<88x136x48xui8>) -> tensor<88x72x136xi32> {
      %t = nn.transpose %w [0, 2, 1] : tensor<88x136x48xui8>
      %c = nn.matmul %x, %t : tensor<88x72x48xui8>, tensor<88x48x136xui8>
      return %c : tensor<88x72x136xi32> })";

/// Weights of 4 bits, with a scale for each 32.
const char *const narrow =
    R"(func.func @main(%x: tensor<8x256xf16>, %w: tensor<64x128xui8>, %s: tensor<64x8x1xf16>) -> tensor<8x64xf16> {
      %b = nn.reshape %w : tensor<64x128xui8> to tensor<64x128x1xui8>
      %p = nn.constant dense<[1, 16]> : tensor<2xui8>
      %d = nn.div %b, %p : tensor<64x128x1xui8>, tensor<2xui8>
      %m = nn.constant dense<16> : tensor<ui8>
      %r = nn.rem %d, %m : tensor<64x128x2xui8>, tensor<ui8>
      %q = nn.reshape %r : tensor<64x128x2xui8> to tensor<64x8x32xui8>
      %f = nn.cast %q : tensor<64x8x32xui8> to tensor<64x8x32xf16>
      %e = nn.mul %f, %s : tensor<64x8x32xf16>, tensor<64x8x1xf16>
      %h = nn.reshape %e : tensor<64x8x32xf16> to tensor<64x256xf16>
      %t = nn.transpose %h [1, 0] : tensor<64x256xf16>
      %c = nn.matmul %x, %t : tensor<8x256xf16>, tensor<256x64xf16>
      return %c : tensor<8x64xf16> })";

struct Seen {
  int boxes = 0, copies = 0, products = 0, permutations = 0;
};

Seen look(ModuleOp module) {
  Seen seen;
  module.walk([&](Operation *op) {
    seen.boxes += isa<NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp>(op);
    seen.copies += isa<NVVM::CpAsyncOp>(op);
    seen.products += isa<NVVM::WgmmaMmaAsyncOp>(op);
    auto call = dyn_cast<LLVM::CallIntrinsicOp>(op);
    seen.permutations += call && call.getIntrin() == "llvm.nvvm.prmt";
  });
  return seen;
}

std::string differsOnHopper(const char *product, const char *schedule, Seen &seen) {
  return differsOn(hopper([&](ModuleOp module) { seen = look(module); }), product,
                   checkFor(schedule));
}

} // namespace

TEST(Bytes, ComeInBoxesWhereBothLieAlongK) {
  for (const char *schedule : {"greedy", "shuffled:1"})
    for (const char *product : {inBoxes, wide}) {
      Seen seen;
      EXPECT_EQ(differsOnHopper(product, schedule, seen), "") << product;
      EXPECT_GT(seen.boxes, 1) << product;
      EXPECT_EQ(seen.copies, 0) << product;
      // 64 elements of 16 bits are 128 of them.
      EXPECT_EQ(seen.products, 4) << product;
    }
}

TEST(Bytes, AreTurnedWhereTheyLieAcross) {
  for (const char *schedule : {"greedy", "shuffled:1"}) {
    Seen seen;
    EXPECT_EQ(differsOnHopper(turned, schedule, seen), "");
    EXPECT_EQ(seen.boxes, 0);
    EXPECT_GT(seen.copies, 0);
    EXPECT_GT(seen.products, 0);
    EXPECT_GT(seen.permutations, 0);
  }
}

TEST(Bytes, AreMultipliedWhereNoWordsDivideThem) {
  Seen seen;
  EXPECT_EQ(differsOnHopper(ragged, "greedy", seen), "");
  EXPECT_EQ(seen.boxes + seen.copies + seen.permutations, 0);
  EXPECT_GT(seen.products, 0);
}

TEST(Bytes, ComeWithoutConflicts) {
  for (const char *product : {inBoxes, wide, narrow})
    EXPECT_EQ(conflictsOnHopper(product, checkFor("greedy")), 0u) << product;
}

TEST(Bytes, PlantedBugsAreTold) {
  const Bug bugs[] = {
      {"no fence of the proxy", "proxy", isA<NVVM::FenceProxyOp>},
      {"no fence of registers", "order", isA<NVVM::WgmmaFenceAlignedOp>},
      {"no wait for products", "kernel", isA<NVVM::WgmmaWaitGroupSyncOp>},
      {"no wait for copies", "race", isA<NVVM::CpAsyncWaitGroupOp>},
      {"no barrier", "kernel", isA<gpu::BarrierOp>},
  };
  expectTold(bugs, turned);
}

/// What is computed on its way to shared memory is not there before all have met.
TEST(Bytes, PlantedBugsAreToldOfWhatIsComputedOfThem) {
  const Bug bugs[] = {
      {"no barrier", "kernel", isA<gpu::BarrierOp>},
      {"no wait for copies", "race", isA<NVVM::CpAsyncWaitGroupOp>},
  };
  expectTold(bugs, narrow);
}
