//===- ExplainParts.cpp - what text and page say alike --------------------===//

#include "ExplainParts.h"

#include "llvm/ADT/StringExtras.h"

using namespace cleave;
using namespace cleave::sharding;

std::string sharding::withoutNumbers(llvm::StringRef name) {
  std::string out;
  for (char c : name)
    if (!std::isdigit(static_cast<unsigned char>(c)))
      out += c;
    else if (out.empty() || out.back() != '#')
      out += '#';
  return out;
}

std::string sharding::axesText(const std::vector<std::string> &axes) {
  return llvm::join(axes, ",");
}

std::string RankSpan::text() const {
  return first == last ? std::to_string(first) : std::to_string(first) + "-" + std::to_string(last);
}

std::vector<RankSpan> sharding::equalRanks(const Explanation &explanation) {
  std::vector<RankSpan> spans;
  auto all = [&](size_t rank) {
    const ExplainedRank &entry = explanation.ranks[rank];
    return std::tuple(entry.stage, entry.weights, entry.activations, entry.caches, entry.sent);
  };
  for (size_t rank = 0; rank < explanation.ranks.size(); ++rank)
    if (!spans.empty() && all(spans.back().first) == all(rank))
      spans.back().last = rank;
    else
      spans.push_back({rank, rank});
  return spans;
}

std::vector<CutTensors> sharding::cutTensors(const Explanation &explanation) {
  std::vector<CutTensors> out;
  std::map<std::pair<std::string, std::string>, size_t> places;
  for (const ExplainedTensor &tensor : explanation.tensors) {
    if (!llvm::StringRef(tensor.sharding).contains("over"))
      continue;
    auto [it, isNew] =
        places.try_emplace({withoutNumbers(tensor.name), tensor.sharding}, out.size());
    if (isNew)
      out.push_back({1, tensor.name, tensor.sharding});
    else
      ++out[it->second].count;
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> sharding::legend(const Explanation &explanation) {
  std::string used;
  for (const ExplainedTensor &tensor : explanation.tensors)
    used += tensor.sharding + "\n";
  for (const ExplainedCut &cut : explanation.cuts)
    used += axesText(cut.axes) + "\n";
  auto uses = [&](llvm::StringRef sign) { return llvm::StringRef(used).contains(sign); };

  std::vector<std::pair<std::string, std::string>> out = {
      {"N x", "that many alike, as in the layers of a model; the first is named"},
      {"8 over tp", "the ranks of tp share these 8, each has a part"},
      {"bound", "what a rank has to send at least, on average over the ranks"},
      {"activations",
       "the most that is alive at once, before kernels are fused; a run needs less"}};
  if (uses(":("))
    out.push_back({"tp:(1)2", "the outer 2 of tp's ranks, where tp is 2 by some more; tp:(2)2 "
                              "are the next 2 within them"});
  if (uses(" * "))
    out.push_back({"4 over tp * 16", "a dimension of 64 seen as 4 by 16, of which the 4 are cut"});
  if (uses(" | "))
    out.push_back({"(8 over tp | 4)", "segments of one dimension, side by side"});
  return out;
}

int64_t sharding::scheduleEnd(const Explanation &explanation) {
  int64_t end = 0;
  for (const ExplainedBlock &block : explanation.schedule)
    end = std::max(end, block.end);
  return end;
}

int64_t sharding::sentBytes(const ExplainedRank &rank) {
  int64_t bytes = 0;
  for (auto &[kind, sent] : rank.sent)
    bytes += sent;
  return bytes;
}
