//===- Run.cpp - cleave run: inputs in, outputs out -----------------------===//

#include "Common.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/raw_ostream.h"

#include <set>

using namespace cleave;

/// The phases of --stop-after, in order.
static const std::set<std::string> kPhases = {"import", "graph", "shard", "kernel"};

/// Prints what `phase` makes of the model.
static llvm::Error printAfter(const std::string &phase, Compilation &compilation,
                              const ModelOptions &options) {
  if (phase == "import") {
    auto module = compilation.import(options.model);
    if (!module)
      return inFile(options.model, module.takeError());
    Progress::end();
    (*module)->print(llvm::outs());
    return llvm::Error::success();
  }
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return model.takeError();
  if (phase != "graph" && options.isCut(options.mesh))
    if (llvm::Error error = shard(compilation, *model->module, options.mesh, options))
      return error;
  // The compiled code belongs to the module, which is printed as the kernel passes left it.
  if (phase == "kernel") {
    llvm::Expected<Target> target = options.parseTarget();
    if (!target)
      return target.takeError();
    if (auto program = compilation.compile(*model->module, *target); !program)
      return program.takeError();
  }
  Progress::end();
  model->module->print(llvm::outs());
  return llvm::Error::success();
}

namespace {

struct RunOptions : ModelOptions {
  std::string outputs, phase;
  bool json = false;
};

} // namespace

/// Runs once, writes the outputs, and prints what there is to say.
static llvm::Error runOnce(Runner &runner, const NamedTensors &inputs, const RunOptions &options) {
  if (llvm::Error error = runner.run(inputs))
    return error;
  NamedTensors named(runner.outputs().begin(), runner.outputs().end());
  if (!options.outputs.empty())
    if (llvm::Error error = writeNpz(options.outputs, named))
      return error;
  if (!options.trace.empty())
    if (llvm::Error error = writeTrace(runner, options))
      return error;
  Progress::end();
  llvm::outs() << (options.json ? runtime::formatReport(*runner.program(), runner.session()) + "\n"
                                : runtime::formatOutputs(*runner.program()));
  return llvm::Error::success();
}

static int runModel(const RunOptions &options) {
  Compilation compilation;
  Progress progress(compilation);
  if (!options.phase.empty()) {
    for (auto &[flag, given] : {std::pair("--json", options.json),
                                {"--outputs", !options.outputs.empty()},
                                {"--trace", !options.trace.empty()}})
      if (given)
        return fail(llvm::createStringError(
            "--stop-after prints the IR and runs nothing, so %s has nothing to say; leave one out",
            flag));
    llvm::Error error = printAfter(options.phase, compilation, options);
    return error ? fail(std::move(error)) : 0;
  }
  if (llvm::Error error = requireTarget(options))
    return fail(std::move(error));
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  if (llvm::Error error = requireOutputs(*model, "--outputs", options.outputs))
    return fail(std::move(error));
  llvm::Expected<std::unique_ptr<Runner>> runner =
      prepare(compilation, *model->module, options.mesh, options, !options.trace.empty());
  if (!runner)
    return fail(runner.takeError());
  compilation.onPhase("running");
  llvm::Error error = runOnce(**runner, model->inputs, options);
  return error ? fail(std::move(error)) : 0;
}

static int runArtifact(const RunOptions &options) {
  llvm::Expected<OpenedArtifact> opened =
      openArtifact(options, options.phase, !options.trace.empty());
  if (!opened)
    return fail(opened.takeError());
  if (!options.outputs.empty() && opened->runner->outputs().empty())
    return fail(
        llvm::createStringError("--outputs \"" + options.outputs +
                                "\": the model has no outputs to write; leave the flag out"));
  llvm::Error error = runOnce(*opened->runner, opened->inputs, options);
  return error ? fail(std::move(error)) : 0;
}

void cleave::addRun(CLI::App &app, int &status) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand("run", "runs a model over the ranks of a mesh");
  options->addTo(*command, /*meshWanted=*/false, "an ONNX file, or an artifact");
  options->addResult(*command, "--outputs", options->outputs,
                     "an .npz to write, keys are output names");
  addEager(*command, *options);
  addTrace(*command, *options);
  command->add_flag("--json", options->json,
                    "one JSON object: the outputs, and what each rank counted");
  command
      ->add_option("--stop-after", options->phase, "prints the IR after a phase and runs nothing")
      ->check(CLI::IsMember(kPhases));
  command->callback([=, &status] {
    status = isArtifact(options->model) ? runArtifact(*options) : runModel(*options);
  });
}
