//===- Contexts.cpp - CUDA's functions for devices and contexts -----------===//

#include "Driver.h"

#include <cstring>

using namespace cleave::simt;

CUresult cuInit(unsigned flags) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  return flags ? CUDA_ERROR_INVALID_VALUE : driver.initialize();
}

CUresult cuDriverGetVersion(int *version) {
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = Driver::get().version;
  return CUDA_SUCCESS;
}

namespace {
struct ErrorText {
  CUresult error;
  const char *name, *text;
};
} // namespace

/// The errors that the simulator gives.
static const ErrorText *find(CUresult error) {
  static const ErrorText texts[] = {
      {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
      {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
      {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
      {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
      {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
      {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
      {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
      {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
       "no kernel image is available for execution on the device"},
      {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
       "part or all of the requested memory range is already mapped"},
      {CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
       "pointer does not correspond to a registered memory region"},
      {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
      {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
      {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
      {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
       "an illegal memory access was encountered"},
      {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
       "too many resources requested for launch"},
      {CUDA_ERROR_ASSERT, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
      {CUDA_ERROR_ILLEGAL_INSTRUCTION, "CUDA_ERROR_ILLEGAL_INSTRUCTION",
       "an illegal instruction was encountered"},
      {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
      {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
      {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
      {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
       "operation not permitted when stream is capturing"},
      {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
       "operation failed due to a previous error during capture"},
      {CUDA_ERROR_STREAM_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
       "operation would result in a merge of separate capture sequences"},
      {CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
       "capture was not ended in the same stream as it began"},
      {CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
       "capturing stream has unjoined work"},
      {CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
       "dependency created on uncaptured work in another stream"},
      {CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
       "operation would make the legacy stream depend on a capturing blocking stream"},
      {CUDA_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
       "operation not permitted on an event last recorded in a capturing stream"},
      {CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
       "attempt to terminate a thread-local capture sequence from another thread"},
  };
  for (const ErrorText &text : texts)
    if (text.error == error)
      return &text;
  return nullptr;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
  const ErrorText *text = find(error);
  if (name)
    *name = text ? text->name : nullptr;
  return text && name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **string) {
  const ErrorText *text = find(error);
  if (string)
    *string = text ? text->text : nullptr;
  return text && string ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/// Calls `body` with the context of a device, which may be one that has failed.
template <typename Body> static CUresult onDevice(CUdevice device, Body &&body) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  if (!driver.isReady())
    return CUDA_ERROR_NOT_INITIALIZED;
  if (device < 0 || size_t(device) >= driver.contexts.size())
    return CUDA_ERROR_INVALID_DEVICE;
  return body(driver, driver.contexts[size_t(device)].get());
}

CUresult cuDeviceGetCount(int *count) {
  return onDevice(0, [&](Driver &driver, CUcontext) {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = int(driver.contexts.size());
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return onDevice(ordinal, [&](Driver &, CUcontext) {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device) {
  return onDevice(device, [&](Driver &, CUcontext) {
    if (!name || bytes < 1)
      return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, size_t(bytes), "Cleave SIMT simulator");
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
  return onDevice(device, [&](Driver &, CUcontext context) {
    if (!uuid)
      return CUDA_ERROR_INVALID_VALUE;
    snprintf(uuid->bytes, sizeof uuid->bytes, "simulated %d", context->number);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
  return onDevice(device, [&](Driver &driver, CUcontext) {
    if (!bytes)
      return CUDA_ERROR_INVALID_VALUE;
    *bytes = driver.memoryBytes;
    return CUDA_SUCCESS;
  });
}

static int attributeOf(const Driver &driver, CUdevice_attribute attribute) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return driver.major;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return driver.minor;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 2147483647;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 49152;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return int(driver.maxShared());
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
    return int(driver.maxShared()) + 1024;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 65536;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 4;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return 1000000;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 5120;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return 50 << 20;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 2;
  case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
  case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM: return 1;
  default: return 0;
  }
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  return onDevice(device, [&](Driver &driver, CUcontext) {
    if (!value || attribute <= 0 || attribute >= CU_DEVICE_ATTRIBUTE_MAX)
      return CUDA_ERROR_INVALID_VALUE;
    *value = attributeOf(driver, attribute);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *result, CUdevice device) {
  return onDevice(device, [&](Driver &, CUcontext context) {
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    ++context->users;
    *result = context;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  return onDevice(device, [&](Driver &driver, CUcontext context) {
    if (!context->users)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (!--context->users)
      driver.reset(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  return onDevice(device, [&](Driver &driver, CUcontext context) {
    driver.reset(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return onDevice(0, [&](Driver &driver, CUcontext) {
    bool known = !context;
    for (const auto &one : driver.contexts)
      known |= one.get() == context;
    if (!known)
      return CUDA_ERROR_INVALID_CONTEXT;
    Driver::current = context;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  return onDevice(0, [&](Driver &, CUcontext) {
    if (!context)
      return CUDA_ERROR_INVALID_VALUE;
    *context = Driver::current;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice *device) {
  return enter([&](Driver &, CUcontext context) {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = context->device;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize() {
  return enter([&](Driver &driver, CUcontext context) {
    if (driver.isForbidden())
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return driver.finish(context, CUstream(nullptr));
  });
}

extern "C" {

/// Writes all findings, a line each, as far as they fit, and forgets them; where `text`
/// is null it only returns how many bytes they are.
size_t cleave_simt_report(char *text, size_t bytes) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  Findings &findings = Execution::get().findings;
  std::string lines = findings.text();
  if (text && bytes) {
    size_t count = std::min(lines.size(), bytes - 1);
    memcpy(text, lines.data(), count);
    text[count] = 0;
    findings.clear();
  }
  return lines.size();
}

/// Bank conflicts of a kernel since this was last asked: wavefronts of shared memory beyond
/// those that any addresses need, and the accesses of warps that they are of. 0, or 1 for a
/// kernel that never ran.
int cleave_simt_conflicts(const char *kernel, uint64_t *extra, uint64_t *accesses) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  Conflicts::Count count;
  if (!kernel || !extra || !accesses || !Execution::get().conflicts.take(kernel, count))
    return 1;
  *extra = count.extra;
  *accesses = count.accesses;
  return 0;
}

/// "greedy" or "shuffled[:SEED]", from the next launch on; 0, or 1 for anything else.
int cleave_simt_schedule(const char *text) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  return text && Execution::get().schedule.parse(text) ? 0 : 1;
}
}
