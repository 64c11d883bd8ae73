//===- Cuda.cpp - kernels of GPUs, in the simulator -----------------------===//

#include "Harness.h"

#include "cleave/Target/Cuda.h"

using namespace cleave;
using namespace cleave::test;

std::vector<Machine> cleave::test::machines() {
  CudaOptions options;
  options.chips = {"sm_80"};
  options.simulate = true;
  return {{"sm_80", [=](mlir::ModuleOp module) { return compileCuda(module, options); }}};
}
