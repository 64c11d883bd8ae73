//===- Measure.cpp - what was measured of a model over meshes -------------===//

#include "cleave/Driver/Measure.h"

#include "Ops.h"
#include "cleave/Support/Page.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

using namespace cleave;
using Json = nlohmann::ordered_json;

double Measurement::median() const {
  std::vector<double> sorted = latencies;
  llvm::sort(sorted);
  size_t half = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/// The least latency that 95 of 100 runs do not exceed.
double Measurement::p95() const {
  std::vector<double> sorted = latencies;
  llvm::sort(sorted);
  return sorted[(sorted.size() * 95 + 99) / 100 - 1];
}

double Measurement::share(double RankMeasure::*part) const {
  double sum = 0;
  for (const RankMeasure &rank : ranks)
    sum += rank.*part;
  return sum / double(ranks.size());
}

RankMeasure Measurement::most() const {
  RankMeasure most;
  for (const RankMeasure &rank : ranks) {
    most.parameters = std::max(most.parameters, rank.parameters);
    most.activations = std::max(most.activations, rank.activations);
    most.outputs = std::max(most.outputs, rank.outputs);
  }
  return most;
}

std::string Measurement::title() const {
  std::string text = mesh.empty() ? "1" : mesh;
  for (const auto &[name, size] : dims)
    text += " " + name + "=" + std::to_string(size);
  return text;
}

std::vector<RankMeasure> cleave::measureRanks(const Runner &runner, double milliseconds) {
  std::vector<RankMeasure> ranks;
  const cleave_program &program = *runner.program();
  for (uint32_t r = 0; r < program.num_ranks; ++r) {
    cleave_counters counters;
    cleave_session_counters(runner.session(), r, &counters);
    RankMeasure rank;
    rank.parameters = counters.param_bytes;
    rank.activations = counters.arena_bytes;
    rank.outputs = counters.output_bytes;
    uint32_t count;
    const uint64_t *times = cleave_session_times(runner.session(), r, &count);
    const cleave_command *list = program.programs[program.class_of_rank[r]].main;
    for (uint32_t i = 0; i < count; ++i) {
      OpKind kind = kindOf(list[i].op);
      double &part = kind == OpKind::Local        ? rank.kernels
                     : kind == OpKind::Collective ? rank.collectives
                                                  : rank.transfers;
      part += double(times[i]) / 1e6 / milliseconds;
    }
    rank.idle = std::max(0.0, 1 - rank.kernels - rank.collectives - rank.transfers);
    ranks.push_back(rank);
  }
  return ranks;
}

double cleave::measureCommands(const Runner &runner) {
  uint64_t most = 0;
  for (uint32_t rank = 0; rank < runner.program()->num_ranks; ++rank) {
    uint32_t count;
    const cleave_span *spans = cleave_session_spans(runner.session(), rank, &count);
    uint64_t sum = 0;
    for (const cleave_span &span : llvm::ArrayRef(spans, count))
      sum += span.end - span.begin;
    most = std::max(most, sum);
  }
  return double(most) / 1e6;
}

std::string cleave::toTable(llvm::ArrayRef<Measurement> measurements) {
  std::string text;
  llvm::raw_string_ostream os(text);
  size_t width = 13;
  for (const Measurement &measurement : measurements)
    width = std::max(width, measurement.title().size());
  os << llvm::left_justify("configuration", width)
     << llvm::format(" %10s %10s %10s %11s %7s %11s %11s %9s %9s\n", "median ms", "p95 ms",
                     "rows/s", "collectives", "bubbles", "parameters", "activations", "load ms",
                     "compile ms");
  for (const Measurement &measurement : measurements) {
    os << llvm::left_justify(measurement.title(), width);
    if (!measurement.error.empty()) {
      os << "  " << measurement.error << "\n";
      continue;
    }
    double bubbles =
        measurement.share(&RankMeasure::transfers) + measurement.share(&RankMeasure::idle);
    os << llvm::format(" %10.3f %10.3f %10.1f %9.1f %% %5.1f %%", measurement.median(),
                       measurement.p95(), measurement.rowsPerSecond(),
                       100 * measurement.share(&RankMeasure::collectives), 100 * bubbles)
       << llvm::format(" %11s %11s %9.0f %9.0f\n", sizeText(measurement.most().parameters).c_str(),
                       sizeText(measurement.most().activations).c_str(), measurement.load,
                       measurement.compile);
  }
  return text;
}

static Json contract(const Measurement &measurement) {
  // Steps of a tenth of a microsecond and a tenth of a millisecond.
  auto rounded = [](double value, double steps) { return std::round(value * steps) / steps; };
  auto roundedAll = [&](llvm::ArrayRef<double> values) {
    return llvm::map_to_vector(values, [&](double value) { return rounded(value, 1e4); });
  };
  Json result = {{"latency_ms", roundedAll(measurement.latencies)},
                 {"load_ms", rounded(measurement.load, 10)},
                 {"compile_ms", rounded(measurement.compile, 10)},
                 {"peak_rss_mb", rounded(measurement.peakRss, 10)}};
  if (!measurement.commands.empty())
    result["commands_ms"] = roundedAll(measurement.commands);
  return result;
}

static std::string inLine(const Json &json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string cleave::toContract(const Measurement &measurement) {
  return inLine(contract(measurement));
}

std::string cleave::toJson(const Measurement &measurement) {
  Json result = {{"mesh", measurement.mesh.empty() ? "1" : measurement.mesh},
                 {"dims", Json::object()}};
  for (const auto &[name, size] : measurement.dims)
    result["dims"][name] = size;
  if (!measurement.error.empty()) {
    result["error"] = measurement.error;
    return inLine(result);
  }
  result.update(contract(measurement));
  result["median_ms"] = measurement.median();
  result["p95_ms"] = measurement.p95();
  result["rows_per_s"] = measurement.rowsPerSecond();
  result["ranks"] = Json::array();
  for (const RankMeasure &rank : measurement.ranks)
    result["ranks"].push_back({{"parameters", rank.parameters},
                               {"activations", rank.activations},
                               {"outputs", rank.outputs},
                               {"kernels", rank.kernels},
                               {"collectives", rank.collectives},
                               {"transfers", rank.transfers},
                               {"idle", rank.idle}});
  return inLine(result);
}
