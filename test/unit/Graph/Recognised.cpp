//===- Recognised.cpp - what is recognised computes what stood there ------===//
//
// Every function of a recogniser's lit test is evaluated before and after its pass.
//
//===----------------------------------------------------------------------===//

#include "../Sharding/Simulate.h"

#include "cleave/Transforms/Graph/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

struct Recogniser {
  const char *file;
  std::unique_ptr<Pass> (*create)();
};

class Recognised : public testing::TestWithParam<Recogniser> {};

/// Bits of the significand, the hidden one among them.
int precisionOf(Type element) { return cast<FloatType>(element).getFPMantissaWidth(); }

/// A recognised op rounds once where each of some 16 ops rounded, so both are within
/// 16 units in the last place of the largest value on the way, which is taken as 8.
double toleranceOf(Type element) { return 2 * 16 * 8 * std::ldexp(1.0, -precisionOf(element)); }

void expectEqual(const HostTensor &got, const HostTensor &want, StringRef where) {
  ASSERT_EQ(got.type, want.type) << where.str();
  EXPECT_EQ(got.ints, want.ints) << where.str();
  for (size_t i = 0; i < want.floats.size(); ++i)
    if (!(std::isnan(got.floats[i]) && std::isnan(want.floats[i])))
      EXPECT_NEAR(got.floats[i], want.floats[i], toleranceOf(want.type.getElementType()))
          << where.str() << " at " << i;
}

} // namespace

TEST_P(Recognised, equalsTheOriginal) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<dist::DistDialect, func::FuncDialect, nn::NnDialect>();
  std::string path = std::string(CLEAVE_GRAPH_TESTS) + "/" + GetParam().file;
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(path, &context);
  ASSERT_TRUE(module);
  OwningOpRef<ModuleOp> recognised = module->clone();
  PassManager passes(&context);
  passes.addNestedPass<func::FuncOp>(GetParam().create());
  ASSERT_TRUE(succeeded(passes.run(*recognised)));

  for (auto function : module->getOps<func::FuncOp>()) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      Tensors inputs;
      for (Type type : function.getArgumentTypes())
        inputs.push_back(randomTensor(cast<RankedTensorType>(type), seed * 100 + inputs.size()));
      FailureOr<Tensors> want = runWhole(function, inputs);
      FailureOr<Tensors> got =
          runWhole(recognised->lookupSymbol<func::FuncOp>(function.getName()), inputs);
      ASSERT_TRUE(succeeded(want) && succeeded(got)) << function.getName().str();
      for (auto [a, b] : llvm::zip_equal(*got, *want))
        expectEqual(a, b, function.getName());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Recognisers, Recognised,
                         testing::Values(Recogniser{"fuse-norms.mlir", createFuseNorms},
                                         Recogniser{"fuse-activations.mlir", createFuseActivations},
                                         Recogniser{"fuse-rope.mlir", createFuseRope},
                                         Recogniser{"fuse-attention.mlir", createFuseAttention}),
                         [](const auto &info) {
                           std::string name = info.param.file;
                           name.resize(name.find('.'));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });
