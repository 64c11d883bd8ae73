//===- Compile.cpp - cleave compile: a model becomes a folder that runs ---===//

#include "Common.h"

#include "cleave/Target/Artifact.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace cleave;

namespace {

struct CompileOptions : ModelOptions {
  std::string output, weights = "shards";
};

} // namespace

static int compile(const CompileOptions &options) {
  Interrupts interrupts;
  Compilation compilation;
  Progress progress(compilation);
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  auto indices = indexRanges(*model->module);
  if (options.isCut(options.mesh))
    if (llvm::Error error = shard(compilation, *model->module, options.mesh, options))
      return fail(std::move(error));
  llvm::Expected<Target> target = options.parseTarget();
  if (!target)
    return fail(target.takeError());
  target->isShipped = true;
  llvm::Expected<std::unique_ptr<CompiledProgram>> program =
      compilation.compile(*model->module, *target);
  if (!program)
    return fail(program.takeError());
  compilation.onPhase("writing weights");
  llvm::Expected<ArtifactSizes> sizes = writeArtifact(
      **program, options.output,
      {options.mesh, options.weights == "reference", options.threads, indices}, interrupts);
  if (!sizes)
    return fail(sizes.takeError());
  Progress::end();
  llvm::outs() << options.output << ": " << (*program)->program()->num_ranks << " ranks, "
               << llvm::format("%.1f MiB of weights, %.1f KiB of code\n", sizes->weights * 0x1p-20,
                               sizes->code * 0x1p-10);
  if (!model->guessed.empty())
    llvm::outs() << "for " << model->guessed << ", which nobody gave; --dim gives other sizes\n";
  return 0;
}

void cleave::addCompile(CLI::App &app, int &status) {
  auto options = std::make_shared<CompileOptions>();
  options->draws = false;
  CLI::App *command =
      app.add_subcommand("compile", "writes a folder that runs without the compiler");
  options->addTo(*command, /*meshWanted=*/false);
  addPath(*command, "-o,--output", options->output, "the folder; an artifact there is replaced")
      ->required();
  command
      ->add_option("--weights", options->weights,
                   "shards: a file a rank, to be mapped; reference: the model's files stay where "
                   "they are, and are read at each start")
      ->capture_default_str()
      ->check(CLI::IsMember({"shards", "reference"}));
  command->callback([=, &status] { status = compile(*options); });
}
