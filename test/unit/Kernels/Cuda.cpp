//===- Cuda.cpp - kernels of GPUs, in the simulator or on one -------------===//
//
// CLEAVE_TEST_GPU names the chip of a GPU of this machine: sm_90a.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"

#include "cleave/Target/Cuda.h"

using namespace cleave;
using namespace cleave::test;

std::vector<Machine> cleave::test::machines() {
  CudaOptions options;
  const char *chip = getenv("CLEAVE_TEST_GPU");
  options.chips = {chip ? chip : "sm_80"};
  options.simulate = !chip;
  return {{options.chips[0], [=](mlir::ModuleOp module) { return compileCuda(module, options); }}};
}
