//===- Collectives.cpp - what is cut and put together again is the same ---===//
//
// Compiled programs on real ranks, each a class of its own, with uneven parts and
// empty ones. A tensor goes from parts of one dimension to parts of another and is
// gathered, or is summed into parts and gathered; the runtime counts, rank by rank,
// the bytes that the ops foretell. Programs that passes have rewritten have the same bits.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"
#include "cleave/Runtime/Session.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

using namespace mlir;
using namespace cleave;

using Counts = std::vector<int64_t>;

namespace {

struct Cut {
  std::vector<int64_t> shape; ///< of the whole tensor
  size_t split, concat;
  Counts splits, concats;
};

} // namespace

static std::string listed(const Counts &counts) {
  std::string text;
  for (int64_t count : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count);
  return text;
}

static std::string typed(const std::vector<int64_t> &shape) {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + "f32>";
}

static Cut draw(std::mt19937 &random) {
  auto below = [&](int64_t n) { return int64_t(random() % n); };
  Cut cut;
  size_t rank = 2 + below(3), members = 2 + below(4);
  bool even = below(3) == 0;
  int64_t size = 1 + below(3);
  for (Counts *counts : {&cut.splits, &cut.concats})
    for (size_t i = 0; i < members; ++i)
      counts->push_back(even ? size : i == 0 ? 1 + below(4) : below(4));
  cut.split = below(rank);
  cut.concat = (cut.split + 1 + below(rank - 1)) % rank;
  for (size_t i = 0; i < rank; ++i)
    cut.shape.push_back(1 + below(4));
  cut.shape[cut.split] = std::accumulate(cut.splits.begin(), cut.splits.end(), int64_t(0));
  cut.shape[cut.concat] = std::accumulate(cut.concats.begin(), cut.concats.end(), int64_t(0));
  return cut;
}

/// A function a rank; its results are the tensor, and as many times it as ranks.
static std::string programOf(const Cut &cut) {
  Counts classes(cut.splits.size());
  std::iota(classes.begin(), classes.end(), 0);
  std::string text =
      "module attributes {dist.mesh = #dist.mesh<\"x\"=" + std::to_string(classes.size()) +
      ">, dist.classes = array<i64: " + listed(classes) + ">} {\n";
  std::string whole = typed(cut.shape), split = std::to_string(cut.split),
              concat = std::to_string(cut.concat);
  std::string overSplits = " over [\"x\"] counts [" + listed(cut.splits) + "] : ";
  for (int64_t rank : classes) {
    std::vector<int64_t> before(cut.shape), after(cut.shape);
    before[cut.concat] = cut.concats[rank];
    after[cut.split] = cut.splits[rank];
    std::string part = typed(before), moved = typed(after);
    text += "func.func @main_" + std::to_string(rank) + "(%x: " + whole + ") -> (" + whole + ", " +
            whole + ") {\n  %p = dist.slice %x dim " + concat + " over [\"x\"] counts [" +
            listed(cut.concats) + "] : " + whole + " to " + part +
            "\n  %m = dist.all_to_all %p split " + split + " concat " + concat +
            " over [\"x\"] splits [" + listed(cut.splits) + "] concats [" + listed(cut.concats) +
            "] : " + part + " to " + moved + "\n  %y = dist.all_gather %m dim " + split +
            overSplits + moved + " to " + whole + "\n  %s = dist.reduce_scatter sum %x dim " +
            split + overSplits + whole + " to " + moved + "\n  %z = dist.all_gather %s dim " +
            split + overSplits + moved + " to " + whole + "\n  return %y, %z : " + whole + ", " +
            whole + "\n}\n";
  }
  return text + "}\n";
}

/// By kind, what each rank sends.
static std::vector<std::map<std::string, uint64_t>> foretold(ModuleOp module, int64_t members) {
  std::vector<std::map<std::string, uint64_t>> sent(members);
  for (auto [rank, func] : llvm::enumerate(module.getOps<func::FuncOp>()))
    for (auto op : func.getOps<dist::CollectiveOpInterface>())
      sent[rank][op->getName().stripDialect().str()] += op.getBytesSent(members, rank);
  return sent;
}

static void expectSame(const Cut &cut, ModuleOp module, const cleave::test::Machine &machine) {
  int64_t members = cut.splits.size();
  auto wanted = foretold(module, members);
  auto compiled = machine.compile(module);
  ASSERT_TRUE(bool(compiled)) << llvm::toString(compiled.takeError());
  cleave_error error = {};
  cleave_session *session = nullptr;
  ASSERT_EQ(cleave_session_create((*compiled)->program(), nullptr, &session, &error), CLEAVE_OK)
      << error.message;

  std::vector<float> x(
      std::accumulate(cut.shape.begin(), cut.shape.end(), int64_t(1), std::multiplies<>()));
  std::iota(x.begin(), x.end(), 1.0f);
  std::vector<float> y(x.size()), z(x.size());
  size_t bytes = x.size() * sizeof(float);
  cleave_input input = {x.data(), bytes};
  cleave_output outputs[] = {{y.data(), bytes}, {z.data(), bytes}};
  EXPECT_EQ(cleave_session_run(session, &input, outputs, &error), CLEAVE_OK) << error.message;
  for (int64_t rank = 0; rank < members; ++rank) {
    auto *same = static_cast<const float *>(cleave_session_output(session, rank, 0));
    auto *sums = static_cast<const float *>(cleave_session_output(session, rank, 1));
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(same[i], x[i]) << "rank " << rank << ", element " << i;
      ASSERT_EQ(sums[i], members * x[i]) << "rank " << rank << ", element " << i;
    }
    cleave_counters counters;
    cleave_session_counters(session, rank, &counters);
    for (uint8_t op : {CLEAVE_OP_ALL_TO_ALL, CLEAVE_OP_ALL_GATHER, CLEAVE_OP_REDUCE_SCATTER})
      EXPECT_EQ(counters.bytes[op], wanted[rank][cleave_op_name(op)])
          << cleave_op_name(op) << ", rank " << rank;
  }
  cleave_session_destroy(session);
}

TEST(Collectives, PartsBecomeWhatTheyWere) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>();
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    Cut cut = draw(random);
    std::string text = programOf(cut);
    SCOPED_TRACE(text);
    for (const cleave::test::Machine &machine : cleave::test::machines()) {
      auto module = parseSourceString<ModuleOp>(text, &context);
      ASSERT_TRUE(module);
      expectSame(cut, *module, machine);
      if (testing::Test::HasFatalFailure())
        return;
    }
  }
}

/// Every rank adds what is summed, a row of an input each, to another input.
static std::string sumOf(int64_t members, int64_t size, const std::string &element) {
  std::string count = std::to_string(members), length = std::to_string(size);
  std::string whole = "tensor<" + count + "x" + length + "x" + element + ">";
  std::string row = "tensor<1x" + length + "x" + element + ">";
  return "module attributes {dist.mesh = #dist.mesh<\"x\"=" + count +
         ">, dist.classes = array<i64: " + listed(Counts(members, 0)) +
         ">} {\nfunc.func @main(%x: " + whole + ", %r: " + row + ") -> " + row +
         " {\n  %p = dist.slice %x dim 0 over [\"x\"] counts [" + listed(Counts(members, 1)) +
         "] : " + whole + " to " + row + "\n  %s = dist.all_reduce sum %p over [\"x\"] : " + row +
         "\n  %y = nn.add %s, %r : " + row + ", " + row + "\n  return %y : " + row + "\n}\n}\n";
}

using Bytes = std::vector<char>;

/// What each rank gives, one behind the other, each `bytes` long.
static void runAll(ModuleOp module, const cleave::test::Machine &machine,
                   const std::vector<Bytes> &inputs, size_t bytes, Bytes &results) {
  auto compiled = machine.compile(module);
  ASSERT_TRUE(bool(compiled)) << llvm::toString(compiled.takeError());
  const cleave_program *program = (*compiled)->program();
  cleave_error error = {};
  cleave_session *session = nullptr;
  ASSERT_EQ(cleave_session_create(program, nullptr, &session, &error), CLEAVE_OK) << error.message;
  Bytes y(bytes);
  std::vector<cleave_input> given;
  for (const Bytes &input : inputs)
    given.push_back({input.data(), input.size()});
  cleave_output output = {y.data(), y.size()};
  EXPECT_EQ(cleave_session_run(session, given.data(), &output, &error), CLEAVE_OK) << error.message;
  for (uint32_t rank = 0; rank < program->num_ranks; ++rank) {
    auto *one = static_cast<const char *>(cleave_session_output(session, rank, 0));
    results.insert(results.end(), one, one + bytes);
  }
  cleave_session_destroy(session);
}

/// Whether what `pass` makes of a program gives the same bits.
static void expectSameBits(ModuleOp module, std::unique_ptr<Pass> pass,
                           const cleave::test::Machine &machine, const std::vector<Bytes> &inputs,
                           size_t bytes) {
  OwningOpRef<ModuleOp> other = module.clone();
  PassManager passes(module.getContext());
  passes.addPass(std::move(pass));
  ASSERT_TRUE(succeeded(passes.run(*other)));
  ASSERT_FALSE(
      OperationEquivalence::isEquivalentTo(module, *other, OperationEquivalence::IgnoreLocations))
      << "the pass does nothing";
  Bytes wanted, got;
  runAll(module, machine, inputs, bytes, wanted);
  runAll(*other, machine, inputs, bytes, got);
  EXPECT_EQ(got, wanted) << machine.name;
}

/// Any values of `type`, or whole ones whose products and sums are exact.
static Bytes drawValues(std::mt19937 &random, FloatType type, size_t count, bool areWhole) {
  size_t bytes = type.getWidth() / 8;
  Bytes values(count * bytes);
  for (size_t i = 0; i < values.size(); i += bytes) {
    double number =
        areWhole ? random() % 5 - 2.0 : (random() % 4096 - 2048.0) / (1 + random() % 64);
    llvm::APFloat value(number);
    bool isInexact;
    value.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &isInexact);
    memcpy(values.data() + i, value.bitcastToAPInt().getRawData(), bytes);
  }
  return values;
}

TEST(Collectives, OneShotsHaveTheBitsOfAllReduces) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>();
  std::mt19937 random(1);
  for (const char *element : {"f16", "bf16", "f32", "f64"})
    for (int64_t members : {2, 3, 8}) {
      int64_t size = 1 + random() % 200;
      std::string text = sumOf(members, size, element);
      SCOPED_TRACE(text);
      auto type = cast<FloatType>(parseType(element, &context));
      std::vector<Bytes> inputs = {drawValues(random, type, members * size, /*areWhole=*/false),
                                   drawValues(random, type, size, /*areWhole=*/false)};
      for (const cleave::test::Machine &machine : cleave::test::machines()) {
        auto module = parseSourceString<ModuleOp>(text, &context);
        expectSameBits(*module, createOneShot(), machine, inputs, inputs[1].size());
      }
    }
}

/// Each rank multiplies its part of k, and the product is summed, or summed into parts and
/// gathered; another input is added.
static std::string productOf(int64_t members, bool scatters) {
  std::string count = std::to_string(members);
  auto shaped = [](int64_t rows, int64_t columns) {
    return "tensor<" + std::to_string(rows) + "x" + std::to_string(columns) + "xf16>";
  };
  int64_t rows = 2 * members, depth = 24, columns = 24;
  std::string x = shaped(rows, members * depth), part = shaped(rows, depth),
              w = shaped(members * depth, columns), own = shaped(depth, columns),
              y = shaped(rows, columns), row = shaped(2, columns);
  std::string ranks = " over [\"x\"]", twos = listed(Counts(members, 2)),
              cut = ranks + " counts [" + listed(Counts(members, depth)) + "] : ";
  std::string sum = "%s = dist.all_reduce sum %p" + ranks + " : " + y;
  if (scatters)
    sum = "%m = dist.reduce_scatter sum %p dim 0" + ranks + " counts [" + twos + "] : " + y +
          " to " + row + "\n  %s = dist.all_gather %m dim 0" + ranks + " counts [" + twos +
          "] : " + row + " to " + y;
  return "module attributes {dist.mesh = #dist.mesh<\"x\"=" + count +
         ">, dist.classes = array<i64: " + listed(Counts(members, 0)) +
         ">} {\nfunc.func @main(%x: " + x + ", %w: " + w + ", %r: " + y + ") -> " + y +
         " {\n  %xs = dist.slice %x dim 1" + cut + x + " to " + part +
         "\n  %ws = dist.slice %w dim 0" + cut + w + " to " + own +
         "\n  %p = nn.matmul %xs, %ws : " + part + ", " + own + "\n  " + sum +
         "\n  %y = nn.add %s, %r : " + y + ", " + y + "\n  return %y : " + y + "\n}\n}\n";
}

/// Rows of every rank, gathered, through two products that share one dimension, and summed
/// into the rows of every rank again.
static std::string rowsThrough(int64_t members) {
  auto shaped = [](int64_t rows, int64_t columns) {
    return "tensor<2x" + std::to_string(rows) + "x" + std::to_string(columns) + "xf16>";
  };
  auto plain = [](int64_t rows, int64_t columns) {
    return "tensor<" + std::to_string(rows) + "x" + std::to_string(columns) + "xf16>";
  };
  constexpr int64_t mine = 6, width = 24, own = 8;
  int64_t rows = mine * members, inner = own * members;
  std::string ranks = " over [\"x\"] counts [",
              cutRows = ranks + listed(Counts(members, mine)) + "] : ",
              cutInner = ranks + listed(Counts(members, own)) + "] : ";
  std::string x = shaped(rows, width), xs = shaped(mine, width), h = shaped(rows, own),
              w = plain(width, inner), ws = plain(width, own), v = plain(inner, width),
              vs = plain(own, width), bias = plain(1, own);
  return "module attributes {dist.mesh = #dist.mesh<\"x\"=" + std::to_string(members) +
         ">, dist.classes = array<i64: " + listed(Counts(members, 0)) +
         ">} {\nfunc.func @main(%x: " + x + ", %w: " + w + ", %v: " + v + ", %b: " + bias +
         ") -> " + x + " {\n  %xs = dist.slice %x dim 1" + cutRows + x + " to " + xs +
         "\n  %ws = dist.slice %w dim 1" + cutInner + w + " to " + ws +
         "\n  %vs = dist.slice %v dim 0" + cutInner + v + " to " + vs +
         "\n  %g = dist.all_gather %xs dim 1" + cutRows + xs + " to " + x +
         "\n  %h = nn.matmul %g, %ws : " + x + ", " + ws + "\n  %i = nn.add %h, %b : " + h + ", " +
         bias + "\n  %j = nn.max %h, %i : " + h + ", " + h + "\n  %p = nn.matmul %j, %vs : " + h +
         ", " + vs + "\n  %m = dist.reduce_scatter sum %p dim 1" + cutRows + x + " to " + xs +
         "\n  %n = nn.add %m, %xs : " + xs + ", " + xs + "\n  %y = dist.all_gather %n dim 1" +
         cutRows + xs + " to " + x + "\n  return %y : " + x + "\n}\n}\n";
}

TEST(Collectives, RowsInPartsAreTheRows) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>();
  std::mt19937 random(1);
  auto type = Float16Type::get(&context);
  for (int64_t members : {2, 3}) {
    std::string text = rowsThrough(members);
    SCOPED_TRACE(text);
    std::vector<Bytes> inputs;
    for (int64_t elements : {2 * 6 * members * 24, 24 * 8 * members, 8 * members * 24, int64_t(8)})
      inputs.push_back(drawValues(random, type, elements, /*areWhole=*/true));
    for (const cleave::test::Machine &machine : cleave::test::machines()) {
      auto module = parseSourceString<ModuleOp>(text, &context);
      OverlapOptions options;
      options.parts = 3;
      expectSameBits(*module, createOverlap(options), machine, inputs, inputs[0].size());
    }
  }
}

TEST(Collectives, ProductsInPartsAreTheProduct) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>();
  std::mt19937 random(1);
  auto type = Float16Type::get(&context);
  for (int64_t members : {2, 3})
    for (bool scatters : {false, true}) {
      std::string text = productOf(members, scatters);
      SCOPED_TRACE(text);
      std::vector<Bytes> inputs;
      for (int64_t elements : {2 * members * members * 24, members * 24 * 24, 2 * members * 24})
        inputs.push_back(drawValues(random, type, elements, /*areWhole=*/true));
      for (const cleave::test::Machine &machine : cleave::test::machines()) {
        auto module = parseSourceString<ModuleOp>(text, &context);
        OverlapOptions options;
        options.parts = 3;
        expectSameBits(*module, createOverlap(options), machine, inputs, inputs[2].size());
      }
    }
}
