//===- ExplainPage.cpp - an explanation as a page -------------------------===//

#include "ExplainParts.h"
#include "cleave/Support/Page.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

using namespace cleave;
using namespace cleave::sharding;

static constexpr llvm::StringLiteral kStyle =
    R"(:root { --weights: #2f6fb3; --activations: #e0912f; --caches: #5a9e6f; --sent: #8d5aa8 }
.lane { position: relative; height: 1.5rem; margin: 2px 0; background: var(--line) } .lane i { position: absolute;
  top: 0; bottom: 0; background: var(--weights); color: #fff; font-style: normal; text-align: center; overflow: hidden;
  box-sizing: border-box; border-right: 1px solid var(--page) })";

/// A piece of a bar, `bytes` of `most`.
static std::string piece(llvm::StringRef color, int64_t bytes, int64_t most) {
  return llvm::formatv("<i style=\"background:var(--{0});width:{1:f2}%\"></i>", color,
                       most ? 100.0 * bytes / most : 0.0);
}

static void writeCuts(llvm::raw_ostream &os, const Explanation &explanation) {
  os << "<h2>What is cut</h2>\n<table><tr><th class=n>names<th>role<th class=n>size<th>over"
        "<th class=n>weights<th class=n>values<th>first\n";
  for (const ExplainedCut &cut : explanation.cuts)
    os << llvm::formatv("<tr><td class=n>{0}<td>{1}<td class=n>{2}<td>{3}<td class=n>{4}"
                        "<td class=n>{5}<td><code>{6}</code>\n",
                        cut.count, cut.role.empty() ? "dimension" : cut.role, cut.size,
                        escapeHtml(axesText(cut.axes)), cut.weights, cut.values,
                        escapeHtml(cut.first));
  os << "</table>\n";
}

static void writeSchedule(llvm::raw_ostream &os, const Explanation &explanation) {
  if (explanation.schedule.empty())
    return;
  int64_t end = std::max<int64_t>(scheduleEnd(explanation), 1);
  os << llvm::formatv("<h2>Stages</h2>\n<p>A lane a stage, by the micro-batch that it computes: "
                      "{0:f2} ms, of which {1:f0} % are waited, as the cost model predicts.</p>\n",
                      end / 1e6, 100 * explanation.bubble);
  for (int64_t stage = 0; stage < explanation.stages; ++stage) {
    os << "<div class=lane>";
    for (const ExplainedBlock &block : explanation.schedule)
      if (block.stage == stage)
        os << llvm::formatv("<i style=\"left:{0:f2}%;width:{1:f2}%\" title=\"stage {2}, chunk {3}, "
                            "micro-batch {4}: {5:f3} ms\">{4}</i>",
                            100.0 * block.begin / end, 100.0 * (block.end - block.begin) / end,
                            stage, block.chunk, block.micro, (block.end - block.begin) / 1e6);
    os << "</div>\n";
  }
}

static void writeRanks(llvm::raw_ostream &os, const Explanation &explanation) {
  int64_t most = 0;
  for (const ExplainedRank &rank : explanation.ranks)
    most = std::max(most, rank.weights + rank.activations + rank.caches);
  os << "<h2>Memory of each rank</h2>\n<p class=key>";
  for (llvm::StringRef kind : {"weights", "activations", "caches"})
    os << "<i style=\"background:var(--" << kind << ")\"></i>" << kind;
  os << "</p>\n<table><tr><th>rank<th class=n>weights<th class=n>activations<th class=n>caches"
        "<th class=n>sends<th>\n";
  for (const RankSpan &span : equalRanks(explanation)) {
    const ExplainedRank &rank = explanation.ranks[span.first];
    os << llvm::formatv(
        "<tr><td>{0}<td class=n>{1}<td class=n>{2}<td class=n>{3}<td class=n>{4}"
        "<td><div class=bar>{5}{6}{7}</div>\n",
        span.text(), sizeText(rank.weights), sizeText(rank.activations), sizeText(rank.caches),
        sizeText(sentBytes(rank)), piece("weights", rank.weights, most),
        piece("activations", rank.activations, most), piece("caches", rank.caches, most));
  }
  os << "</table>\n";
}

static void writeCollectives(llvm::raw_ostream &os, const Explanation &explanation) {
  auto total = [](const ExplainedCollective &c) { return c.count * c.bytes; };
  std::vector<std::pair<int64_t, size_t>> sorted;
  for (auto [i, collective] : llvm::enumerate(explanation.collectives))
    sorted.push_back({-total(collective), i});
  llvm::sort(sorted);
  int64_t most = sorted.empty() ? 0 : -sorted.front().first;
  os << "<h2>What travels</h2>\n<p>Bytes are what a rank sends in one execution; the bound is "
        "what ranks have to send on average.</p>\n<table><tr><th class=n>count<th>kind<th>over"
        "<th class=n>each<th class=n>bound<th class=n>all<th><th>cause and reason\n";
  for (auto [negative, i] : sorted) {
    const ExplainedCollective &collective = explanation.collectives[i];
    os << llvm::formatv("<tr><td class=n>{0}<td>{1}<td>{2}<td class=n>{3}<td class=n>{4}"
                        "<td class=n>{5}<td><div class=bar>{6}</div><td><code>{7}</code><br>"
                        "<span class=soft>{8}</span>\n",
                        collective.count, collective.kind, escapeHtml(axesText(collective.axes)),
                        sizeText(collective.bytes), sizeText(collective.bound),
                        sizeText(total(collective)), piece("sent", total(collective), most),
                        escapeHtml(collective.cause), escapeHtml(collective.reason));
  }
  os << "</table>\n<h2>Cut tensors</h2>\n<table><tr><th class=n>count<th>first<th>sharding\n";
  for (const CutTensors &tensors : cutTensors(explanation))
    os << llvm::formatv("<tr><td class=n>{0}<td><code>{1}</code><td><code>{2}</code>\n",
                        tensors.count, escapeHtml(tensors.name), escapeHtml(tensors.sharding));
  os << "</table>\n";
}

static void writeLegend(llvm::raw_ostream &os, const Explanation &explanation) {
  os << "<h2>In these lines</h2>\n<dl>\n";
  for (auto &[term, meaning] : legend(explanation))
    os << llvm::formatv("<dt><code>{0}</code><dd class=soft>{1}\n", term, meaning);
  os << "</dl>\n</html>\n";
}

std::string cleave::toHtml(const Explanation &explanation, llvm::StringRef title) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << pageHead(title, kStyle);
  os << "<h1>" << escapeHtml(title) << "</h1>\n<p>";
  for (auto &[name, size] : explanation.mesh)
    os << escapeHtml(name) << "=" << size << " ";
  if (explanation.ranks.size() == 1)
    os << "· one rank, so nothing is cut</p>\n";
  else
    os << "· " << explanation.ranks.size() << " ranks</p>\n";
  writeSchedule(os, explanation);
  writeCuts(os, explanation);
  writeRanks(os, explanation);
  writeCollectives(os, explanation);
  writeLegend(os, explanation);
  return text;
}
