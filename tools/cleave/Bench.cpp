//===- Bench.cpp - cleave bench: how long a run takes ---------------------===//

#include "Common.h"

#include "cleave/Driver/Measure.h"
#include "cleave/Support/Failure.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <sys/resource.h>

using namespace cleave;
using Clock = std::chrono::steady_clock;

struct BenchOptions : ModelOptions {
  unsigned iters = 20, warmup = 3;
  std::string output, page;
  bool json = false;

  /// Readings of the clock between commands cost: only what shows them pays.
  bool wantsTimes(bool isOne) const { return !isOne || !json || !trace.empty() || !page.empty(); }
};

/// A mesh and sizes, and the options that ask for them.
struct Configuration {
  ModelOptions options;
  std::vector<std::pair<std::string, int64_t>> dims;
};

/// The first output in f32, which the comparison of engines wants.
static Tensor asFloat(const Tensor &tensor) {
  Tensor result(CLEAVE_F32, tensor.dims);
  for (int64_t i = 0; i < tensor.size(); ++i)
    reinterpret_cast<float *>(result.bytes.data())[i] = static_cast<float>(tensor.at(i));
  return result;
}

/// `configurations`, each with each size of `dim`, which is name=size,size.
static llvm::Expected<std::vector<Configuration>>
withSizes(const std::vector<Configuration> &configurations, llvm::StringRef dim) {
  auto [name, sizes] = dim.rsplit('=');
  std::vector<Configuration> result;
  for (const Configuration &configuration : configurations)
    for (llvm::StringRef size : llvm::split(sizes, ',')) {
      int64_t value;
      if (name.empty() || size.getAsInteger(10, value) || value < 0)
        return llvm::createStringError("--dim wants name=size, or name=size,size for several, "
                                       "got: \"" +
                                       dim + "\"");
      result.push_back(configuration);
      result.back().dims.emplace_back(name.str(), value);
      result.back().options.dims.push_back((name + "=" + size).str());
    }
  return result;
}

/// Every mesh with every size.
static llvm::Expected<std::vector<Configuration>> configurationsOf(const BenchOptions &options) {
  std::vector<Configuration> configurations;
  for (llvm::StringRef mesh : llvm::split(options.mesh, ';')) {
    if (mesh.empty() && !options.mesh.empty())
      return llvm::createStringError(
          "--mesh: a mesh between semicolons is empty; one rank is \"1\"");
    Configuration configuration{options, {}};
    configuration.options.mesh = mesh.str();
    configuration.options.dims.clear();
    configurations.push_back(std::move(configuration));
  }
  for (llvm::StringRef dim : options.dims) {
    llvm::Expected<std::vector<Configuration>> more = withSizes(configurations, dim);
    if (!more)
      return more.takeError();
    configurations = std::move(*more);
  }
  if (configurations.size() > 1)
    for (auto &[flag, path] : {std::pair("--output", options.output), {"--trace", options.trace}})
      if (!path.empty())
        return llvm::createStringError(
            "%s \"%s\" holds one run, and %zu configurations are asked for; give one mesh and one "
            "size of each dimension",
            flag, path.c_str(), configurations.size());
  return configurations;
}

/// Runs `runner` as often as asked for, and keeps what `options` want of the last run.
static llvm::Error measure(Runner &runner, const NamedTensors &inputs, const BenchOptions &options,
                           bool times, Measurement &result) {
  double total = 0;
  for (unsigned i = 0; i < options.warmup + options.iters; ++i) {
    if (i == options.warmup)
      cleave_session_reset_counters(runner.session());
    auto begin = Clock::now();
    if (llvm::Error error = runner.run(inputs))
      return error;
    if (i < options.warmup)
      continue;
    result.latencies.push_back(millisecondsSince(begin));
    total += result.latencies.back();
    if (times)
      result.commands.push_back(measureCommands(runner));
  }
  if (times)
    result.ranks = measureRanks(runner, total);
  const cleave_program &program = *runner.program();
  if (program.num_inputs && program.inputs[0].num_dims)
    result.rows = program.inputs[0].dims[0];
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  result.peakRss = usage.ru_maxrss / 1024.0;
  if (!options.trace.empty())
    if (llvm::Error error = writeTrace(runner, options))
      return error;
  if (!options.output.empty())
    return writeNpy(options.output, asFloat(runner.outputs()[0].second));
  return llvm::Error::success();
}

static llvm::Error measure(const Configuration &configuration, const BenchOptions &options,
                           bool times, Measurement &result) {
  Compilation compilation;
  Progress progress(compilation);
  auto begin = Clock::now();
  llvm::Expected<LoadedModel> model = load(compilation, configuration.options);
  if (!model)
    return model.takeError();
  if (llvm::Error error = requireOutputs(*model, "--output", options.output))
    return error;
  result.load = millisecondsSince(begin);
  begin = Clock::now();
  llvm::Expected<std::unique_ptr<Runner>> runner = prepare(
      compilation, *model->module, configuration.options.mesh, configuration.options, times);
  if (!runner)
    return runner.takeError();
  result.compile = millisecondsSince(begin);
  compilation.onPhase("running " + result.title());
  return measure(**runner, model->inputs, options, times, result);
}

/// There is one configuration, which was compiled before.
static llvm::Error measureArtifact(const BenchOptions &options, bool times, Measurement &result) {
  auto begin = Clock::now();
  llvm::Expected<OpenedArtifact> opened = openArtifact(options, "", times);
  if (!opened)
    return opened.takeError();
  result.load = millisecondsSince(begin);
  result.mesh = opened->mesh;
  if (!options.output.empty() && opened->runner->outputs().empty())
    return llvm::createStringError("--output \"" + options.output +
                                   "\": the model has no outputs to write; leave the flag out");
  return measure(*opened->runner, opened->inputs, options, times, result);
}

static llvm::Error print(llvm::ArrayRef<Measurement> measurements, const BenchOptions &options) {
  if (!options.page.empty()) {
    std::string title = llvm::sys::path::filename(options.model).str();
    if (llvm::Error error = writeText(options.page, toHtml(measurements, title)))
      return error;
  }
  if (!options.json)
    llvm::outs() << toTable(measurements);
  else if (measurements.size() == 1)
    llvm::outs() << toContract(measurements.front()) << "\n";
  else
    for (const Measurement &measurement : measurements)
      llvm::outs() << toJson(measurement) << "\n";
  return llvm::Error::success();
}

static int bench(const BenchOptions &options) {
  llvm::Expected<std::vector<Configuration>> configurations = configurationsOf(options);
  if (!configurations)
    return fail(configurations.takeError());
  if (llvm::Error error = requireTarget(options))
    return fail(std::move(error));
  bool times = options.wantsTimes(configurations->size() == 1);
  std::vector<Measurement> measurements;
  size_t failed = 0;
  int status = 0;
  for (const Configuration &configuration : *configurations) {
    Measurement result;
    result.mesh = configuration.options.mesh;
    result.dims = configuration.dims;
    if (llvm::Error error = measure(configuration, options, times, result)) {
      status = failed++ ? status : error.isA<Failure>() ? 1 : 2;
      // What ran before it failed is no measurement.
      result.latencies.clear();
      result.commands.clear();
      result.ranks.clear();
      result.error = llvm::toString(std::move(error));
    }
    measurements.push_back(std::move(result));
  }
  if (failed == measurements.size()) {
    note(measurements.front().error);
    return status;
  }
  if (llvm::Error error = print(measurements, options))
    return fail(std::move(error));
  if (failed)
    note(std::to_string(failed) + " of " + std::to_string(measurements.size()) +
         " configurations did not run; their rows say why");
  return status;
}

static int benchArtifact(const BenchOptions &options) {
  Measurement result;
  if (llvm::Error error = measureArtifact(options, options.wantsTimes(/*isOne=*/true), result))
    return fail(std::move(error));
  llvm::Error error = print(result, options);
  return error ? fail(std::move(error)) : 0;
}

void cleave::addBench(CLI::App &app, int &status) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command = app.add_subcommand("bench", "times a model over the ranks of meshes");
  options->addTo(*command, /*meshWanted=*/false, "an ONNX file, or an artifact");
  command->get_option("--mesh")->description("named axes of ranks; several as in \"1;tp=2;tp=4\"");
  command->get_option("--dim")->description(
      "the size of a symbolic dimension; several as in batch=1,2,4");
  command->add_option("--iters", options->iters, "timed runs")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--warmup", options->warmup, "runs before them")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  options->addResult(*command, "--output", options->output, "an .npy for the first output, as f32");
  options->addResult(*command, "--html", options->page,
                     "a page to write, which needs nothing else");
  addEager(*command, *options);
  addTrace(*command, *options);
  command->add_flag("--json", options->json, "a line of JSON for each configuration");
  command->callback([=, &status] {
    status = isArtifact(options->model) ? benchArtifact(*options) : bench(*options);
  });
}
