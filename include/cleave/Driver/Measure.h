//===- Measure.h - what was measured of a model over meshes ---*- C++ -*-===//

#ifndef CLEAVE_DRIVER_MEASURE_H
#define CLEAVE_DRIVER_MEASURE_H

#include "cleave/Driver/Compile.h"

#include <string>
#include <utility>
#include <vector>

namespace cleave {

/// What one rank holds, in bytes, and did, as shares of the time of the runs.
struct RankMeasure {
  uint64_t parameters = 0, activations = 0;
  uint64_t outputs = 0; ///< those that are not the caller's memory
  double kernels = 0;   ///< and all else that concerns no other rank
  double collectives = 0;
  double transfers = 0; ///< send, receive and wait
  double idle = 0;      ///< in no command: another rank has its core, or it is through
};

/// One configuration: a mesh and sizes of dimensions, as the user wrote them.
struct Measurement {
  std::string mesh;
  std::vector<std::pair<std::string, int64_t>> dims;

  /// Why it did not run; empty where it did.
  std::string error;
  /// Milliseconds, in the order of the runs.
  std::vector<double> latencies;
  /// Milliseconds that the rank with the most to do was in commands, by the same runs; empty
  /// where commands were not timed.
  std::vector<double> commands;
  double load = 0, compile = 0;
  double peakRss = 0; ///< of the process until then, in MiB
  /// Rows of a batch: the first dimension of the first input.
  int64_t rows = 1;
  std::vector<RankMeasure> ranks; ///< empty where commands were not timed

  double median() const;
  double p95() const;
  double rowsPerSecond() const { return 1000 * double(rows) / median(); }
  /// The mean of the ranks.
  double share(double RankMeasure::*part) const;
  /// The most that a rank holds.
  RankMeasure most() const;
  /// As in `tp=2 batch=4`; `1` for one rank.
  std::string title() const;
};

/// The ranks of `runner`, which times its commands, since its counters were reset;
/// `milliseconds` is the time of its runs since then.
std::vector<RankMeasure> measureRanks(const Runner &runner, double milliseconds);

/// Milliseconds that the rank of `runner` with the most to do was in commands in the last run.
double measureCommands(const Runner &runner);

/// A line for each, under a line that says what the columns are.
std::string toTable(llvm::ArrayRef<Measurement> measurements);

/// One object, without a line's end: all that is known.
std::string toJson(const Measurement &measurement);

/// One object, without a line's end: what engines that are compared say of themselves.
std::string toContract(const Measurement &measurement);

/// A page that fetches nothing: every run as a dot, where the time of each rank went,
/// and what it holds.
std::string toHtml(llvm::ArrayRef<Measurement> measurements, llvm::StringRef title);

} // namespace cleave

#endif // CLEAVE_DRIVER_MEASURE_H
