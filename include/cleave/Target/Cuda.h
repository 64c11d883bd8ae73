//===- Cuda.h - a program for NVIDIA's GPUs -------------------*- C++ -*-===//

#ifndef CLEAVE_TARGET_CUDA_H
#define CLEAVE_TARGET_CUDA_H

#include "cleave/Target/Program.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <functional>

namespace cleave {

struct CudaOptions {
  /// Of cuda::chips(). A kernel gets machine code for each.
  std::vector<std::string> chips;
  /// Makes images for the simulator of runtime/Simt instead, from the code for the first
  /// of `chips`.
  bool simulate = false;
  /// Cores to compile on; 0: all that this process may use.
  unsigned threads = 0;
  /// Sees what one thread of each kernel does before it is lowered, and may change it; called
  /// from several threads at once.
  std::function<void(mlir::ModuleOp)> onLoops;
};

/// What ptxas says of a kernel.
struct CubinReport {
  std::string kernel, chip;
  unsigned registers = 0, spillBytes = 0, sharedBytes = 0;
};

/// Compiles `module`, which is as for compileCpu, and is changed, too. Where `reports` are
/// asked for, they are by kernel and chip.
llvm::Expected<std::unique_ptr<CompiledProgram>>
compileCuda(mlir::ModuleOp module, const CudaOptions &options,
            std::vector<CubinReport> *reports = nullptr);

namespace cuda {

/// The chips that there is code for, as ptxas names them: `sm_90a`. A given ptxas may know
/// fewer.
std::vector<llvm::StringRef> chips();

/// Parts of NVIDIA's toolkit: below CUDA_HOME, CUDA_PATH or CUDA_ROOT, beside this program,
/// or where its installer puts it. Fails with the remedy.
llvm::Expected<std::string> findPtxas();
llvm::Expected<std::string> findLibdevice();

} // namespace cuda
} // namespace cleave

#endif // CLEAVE_TARGET_CUDA_H
