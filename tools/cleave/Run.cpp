//===- Run.cpp - cleave run: inputs in, outputs out -----------------------===//

#include "Common.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/raw_ostream.h"

#include <nlohmann/json.hpp>

#include <set>

using namespace cleave;
using Json = nlohmann::ordered_json;

struct RunOptions : ModelOptions {
  std::string outputs, phase;
  bool json = false;
};

/// The outputs, and what the runtime counted on each rank: the bytes of its blocks of
/// memory, and for each command that ran how often, and what it sent.
static Json report(const Runner &runner) {
  Json result = {{"outputs", Json::array()}, {"ranks", Json::array()}};
  for (const auto &[name, tensor] : runner.outputs())
    result["outputs"].push_back({{"name", name},
                                 {"type", cleave_type_name(tensor.type)},
                                 {"shape", std::vector<int64_t>(tensor.dims)}});
  for (uint32_t rank = 0; rank < runner.program()->num_ranks; ++rank) {
    cleave_counters counters;
    cleave_session_counters(runner.session(), rank, &counters);
    Json entry = {{"parameters", counters.param_bytes},
                  {"activations", counters.arena_bytes},
                  {"calls", Json::object()},
                  {"sent", Json::object()}};
    for (uint8_t op = 0; op < CLEAVE_NUM_OPS; ++op) {
      if (counters.calls[op])
        entry["calls"][cleave_op_name(op)] = counters.calls[op];
      if (counters.bytes[op])
        entry["sent"][cleave_op_name(op)] = counters.bytes[op];
    }
    result["ranks"].push_back(std::move(entry));
  }
  return result;
}

static void print(const Runner &runner) {
  for (const auto &[name, tensor] : runner.outputs())
    llvm::outs() << name << ": " << cleave_type_name(tensor.type) << " " << shapeText(tensor.dims)
                 << "\n";
}

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
  if (phase != "graph" && !Compilation::isOneRank(options.mesh))
    if (llvm::Error error = shard(compilation, *model->module, options.mesh, options))
      return error;
  // The compiled code belongs to the module, which is printed as the kernel passes left it.
  if (phase == "kernel")
    if (auto program = compilation.compile(*model->module, options.threads); !program)
      return program.takeError();
  Progress::end();
  model->module->print(llvm::outs());
  return llvm::Error::success();
}

static int run(const RunOptions &options) {
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
  if (llvm::Error error = (*runner)->run(model->inputs))
    return fail(std::move(error));

  NamedTensors named((*runner)->outputs().begin(), (*runner)->outputs().end());
  if (!options.outputs.empty())
    if (llvm::Error error = writeNpz(options.outputs, named))
      return fail(std::move(error));
  if (!options.trace.empty())
    if (llvm::Error error = writeTrace(**runner, options))
      return fail(std::move(error));
  Progress::end();
  if (options.json)
    llvm::outs() << report(**runner).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  else
    print(**runner);
  return 0;
}

void cleave::addRun(CLI::App &app, int &status) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand("run", "runs a model over the ranks of a mesh");
  options->addTo(*command, /*meshWanted=*/false);
  addPath(*command, "--outputs", options->outputs, "an .npz to write, keys are output names");
  addTrace(*command, *options);
  command->add_flag("--json", options->json,
                    "one JSON object: the outputs, and what each rank counted");
  command
      ->add_option("--stop-after", options->phase, "prints the IR after a phase instead of running")
      ->check(CLI::IsMember(kPhases));
  command->callback([=, &status] { status = run(*options); });
}
