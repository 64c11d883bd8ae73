//===- Cuda.cpp - kernels of GPUs, in the simulator or on one -------------===//
//
// CLEAVE_TEST_GPU names the chip of a GPU of this machine: sm_90a.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"

#include "../../../runtime/Cuda/Driver.h"

#include "cleave/Target/Cuda.h"

#include <mutex>

using namespace cleave;
using namespace cleave::test;

/// Keeps the context of the first GPU, which every session would else make for itself, in
/// more time than most tests take.
static void keepContext() {
  const runtime::Driver *driver = nullptr;
  cleave_error error = {};
  CUdevice device = 0;
  CUcontext context = nullptr;
  if (runtime::openDriver(/*simulated=*/false, driver, &error) == CLEAVE_OK &&
      driver->cuDeviceGet(&device, 0) == CUDA_SUCCESS)
    driver->cuDevicePrimaryCtxRetain(&context, device);
}

std::vector<Machine> cleave::test::machines() {
  CudaOptions options;
  const char *chip = getenv("CLEAVE_TEST_GPU");
  static std::once_flag once;
  if (chip)
    std::call_once(once, keepContext);
  options.chips = {chip ? chip : "sm_80"};
  options.simulate = !chip;
  return {{options.chips[0], [=](mlir::ModuleOp module) { return compileCuda(module, options); }}};
}
