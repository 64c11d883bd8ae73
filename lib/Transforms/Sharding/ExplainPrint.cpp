//===- ExplainPrint.cpp - an explanation as JSON and as text --------------===//

#include "cleave/Transforms/Sharding/Explain.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <nlohmann/json.hpp>

using namespace cleave;

std::string cleave::toJson(const Explanation &explanation) {
  using Json = nlohmann::ordered_json;
  Json out;
  out["mesh"] = Json::object();
  for (auto &[name, size] : explanation.mesh)
    out["mesh"][name] = size;
  out["stages"] = explanation.stages;
  out["ranks"] = Json::array();
  for (const ExplainedRank &rank : explanation.ranks)
    out["ranks"].push_back({{"weights", rank.weights},
                            {"activations", rank.activations},
                            {"caches", rank.caches}});
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

/// `1.5 MiB`
static std::string size(int64_t bytes) {
  constexpr const char *kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = bytes;
  unsigned unit = 0;
  for (; amount >= 1024 && unit < 4; ++unit)
    amount /= 1024;
  return llvm::formatv(unit ? "{0:f1} {1}" : "{0:f0} {1}", amount, kUnits[unit]);
}

std::string cleave::toText(const Explanation &explanation) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "mesh";
  for (auto &[name, extent] : explanation.mesh)
    os << " " << name << "=" << extent;
  os << "\n\ncollectives\n";
  if (explanation.collectives.empty())
    os << "  none\n";
  for (const ExplainedCollective &collective : explanation.collectives)
    os << llvm::formatv("  {0,4} x {1,-14} over {2,-6} {3,10} a rank, bound {4,10}  {5}\n",
                        collective.count, collective.kind,
                        llvm::join(collective.axes, ","), size(collective.bytes),
                        size(collective.bound), collective.cause)
       << "         " << collective.reason << "\n";
  os << "\ncut tensors\n";
  for (const ExplainedTensor &tensor : explanation.tensors)
    if (llvm::StringRef(tensor.sharding).contains("over"))
      os << "  " << tensor.name << " " << tensor.sharding << "\n";
  os << "\nranks\n";
  for (size_t rank = 0; rank < explanation.ranks.size(); ++rank)
    os << llvm::formatv("  {0,4}: weights {1,10}, activations {2,10}, caches {3,10}\n", rank,
                        size(explanation.ranks[rank].weights),
                        size(explanation.ranks[rank].activations),
                        size(explanation.ranks[rank].caches));
  return text;
}
