//===- Bench.cpp - cleave bench: how long a run takes ---------------------===//

#include "Common.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <sys/resource.h>

using namespace cleave;
using Clock = std::chrono::steady_clock;

struct BenchOptions : ModelOptions {
  unsigned iters = 20, warmup = 3;
  std::string output;
  bool json = false;
};

/// The first output in f32, which the comparison of engines wants.
static Tensor asFloat(const Tensor &tensor) {
  Tensor result(CLEAVE_F32, tensor.dims);
  for (int64_t i = 0; i < tensor.size(); ++i)
    reinterpret_cast<float *>(result.bytes.data())[i] = static_cast<float>(tensor.at(i));
  return result;
}

static int bench(const BenchOptions &options) {
  Compilation compilation;
  Progress progress(compilation);
  auto begin = Clock::now();
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  if (llvm::Error error = requireOutputs(*model, "--output", options.output))
    return fail(std::move(error));
  double load = millisecondsSince(begin);
  begin = Clock::now();
  llvm::Expected<std::unique_ptr<Runner>> runner =
      prepare(compilation, *model->module, options.mesh, options);
  if (!runner)
    return fail(runner.takeError());
  double compile = millisecondsSince(begin);

  compilation.onPhase("running");
  std::vector<double> latencies;
  for (unsigned i = 0; i < options.warmup + options.iters; ++i) {
    begin = Clock::now();
    if (llvm::Error error = (*runner)->run(model->inputs))
      return fail(std::move(error));
    if (i >= options.warmup)
      latencies.push_back(millisecondsSince(begin));
  }
  if (!options.output.empty())
    if (llvm::Error error = writeNpy(options.output, asFloat((*runner)->outputs()[0].second)))
      return fail(std::move(error));

  Progress::end();
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  llvm::raw_ostream &out = llvm::outs();
  if (options.json) {
    out << "{\"latency_ms\": [";
    for (size_t i = 0; i < latencies.size(); ++i)
      out << (i ? ", " : "") << llvm::format("%.4f", latencies[i]);
    out << llvm::format("], \"load_ms\": %.1f, \"compile_ms\": %.1f, \"peak_rss_mb\": %.1f}\n",
                        load, compile, usage.ru_maxrss / 1024.0);
    return 0;
  }
  std::sort(latencies.begin(), latencies.end());
  if (!latencies.empty())
    out << llvm::format("median %.3f ms, p95 %.3f ms, of %zu runs\n",
                        latencies[latencies.size() / 2], latencies[latencies.size() * 95 / 100],
                        latencies.size());
  out << llvm::format("load %.0f ms, compile %.0f ms, peak memory %.0f MB\n", load, compile,
                      usage.ru_maxrss / 1024.0);
  return 0;
}

void cleave::addBench(CLI::App &app, int &status) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command = app.add_subcommand("bench", "times a model over the ranks of a mesh");
  options->addTo(*command, /*meshWanted=*/false);
  command->add_option("--iters", options->iters, "timed runs")->check(CLI::Range(1, 1000000));
  command->add_option("--warmup", options->warmup, "runs before them")
      ->check(CLI::Range(0, 1000000));
  addPath(*command, "--output", options->output, "an .npy for the first output, as f32");
  command->add_flag("--json", options->json, "one line of JSON");
  command->callback([=, &status] { status = bench(*options); });
}
