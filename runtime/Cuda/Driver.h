//===- Driver.h - CUDA's driver, found when it is wanted ------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CUDA_DRIVER_H
#define CLEAVE_RUNTIME_CUDA_DRIVER_H

#include "cleave/Runtime/Program.h"

#include <cuda.h>

namespace cleave::runtime {

/// The functions of a driver, by their own names. Nothing of CUDA is linked.
struct Driver {
#define CLEAVE_CUDA_FUNCTION(NAME) decltype(&::NAME) NAME;
#include "Functions.def"
  /// By the name that it has had since CUDA 1: what cuda.h makes of it is unknown to drivers
  /// before 12.8.
  decltype(&::cuEventElapsedTime) elapsedTime;
  /// Of the simulator: writes what it has found since it was asked last.
  void (*report)(char *text, size_t room);

  /// What `result` means, and what the simulator has to say of it.
  void describe(CUresult result, char *text, size_t room) const;
};

/// The driver of this machine, or the simulator, initialised; they live as long as this
/// process. Refused, with the remedy, where there is none.
int32_t openDriver(bool simulated, const Driver *&driver, cleave_error *error);
/// The same, and how many GPUs it has: one at least, else this too is refused.
int32_t openDriver(bool simulated, const Driver *&driver, uint32_t &gpus, cleave_error *error);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_DRIVER_H
