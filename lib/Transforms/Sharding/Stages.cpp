//===- Stages.cpp - where a graph is cut in stages, and when they run -----===//

#include "cleave/Transforms/Sharding/Stages.h"

#include "Cost.h"

#include "Nn/Nn.h"
#include "Nn/ShardingRule.h"

#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <limits>
#include <tuple>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

static constexpr double kInfinite = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Costs
//===----------------------------------------------------------------------===//

double sharding::transferSeconds(const Machine &machine, double bytes) {
  return machine.latency + bytes / machine.link;
}

static double collective(const Machine &machine, dist::MeshAttr mesh,
                         dist::CollectiveOpInterface op) {
  MoveKind kind = llvm::TypeSwitch<Operation *, MoveKind>(op)
                      .Case([](dist::AllReduceOp) { return MoveKind::AllReduce; })
                      .Case([](dist::AllGatherOp) { return MoveKind::AllGather; })
                      .Case([](dist::ReduceScatterOp) { return MoveKind::ReduceScatter; })
                      .Default(MoveKind::AllToAll);
  int64_t bytes = std::max(nn::bytesOf(op->getOperand(0)), nn::bytesOf(op->getResult(0)));
  return collectiveSeconds(machine, kind, bytes, *mesh.getGroupSize(op.getGroupAxes()));
}

double sharding::localSeconds(const Machine &machine, dist::MeshAttr mesh, Operation *op) {
  if (auto moves = dyn_cast<dist::CollectiveOpInterface>(op))
    return collective(machine, mesh, moves);
  auto ruled = dyn_cast<nn::ShardingRuleOpInterface>(op);
  if (!ruled)
    return 0;
  nn::ShardingRule rule = ruled.getShardingRule();
  if (rule.isView)
    return 0;
  double traffic = 0, written = 0;
  for (Value result : op->getResults())
    written += nn::bytesOf(result);
  bool looksUp = llvm::any_of(
      rule.factors, [](const nn::Factor &factor) { return factor.kind == nn::FactorKind::Lookup; });
  for (auto [i, operand] : llvm::enumerate(op->getOperands()))
    // A gather reads the rows that it takes, not the table.
    traffic +=
        looksUp && i == 0 ? std::min<double>(written, nn::bytesOf(operand)) : nn::bytesOf(operand);
  traffic += written;
  // Chains fuse: about half of what elementwise ops move never reaches memory.
  double work = rule.flops ? static_cast<double>(rule.flops) : written * 0.25;
  return std::max(work / machine.flops, (rule.flops ? 1 : 0.5) * traffic / machine.memory);
}

//===----------------------------------------------------------------------===//
// Cuts
//===----------------------------------------------------------------------===//

namespace {

/// Chunks of a line, by sums up to each op.
class Line {
public:
  explicit Line(const StageCosts &costs) : transfers(costs.transfers) {
    for (double seconds : costs.seconds)
      sums.push_back(sums.back() + seconds);
  }

  size_t size() const { return transfers.size(); }
  double enter(size_t begin) const { return begin == 0 || begin == size() ? 0 : transfers[begin]; }
  double chunk(size_t begin, size_t end) const {
    return begin == end ? 0 : enter(begin) + sums[end] - sums[begin];
  }

private:
  std::vector<double> sums = {0};
  const std::vector<double> &transfers;
};

} // namespace

/// The least time of the slowest of `chunks` chunks.
static double leastSlowest(const Line &line, size_t chunks) {
  std::vector<double> best(line.size() + 1, kInfinite);
  best[0] = 0;
  for (size_t k = 0; k < chunks; ++k) {
    std::vector<double> next(line.size() + 1, kInfinite);
    for (size_t end = 0; end <= line.size(); ++end)
      for (size_t begin = end + 1; begin-- > 0;) {
        double own = line.chunk(begin, end);
        next[end] = std::min(next[end], std::max(best[begin], own));
        // Sums grow towards the front; what enters cannot make up for that.
        if (own - line.enter(begin) > next[end])
          break;
      }
    best = std::move(next);
  }
  return best.back();
}

/// The cheapest transfers with no chunk slower than `limit`, and the cuts.
static std::pair<double, std::vector<size_t>> leastTransfers(const Line &line, size_t chunks,
                                                             double limit) {
  size_t n = line.size();
  std::vector<double> best(n + 1, kInfinite);
  std::vector<std::vector<size_t>> from(chunks, std::vector<size_t>(n + 1, 0));
  best[0] = 0;
  for (size_t k = 0; k < chunks; ++k) {
    std::vector<double> next(n + 1, kInfinite);
    for (size_t end = 0; end <= n; ++end)
      for (size_t begin = end + 1; begin-- > 0;) {
        double own = line.chunk(begin, end);
        if (own - line.enter(begin) > limit)
          break;
        double cost = best[begin] + (begin == end ? 0 : line.enter(begin));
        if (own > limit || cost >= next[end])
          continue;
        next[end] = cost;
        from[k][end] = begin;
      }
    best = std::move(next);
  }
  std::vector<size_t> cuts(chunks);
  size_t end = n;
  for (size_t k = chunks; k-- > 0;)
    end = cuts[k] = from[k][end];
  return {best[n], cuts};
}

std::vector<size_t> sharding::chooseCuts(const StageCosts &costs, size_t chunks, double batches) {
  Line line(costs);
  double slowest = leastSlowest(line, chunks);
  std::vector<size_t> chosen;
  double least = kInfinite;
  for (double slack : {1.0, 1.01, 1.02, 1.05, 1.1}) {
    // Sums in another order differ in their last digits.
    double limit = slowest * slack * (1 + 1e-9);
    auto [transfers, cuts] = leastTransfers(line, chunks, limit);
    double total = (batches - 1) * limit + transfers;
    if (total >= least)
      continue;
    least = total;
    chosen = std::move(cuts);
  }
  return chosen;
}

//===----------------------------------------------------------------------===//
// The schedule
//===----------------------------------------------------------------------===//

std::vector<Slot> sharding::makeSchedule(int64_t stages,
                                         const std::vector<std::vector<double>> &seconds,
                                         const std::vector<std::vector<double>> &transfers) {
  int64_t chunks = seconds.size(), micros = seconds.front().size();
  std::vector<double> isFree(stages, 0);
  std::vector<int64_t> next(micros, 0); // chunk of each micro-batch
  std::vector<double> ready(micros, 0); // when it may begin
  std::vector<Slot> slots;
  while (static_cast<int64_t>(slots.size()) < chunks * micros) {
    int64_t found = -1;
    std::tuple<double, int64_t, int64_t, int64_t> least;
    for (int64_t micro = 0; micro < micros; ++micro) {
      if (next[micro] == chunks)
        continue;
      double begin = std::max(ready[micro], isFree[next[micro] % stages]);
      std::tuple key(begin, micro / stages, next[micro], micro);
      if (found < 0 || key < least) {
        found = micro;
        least = key;
      }
    }
    int64_t chunk = next[found]++;
    double begin = std::get<0>(least), end = begin + seconds[chunk][found];
    slots.push_back({chunk, found, begin, end});
    isFree[chunk % stages] = end;
    ready[found] = end + (stages > 1 && chunk + 1 < chunks ? transfers[chunk + 1][found] : 0);
  }
  return slots;
}

double sharding::bubbleOf(const std::vector<Slot> &schedule, int64_t stages) {
  double busy = 0, end = 0;
  for (const Slot &slot : schedule) {
    busy += slot.end - slot.begin;
    end = std::max(end, slot.end);
  }
  return end > 0 ? 1 - busy / (end * stages) : 0;
}
