//===- Upload.cpp - weights from files to GPUs ----------------------------===//
//
// Several threads, each with two pinned buffers: while a GPU copies one, the other is
// filled from the mapped file, and all of them read the disk. Where nothing is pinned
// the driver copies from the mapping.
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>

using namespace cleave::runtime;

static constexpr uint64_t chunkBytes = 8 << 20;
static constexpr size_t threadsOfDevice = 4;

namespace {

struct Chunk {
  CUdeviceptr target;
  const char *source;
  uint64_t bytes;
};

/// All that goes to one device.
struct Cargo {
  CUcontext context;
  std::vector<Chunk> chunks;
  std::atomic<size_t> next{0};
  std::atomic<CUresult> result{CUDA_SUCCESS};

  void add(CUdeviceptr target, const char *source, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += chunkBytes)
      chunks.push_back({target + at, source + at, std::min(chunkBytes, bytes - at)});
  }
  void carry(const Driver &driver);

private:
  CUresult copy(const Driver &driver, HostBlock (&buffers)[2], CUstream (&streams)[2]);
};

} // namespace

CUresult Cargo::copy(const Driver &driver, HostBlock (&buffers)[2], CUstream (&streams)[2]) {
  CUresult result = CUDA_SUCCESS;
  for (unsigned turn = 0; !result; turn ^= 1) {
    size_t at = next.fetch_add(1);
    if (at >= chunks.size())
      break;
    const Chunk &chunk = chunks[at];
    if (!buffers[turn].isPinned()) {
      result = driver.cuMemcpyHtoD(chunk.target, chunk.source, chunk.bytes);
      continue;
    }
    result = driver.cuStreamSynchronize(streams[turn]);
    if (result)
      break;
    memcpy(buffers[turn].data(), chunk.source, chunk.bytes);
    result =
        driver.cuMemcpyHtoDAsync(chunk.target, buffers[turn].data(), chunk.bytes, streams[turn]);
  }
  for (CUstream stream : streams)
    if (CUresult late = driver.cuStreamSynchronize(stream); !result)
      result = late;
  return result;
}

void Cargo::carry(const Driver &driver) {
  HostBlock buffers[2];
  CUstream streams[2] = {};
  uint64_t largest = 0;
  for (const Chunk &chunk : chunks)
    largest = std::max(largest, chunk.bytes);
  CUresult problem = driver.cuCtxSetCurrent(context);
  for (unsigned i = 0; i < 2 && !problem; ++i) {
    problem = driver.cuStreamCreateWithPriority(&streams[i], CU_STREAM_NON_BLOCKING, 0);
    buffers[i].pin(driver, largest);
  }
  if (!problem)
    problem = copy(driver, buffers, streams);
  for (unsigned i = 0; i < 2; ++i) {
    if (streams[i])
      driver.cuStreamDestroy(streams[i]);
    buffers[i].free(driver);
  }
  if (problem)
    result = problem;
}

int32_t Gpu::upload(const std::vector<MappedFile> &files, cleave_error *error) {
  std::vector<Cargo> cargos(devices.size());
  for (size_t i = 0; i < devices.size(); ++i) {
    cargos[i].context = devices[i]->context;
    for (auto &[range, memory] : devices[i]->files) {
      auto [file, offset, bytes] = range;
      cargos[i].add(memory, files[file].data() + offset, bytes);
    }
    for (uint32_t r = firstRank; program.params && r < endRank; ++r)
      if (of(r).device == devices[i].get())
        cargos[i].add(of(r).params, files[program.params[r].file].data() + program.params[r].offset,
                      program.programs[program.class_of_rank[r]].param_bytes);
  }
  std::vector<std::thread> threads;
  try {
    for (Cargo &cargo : cargos)
      for (size_t i = 1; i < std::min(threadsOfDevice, cargo.chunks.size()); ++i)
        threads.emplace_back([&] { cargo.carry(*driver); });
  } catch (const std::system_error &) {
    // This one carries what others do not.
  }
  for (Cargo &cargo : cargos)
    cargo.carry(*driver);
  for (std::thread &thread : threads)
    thread.join();
  for (Cargo &cargo : cargos)
    if (CUresult result = cargo.result)
      return fail(result, "a GPU does not take what is copied to it", error);
  return CLEAVE_OK;
}
