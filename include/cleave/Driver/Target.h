//===- Target.h - what runs the kernels -----------------------*- C++ -*-===//

#ifndef CLEAVE_DRIVER_TARGET_H
#define CLEAVE_DRIVER_TARGET_H

#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace cleave {

struct Target {
  enum Kind {
    Cpu,  ///< the cores of this machine
    Cuda, ///< NVIDIA's GPUs
    Simt, ///< the code for one of them, in the simulator
  } kind = Cpu;
  std::vector<std::string> chips; ///< of a GPU, as in `sm_90a`
  unsigned threads = 0;           ///< to compile on; 0: all that this process may use
  bool isShipped = false;         ///< the code is to run on other machines too
};

/// Reads `cpu`, `cuda` or `simt`, the last two with chips behind a colon, as in
/// `cuda:sm_80,sm_90a`; without them there is a chip of each generation, of which the
/// simulator takes one.
llvm::Expected<Target> parseTarget(llvm::StringRef text);

} // namespace cleave

#endif // CLEAVE_DRIVER_TARGET_H
