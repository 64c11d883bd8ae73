//===- HostBlock.h - memory of the host that GPUs copy ---------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CUDA_HOSTBLOCK_H
#define CLEAVE_RUNTIME_CUDA_HOSTBLOCK_H

#include "../Host/Memory.h"
#include "Driver.h"

namespace cleave::runtime {

/// Pinned, so that a GPU reads and writes it by itself and a graph may; where the driver
/// pins none, plain memory, which the driver copies.
class HostBlock {
public:
  /// With a context that is current; what it returns says why it is not pinned.
  CUresult pin(const Driver &driver, uint64_t bytes) {
    CUresult refusal = driver.cuMemHostAlloc(&pinned, bytes, CU_MEMHOSTALLOC_PORTABLE);
    if (refusal)
      pinned = nullptr;
    return refusal;
  }
  /// Plain memory instead; false where there is none.
  bool allocate(uint64_t bytes, uint32_t colour) { return plain.allocate(bytes, colour); }

  /// When nothing copies any more, with a context that is current.
  void free(const Driver &driver) {
    if (pinned)
      driver.cuMemFreeHost(pinned);
    pinned = nullptr;
  }

  bool isPinned() const { return pinned; }
  char *data() const { return pinned ? static_cast<char *>(pinned) : plain.data(); }

private:
  void *pinned = nullptr;
  Block plain;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_HOSTBLOCK_H
