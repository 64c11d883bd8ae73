//===- Upload.cpp - weights from files to a GPU ---------------------------===//

#include "Upload.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <thread>

using namespace cleave::runtime;

static constexpr uint64_t chunkBytes = 8 << 20;

Upload::~Upload() {
  driver.cuCtxSetCurrent(context);
  for (Carrier &carrier : carriers)
    for (unsigned i = 0; i < 2; ++i) {
      if (carrier.streams[i])
        driver.cuStreamDestroy(carrier.streams[i]);
      carrier.buffers[i].free(driver);
    }
}

void Upload::add(CUdeviceptr target, const char *source, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += chunkBytes)
    chunks.push_back({target + at, source + at, std::min(chunkBytes, bytes - at)});
}

CUresult Upload::prepare(Carrier &carrier) {
  CUresult problem = driver.cuCtxSetCurrent(context);
  for (unsigned i = 0; i < 2 && !problem; ++i) {
    if (carrier.streams[i])
      continue;
    problem = driver.cuStreamCreateWithPriority(&carrier.streams[i], CU_STREAM_NON_BLOCKING, 0);
    carrier.buffers[i].pin(driver, chunkBytes);
  }
  return problem;
}

CUresult Upload::copy(Carrier &carrier) {
  CUresult problem = CUDA_SUCCESS;
  for (unsigned turn = 0; !problem; turn ^= 1) {
    size_t at = next.fetch_add(1);
    if (at >= chunks.size())
      break;
    const Chunk &chunk = chunks[at];
    HostBlock &buffer = carrier.buffers[turn];
    if (!buffer.isPinned()) {
      problem = driver.cuMemcpyHtoD(chunk.target, chunk.source, chunk.bytes);
      continue;
    }
    problem = driver.cuStreamSynchronize(carrier.streams[turn]);
    if (problem)
      break;
    memcpy(buffer.data(), chunk.source, chunk.bytes);
    problem =
        driver.cuMemcpyHtoDAsync(chunk.target, buffer.data(), chunk.bytes, carrier.streams[turn]);
  }
  for (CUstream stream : carrier.streams)
    if (CUresult late = driver.cuStreamSynchronize(stream); !problem)
      problem = late;
  return problem;
}

void Upload::work(Carrier &carrier) {
  CUresult problem = prepare(carrier);
  if (!problem)
    problem = copy(carrier);
  if (problem)
    result = problem;
}

CUresult Upload::carry() {
  next = 0;
  result = CUDA_SUCCESS;
  std::vector<std::thread> threads;
  try {
    for (size_t i = 1; i < std::min(numCarriers, chunks.size()); ++i)
      threads.emplace_back([this, i] { work(carriers[i]); });
  } catch (const std::system_error &) {
    // This one carries what others do not.
  }
  if (!chunks.empty())
    work(carriers[0]);
  for (std::thread &thread : threads)
    thread.join();
  chunks.clear();
  return result;
}
