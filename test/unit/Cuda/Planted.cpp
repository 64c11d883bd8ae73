//===- Planted.cpp - bugs in our own kernels, which the simulator has to tell -===//
//
// Each bug is one change of what a thread does, as a slip of the hand would make it. The
// whole of it then runs as ever: the session has to fail, naming the kernel.
//
//===----------------------------------------------------------------------===//

#include "../Kernels/Harness.h"

#include "cleave/Target/Cuda.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

namespace {

struct Mutation {
  const char *name;
  std::function<bool(Operation *)> fits;
  std::function<void(Operation *, OpBuilder &)> apply;
};

template <typename Op> bool isA(Operation *op) { return isa<Op>(op); }

void erase(Operation *op, OpBuilder &) { op->erase(); }

bool isShared(Value memory) {
  auto space = cast<MemRefType>(memory.getType()).getMemorySpaceAsInt();
  return space == 3;
}

/// The memory and the index of a plain access, or null.
std::pair<Value, OpOperand *> accessOf(Operation *op) {
  if (auto load = dyn_cast<memref::LoadOp>(op))
    return {load.getMemRef(), &op->getOpOperand(1)};
  if (auto load = dyn_cast<vector::LoadOp>(op))
    return {load.getBase(), &op->getOpOperand(1)};
  if (auto store = dyn_cast<memref::StoreOp>(op))
    return {store.getMemRef(), &op->getOpOperand(2)};
  if (auto store = dyn_cast<vector::StoreOp>(op))
    return {store.getBase(), &op->getOpOperand(2)};
  return {nullptr, nullptr};
}

bool isStore(Operation *op) { return isa<memref::StoreOp, vector::StoreOp>(op); }

std::function<bool(Operation *)> access(bool shared, bool stores) {
  return [=](Operation *op) {
    auto [memory, index] = accessOf(op);
    return memory && isShared(memory) == shared && isStore(op) == stores;
  };
}

std::function<void(Operation *, OpBuilder &)> shiftIndex(int64_t by) {
  return [=](Operation *op, OpBuilder &b) {
    OpOperand *index = accessOf(op).second;
    Value offset = arith::ConstantIndexOp::create(b, op->getLoc(), by);
    index->set(arith::AddIOp::create(b, op->getLoc(), index->get(), offset));
  };
}

void makeTrue(Operation *op, OpBuilder &b) {
  op->setOperand(0, arith::ConstantIntOp::create(b, op->getLoc(), 1, 1));
}

void oneTileMore(Operation *op, OpBuilder &b) {
  auto loop = cast<scf::ForOp>(op);
  loop.setUpperBound(arith::AddIOp::create(b, op->getLoc(), loop.getUpperBound(), loop.getStep()));
}

/// Only some threads come here.
void diverge(Operation *op, OpBuilder &b) {
  Location loc = op->getLoc();
  Value thread = gpu::ThreadIdOp::create(b, loc, b.getIndexType(), gpu::Dimension::x);
  Value limit = arith::ConstantIndexOp::create(b, loc, 17);
  Value isLow = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, thread, limit);
  bool gives = op->getNumResults() > 0;
  SmallVector<Type> types(gives ? 1 : 0, gives ? op->getResult(0).getType() : Type());
  auto branch = scf::IfOp::create(b, loc, types, isLow, gives);
  if (gives) {
    op->getResult(0).replaceAllUsesWith(branch.getResult(0));
    b.setInsertionPointToEnd(&branch.getElseRegion().front());
    scf::YieldOp::create(b, loc, op->getOperand(0));
  }
  Block &then = branch.getThenRegion().front();
  op->moveBefore(&then, gives ? then.end() : then.begin());
  if (gives) {
    b.setInsertionPointToEnd(&then);
    scf::YieldOp::create(b, loc, op->getResult(0));
  }
}

/// Leaves out the operation that gives the second operand its part in the first.
void skip(Operation *op, OpBuilder &) {
  op->getResult(0).replaceAllUsesWith(op->getOperand(0));
  op->erase();
}

void waitLess(Operation *op, OpBuilder &b) {
  auto wait = cast<NVVM::CpAsyncWaitGroupOp>(op);
  NVVM::CpAsyncWaitGroupOp::create(b, op->getLoc(), wait.getN() + 1);
  op->erase();
}

void compareNot(Operation *op, OpBuilder &) {
  auto compare = cast<arith::CmpIOp>(op);
  compare.setPredicate(arith::invertPredicate(compare.getPredicate()));
}

/// Where a block asks whether it is the last.
bool isCount(Operation *op) {
  return isa<arith::CmpIOp>(op) && op->getOperand(0).getDefiningOp<LLVM::AtomicRMWOp>();
}

/// The first puts together what is not there yet.
void countLess(Operation *op, OpBuilder &b) {
  op->setOperand(1, arith::ConstantIntOp::create(b, op->getLoc(), 0, 32));
}

bool isLastStage(Operation *op) {
  auto compare = dyn_cast<arith::CmpIOp>(op);
  return compare && compare.getPredicate() == arith::CmpIPredicate::eq;
}

void shiftTarget(Operation *op, OpBuilder &b) {
  auto type = cast<LLVM::LLVMPointerType>(op->getOperand(0).getType());
  op->setOperand(0, LLVM::GEPOp::create(b, op->getLoc(), type, b.getI8Type(), op->getOperand(0),
                                        ArrayRef<LLVM::GEPArg>{16}));
}

/// Where a tile lies, of two in turn.
bool isTurn(Operation *op) {
  return isa<arith::RemUIOp>(op) && getConstantIntValue(op->getOperand(1)) == 2;
}

/// All in one place.
void inOnePlace(Operation *op, OpBuilder &b) {
  op->setOperand(1, arith::ConstantIntOp::create(b, op->getLoc(), 1, 32));
}

void toTheEnd(Operation *op, OpBuilder &) { op->moveBefore(op->getBlock()->getTerminator()); }

/// A loop over the tiles of a block.
bool isOfTiles(Operation *op) {
  return isa<scf::ForOp>(op) && isa<func::FuncOp>(op->getParentOp()) &&
         !cast<scf::ForOp>(op).getOps<gpu::BarrierOp>().empty();
}

/// The first block has all tiles, as where there are more than blocks, and the others have none.
void byOneBlock(Operation *op, OpBuilder &b) {
  Location loc = op->getLoc();
  auto loop = cast<scf::ForOp>(op);
  Value number = loop.getLowerBound(), zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, number, zero);
  loop.setLowerBound(arith::SelectOp::create(b, loc, isFirst, zero, loop.getUpperBound()));
  loop.setStep(arith::ConstantIndexOp::create(b, loc, 1));
}

void byOneBlockWithoutEnd(Operation *op, OpBuilder &b) {
  byOneBlock(op, b);
  gpu::BarrierOp last;
  for (auto barrier : cast<scf::ForOp>(op).getOps<gpu::BarrierOp>())
    last = barrier;
  last.erase();
}

const Mutation mutations[] = {
    {"no barrier", isA<gpu::BarrierOp>, erase},
    {"late barrier", isA<gpu::BarrierOp>, toTheEnd},
    {"barrier of some", isA<gpu::BarrierOp>, diverge},
    {"one block", isOfTiles, byOneBlock},
    {"no last barrier, one block", isOfTiles, byOneBlockWithoutEnd},
    {"no wait", isA<NVVM::CpAsyncWaitGroupOp>, erase},
    {"wait for less", isA<NVVM::CpAsyncWaitGroupOp>, waitLess},
    {"no commit", isA<NVVM::CpAsyncCommitGroupOp>, erase},
    {"no copy", isA<NVVM::CpAsyncOp>, erase},
    {"copy to the next", isA<NVVM::CpAsyncOp>, shiftTarget},
    {"no swizzle", isA<arith::XOrIOp>, skip},
    {"stale stage", isLastStage, compareNot},
    {"no fence", isA<LLVM::FenceOp>, erase},
    {"first instead of last", isCount, countLess},
    {"no warp barrier", isA<NVVM::SyncWarpOp>, erase},
    {"no fence of the proxy", isA<NVVM::FenceProxyOp>, erase},
    {"no fence of registers", isA<NVVM::WgmmaFenceAlignedOp>, erase},
    {"no wait for products", isA<NVVM::WgmmaWaitGroupSyncOp>, erase},
    {"no end of products", isA<NVVM::WgmmaGroupSyncAlignedOp>, erase},
    {"one stage", isTurn, inOnePlace},
    {"shuffle of some", isA<gpu::ShuffleOp>, diverge},
    {"no predicate", isA<scf::IfOp>, makeTrue},
    {"one tile more", isA<scf::ForOp>, oneTileMore},
    {"store to the next", access(true, true), shiftIndex(1)},
    {"store far off", access(true, true), shiftIndex(4096)},
    {"load of the next", access(true, false), shiftIndex(1)},
    {"global load of the next", access(false, false), shiftIndex(1)},
};

struct Kernel {
  const char *name, *text;
  const char *chip = "sm_80";
};

const Kernel kernels[] = {
    {"softmax",
     R"(func.func @main(%x: tensor<7x100xf32>) -> tensor<7x100xf32> {
       %y = nn.softmax %x dim 1 : tensor<7x100xf32>
       return %y : tensor<7x100xf32> })"},
    {"long softmax",
     R"(func.func @main(%x: tensor<3x3000xf32>) -> tensor<3x3000xf32> {
       %y = nn.softmax %x dim 1 : tensor<3x3000xf32>
       return %y : tensor<3x3000xf32> })"},
    {"largest",
     R"(func.func @main(%x: tensor<2x300xi8>) -> (tensor<2x9xi8>, tensor<2x9xi64>) {
       %v, %i = nn.top_k max 9 of %x dim 1 : tensor<2x300xi8>
       return %v, %i : tensor<2x9xi8>, tensor<2x9xi64> })"},
    {"largest of all",
     R"(func.func @main(%x: tensor<2x300xf32>) -> tensor<2x1xi64> {
       %i = nn.arg_reduce max %x dim 1 : tensor<2x300xf32>
       return %i : tensor<2x1xi64> })"},
    {"transpose",
     R"(func.func @main(%x: tensor<70x40xf32>) -> tensor<40x70xf32> {
       %y = nn.transpose %x [1, 0] : tensor<70x40xf32>
       return %y : tensor<40x70xf32> })"},
    {"product",
     R"(func.func @main(%x: tensor<70x40xf32>, %w: tensor<40x50xf32>) -> tensor<70x50xf32> {
       %y = nn.matmul %x, %w : tensor<70x40xf32>, tensor<40x50xf32>
       return %y : tensor<70x50xf32> })"},
    {"tensor product",
     R"(func.func @main(%x: tensor<70x264xbf16>, %w: tensor<264x72xbf16>) -> tensor<70x72xbf16> {
       %y = nn.matmul %x, %w : tensor<70x264xbf16>, tensor<264x72xbf16>
       return %y : tensor<70x72xbf16> })"},
    {"product in parts",
     R"(func.func @main(%x: tensor<5x300xf32>, %w: tensor<300x50xf32>) -> tensor<5x50xf32> {
       %y = nn.matmul %x, %w : tensor<5x300xf32>, tensor<300x50xf32>
       return %y : tensor<5x50xf32> })"},
    {"tensor product in parts",
     R"(func.func @main(%x: tensor<5x520xf16>, %w: tensor<520x40xf16>) -> tensor<5x40xf16> {
       %y = nn.matmul %x, %w : tensor<5x520xf16>, tensor<520x40xf16>
       return %y : tensor<5x40xf16> })"},
    {"tensor attention",
     R"(func.func @main(%q: tensor<1x2x72x64xf16>, %k: tensor<1x1x100x64xf16>, %v: tensor<1x1x100x64xf16>) -> tensor<1x2x72x64xf16> {
       %y = nn.attention %q, %k, %v scale 0.125 causal : tensor<1x2x72x64xf16>, tensor<1x1x100x64xf16>, tensor<1x1x100x64xf16>
       return %y : tensor<1x2x72x64xf16> })"},
    {"group attention",
     R"(func.func @main(%q: tensor<1x2x130x16xbf16>, %k: tensor<1x1x630x16xbf16>, %v: tensor<1x1x630x96xbf16>) -> tensor<1x2x130x96xbf16> {
       %y = nn.attention %q, %k, %v scale 0.25 causal offset 500 : tensor<1x2x130x16xbf16>, tensor<1x1x630x16xbf16>, tensor<1x1x630x96xbf16>
       return %y : tensor<1x2x130x96xbf16> })",
     "sm_90a"},
    {"decoding",
     R"(func.func @main(%q: tensor<1x4x1x32xbf16>, %k: tensor<1x1x90x32xbf16>, %v: tensor<1x1x90x32xbf16>) -> tensor<1x4x1x32xbf16> {
       %y = nn.attention %q, %k, %v scale 0.2 : tensor<1x4x1x32xbf16>, tensor<1x1x90x32xbf16>, tensor<1x1x90x32xbf16>
       return %y : tensor<1x4x1x32xbf16> })"},
    {"decoding in parts",
     R"(func.func @main(%q: tensor<1x4x1x32xbf16>, %k: tensor<1x1x290x32xbf16>, %v: tensor<1x1x290x32xbf16>) -> tensor<1x4x1x32xbf16> {
       %y = nn.attention %q, %k, %v scale 0.2 : tensor<1x4x1x32xbf16>, tensor<1x1x290x32xbf16>, tensor<1x1x290x32xbf16>
       return %y : tensor<1x4x1x32xbf16> })"},
    {"attention",
     R"(func.func @main(%q: tensor<1x2x20x16xf32>, %k: tensor<1x2x70x16xf32>, %v: tensor<1x2x70x16xf32>) -> tensor<1x2x20x16xf32> {
       %y = nn.attention %q, %k, %v scale 0.25 causal : tensor<1x2x20x16xf32>, tensor<1x2x70x16xf32>, tensor<1x2x70x16xf32>
       return %y : tensor<1x2x20x16xf32> })"},
    {"attention in parts",
     R"(func.func @main(%q: tensor<1x4x1x32xf32>, %k: tensor<1x1x290x32xf32>, %v: tensor<1x1x290x32xf32>) -> tensor<1x4x1x32xf32> {
       %y = nn.attention %q, %k, %v scale 0.2 : tensor<1x4x1x32xf32>, tensor<1x1x290x32xf32>, tensor<1x1x290x32xf32>
       return %y : tensor<1x4x1x32xf32> })"},
};

struct Bug {
  const char *kernel, *mutation;
  unsigned number = 0; ///< of the places where it fits
  bool isTold = true;  ///< else only the results show it
};

const Bug bugs[] = {
    {"softmax", "shuffle of some"},
    {"softmax", "one tile more"},
    {"softmax", "one tile more", 1},
    {"softmax", "one tile more", 4},
    {"softmax", "store to the next"},
    {"softmax", "load of the next"},
    {"long softmax", "no barrier", 1},
    {"long softmax", "no barrier", 2},
    {"long softmax", "late barrier", 1},
    {"long softmax", "barrier of some"},
    {"long softmax", "no predicate"},
    {"long softmax", "one tile more", 1},
    {"long softmax", "store far off"},
    {"long softmax", "store to the next", 1},
    {"largest", "no barrier"},
    {"largest", "no barrier", 1},
    {"largest", "no barrier", 2},
    {"largest", "no barrier", 3},
    {"largest", "no barrier", 4},
    {"largest", "no barrier", 5},
    {"largest", "no barrier", 6},
    {"largest", "no barrier", 7},
    {"largest", "barrier of some"},
    {"largest", "shuffle of some"},
    {"largest", "no predicate", 1},
    {"largest", "store to the next"},
    {"largest of all", "no barrier"},
    {"largest of all", "no last barrier, one block"},
    {"largest of all", "no predicate"},
    {"largest of all", "no predicate", 1},
    {"transpose", "no barrier"},
    {"transpose", "late barrier"},
    {"transpose", "barrier of some"},
    {"transpose", "no predicate"},
    {"transpose", "one tile more"},
    {"transpose", "store to the next"},
    {"transpose", "store far off"},
    {"transpose", "load of the next"},
    {"transpose", "global load of the next"},
    {"transpose", "no last barrier, one block"},
    {"product", "no barrier"},
    {"product", "no barrier", 1},
    {"product", "late barrier"},
    {"product", "no predicate"},
    {"product", "one tile more"},
    {"product", "store to the next", 1},
    {"product", "global load of the next"},
    {"tensor product", "no barrier"},
    {"tensor product", "no barrier", 1},
    {"tensor product", "late barrier"},
    {"tensor product", "no wait"},
    {"tensor product", "wait for less"},
    {"tensor product", "no commit"},
    {"tensor product", "no commit", 2},
    {"tensor product", "no copy"},
    {"tensor product", "copy to the next"},
    {"tensor product", "stale stage"},
    {"tensor product", "one tile more", 2},
    {"tensor product", "store to the next"},
    {"tensor product", "no swizzle", 0, /*isTold=*/false},
    {"product in parts", "no fence"},
    {"product in parts", "first instead of last"},
    {"product in parts", "no barrier", 2},
    {"product in parts", "no barrier", 3},
    {"tensor product in parts", "no fence"},
    {"tensor product in parts", "first instead of last"},
    {"tensor product in parts", "no barrier", 3},
    {"tensor product in parts", "no barrier", 4},
    {"tensor attention", "no barrier"},
    {"tensor attention", "no barrier", 1},
    {"tensor attention", "no barrier", 2},
    {"tensor attention", "no barrier", 3},
    {"tensor attention", "no barrier", 4},
    {"tensor attention", "no wait", 1},
    {"tensor attention", "no wait", 2},
    {"tensor attention", "wait for less", 2},
    {"tensor attention", "no commit", 1},
    {"tensor attention", "copy to the next", 2},
    {"group attention", "no barrier"},
    {"group attention", "no barrier", 1},
    {"group attention", "no barrier", 2},
    {"group attention", "no barrier", 3},
    {"group attention", "no barrier", 4},
    {"group attention", "no barrier", 5},
    {"group attention", "no wait"},
    {"group attention", "no wait", 1},
    {"group attention", "wait for less", 1},
    {"group attention", "no commit", 2},
    {"group attention", "no copy", 2},
    {"group attention", "copy to the next", 2},
    {"group attention", "one stage"},
    {"group attention", "one stage", 3},
    {"group attention", "no fence of the proxy"},
    {"group attention", "no fence of the proxy", 1},
    {"group attention", "no fence of registers", 1},
    {"group attention", "no wait for products"},
    {"group attention", "no wait for products", 1},
    {"group attention", "no wait for products", 2},
    {"group attention", "no wait for products", 6},
    {"group attention", "no end of products", 1},
    {"group attention", "no end of products", 2},
    {"group attention", "shuffle of some", 1},
    {"decoding", "no barrier", 2},
    {"decoding", "no barrier", 3},
    {"decoding", "no wait", 2},
    {"decoding", "no copy", 3},
    {"decoding in parts", "no fence"},
    {"decoding in parts", "first instead of last"},
    {"decoding in parts", "no barrier", 4},
    {"decoding in parts", "no barrier", 5},
    {"attention", "no barrier", 1},
    {"attention", "no barrier", 2},
    {"attention", "no barrier", 3},
    {"attention", "no warp barrier"},
    {"attention", "shuffle of some", 3},
    {"attention", "no predicate", 2},
    {"attention in parts", "no fence"},
    {"attention in parts", "first instead of last"},
};
static_assert(std::size(bugs) >= 40);

template <typename List> const auto &named(const List &list, StringRef name) {
  return *llvm::find_if(list, [&](const auto &one) { return one.name == name; });
}

/// A GPU whose kernels have `bug`; `isPlanted` tells whether there was a place for it.
Machine machineWith(const Bug &bug, bool &isPlanted) {
  CudaOptions options;
  options.chips = {named(kernels, bug.kernel).chip};
  options.simulate = true;
  options.onLoops = [&](ModuleOp module) {
    const Mutation &mutation = named(mutations, bug.mutation);
    SmallVector<Operation *> places;
    module.walk([&](Operation *op) {
      if (mutation.fits(op))
        places.push_back(op);
    });
    isPlanted = bug.number < places.size();
    if (!isPlanted)
      return;
    OpBuilder builder(places[bug.number]);
    mutation.apply(places[bug.number], builder);
  };
  return {"", [options](ModuleOp module) { return compileCuda(module, options); }};
}

} // namespace

TEST(Planted, BugsAreToldWithTheirKernel) {
  for (const Bug &bug : bugs) {
    SCOPED_TRACE(std::string(bug.kernel) + ", " + bug.mutation + " " + std::to_string(bug.number));
    bool isPlanted = false;
    std::string wrong = differsOn(machineWith(bug, isPlanted), named(kernels, bug.kernel).text);
    EXPECT_TRUE(isPlanted);
    EXPECT_NE(wrong, "");
    bool isTold = StringRef(wrong).contains("kernel \"kernel_0\"");
    EXPECT_EQ(isTold, bug.isTold) << wrong;
  }
}

TEST(Planted, TilesOfOneBlockAreRight) {
  bool isPlanted = false;
  Bug none = {"transpose", "one block"};
  EXPECT_EQ(differsOn(machineWith(none, isPlanted), named(kernels, none.kernel).text), "");
  EXPECT_TRUE(isPlanted);
}

TEST(Planted, KernelsWithoutBugsAreRight) {
  for (const Kernel &kernel : kernels)
    for (const Machine &machine : machines())
      EXPECT_EQ(differsOn(machine, kernel.text), "") << kernel.name;
}
