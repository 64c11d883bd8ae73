//===- Toolkit.h - ptxas --------------------------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_TOOLKIT_H
#define CLEAVE_LIB_TARGET_CUDA_TOOLKIT_H

#include "cleave/Target/Cuda.h"

namespace cleave::cuda {

/// Machine code of a chip.
struct Cubin {
  std::vector<char> bytes;
  CubinReport report;
};

/// What a driver has to be to load what ptxas makes, as cuDriverGetVersion counts.
llvm::Expected<uint32_t> driverOfCubins();

llvm::Expected<Cubin> assemble(llvm::StringRef ptx, llvm::StringRef kernel, llvm::StringRef chip);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_TOOLKIT_H
