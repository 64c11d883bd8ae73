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

/// One on which each warp multiplies alone, and one on which groups of them do.
static const char *const simulated[] = {"sm_80", "sm_90a"};

std::vector<Machine> cleave::test::machines() {
  const char *gpu = getenv("CLEAVE_TEST_GPU");
  static std::once_flag once;
  if (gpu)
    std::call_once(once, keepContext);
  std::vector<Machine> all;
  for (const char *chip : gpu ? llvm::ArrayRef(gpu) : llvm::ArrayRef(simulated)) {
    CudaOptions options;
    options.chips = {chip};
    options.simulate = !gpu;
    all.push_back({chip, [=](mlir::ModuleOp module) { return compileCuda(module, options); }});
  }
  return all;
}
