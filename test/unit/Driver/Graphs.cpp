//===- Graphs.cpp - commands of GPUs as graphs and one by one -------------===//

#include "cleave/Driver/Compile.h"

#include <gtest/gtest.h>

using namespace cleave;

namespace {

/// A model over a mesh, compiled for the simulator.
struct Compiled {
  Compilation compilation;
  mlir::OwningOpRef<mlir::ModuleOp> graph;
  ShardOptions cut;

  explicit Compiled(ShardOptions cut) : cut(std::move(cut)) {
    auto imported = compilation.import(CLEAVE_TEST_MODELS "/llama_mobius.onnx");
    EXPECT_TRUE(bool(imported));
    graph = std::move(*imported);
    std::map<std::string, int64_t> dims = {
        {"batch", 2}, {"sequence_len", 3}, {"past_sequence_len", 4}, {"past_seq_len + seq_len", 7}};
    EXPECT_FALSE(bool(compilation.graph(*graph, dims, dims)));
  }

  std::unique_ptr<CompiledProgram> program() {
    mlir::OwningOpRef<mlir::ModuleOp> copy = graph->clone();
    EXPECT_FALSE(bool(compilation.shard(*copy, cut)));
    Target target;
    target.kind = Target::Simt;
    target.chips = {"sm_80"};
    auto compiled = compilation.compile(*copy, target);
    EXPECT_TRUE(bool(compiled)) << llvm::toString(compiled.takeError());
    return std::move(*compiled);
  }
};

/// One program that several sessions run.
struct Shared final : RunnableProgram {
  explicit Shared(std::shared_ptr<CompiledProgram> program) : compiled(std::move(program)) {}
  const cleave_program *program() const override { return compiled->program(); }

  std::shared_ptr<CompiledProgram> compiled;
};

std::unique_ptr<Runner> runnerOf(const Shared &program, bool eager) {
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.eager = eager;
  auto made = Runner::create(std::make_unique<Shared>(program), options);
  EXPECT_TRUE(bool(made)) << llvm::toString(made.takeError());
  EXPECT_STREQ(cleave_session_remark((*made)->session()), "");
  return std::move(*made);
}

std::vector<std::vector<char>> run(Runner &runner, const NamedTensors &inputs) {
  llvm::Error error = runner.run(inputs);
  EXPECT_FALSE(bool(error)) << llvm::toString(std::move(error));
  std::vector<std::vector<char>> bytes;
  for (const auto &[name, tensor] : runner.outputs())
    bytes.push_back(tensor.bytes);
  return bytes;
}

} // namespace

/// Graphs hold addresses: what a run is given has to reach it all the same.
TEST(Graphs, GiveWhatSingleCommandsGiveRunAfterRun) {
  for (const ShardOptions &cut : {ShardOptions{"tp=2", false, 1, 1}, {"pp=2", false, 2, 1}}) {
    SCOPED_TRACE(cut.mesh);
    Compiled compiled(cut);
    Shared program(compiled.program());
    std::unique_ptr<Runner> graphs = runnerOf(program, false), eager = runnerOf(program, true);
    std::vector<std::vector<char>> before;
    for (uint64_t seed : {1, 2, 1}) {
      auto inputs = drawInputs(*compiled.graph, seed);
      ASSERT_TRUE(bool(inputs));
      std::vector<std::vector<char>> got = run(*graphs, *inputs);
      EXPECT_EQ(got, run(*eager, *inputs));
      EXPECT_NE(got, before);
      before = std::move(got);
    }
  }
}
