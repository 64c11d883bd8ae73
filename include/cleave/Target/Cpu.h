//===- Cpu.h - a program for CPU cores ------------------------*- C++ -*-===//

#ifndef CLEAVE_TARGET_CPU_H
#define CLEAVE_TARGET_CPU_H

#include "cleave/Target/Program.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

namespace cleave {

struct CpuOptions {
  /// Cores to compile on; 0: all that this process may use.
  unsigned threads = 0;
  /// Uses 256-bit vectors and AVX2 alone, whatever this machine has.
  bool forceAvx2 = false;
  /// Keeps the objects, to be linked once more, and makes them for every processor of
  /// this one's level instead of this very one.
  bool keepObjects = false;
};

/// Compiles `module` for this machine. Its public functions, one a class of
/// ranks, hold nn ops, and dist ops if the module has a `dist.mesh` and
/// `dist.classes`; arguments and results are named by the attribute
/// `onnx.name`. The kernel passes run first, so the module is changed. Files of
/// weights are found at the paths that the ops say. Fails with the message of
/// the first op that cannot be done.
llvm::Expected<std::unique_ptr<CompiledProgram>> compileCpu(mlir::ModuleOp module,
                                                            const CpuOptions &options = {});

} // namespace cleave

#endif // CLEAVE_TARGET_CPU_H
