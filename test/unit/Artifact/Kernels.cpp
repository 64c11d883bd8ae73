//===- Kernels.cpp - what a small artifact runs ---------------------------===//

#include "cleave/Runtime/Program.h"

/// target[i] = source[i] * weight[i], of four floats.
extern "C" int32_t scale(void *const *buffers, const int64_t *) {
  auto *source = static_cast<const float *>(buffers[0]);
  auto *weight = static_cast<const float *>(buffers[1]);
  auto *target = static_cast<float *>(buffers[2]);
  for (int i = 0; i < 4; ++i)
    target[i] = source[i] * weight[i];
  return CLEAVE_FAULT_NONE;
}
