//===- Exchange.cpp - an all_to_all on contiguous blocks is the same ------===//
//
// Whatever the shape, the dimensions and the parts, some of them empty: what
// `kernel-make-contiguous` makes of a collective gives every rank what the
// collective itself gives.
//
//===----------------------------------------------------------------------===//

#include "Simulate.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "cleave/Transforms/Kernel/Passes.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

struct Case {
  int64_t split, concat;
  SmallVector<int64_t> shape; ///< of the whole tensor
  std::vector<int64_t> splits, concats;
};

} // namespace

static Case draw() {
  Case c;
  int64_t rank = *rc::gen::inRange<int64_t>(2, 5);
  int64_t members = *rc::gen::inRange<int64_t>(2, 6);
  auto parts = [&] {
    auto one = rc::gen::inRange<int64_t>(0, 4);
    bool even = *rc::gen::arbitrary<bool>();
    return even ? std::vector<int64_t>(members, *rc::gen::inRange<int64_t>(1, 4))
                : *rc::gen::suchThat(rc::gen::container<std::vector<int64_t>>(members, one),
                                     [](const std::vector<int64_t> &counts) {
                                       return std::accumulate(counts.begin(), counts.end(), 0);
                                     });
  };
  c.splits = parts();
  c.concats = parts();
  c.split = *rc::gen::inRange<int64_t>(0, rank);
  c.concat = (c.split + *rc::gen::inRange<int64_t>(1, rank)) % rank;
  for (int64_t dim = 0; dim < rank; ++dim)
    c.shape.push_back(*rc::gen::inRange<int64_t>(1, 4));
  c.shape[c.split] = std::accumulate(c.splits.begin(), c.splits.end(), int64_t(0));
  c.shape[c.concat] = std::accumulate(c.concats.begin(), c.concats.end(), int64_t(0));
  return c;
}

/// A function a rank, which takes its part of `concat` and gets its part of `split`.
static OwningOpRef<ModuleOp> build(MLIRContext *context, const Case &c) {
  OpBuilder b(context);
  Location loc = b.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  int64_t members = c.splits.size();
  (*module)->setAttr(dist::kMesh, dist::MeshAttr::get(context, {b.getStringAttr("x")}, {members}));
  SmallVector<int64_t> classes(members);
  std::iota(classes.begin(), classes.end(), 0);
  (*module)->setAttr(dist::kClasses, b.getDenseI64ArrayAttr(classes));
  auto typed = [&](ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, b.getF32Type());
  };
  ArrayAttr axes = b.getStrArrayAttr({"x"});
  for (int64_t rank = 0; rank < members; ++rank) {
    b.setInsertionPointToEnd(module->getBody());
    SmallVector<int64_t> before(c.shape), after(c.shape);
    before[c.concat] = c.concats[rank];
    after[c.split] = c.splits[rank];
    auto func = func::FuncOp::create(b, loc, "main_" + std::to_string(rank),
                                     b.getFunctionType({typed(c.shape)}, {typed(after)}));
    b.setInsertionPointToStart(func.addEntryBlock());
    Value part = dist::SliceOp::create(b, loc, typed(before), func.getArgument(0), c.concat, axes,
                                       c.concats);
    Value moved = dist::AllToAllOp::create(b, loc, typed(after), part, c.split, c.concat, axes,
                                           c.splits, c.concats);
    func::ReturnOp::create(b, loc, moved);
  }
  return module;
}

TEST(Exchange, GivesWhatTheAllToAllGives) {
  MLIRContext context;
  context.loadDialect<func::FuncDialect, nn::NnDialect, dist::DistDialect>();
  EXPECT_TRUE(rc::check("blocks arrive where they belong", [&] {
    Case c = draw();
    OwningOpRef<ModuleOp> module = build(&context, c);
    RC_ASSERT(succeeded(verify(*module)));
    Tensors inputs = {randomTensor(RankedTensorType::get(c.shape, Float32Type::get(&context)), 1)};
    FailureOr<std::vector<Tensors>> wanted = runRanks(*module, inputs);
    RC_ASSERT(succeeded(wanted));
    PassManager passes(&context);
    passes.addPass(createMakeContiguous());
    RC_ASSERT(succeeded(passes.run(*module)));
    module->walk([](dist::AllToAllOp) { RC_FAIL("an all_to_all is left"); });
    FailureOr<std::vector<Tensors>> got = runRanks(*module, inputs);
    RC_ASSERT(succeeded(got));
    for (auto [a, b] : llvm::zip_equal(*wanted, *got)) {
      RC_ASSERT(a[0].type == b[0].type);
      RC_ASSERT(a[0].floats == b[0].floats);
    }
  }));
}
