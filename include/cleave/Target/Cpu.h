//===- Cpu.h - a program for CPU cores ------------------------*- C++ -*-===//

#ifndef CLEAVE_TARGET_CPU_H
#define CLEAVE_TARGET_CPU_H

#include "cleave/Runtime/Program.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <optional>

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

/// Whether kernels are compiled for AVX-512 on this machine.
bool hasAvx512();

/// What a program was made of.
struct ProgramParts {
  /// A tensor among the parameters of a class or within a file of the model.
  struct Tensor {
    uint32_t index; ///< of the class or the file
    uint64_t offset, bytes;
    std::string name;
    std::optional<cleave_type> type; ///< none where the runtime has none
    std::vector<int64_t> dims;
  };
  std::vector<std::string> kernels;  ///< names, by number
  std::vector<std::string> features; ///< of the processor, that the kernels need
  std::vector<Tensor> params, weights;
  /// With keepObjects: called by the kernel's name.
  std::vector<std::unique_ptr<llvm::MemoryBuffer>> objects;
};

/// Machine code and plan of a program, which may be run as long as it lives.
class RunnableProgram {
public:
  virtual ~RunnableProgram() = default;
  virtual const cleave_program *program() const = 0;
};

class CompiledProgram : public RunnableProgram {
public:
  virtual const ProgramParts &parts() const = 0;
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
