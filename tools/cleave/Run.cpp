//===- Run.cpp - cleave run: inputs in, outputs out -----------------------===//

#include "Common.h"

#include "llvm/Support/raw_ostream.h"

using namespace cleave;

static int run(const ModelOptions &options, const std::string &outputs) {
  Compilation compilation;
  Progress progress(compilation);
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  llvm::Expected<std::unique_ptr<Runner>> runner =
      prepare(compilation, *model->module, options.mesh, options);
  if (!runner)
    return fail(runner.takeError());
  compilation.onPhase("running");
  if (llvm::Error error = (*runner)->run(model->inputs))
    return fail(std::move(error), (*runner)->status);

  NamedTensors named;
  for (const auto &[name, tensor] : (*runner)->outputs()) {
    llvm::outs() << name << ": " << cleave_type_name(tensor.type) << " [";
    for (size_t i = 0; i < tensor.dims.size(); ++i)
      llvm::outs() << (i ? ", " : "") << tensor.dims[i];
    llvm::outs() << "]\n";
    named[name] = tensor;
  }
  if (!outputs.empty())
    if (llvm::Error error = writeNpz(outputs, named))
      return fail(std::move(error));
  return 0;
}

void cleave::addRun(CLI::App &app, int &status) {
  auto options = std::make_shared<ModelOptions>();
  auto outputs = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("run", "runs a model over the ranks of a mesh");
  options->addTo(*command, /*meshWanted=*/false);
  command->add_option("--outputs", *outputs, "an .npz to write, keys are output names");
  command->callback([=, &status] { status = run(*options, *outputs); });
}
