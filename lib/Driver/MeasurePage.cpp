//===- MeasurePage.cpp - what was measured, as a page ---------------------===//

#include "cleave/Driver/Measure.h"

#include "cleave/Support/Page.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

using namespace cleave;

static constexpr llvm::StringLiteral kStyle =
    ":root { --kernels: #2f6fb3; --collectives: #8d5aa8; --transfers: #e0912f; --idle: #c3cbd3;\n"
    "  --parameters: #2f6fb3; --activations: #e0912f; --outputs: #5a9e6f; --dot: #2f6fb3 }";

/// A kind of a bar's pieces, and its name in the key.
struct Part {
  const char *name;
  double RankMeasure::*share;
};

static constexpr Part kParts[] = {{"kernels", &RankMeasure::kernels},
                                  {"collectives", &RankMeasure::collectives},
                                  {"transfers", &RankMeasure::transfers},
                                  {"idle", &RankMeasure::idle}};

static constexpr std::pair<const char *, uint64_t RankMeasure::*> kMemory[] = {
    {"parameters", &RankMeasure::parameters},
    {"activations", &RankMeasure::activations},
    {"outputs", &RankMeasure::outputs}};

static std::string piece(llvm::StringRef color, double share) {
  return llvm::formatv("<i style=\"background:var(--{0});width:{1:f2}%\"></i>", color, 100 * share);
}

/// Every run as a dot over time, from 0 to `most` milliseconds, and a line at the median.
static std::string dots(const Measurement &measurement, double most) {
  std::string text = "<svg viewBox=\"0 0 400 16\" width=\"100%\" height=\"16\" "
                     "preserveAspectRatio=\"none\">";
  auto place = [&](double latency) { return 4 + 392 * latency / most; };
  for (double latency : measurement.latencies)
    text += llvm::formatv(
        "<circle cx=\"{0:f2}\" cy=\"8\" r=\"3\" fill=\"var(--dot)\" fill-opacity=\".35\"/>",
        place(latency));
  text += llvm::formatv("<path d=\"M{0:f2} 0V16\" stroke=\"var(--ink)\"/></svg>",
                        place(measurement.median()));
  return text;
}

static void writeLatencies(llvm::raw_ostream &os, llvm::ArrayRef<Measurement> measurements) {
  double most = 0;
  for (const Measurement &measurement : measurements)
    for (double latency : measurement.latencies)
      most = std::max(most, latency);
  os << "<h2>Latency</h2>\n"
     << llvm::formatv("<p>A dot is a run, the line their median; the scale begins at 0 and ends at "
                      "{0:f3} ms. Rows are those of a batch: the first dimension of the first "
                      "input.</p>\n",
                      most)
     << "<table><tr><th>configuration<th class=n>median ms<th class=n>p95 ms<th class=n>rows/s"
        "<th class=n>load ms<th class=n>compile ms<th>runs\n";
  for (const Measurement &measurement : measurements) {
    os << "<tr><td><code>" << escapeHtml(measurement.title()) << "</code>";
    if (!measurement.error.empty()) {
      os << "<td colspan=6>" << escapeHtml(measurement.error) << "\n";
      continue;
    }
    os << llvm::formatv("<td class=n>{0:f3}<td class=n>{1:f3}<td class=n>{2:f1}<td class=n>{3:f0}"
                        "<td class=n>{4:f0}<td>{5}\n",
                        measurement.median(), measurement.p95(), measurement.rowsPerSecond(),
                        measurement.load, measurement.compile, dots(measurement, most));
  }
  os << "</table>\n";
}

static void writeShares(llvm::raw_ostream &os, llvm::ArrayRef<Measurement> measurements) {
  os << "<h2>Where the time goes</h2>\n<p>Shares of the time of all runs. A collective or transfer "
        "includes the wait for the other ranks; a rank is idle where it is in no command: it is "
        "through, or another rank has its core.</p>\n<p class=key>";
  for (const Part &part : kParts)
    os << "<i style=\"background:var(--" << part.name << ")\"></i>" << part.name;
  os << "</p>\n<table><tr><th>configuration<th class=n>rank";
  for (const Part &part : kParts)
    os << "<th class=n>" << part.name;
  os << "<th>\n";
  for (const Measurement &measurement : measurements)
    for (size_t rank = 0; rank < measurement.ranks.size(); ++rank) {
      os << "<tr><td><code>" << escapeHtml(measurement.title()) << "</code><td class=n>" << rank;
      for (const Part &part : kParts)
        os << llvm::formatv("<td class=n>{0:f1} %", 100 * measurement.ranks[rank].*part.share);
      os << "<td><div class=bar>";
      for (const Part &part : kParts)
        os << piece(part.name, measurement.ranks[rank].*part.share);
      os << "</div>\n";
    }
  os << "</table>\n";
}

static void writeMemory(llvm::raw_ostream &os, llvm::ArrayRef<Measurement> measurements) {
  auto total = [](const RankMeasure &rank) {
    return double(rank.parameters + rank.activations + rank.outputs);
  };
  double most = 1;
  for (const Measurement &measurement : measurements)
    for (const RankMeasure &rank : measurement.ranks)
      most = std::max(most, total(rank));
  os << "<h2>Memory of each rank</h2>\n<p>Weights that are used as they lie in the model's file "
        "are "
        "mapped and not counted.</p>\n<p class=key>";
  for (auto &[name, bytes] : kMemory)
    os << "<i style=\"background:var(--" << name << ")\"></i>" << name;
  os << "</p>\n<table><tr><th>configuration<th class=n>rank";
  for (auto &[name, bytes] : kMemory)
    os << "<th class=n>" << name;
  os << "<th>\n";
  for (const Measurement &measurement : measurements)
    for (size_t i = 0; i < measurement.ranks.size(); ++i) {
      const RankMeasure &rank = measurement.ranks[i];
      os << "<tr><td><code>" << escapeHtml(measurement.title()) << "</code><td class=n>" << i;
      for (auto &[name, bytes] : kMemory)
        os << "<td class=n>" << sizeText(rank.*bytes);
      os << "<td><div class=bar>";
      for (auto &[name, bytes] : kMemory)
        os << piece(name, double(rank.*bytes) / most);
      os << "</div>\n";
    }
  os << "</table>\n</html>\n";
}

std::string cleave::toHtml(llvm::ArrayRef<Measurement> measurements, llvm::StringRef title) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << pageHead(title, kStyle) << "<h1>" << escapeHtml(title) << "</h1>\n";
  writeLatencies(os, measurements);
  writeShares(os, measurements);
  writeMemory(os, measurements);
  return text;
}
