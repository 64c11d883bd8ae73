//===- Program.h - what a target makes of a module ------------*- C++ -*-===//

#ifndef CLEAVE_TARGET_PROGRAM_H
#define CLEAVE_TARGET_PROGRAM_H

#include "cleave/Runtime/Program.h"

#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cleave {

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

} // namespace cleave

#endif // CLEAVE_TARGET_PROGRAM_H
