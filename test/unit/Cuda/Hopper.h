//===- Hopper.h - kernels for sm_90a, in the simulator --------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_CUDA_HOPPER_H
#define CLEAVE_TEST_UNIT_CUDA_HOPPER_H

#include "../Kernels/Harness.h"

#include "cleave/Target/Cuda.h"

#include "mlir/IR/Builders.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace cleave::test {

/// With `change` made to what a thread does.
inline Machine hopper(std::function<void(mlir::ModuleOp)> change = {}) {
  CudaOptions options;
  options.chips = {"sm_90a"};
  options.simulate = true;
  options.onLoops = std::move(change);
  return {"sm_90a", [=](mlir::ModuleOp module) { return compileCuda(module, options); }};
}

template <typename Function> Function ofSimulator(const char *name) {
  void *simulator = dlopen(CLEAVE_TEST_SIMT, RTLD_NOW);
  auto function = reinterpret_cast<Function>(simulator ? dlsym(simulator, name) : nullptr);
  EXPECT_TRUE(function) << dlerror();
  return function;
}

/// Of products of 16-bit floats, or of bytes, with the simulator on `schedule`.
inline Check checkFor(const char *schedule) {
  EXPECT_EQ(ofSimulator<int (*)(const char *)>("cleave_simt_schedule")(schedule), 0);
  Check check;
  check.absolute = check.relative = 2e-2;
  check.draw.low = -0.5, check.draw.high = 0.5;
  check.draw.least = -128, check.draw.most = 255;
  return check;
}

/// A slip of the hand, wherever it fits, and what the simulator says of it.
struct Bug {
  const char *name, *says;
  std::function<bool(mlir::Operation *)> fits;
  std::function<void(mlir::Operation *, mlir::OpBuilder &)> apply = [](mlir::Operation *op,
                                                                       mlir::OpBuilder &) {
    // What an arrival returns nobody reads.
    op->dropAllUses();
    op->erase();
  };
  bool isFirst = false; ///< or where it fits first
};

template <typename Op> bool isA(mlir::Operation *op) { return llvm::isa<Op>(op); }

/// Runs a function of one kernel with each of `bugs`.
inline void expectTold(llvm::ArrayRef<Bug> bugs, const std::string &function) {
  for (const Bug &bug : bugs) {
    SCOPED_TRACE(bug.name);
    bool any = false;
    Machine machine = hopper([&](mlir::ModuleOp module) {
      llvm::SmallVector<mlir::Operation *> places;
      module.walk([&](mlir::Operation *op) {
        if (bug.fits(op))
          places.push_back(op);
      });
      any = !places.empty();
      if (any && bug.isFirst)
        places.resize(1);
      for (mlir::Operation *op : places) {
        mlir::OpBuilder builder(op);
        bug.apply(op, builder);
      }
    });
    std::string said = differsOn(machine, function, checkFor("greedy"));
    EXPECT_TRUE(any);
    EXPECT_NE(said.find(bug.says), said.npos) << said;
    EXPECT_NE(said.find("kernel_0"), said.npos) << said;
  }
}

/// Runs a function of one kernel; how often its warps took longer at shared memory than any
/// addresses need.
inline uint64_t conflictsOnHopper(const std::string &function, const Check &check) {
  auto count = ofSimulator<int (*)(const char *, uint64_t *, uint64_t *)>("cleave_simt_conflicts");
  uint64_t extra = 0, accesses = 0;
  // Forgets kernels of that name that ran before.
  count("kernel_0", &extra, &accesses);
  EXPECT_EQ(differsOn(hopper(), function, check), "");
  EXPECT_EQ(count("kernel_0", &extra, &accesses), 0);
  EXPECT_GT(accesses, 0u);
  return extra;
}

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_CUDA_HOPPER_H
