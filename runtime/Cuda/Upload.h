//===- Upload.h - weights from files to a GPU -----------------*- C++ -*-===//
//
// Several threads, each with two pinned buffers: while a GPU copies one, the other is
// filled from the mapped file, and all of them read the disk. Where nothing is pinned
// the driver copies from the mapping.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_CUDA_UPLOAD_H
#define CLEAVE_RUNTIME_CUDA_UPLOAD_H

#include "HostBlock.h"

#include <atomic>
#include <vector>

namespace cleave::runtime {

class Upload {
public:
  Upload(const Driver &driver, CUcontext context) : driver(driver), context(context) {}
  Upload(const Upload &) = delete;
  Upload &operator=(const Upload &) = delete;
  ~Upload();

  void add(CUdeviceptr target, const char *source, uint64_t bytes);
  /// Carries all that was added, and returns when it is there.
  CUresult carry();

private:
  struct Chunk {
    CUdeviceptr target;
    const char *source;
    uint64_t bytes;
  };
  /// What one thread has, from its first chunk on.
  struct Carrier {
    HostBlock buffers[2];
    CUstream streams[2] = {};
  };
  static constexpr size_t numCarriers = 4;

  CUresult prepare(Carrier &carrier);
  CUresult copy(Carrier &carrier);
  void work(Carrier &carrier);

  const Driver &driver;
  const CUcontext context;
  Carrier carriers[numCarriers];
  std::vector<Chunk> chunks;
  std::atomic<size_t> next{0};
  std::atomic<CUresult> result{CUDA_SUCCESS};
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_UPLOAD_H
