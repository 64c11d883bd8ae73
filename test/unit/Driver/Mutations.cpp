//===- Mutations.cpp - compiled models with one exchange changed ----------===//

#include "../Runtime/Mutants.h"

#include "cleave/Driver/Compile.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <gtest/gtest.h>

using namespace cleave;
using namespace cleave::test;

class Mutations : public testing::TestWithParam<const char *> {};

static llvm::Expected<std::unique_ptr<CompiledProgram>> compile(Compilation &compilation,
                                                                llvm::StringRef mesh) {
  auto module = compilation.import(CLEAVE_TEST_MODELS "/llama_mobius.onnx");
  if (!module)
    return module.takeError();
  auto inputs = modelInputs(**module);
  if (!inputs)
    return inputs.takeError();
  if (llvm::Error error = compilation.graph(**module, {}, bindDims(*inputs, {}, {})))
    return std::move(error);
  ShardOptions options;
  options.mesh = mesh.str();
  if (llvm::Error error = compilation.shard(**module, options))
    return std::move(error);
  return compilation.compile(**module, Target{});
}

/// What the verifier lets through is what drawn schedules find nothing wrong with.
TEST_P(Mutations, AreRefusedUnlessEquivalent) {
  Compilation compilation;
  auto program = compile(compilation, GetParam());
  ASSERT_TRUE(bool(program)) << llvm::toString(program.takeError());
  std::mt19937 random(11);
  Proof proof = provesMutants(*(*program)->program(), 300, random);
  EXPECT_EQ(proof.problem, "");
  printf("%u mutants over %s, %u of them equivalent\n", proof.mutants, GetParam(),
         proof.equivalent);
}

INSTANTIATE_TEST_SUITE_P(Meshes, Mutations,
                         testing::Values("tp=2", "tp=4", "pp=2,tp=2", "dp=2,tp=2"));
