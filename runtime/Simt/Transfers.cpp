//===- Transfers.cpp - CUDA's functions for memory ------------------------===//

#include "Driver.h"

#include <sys/mman.h>

using namespace cleave::simt;

static Memory &memory() { return Execution::get().memory; }

static void *pointerTo(CUdeviceptr address) { return reinterpret_cast<void *>(address); }

CUresult cuMemGetInfo(size_t *free, size_t *total) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!free || !total)
      return CUDA_ERROR_INVALID_VALUE;
    *total = driver.memoryBytes;
    *free = driver.memoryBytes - memory().used(context->device);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!address || !bytes)
      return CUDA_ERROR_INVALID_VALUE;
    if (driver.isForbidden())
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (bytes > driver.memoryBytes - memory().used(context->device))
      return CUDA_ERROR_OUT_OF_MEMORY;
    *address = memory().allocate(bytes, context->device);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult cuMemFree(CUdeviceptr address) {
  return enter([&](Driver &driver, CUcontext context) {
    if (driver.isForbidden())
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    // As on a GPU, what uses it is done first.
    CUresult result = driver.finish(context, CUstream(nullptr));
    if (address && !memory().free(address))
      return CUDA_ERROR_INVALID_VALUE;
    return result;
  });
}

CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  return enter([&](Driver &driver, CUcontext) {
    if (!address || !bytes)
      return CUDA_ERROR_INVALID_VALUE;
    if (driver.isForbidden())
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (bytes > driver.pinnedBytes)
      return CUDA_ERROR_OUT_OF_MEMORY;
    void *start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
      return CUDA_ERROR_OUT_OF_MEMORY;
    memory().add(start, bytes, Allocation::Host, "");
    driver.pinned[start] = true;
    driver.pinnedBytes -= bytes;
    *address = start;
    return CUDA_SUCCESS;
  });
}

/// Forgets host memory that is `ours`; its size, or 0 for what is not such.
static uint64_t unpin(Driver &driver, void *address, bool ours) {
  auto found = driver.pinned.find(address);
  if (found == driver.pinned.end() || found->second != ours)
    return 0;
  driver.pinned.erase(found);
  uint64_t bytes = memory().find(reinterpret_cast<uint64_t>(address), 1)->bytes;
  memory().remove(address, Allocation::Host);
  return bytes;
}

CUresult cuMemFreeHost(void *address) {
  return enter([&](Driver &driver, CUcontext context) {
    CUresult result = driver.finish(context, CUstream(nullptr));
    uint64_t bytes = unpin(driver, address, /*ours=*/true);
    if (!bytes)
      return CUDA_ERROR_INVALID_VALUE;
    driver.pinnedBytes += bytes;
    munmap(address, bytes);
    return result;
  });
}

CUresult cuMemHostRegister(void *address, size_t bytes, unsigned) {
  return enter([&](Driver &driver, CUcontext) {
    if (!address || !bytes)
      return CUDA_ERROR_INVALID_VALUE;
    uint64_t begin = reinterpret_cast<uint64_t>(address);
    if (memory().find(begin, 1) || memory().find(begin + bytes - 1, 1))
      return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    memory().add(address, bytes, Allocation::Host, "");
    driver.pinned[address] = false;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostUnregister(void *address) {
  return enter([&](Driver &driver, CUcontext context) {
    CUresult result = driver.finish(context, CUstream(nullptr));
    return unpin(driver, address, /*ours=*/false) ? result : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  });
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *result, void *address, unsigned) {
  return enter([&](Driver &, CUcontext) {
    if (!result || !memory().find(reinterpret_cast<uint64_t>(address), 1))
      return CUDA_ERROR_INVALID_VALUE;
    *result = reinterpret_cast<CUdeviceptr>(address);
    return CUDA_SUCCESS;
  });
}

/// Is this memory of a device?
static bool isDevice(CUdeviceptr address, size_t bytes) {
  Allocation *allocation = memory().find(address, bytes);
  return allocation && allocation->kind == Allocation::Device;
}

static void note(const std::string &line) { Execution::get().findings.add(line, line); }

static void touch(CUdeviceptr address, size_t bytes, bool write, const char *what) {
  Execution::get().touch(address, bytes, write, what);
}

/// Work that needs memory which may be freed until then.
static CUresult later(Driver &driver, CUstream stream, const char *what,
                      std::vector<std::pair<CUdeviceptr, size_t>> ranges, Work work) {
  CUstream known = driver.streamOf(stream);
  if (!known)
    return CUDA_ERROR_INVALID_HANDLE;
  for (auto [address, bytes] : ranges)
    if (!isDevice(address, bytes))
      return CUDA_ERROR_INVALID_VALUE;
  return driver.enqueue(known, [=, work = std::move(work)] {
    for (auto [address, bytes] : ranges)
      if (!isDevice(address, bytes)) {
        note(std::string("use after free: ") + what + " of " + std::to_string(bytes) + " bytes");
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      }
    return work();
  });
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void *source, size_t bytes, CUstream stream) {
  return enter([&](Driver &driver, CUcontext) {
    if (!bytes)
      return CUDA_SUCCESS;
    constexpr const char *what = "copy to the device";
    return later(driver, stream, what, {{target, bytes}}, [=] {
      touch(target, bytes, /*write=*/true, what);
      memcpy(pointerTo(target), source, bytes);
      memory().setWritten(target, bytes);
      return CUDA_SUCCESS;
    });
  });
}

CUresult cuMemcpyDtoHAsync(void *target, CUdeviceptr source, size_t bytes, CUstream stream) {
  return enter([&](Driver &driver, CUcontext) {
    if (!bytes)
      return CUDA_SUCCESS;
    constexpr const char *what = "copy to the host";
    return later(driver, stream, what, {{source, bytes}}, [=] {
      touch(source, bytes, /*write=*/false, what);
      if (!memory().isWritten(source, bytes))
        note("uninitialised: copy to the host of " + std::to_string(bytes) +
             " bytes of which some were never written");
      memcpy(target, pointerTo(source), bytes);
      return CUDA_SUCCESS;
    });
  });
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) {
  return enter([&](Driver &driver, CUcontext) {
    if (!bytes)
      return CUDA_SUCCESS;
    constexpr const char *what = "copy within the device";
    return later(driver, stream, what, {{target, bytes}, {source, bytes}}, [=] {
      touch(source, bytes, /*write=*/false, what);
      touch(target, bytes, /*write=*/true, what);
      memmove(pointerTo(target), pointerTo(source), bytes);
      memory().copyWritten(target, source, bytes);
      return CUDA_SUCCESS;
    });
  });
}

template <typename Element>
static CUresult fill(CUdeviceptr target, Element value, size_t count, CUstream stream) {
  return enter([&](Driver &driver, CUcontext) {
    size_t bytes = count * sizeof value;
    if (target % sizeof value)
      return CUDA_ERROR_INVALID_VALUE;
    if (!bytes)
      return CUDA_SUCCESS;
    constexpr const char *what = "fill";
    return later(driver, stream, what, {{target, bytes}}, [=] {
      touch(target, bytes, /*write=*/true, what);
      std::fill_n(static_cast<Element *>(pointerTo(target)), count, value);
      memory().setWritten(target, bytes);
      return CUDA_SUCCESS;
    });
  });
}

CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream) {
  return fill(target, value, count, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, CUstream stream) {
  return fill(target, value, count, stream);
}

/// The default stream's work, waited for.
static CUresult now(CUresult queued) {
  if (queued != CUDA_SUCCESS)
    return queued;
  return enter([](Driver &driver, CUcontext context) {
    return driver.finish(context, driver.streamOf(nullptr));
  });
}

CUresult cuMemcpyHtoD(CUdeviceptr target, const void *source, size_t bytes) {
  return now(cuMemcpyHtoDAsync(target, source, bytes, nullptr));
}

CUresult cuMemcpyDtoH(void *target, CUdeviceptr source, size_t bytes) {
  return now(cuMemcpyDtoHAsync(target, source, bytes, nullptr));
}

CUresult cuMemsetD8(CUdeviceptr target, unsigned char value, size_t count) {
  return now(cuMemsetD8Async(target, value, count, nullptr));
}
