//===- Simt.h - GPU kernels for the simulator -------------------*- C++ -*-===//
//
// The module that makes the cubin also makes an image for libcleave-simt, which stands
// in for the CUDA driver and reports what a GPU would do silently wrong.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TARGET_SIMT_H
#define CLEAVE_TARGET_SIMT_H

#include "llvm/Support/Error.h"

#include <vector>

namespace llvm {
class Module;
} // namespace llvm

namespace cleave {

/// Turns an optimized module for nvptx64, libdevice linked in, into one for this host
/// (include/cleave/Runtime/SimtAbi.h). What it does not know is an error that names it
/// and the function.
llvm::Error retargetToSimt(llvm::Module &module);

/// Retargets `module` and compiles it: an ELF file that cuModuleLoadData of the
/// simulator takes. It runs on processors of this one's level.
llvm::Expected<std::vector<char>> makeSimtImage(llvm::Module &module);

} // namespace cleave

#endif // CLEAVE_TARGET_SIMT_H
