//===- Hopper.h - kernels for sm_90a, in the simulator --------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_CUDA_HOPPER_H
#define CLEAVE_TEST_UNIT_CUDA_HOPPER_H

#include "../Kernels/Harness.h"

#include "cleave/Target/Cuda.h"

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

/// Of products of 16-bit floats, with the simulator on `schedule`.
inline Check checkFor(const char *schedule) {
  EXPECT_EQ(ofSimulator<int (*)(const char *)>("cleave_simt_schedule")(schedule), 0);
  Check check;
  check.absolute = check.relative = 2e-2;
  check.draw.low = -0.5, check.draw.high = 0.5;
  return check;
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
