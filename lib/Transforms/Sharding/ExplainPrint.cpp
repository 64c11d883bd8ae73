//===- ExplainPrint.cpp - an explanation as JSON and as text --------------===//

#include "ExplainParts.h"
#include "cleave/Support/Page.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <nlohmann/json.hpp>

using namespace cleave;
using namespace cleave::sharding;

std::string cleave::toJson(const Explanation &explanation) {
  using Json = nlohmann::ordered_json;
  Json out;
  out["mesh"] = Json::object();
  for (auto &[name, size] : explanation.mesh)
    out["mesh"][name] = size;
  out["dims"] = explanation.dims;
  out["stages"] = explanation.stages;
  if (!explanation.schedule.empty()) {
    out["bubble"] = explanation.bubble;
    out["schedule"] = Json::array();
    for (const ExplainedBlock &block : explanation.schedule)
      out["schedule"].push_back({{"stage", block.stage},
                                 {"chunk", block.chunk},
                                 {"micro_batch", block.micro},
                                 {"begin_ns", block.begin},
                                 {"end_ns", block.end}});
  }
  out["cuts"] = Json::array();
  for (const ExplainedCut &cut : explanation.cuts)
    out["cuts"].push_back({{"size", cut.size},
                           {"axes", cut.axes},
                           {"role", cut.role},
                           {"count", cut.count},
                           {"weights", cut.weights},
                           {"values", cut.values},
                           {"first", cut.first}});
  out["ranks"] = Json::array();
  for (const ExplainedRank &rank : explanation.ranks)
    out["ranks"].push_back({{"stage", rank.stage},
                            {"weights", rank.weights},
                            {"activations", rank.activations},
                            {"caches", rank.caches},
                            {"sent", rank.sent}});
  out["tensors"] = Json::array();
  for (const ExplainedTensor &tensor : explanation.tensors)
    out["tensors"].push_back(
        {{"name", tensor.name}, {"shape", tensor.shape}, {"sharding", tensor.sharding}});
  out["collectives"] = Json::array();
  for (const ExplainedCollective &collective : explanation.collectives)
    out["collectives"].push_back({{"kind", collective.kind},
                                  {"axes", collective.axes},
                                  {"count", collective.count},
                                  {"bytes", collective.bytes},
                                  {"bound", collective.bound},
                                  {"cause", collective.cause},
                                  {"reason", collective.reason}});
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

static void printCuts(llvm::raw_ostream &os, const Explanation &explanation) {
  os << "\ncut\n";
  if (explanation.cuts.empty())
    os << "  nothing\n";
  for (const ExplainedCut &cut : explanation.cuts)
    os << llvm::formatv("  {0,4} x {1,-10} {2,6} over {3,-6} in {4} weights, {5} values: {6}\n",
                        cut.count, cut.role.empty() ? "dimension" : cut.role, cut.size,
                        axesText(cut.axes), cut.weights, cut.values, cut.first);
}

/// A line a stage, a character a step: the micro-batch that is computed, or `.`.
static void printSchedule(llvm::raw_ostream &os, const Explanation &explanation) {
  constexpr int64_t kSteps = 64;
  constexpr llvm::StringLiteral kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  int64_t end = scheduleEnd(explanation);
  os << llvm::formatv(
      "\nstages, by the micro-batch that they compute: {0:f2} ms, of which {1:f0} % "
      "are waited\n",
      end / 1e6, 100 * explanation.bubble);
  for (int64_t stage = 0; stage < explanation.stages; ++stage) {
    std::string line(kSteps, '.');
    for (const ExplainedBlock &block : explanation.schedule)
      if (block.stage == stage)
        // A step shows what is computed in its middle.
        for (int64_t step = 0; step < kSteps; ++step)
          if (double at = (step + 0.5) * end / kSteps; at >= block.begin && at < block.end)
            line[step] = kDigits[block.micro % kDigits.size()];
    os << llvm::formatv("  {0,5}: {1}\n", stage, line);
  }
}

static void printRanks(llvm::raw_ostream &os, const Explanation &explanation) {
  os << "\nranks\n";
  for (const RankSpan &span : equalRanks(explanation)) {
    const ExplainedRank &rank = explanation.ranks[span.first];
    os << llvm::formatv(
        "  {0,5}: weights {1,10}, activations {2,10}, caches {3,10}, sends {4,10}\n", span.text(),
        sizeText(rank.weights), sizeText(rank.activations), sizeText(rank.caches),
        sizeText(sentBytes(rank)));
  }
}

static void printDims(llvm::raw_ostream &os, const Explanation &explanation) {
  if (explanation.dims.empty())
    return;
  os << "sizes";
  for (auto &[name, size] : explanation.dims)
    os << " " << name << "=" << size;
  os << "\n";
}

std::string cleave::toText(const Explanation &explanation) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "mesh";
  for (auto &[name, extent] : explanation.mesh)
    os << " " << name << "=" << extent;
  if (explanation.ranks.size() == 1) {
    os << (explanation.mesh.empty() ? " 1" : "") << ": one rank, so nothing is cut\n";
    printDims(os, explanation);
    printRanks(os, explanation);
    return text;
  }
  os << "\n";
  printDims(os, explanation);
  if (!explanation.schedule.empty())
    printSchedule(os, explanation);
  printCuts(os, explanation);
  printRanks(os, explanation);
  os << "\ncollectives\n";
  if (explanation.collectives.empty())
    os << "  none\n";
  for (const ExplainedCollective &collective : explanation.collectives)
    os << llvm::formatv("  {0,4} x {1,-14} over {2,-6} {3,10} a rank, bound {4,10}  {5}\n",
                        collective.count, collective.kind, axesText(collective.axes),
                        sizeText(collective.bytes), sizeText(collective.bound), collective.cause)
       << "         " << collective.reason << "\n";
  os << "\ncut tensors\n";
  if (cutTensors(explanation).empty())
    os << "  none\n";
  for (const CutTensors &tensors : cutTensors(explanation))
    os << llvm::formatv("  {0,4} x {1} {2}\n", tensors.count, tensors.name, tensors.sharding);
  os << "\nin these lines\n";
  for (auto &[term, meaning] : legend(explanation))
    os << llvm::formatv("  {0,-16} {1}\n", term, meaning);
  return text;
}
