//===- Artifact.h - a compiled program on disk ----------------*- C++ -*-===//

#ifndef CLEAVE_TARGET_ARTIFACT_H
#define CLEAVE_TARGET_ARTIFACT_H

#include "cleave/Runtime/Tensors.h"
#include "cleave/Support/Interrupts.h"
#include "cleave/Target/Program.h"

#include "llvm/Support/Error.h"

namespace cleave {

struct ArtifactOptions {
  std::string mesh; ///< as --mesh says it
  /// The weights stay in the model's files, and each session loads them anew.
  bool reference = false;
  unsigned threads = 0; ///< to write with; 0: all that this process may use
  /// Of inputs, by name.
  std::map<std::string, runtime::IndexRange> indices = {};
};

struct ArtifactSizes {
  uint64_t weights = 0, code = 0;
};

/// Writes `program`, compiled with keepObjects where it is for cores, as the folder `path`, whole
/// or not at all: under a temporary name beside it, brought to the disk, and renamed. An artifact
/// that is there already is replaced; anything else is refused. The same program gives
/// the same bytes. `interrupts` removes the temporary folder where a signal ends the
/// process.
llvm::Expected<ArtifactSizes> writeArtifact(const CompiledProgram &program, llvm::StringRef path,
                                            const ArtifactOptions &options, Interrupts &interrupts);

} // namespace cleave

#endif // CLEAVE_TARGET_ARTIFACT_H
