//===- Equal.cpp - a sharded program computes what the uncut one does -----===//
//
// Graphs are cut by the search, and by choosing a random strategy for every op
// and a random state for every value, which reaches rules and reshardings that
// no price would ever choose. The programs are then executed on all ranks.
//
//===----------------------------------------------------------------------===//

#include "Graphs.h"
#include "Simulate.h"

#include "cleave/Analysis/DimNames.h"
#include "cleave/Transforms/Sharding/Passes.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

class Sharded : public testing::Test {
protected:
  Sharded() { context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>(); }

  Tensors inputsOf(func::FuncOp func) {
    Tensors inputs;
    for (auto [i, type] : llvm::enumerate(func.getArgumentTypes()))
      inputs.push_back(randomTensor(cast<RankedTensorType>(type), i + 1));
    return inputs;
  }

  dist::MeshAttr mesh(StringRef text) {
    std::string error;
    return parseMesh(&context, text, error);
  }

  /// Localises what is decided on `module`, and compares every rank with `uncut`.
  void expectEqual(ModuleOp module, const Tensors &inputs, const Tensors &uncut,
                   const Twine &what) {
    PassManager passes(&context);
    passes.addPass(createLocalize());
    ASSERT_TRUE(succeeded(passes.run(module))) << what.str();
    FailureOr<std::vector<Tensors>> ranks = runRanks(module, inputs);
    ASSERT_TRUE(succeeded(ranks)) << what.str();
    for (auto [rank, results] : llvm::enumerate(*ranks))
      for (auto [i, result] : llvm::enumerate(results)) {
        ASSERT_EQ(result.type, uncut[i].type) << what.str();
        double scale = 1;
        for (double value : uncut[i].floats)
          if (std::isfinite(value))
            scale = std::max(scale, std::abs(value));
        for (int64_t e = 0; e < result.size(); ++e)
          if (result.isFloat() && std::isfinite(uncut[i].floats[e]))
            ASSERT_NEAR(result.floats[e], uncut[i].floats[e], 1e-4 * scale)
                << what.str() << ", rank " << rank << ", result " << i << ", element " << e;
          else if (!result.isFloat())
            ASSERT_EQ(result.ints[e], uncut[i].ints[e])
                << what.str() << ", rank " << rank << ", result " << i << ", element " << e;
      }
  }

  void searchAndCompare(ModuleOp module, StringRef text, Machine machine = {}) {
    auto func = module.lookupSymbol<func::FuncOp>("main");
    Tensors inputs = inputsOf(func);
    FailureOr<Tensors> uncut = runWhole(func, inputs);
    ASSERT_TRUE(succeeded(uncut));
    SearchRequest request{mesh(text), machine};
    ScopedDiagnosticHandler quiet(&context, [](Diagnostic &diagnostic) {
      return success(diagnostic.getSeverity() == DiagnosticSeverity::Warning);
    });
    ASSERT_TRUE(succeeded(searchShardings(func, request)));
    expectEqual(module, inputs, *uncut, "mesh " + text);
  }

  MLIRContext context;
};

/// Chooses strategies without asking what they cost.
class RandomChoice {
public:
  RandomChoice(func::FuncOp func, dist::MeshAttr mesh, unsigned seed)
      : func(func), mesh(mesh), random(seed) {}

  LogicalResult run();

private:
  int64_t below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(random); }
  dist::ShardingAttr anySharding(Value value);
  void choose(Operation *op);

  func::FuncOp func;
  dist::MeshAttr mesh;
  std::mt19937 random;
  DimNames names;
};

} // namespace

/// A few axes that cut `value`, or keep it partial.
dist::ShardingAttr RandomChoice::anySharding(Value value) {
  Marks marks;
  SmallVector<StringAttr> partial;
  ArrayRef<Cut> cuts = names.cuts(value);
  for (StringAttr axis : mesh.getNames())
    if (int64_t choice = below(cuts.size() + 2); choice >= 2)
      marks.push_back({static_cast<unsigned>(choice - 2), axis});
    else if (choice == 1 &&
             isa<Float32Type>(cast<RankedTensorType>(value.getType()).getElementType()))
      partial.push_back(axis);
  return names.sharding(value, marks, partial);
}

void RandomChoice::choose(Operation *op) {
  unsigned operands = op->getNumOperands(), values = operands + op->getNumResults();
  SmallVector<Marks> marks(values);
  SmallVector<SmallVector<StringAttr>> partial(values);
  ArrayRef<CutFactor> factors = names.factors(op);
  const nn::ShardingRule &rule = names.rule(op);
  for (StringAttr axis : mesh.getNames()) {
    int64_t choice = below(factors.size() + rule.linearIn.size() + 1);
    auto resultsPartial = [&] {
      for (unsigned i = operands; i < values; ++i)
        partial[i].push_back(axis);
    };
    if (choice < static_cast<int64_t>(factors.size())) {
      const CutFactor &factor = factors[choice];
      for (auto [value, cut] : factor.places)
        marks[value].push_back({cut, axis});
      if (factor.kind == nn::FactorKind::Reduction || factor.kind == nn::FactorKind::Lookup)
        resultsPartial();
    } else if (choice > static_cast<int64_t>(factors.size())) {
      for (int64_t operand : rule.linearIn[choice - factors.size() - 1])
        partial[operand].push_back(axis);
      resultsPartial();
    }
  }
  Builder builder(op->getContext());
  SmallVector<Attribute> taken, given, held;
  for (unsigned i = 0; i < values; ++i) {
    Value value = i < operands ? op->getOperand(i) : op->getResult(i - operands);
    auto sharding = names.sharding(value, marks[i], partial[i]);
    (i < operands ? taken : given).push_back(sharding);
    if (i >= operands)
      held.push_back(below(2) ? sharding : anySharding(value));
  }
  op->setAttr(kOperandShardings, builder.getArrayAttr(taken));
  op->setAttr(kResultShardings, builder.getArrayAttr(given));
  op->setAttr(kHeldShardings, builder.getArrayAttr(held));
}

LogicalResult RandomChoice::run() {
  if (failed(names.run(func)))
    return failure();
  for (Operation &op : func.getBody().front().without_terminator())
    if (op.getNumOperands())
      choose(&op);
  func->getParentOp()->setAttr(dist::kMesh, mesh);
  func->getParentOp()->setAttr(kWeightShardings, DictionaryAttr::get(func.getContext()));
  return success();
}

TEST_F(Sharded, RandomGraphsWithRandomChoices) {
  for (unsigned seed = 0; seed < 1500; ++seed) {
    OwningOpRef<ModuleOp> module = randomGraph(&context, seed, 14);
    auto func = module->lookupSymbol<func::FuncOp>("main");
    ASSERT_TRUE(succeeded(verify(*module))) << "seed " << seed;
    Tensors inputs = inputsOf(func);
    FailureOr<Tensors> uncut = runWhole(func, inputs);
    ASSERT_TRUE(succeeded(uncut)) << "seed " << seed;
    constexpr const char *kMeshes[] = {"x=2", "x=3", "x=4", "x=2,y=2", "x=2,y=3", "x=8"};
    ASSERT_TRUE(succeeded(RandomChoice(func, mesh(kMeshes[seed % 6]), seed).run()));
    expectEqual(*module, inputs, *uncut, "seed " + Twine(seed) + ", mesh " + kMeshes[seed % 6]);
    if (HasFatalFailure())
      return;
  }
}

TEST_F(Sharded, RandomGraphsAsSearched) {
  // A machine on which every cut pays, and the default one.
  Machine free = {0, 1e18, 1e6, 1e6};
  for (unsigned seed = 0; seed < 400; ++seed) {
    constexpr const char *kMeshes[] = {"tp=2", "tp=3", "dp=2,tp=2", "dp=3", "tp=8"};
    OwningOpRef<ModuleOp> module = randomGraph(&context, 1000 + seed, 16);
    SCOPED_TRACE("seed " + std::to_string(seed));
    searchAndCompare(*module, kMeshes[seed % 5], seed % 2 ? free : Machine());
    if (HasFatalFailure())
      return;
  }
}

TEST_F(Sharded, Decoders) {
  for (StringRef text : {"tp=2", "tp=3", "tp=4", "tp=8", "dp=2", "dp=2,tp=2", "sp=2"})
    for (unsigned form = 0; form < 8; ++form) {
      Decoder config;
      config.fusedQkv = form & 1;
      config.fusedGate = form & 2;
      config.parallel = form & 4;
      config.tied = form & 2;
      config.argmax = form & 1;
      config.batch = 1 + (form & 1);
      SCOPED_TRACE("form " + std::to_string(form));
      OwningOpRef<ModuleOp> module = decoder(&context, config);
      searchAndCompare(*module, text);
      if (HasFatalFailure())
        return;
    }
}

// Where every cut pays, rows of attention are cut too, and caches are exchanged.
TEST_F(Sharded, DecodersWhereEveryCutPays) {
  Machine free = {0, 1e18, 1e6, 1e6};
  for (StringRef text : {"sp=2", "sp=3", "cp=4", "ep=3", "sp=2,tp=2", "dp=2,cp=2"})
    for (unsigned form = 0; form < 4; ++form) {
      Decoder config;
      config.fusedQkv = form & 1;
      config.argmax = form & 1;
      config.batch = 1 + (form & 2);
      config.tokens = 7;
      SCOPED_TRACE("form " + std::to_string(form));
      OwningOpRef<ModuleOp> module = decoder(&context, config);
      searchAndCompare(*module, text, free);
      if (HasFatalFailure())
        return;
    }
}

// Prefill under the weights of a decode step.
TEST_F(Sharded, PrefillFollowsDecode) {
  for (StringRef text : {"tp=2", "tp=4", "dp=2,tp=2"}) {
    Decoder config;
    config.batch = 2;
    OwningOpRef<ModuleOp> prefill = decoder(&context, config);
    config.tokens = 1;
    OwningOpRef<ModuleOp> decode = decoder(&context, config);
    auto func = prefill->lookupSymbol<func::FuncOp>("main");
    Tensors inputs = inputsOf(func);
    FailureOr<Tensors> uncut = runWhole(func, inputs);
    ASSERT_TRUE(succeeded(uncut));
    SearchRequest request{mesh(text)};
    FailureOr<DictionaryAttr> pins =
        findWeightCuts(decode->lookupSymbol<func::FuncOp>("main"), request);
    ASSERT_TRUE(succeeded(pins));
    request.pins = *pins;
    ASSERT_TRUE(succeeded(searchShardings(func, request)));
    expectEqual(*prefill, inputs, *uncut, text);
  }
}
