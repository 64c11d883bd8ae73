//===- Artifact.cpp - a program that was compiled before ------------------===//

#include "cleave/Runtime/Artifact.h"
#include "cleave/Driver/Compile.h"

#include "llvm/Support/FileSystem.h"

using namespace cleave;

namespace {

struct Opened final : ArtifactProgram {
  ~Opened() override { cleave_artifact_close(artifact); }
  const cleave_program *program() const override { return cleave_artifact_program(artifact); }
  const char *mesh() const override { return cleave_artifact_mesh(artifact); }

  std::map<std::string, runtime::IndexRange> indices() const override {
    std::map<std::string, runtime::IndexRange> ranges;
    for (uint32_t i = 0; i < program()->num_inputs; ++i) {
      runtime::IndexRange range;
      if (const char *node = cleave_artifact_indices(artifact, i, &range.from, &range.to))
        ranges[program()->inputs[i].name] = {range.from, range.to, node};
    }
    return ranges;
  }

  cleave_artifact *artifact = nullptr;
};

} // namespace

llvm::Expected<std::unique_ptr<ArtifactProgram>> cleave::openArtifact(llvm::StringRef path,
                                                                      bool verifyWeights) {
  auto opened = std::make_unique<Opened>();
  cleave_artifact_options options = CLEAVE_ARTIFACT_OPTIONS;
  options.verify_weights = verifyWeights;
  cleave_error error;
  if (cleave_artifact_open(path.str().c_str(), &options, &opened->artifact, &error) != CLEAVE_OK)
    return llvm::createStringError(error.message);
  return opened;
}

bool cleave::isArtifact(llvm::StringRef path) { return llvm::sys::fs::is_directory(path); }
