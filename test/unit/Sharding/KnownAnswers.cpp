//===- KnownAnswers.cpp - the cuts that are known to be right -------------===//
//
// Given nothing but a graph and a mesh, the search finds what people found. The
// gathers that give the caller whole outputs are not counted.
//
//===----------------------------------------------------------------------===//

#include "Graphs.h"

#include "cleave/Transforms/Sharding/Explain.h"
#include "cleave/Transforms/Sharding/Passes.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <map>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

using Counts = std::map<std::string, int64_t>;

class KnownAnswers : public testing::Test {
protected:
  KnownAnswers() { context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>(); }

  Explanation explain(OwningOpRef<ModuleOp> module, StringRef mesh) {
    ScopedDiagnosticHandler quiet(&context, [](Diagnostic &) { return success(); });
    PassManager passes(&context);
    SearchOptions options;
    options.mesh = mesh.str();
    passes.addPass(createSearch(options));
    passes.addPass(createLocalize());
    EXPECT_TRUE(succeeded(passes.run(*module)));
    return collectExplain(*module);
  }

  /// How often each kind travels, outputs aside; all at the lower bound.
  Counts count(const Explanation &explanation) {
    Counts counts;
    for (const ExplainedCollective &collective : explanation.collectives) {
      EXPECT_GE(collective.bytes, collective.bound);
      if (!StringRef(collective.reason).ends_with("the caller"))
        counts[collective.kind] += collective.count;
    }
    return counts;
  }

  Counts count(const Decoder &config, StringRef mesh) {
    return count(explain(decoder(&context, config), mesh));
  }

  /// Big enough that an embedding is worth cutting, small enough to be quick.
  static Decoder llama() {
    Decoder config;
    config.tokens = 16;
    config.hidden = 64;
    config.heads = 8;
    config.kvHeads = 4;
    config.lanes = 8;
    config.inner = 128;
    config.vocabulary = 256;
    return config;
  }

  MLIRContext context;
};

// The embedding is cut along the hidden dimension: one gather of T.
const Counts kTwoALayer = {{"all_reduce", 4}, {"all_gather", 1}};

TEST_F(KnownAnswers, LlamaLayerHasTwoAllReduces) {
  EXPECT_EQ(count(llama(), "tp=2"), kTwoALayer);
  EXPECT_EQ(count(llama(), "tp=4"), kTwoALayer);
}

TEST_F(KnownAnswers, DecodingIsCutAlike) {
  Decoder config = llama();
  config.tokens = 1;
  EXPECT_EQ(count(config, "tp=4"), kTwoALayer);
}

TEST_F(KnownAnswers, DeeperModelsRepeat) {
  Decoder config = llama();
  config.layers = 6;
  EXPECT_EQ(count(config, "tp=4"), (Counts{{"all_reduce", 12}, {"all_gather", 1}}));
}

TEST_F(KnownAnswers, FusedProjectionsCostNothingAtTheSplit) {
  Decoder config = llama();
  config.fusedQkv = config.fusedGate = true;
  EXPECT_EQ(count(config, "tp=4"), kTwoALayer);
}

TEST_F(KnownAnswers, ParallelResidualReducesOnce) {
  Decoder config = llama();
  config.parallel = true;
  EXPECT_EQ(count(config, "tp=4"), (Counts{{"all_reduce", 2}, {"all_gather", 1}}));
}

TEST_F(KnownAnswers, FewerKvHeadsThanRanksTakeASubAxis) {
  Decoder config = llama();
  config.kvHeads = 2;
  Explanation explanation = explain(decoder(&context, config), "tp=4");
  EXPECT_EQ(count(explanation), kTwoALayer);
  EXPECT_TRUE(llvm::any_of(explanation.tensors, [](const ExplainedTensor &tensor) {
    return tensor.sharding == "[64, 2 over \"tp:(1)2\" * 8]";
  }));
}

// Only the first segment of the fused projection holds the group of queries:
// the others stay whole over its sub-axis.
TEST_F(KnownAnswers, FewerKvHeadsThanRanksFused) {
  Decoder config = llama();
  config.kvHeads = 2;
  config.fusedQkv = true;
  EXPECT_EQ(count(config, "tp=4"), kTwoALayer);
}

TEST_F(KnownAnswers, TiedTableIsCutOnce) {
  Decoder config = llama();
  config.tied = config.argmax = true;
  config.tokens = 1;
  // The vocabulary is cut for both uses: a sum for the lookup, and the best of
  // each rank's part, with its index, for the head.
  EXPECT_EQ(count(config, "tp=4"), (Counts{{"all_reduce", 5}, {"all_gather", 2}}));
}

TEST_F(KnownAnswers, UnevenHeadsReduceAsOften) {
  Decoder config = llama();
  config.heads = config.kvHeads = 6;
  EXPECT_EQ(count(config, "tp=4"), kTwoALayer);
  EXPECT_EQ(count(config, "tp=8").at("all_reduce"), 4);
}

TEST_F(KnownAnswers, DataParallelMovesNothing) {
  Decoder config = llama();
  config.batch = 8;
  config.argmax = true;
  config.tokens = 2048;
  config.past = 0;
  EXPECT_EQ(count(config, "dp=4"), Counts());
}

TEST_F(KnownAnswers, BigPrefillIsSequenceParallel) {
  Decoder config;
  config = {2, 1, 2048, 0, 8192, 64, 8, 128, 28672, 128256};
  Counts counts = count(config, "tp=8");
  EXPECT_EQ(counts["all_reduce"], 0);
  EXPECT_EQ(counts["reduce_scatter"], 4);
  EXPECT_EQ(counts["all_gather"], 5);
}

// Out-channels, then in-channels: one sum a pair.
TEST_F(KnownAnswers, ConvPairReducesOnce) {
  Graph g(&context);
  Value x = g.input({1, 64, 14, 14});
  Shape ones = {1, 1};
  auto conv = [&](Value v) {
    return g.op<nn::ConvOp>(v, g.weight({64, 64, 3, 3}), ones, ones, ones, ones, 1);
  };
  Value y = g.op<nn::SiluOp>(conv(g.op<nn::SiluOp>(conv(x))));
  EXPECT_EQ(count(explain(g.finish({y}), "tp=4")), (Counts{{"all_reduce", 1}}));
}

// Every expert on every token, weighted: experts are cut, their sum travels.
TEST_F(KnownAnswers, ExpertsReduceOnce) {
  Graph g(&context);
  Value x = g.input({1, 16, 32});
  Value up = g.op<nn::MatmulOp>(g.reshape(x, {1, 16, 32}), g.weight({8, 32, 64}));
  Value down = g.op<nn::MatmulOp>(g.op<nn::SiluOp>(up), g.weight({8, 64, 32}));
  Value router = g.op<nn::SoftmaxOp>(g.linear(g.reshape(x, {16, 32}), 8), 1);
  Value share = g.reshape(g.transpose(router, {1, 0}), {8, 16, 1});
  Value y =
      g.op<nn::ReduceOp>(nn::ReduceKind::Sum, g.op<nn::MulOp>(down, share), ArrayRef<int64_t>{0});
  EXPECT_EQ(count(explain(g.finish({y}), "ep=4")), (Counts{{"all_reduce", 1}}));
}

// A pinned op has one strategy and couples nothing: values that all layers read must
// not join the layers.
TEST_F(KnownAnswers, PinsMakeNoTableWider) {
  Decoder config = llama();
  config.layers = 12;
  OwningOpRef<ModuleOp> module = decoder(&context, config);
  auto func = module->lookupSymbol<func::FuncOp>("main");
  std::string error;
  SearchRequest request{parseMesh(&context, "tp=4", error)};
  FailureOr<SearchReport> free = searchShardings(func, request);
  ASSERT_TRUE(succeeded(free));
  request.pins = (*module)->getAttrOfType<DictionaryAttr>(kWeightShardings);
  FailureOr<SearchReport> pinned = searchShardings(func, request);
  ASSERT_TRUE(succeeded(pinned));
  EXPECT_EQ(pinned->cost, free->cost);
  EXPECT_LE(pinned->width, free->width);
}

TEST_F(KnownAnswers, PinnedWeightsAreFollowed) {
  Decoder config = {1, 1, 1, 64, 256, 8, 8, 32, 1024, 512};
  OwningOpRef<ModuleOp> decode = decoder(&context, config);
  config.tokens = 512;
  config.past = 0;
  OwningOpRef<ModuleOp> prefill = decoder(&context, config);
  std::string error;
  SearchRequest request;
  request.mesh = parseMesh(&context, "tp=4", error);
  ASSERT_TRUE(succeeded(searchShardings(decode->lookupSymbol<func::FuncOp>("main"), request)));
  auto pins = (*decode)->getAttrOfType<DictionaryAttr>(kWeightShardings);

  // A price that leaves weights whole, were they not pinned.
  request.machine.hold = 0;
  request.machine.floor = 0;
  ASSERT_TRUE(succeeded(searchShardings(prefill->lookupSymbol<func::FuncOp>("main"), request)));
  EXPECT_NE((*prefill)->getAttr(kWeightShardings), pins);
  request.pins = pins;
  ASSERT_TRUE(succeeded(searchShardings(prefill->lookupSymbol<func::FuncOp>("main"), request)));
  EXPECT_EQ((*prefill)->getAttr(kWeightShardings), pins);
}

} // namespace
