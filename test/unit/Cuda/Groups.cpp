//===- Groups.cpp - products by groups of warps, in the simulator ---------===//

#include "Hopper.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave::test;

namespace {

/// Batches that give enough blocks. Tiles of 128 and of 256 columns, operands either way,
/// rows that no chunks divide, of which there is one so that no box is one, and what follows.
const char *const products[] = {
    R"(func.func @main(%x: tensor<96x66x72xf16>, %w: tensor<96x72x66xf16>) -> tensor<96x66x66xf16> {
      %c = nn.matmul %x, %w : tensor<96x66x72xf16>, tensor<96x72x66xf16>
      return %c : tensor<96x66x66xf16> })",
    R"(func.func @main(%x: tensor<96x72x66xbf16>, %w: tensor<96x136x72xbf16>, %b: tensor<136xbf16>) -> tensor<96x66x136xbf16> {
      %a = nn.transpose %x [0, 2, 1] : tensor<96x72x66xbf16>
      %t = nn.transpose %w [0, 2, 1] : tensor<96x136x72xbf16>
      %c = nn.matmul %a, %t : tensor<96x66x72xbf16>, tensor<96x72x136xbf16>
      %y = nn.add %c, %b : tensor<96x66x136xbf16>, tensor<136xbf16>
      %z = nn.tanh %y : tensor<96x66x136xbf16>
      return %z : tensor<96x66x136xbf16> })",
    R"(func.func @main(%x: tensor<96x65x65xf16>, %w: tensor<96x65x65xf16>) -> tensor<96x65x65xf16> {
      %c = nn.matmul %x, %w : tensor<96x65x65xf16>, tensor<96x65x65xf16>
      return %c : tensor<96x65x65xf16> })"};

} // namespace

TEST(Groups, MultiplyWithoutConflicts) {
  for (const char *schedule : {"greedy", "shuffled:1"})
    for (const char *product : ArrayRef(products).take_front(schedule[0] == 'g' ? 3 : 1)) {
      SCOPED_TRACE(std::string(schedule) + ": " + product);
      EXPECT_EQ(conflictsOnHopper(product, checkFor(schedule)), 0u);
    }
}

/// In two bands of 16 rows of tiles and of one.
TEST(Groups, MultiplyInBands) {
  const char *product =
      R"(func.func @main(%x: tensor<2146x24xf16>, %w: tensor<24x706xf16>) -> tensor<2146x706xf16> {
        %c = nn.matmul %x, %w : tensor<2146x24xf16>, tensor<24x706xf16>
        return %c : tensor<2146x706xf16> })";
  EXPECT_EQ(differsOn(hopper(), product, checkFor("greedy")), "");
}

/// What keeps a group's products apart from what brings their operands.
TEST(Groups, PlantedBugsAreTold) {
  const Bug bugs[] = {
      {"no fence of the proxy", "proxy", isA<NVVM::FenceProxyOp>},
      {"no fence of registers", "order", isA<NVVM::WgmmaFenceAlignedOp>},
      {"no wait for products", "kernel", isA<NVVM::WgmmaWaitGroupSyncOp>},
      {"no end of a group", "order", isA<NVVM::WgmmaGroupSyncAlignedOp>},
      {"no wait for copies", "race", isA<NVVM::CpAsyncWaitGroupOp>},
  };
  expectTold(bugs, products[0]);
}
