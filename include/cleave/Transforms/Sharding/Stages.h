//===- Stages.h - where a graph is cut in stages, and when they run -*- C++ -*-===//
//
// All times are seconds, predicted by the cost model of `Machine`.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TRANSFORMS_SHARDING_STAGES_H
#define CLEAVE_TRANSFORMS_SHARDING_STAGES_H

#include "cleave/Transforms/Sharding/Machine.h"

#include "Dist/Dist.h"

#include <vector>

namespace cleave::sharding {

/// What `op`, which stands in the function of a rank class, takes there.
double localSeconds(const Machine &machine, dist::MeshAttr mesh, mlir::Operation *op);

/// What `bytes` take from one rank to another.
double transferSeconds(const Machine &machine, double bytes);

/// A line of n ops that is to be cut into chunks of neighbours.
struct StageCosts {
  std::vector<double> seconds;   ///< [n], of each op
  std::vector<double> transfers; ///< [n], of what lives from before op i to it or behind it
};

/// The first op of each of `chunks` chunks. With b batches in flight a pipeline takes
/// (b - 1) times its slowest chunk and once all chunks and transfers: that sum is the
/// least among cuts whose slowest chunk is within 10 % of the best.
std::vector<size_t> chooseCuts(const StageCosts &costs, size_t chunks, double batches);

/// A chunk of the model, computed for a micro-batch.
struct Slot {
  int64_t chunk, micro;
  double begin, end;
};

/// Chunk c runs on stage c mod `stages`, after chunk c - 1 of the same micro-batch and
/// what travels between them. Whatever can begin first does; of several, the one of the
/// earliest round of micro-batches and the first chunk, so that interleaved chunks take
/// turns. `seconds` and `transfers` (into the chunk) are [chunk][micro]. By beginning.
std::vector<Slot> makeSchedule(int64_t stages, const std::vector<std::vector<double>> &seconds,
                               const std::vector<std::vector<double>> &transfers);

/// The share of the time of all stages in which they wait.
double bubbleOf(const std::vector<Slot> &schedule, int64_t stages);

} // namespace cleave::sharding

#endif // CLEAVE_TRANSFORMS_SHARDING_STAGES_H
