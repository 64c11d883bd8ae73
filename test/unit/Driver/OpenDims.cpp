//===- OpenDims.cpp - shapes at one size say what they are at others ------===//

#include "cleave/Driver/Compile.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IntegerSet.h"

#include "llvm/ADT/StringExtras.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <rapidcheck.h>

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

namespace {

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

constexpr unsigned kNumSymbols = 3;

/// A size and the steps that made it, so that it can be made again of other numbers.
struct Made {
  Size size;
  std::function<int64_t(ArrayRef<int64_t>)> again;
};

Made makeSize(MLIRContext *context, ArrayRef<int64_t> numbers, int depth) {
  if (depth == 0 || *rc::gen::inRange(0, 4) == 0) {
    if (*rc::gen::arbitrary<bool>()) {
      int64_t constant = *rc::gen::inRange<int64_t>(0, 9);
      return {Size(constant), [=](ArrayRef<int64_t>) { return constant; }};
    }
    unsigned i = *rc::gen::inRange<unsigned>(0, kNumSymbols);
    return {Size(numbers[i], getAffineSymbolExpr(i, context)),
            [=](ArrayRef<int64_t> at) { return at[i]; }};
  }
  Made a = makeSize(context, numbers, depth - 1), b = makeSize(context, numbers, depth - 1);
  switch (*rc::gen::inRange(0, 5)) {
  case 0: return {a.size + b.size, [=](auto at) { return a.again(at) + b.again(at); }};
  case 1: return {a.size - b.size, [=](auto at) { return a.again(at) - b.again(at); }};
  case 2: return {a.size * b.size, [=](auto at) { return a.again(at) * b.again(at); }};
  default: break;
  }
  int64_t by = *rc::gen::inRange<int64_t>(1, 9);
  if (*rc::gen::arbitrary<bool>())
    return {floorDiv(a.size, by),
            [=](auto at) { return llvm::divideFloorSigned(a.again(at), by); }};
  return {ceilDiv(a.size, by), [=](auto at) { return llvm::divideCeilSigned(a.again(at), by); }};
}

} // namespace

TEST(OpenDims, ExpressionsAreWhatTheNumbersAre) {
  MLIRContext context;
  EXPECT_TRUE(rc::check([&] {
    auto numbers =
        *rc::gen::container<std::vector<int64_t>>(kNumSymbols, rc::gen::inRange<int64_t>(0, 20));
    auto others =
        *rc::gen::container<std::vector<int64_t>>(kNumSymbols, rc::gen::inRange<int64_t>(0, 20));
    Made made = makeSize(&context, numbers, 4);
    RC_ASSERT(made.size.value == made.again(numbers));
    if (!made.size.isOpen())
      RC_ASSERT(made.size.value == made.again(others));
    else if (!isa<AffineDimExpr>(made.size.expr))
      RC_ASSERT(evaluate(made.size.expr, others) == made.again(others));
  }));
}

TEST(OpenDims, EqualProductsCancel) {
  MLIRContext context;
  Size batch(2, getAffineSymbolExpr(0, &context)), past(3, getAffineSymbolExpr(1, &context)),
      sequence(5, getAffineSymbolExpr(2, &context));
  std::vector<std::string> names = {"batch", "past", "sequence"};
  Size total = past + sequence;
  EXPECT_TRUE(quotient({batch, total, 64}, {batch, 4, 16}).sameAs(total));
  EXPECT_EQ(textOf((total * 2 - 1).expr, names), "2 * past + 2 * sequence - 1");
  EXPECT_EQ(textOf((floorDiv(sequence - 1, 2) + 1).expr, names), "(sequence - 1) // 2 + 1");
  EXPECT_EQ(textOf((batch * total).expr, names), "batch * (past + sequence)");
  EXPECT_EQ(equationText((total - batch * 2 + 1).expr, names), "past + sequence + 1 = 2 * batch");
}

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

namespace {

class Models : public testing::TestWithParam<std::string> {};

/// Those of the tree, and of the larger collection beside it where it is present.
std::vector<std::string> models() {
  std::map<std::string, std::string> byName;
  for (const char *folder : {CLEAVE_TEST_MODELS, CLEAVE_MORE_MODELS})
    if (std::filesystem::exists(folder))
      for (const auto &entry : std::filesystem::directory_iterator(folder))
        if (entry.path().extension() == ".onnx")
          byName.emplace(entry.path().stem(), entry.path());
  std::vector<std::string> paths;
  for (const auto &[name, path] : byName)
    paths.push_back(path);
  return paths;
}

/// `main` of the model, converted at sizes that `defaults` suggest; null if it does not
/// convert there.
func::FuncOp convert(Compilation &compilation, OwningOpRef<ModuleOp> &module,
                     const std::string &path, const DimDefaults &defaults) {
  llvm::Expected<OwningOpRef<ModuleOp>> imported = compilation.import(path);
  if (!imported) {
    llvm::consumeError(imported.takeError());
    return nullptr;
  }
  module = std::move(*imported);
  llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(*module);
  if (!inputs) {
    llvm::consumeError(inputs.takeError());
    return nullptr;
  }
  if (llvm::Error error = compilation.graph(*module, {}, bindDims(*inputs, {}, defaults))) {
    llvm::consumeError(std::move(error));
    return nullptr;
  }
  return module->lookupSymbol<func::FuncOp>("main");
}

/// What each symbol of `main` is, from the inputs whose dimension it is.
std::vector<int64_t> symbolSizes(func::FuncOp main) {
  auto names = main->getAttrOfType<ArrayAttr>(kSymbols);
  std::vector<int64_t> sizes(names ? names.size() : 0);
  for (BlockArgument argument : main.getArguments())
    for (const Size &size :
         decode(shapeOf(argument), main.getArgAttr(argument.getArgNumber(), kShape)))
      if (auto symbol = dyn_cast_or_null<AffineSymbolExpr>(size.expr))
        sizes[symbol.getPosition()] = size.value;
  return sizes;
}

} // namespace

TEST_P(Models, SayTheirShapesAtOtherSizes) {
  Compilation one, other;
  OwningOpRef<ModuleOp> oneModule, otherModule;
  func::FuncOp first = convert(one, oneModule, GetParam(), {2, 19, 11});
  func::FuncOp second = convert(other, otherModule, GetParam(), {3, 29, 5});
  // What is refused is refused whatever the sizes.
  ASSERT_EQ(!first, !second);
  if (!first)
    return;
  std::vector<int64_t> sizes = symbolSizes(second);
  for (unsigned i = 0; i < first.getNumResults(); ++i) {
    auto have = cast<RankedTensorType>(second.getResultTypes()[i]).getShape();
    auto said = decode(cast<RankedTensorType>(first.getResultTypes()[i]).getShape(),
                       first.getResultAttr(i, kShape));
    ASSERT_EQ(said.size(), have.size());
    for (auto [dim, size] : llvm::enumerate(said))
      EXPECT_EQ(size.isOpen() ? evaluate(size.expr, sizes) : size.value, have[dim])
          << "output " << i << ", dimension " << dim;
  }
  if (auto equal = first->getAttrOfType<IntegerSetAttr>(kEqual))
    for (AffineExpr difference : equal.getValue().getConstraints())
      EXPECT_EQ(evaluate(difference, sizes), 0);
}

/// The parameters' names do not say it: what has grown is the past.
TEST(OpenDims, ACacheIsWhatGrows) {
  for (auto [model, past, sequence] :
       {std::tuple("llama_mobius", "past_sequence_len", "sequence_len"),
        std::tuple("gpt2_odd_optimum", "past_sequence_length", "sequence_length")}) {
    Compilation compilation;
    OwningOpRef<ModuleOp> module;
    std::string path = std::string(CLEAVE_TEST_MODELS) + "/" + model + ".onnx";
    func::FuncOp main = convert(compilation, module, path, {});
    ASSERT_TRUE(main) << model;
    std::optional<CacheDims> cache = findCache(main);
    ASSERT_TRUE(cache) << model;
    EXPECT_EQ(cache->past, past);
    EXPECT_EQ(cache->sequence, sequence);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Models, testing::ValuesIn(models()), [](const auto &info) {
  std::string name = std::filesystem::path(info.param).stem();
  std::replace_if(name.begin(), name.end(), [](char c) { return !llvm::isAlnum(c); }, '_');
  return name;
});
