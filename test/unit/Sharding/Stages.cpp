//===- Stages.cpp - cuts are balanced and cheap, schedules can be kept ----===//

#include "cleave/Transforms/Sharding/Stages.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

using namespace cleave;
using namespace cleave::sharding;

static double slowest(const StageCosts &costs, const std::vector<size_t> &cuts) {
  double most = 0;
  for (size_t k = 0; k < cuts.size(); ++k) {
    size_t end = k + 1 < cuts.size() ? cuts[k + 1] : costs.seconds.size();
    if (cuts[k] == end)
      continue;
    double own = std::accumulate(costs.seconds.begin() + cuts[k], costs.seconds.begin() + end, 0.0);
    most = std::max(most, own + (cuts[k] ? costs.transfers[cuts[k]] : 0));
  }
  return most;
}

/// The slowest chunk of the best of all cuts.
static double best(const StageCosts &costs, size_t chunks) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<size_t> cuts = {0};
  std::function<void()> extend = [&] {
    if (cuts.size() == chunks) {
      least = std::min(least, slowest(costs, cuts));
      return;
    }
    for (size_t next = cuts.back(); next <= costs.seconds.size(); ++next) {
      cuts.push_back(next);
      extend();
      cuts.pop_back();
    }
  };
  extend();
  return least;
}

RC_GTEST_PROP(Stages, SlowestChunkIsWithinATenthOfTheBest, ()) {
  size_t count = *rc::gen::inRange(1, 9), chunks = *rc::gen::inRange(1, 5);
  auto amounts = rc::gen::container<std::vector<double>>(
      count, rc::gen::map(rc::gen::inRange(0, 20), [](int n) { return double(n); }));
  StageCosts costs{*amounts, *amounts};
  std::vector<size_t> cuts = chooseCuts(costs, chunks, *rc::gen::inRange(1, 9));
  RC_ASSERT(cuts.size() == chunks);
  RC_ASSERT(cuts.front() == 0u);
  RC_ASSERT(std::is_sorted(cuts.begin(), cuts.end()));
  RC_ASSERT(cuts.back() <= count);
  RC_ASSERT(slowest(costs, cuts) <= 1.1 * (1 + 1e-6) * best(costs, chunks));
}

TEST(Stages, ACheapCutBeatsABalancedOneThatSendsMuch) {
  // Between the second and the third op little travels, elsewhere as much as is computed.
  StageCosts costs{{10, 10, 9.6, 10}, {0, 10, 0.1, 10}};
  EXPECT_EQ(chooseCuts(costs, 2, 4), (std::vector<size_t>{0, 2}));
}

RC_GTEST_PROP(Stages, EveryBlockRunsOnceAfterTheOneBefore, ()) {
  int64_t stages = *rc::gen::inRange(1, 5), chunks = stages * *rc::gen::inRange(1, 4);
  int64_t micros = *rc::gen::inRange(1, 7);
  auto table = rc::gen::container<std::vector<std::vector<double>>>(
      chunks, rc::gen::container<std::vector<double>>(
                  micros, rc::gen::map(rc::gen::inRange(0, 9), [](int n) { return double(n); })));
  std::vector<std::vector<double>> seconds = *table, transfers = *table;
  std::vector<Slot> schedule = makeSchedule(stages, seconds, transfers);
  RC_ASSERT(schedule.size() == size_t(chunks * micros));
  std::vector<double> isFree(stages, 0);
  std::vector<std::vector<double>> ended(chunks, std::vector<double>(micros, -1));
  double busy = 0, end = 0;
  for (const Slot &slot : schedule) {
    RC_ASSERT(ended[slot.chunk][slot.micro] < 0);
    RC_ASSERT(slot.begin >= isFree[slot.chunk % stages]);
    if (slot.chunk > 0) {
      double moved = stages > 1 ? transfers[slot.chunk][slot.micro] : 0;
      RC_ASSERT(ended[slot.chunk - 1][slot.micro] >= 0);
      RC_ASSERT(slot.begin >= ended[slot.chunk - 1][slot.micro] + moved);
    }
    RC_ASSERT(slot.end == slot.begin + seconds[slot.chunk][slot.micro]);
    isFree[slot.chunk % stages] = ended[slot.chunk][slot.micro] = slot.end;
    busy += slot.end - slot.begin;
    end = std::max(end, slot.end);
  }
  if (end > 0)
    RC_ASSERT(std::abs(bubbleOf(schedule, stages) - (1 - busy / (end * stages))) < 1e-9);
}

/// (p - 1) / (v m + p - 1), of v chunks a stage.
TEST(Stages, EvenChunksLeaveTheBubbleOfTheFormula) {
  for (int64_t stages : {2, 3, 4})
    for (int64_t rounds : {1, 2})
      for (int64_t turns : {1, 2, 3}) {
        int64_t micros = rounds * stages;
        std::vector<std::vector<double>> even(stages * turns, std::vector<double>(micros, 1)),
            free(stages * turns, std::vector<double>(micros, 0));
        double wanted = double(stages - 1) / (turns * micros + stages - 1);
        EXPECT_NEAR(bubbleOf(makeSchedule(stages, even, free), stages), wanted, 1e-9)
            << stages << " stages, " << micros << " micro-batches, " << turns << " turns";
      }
}
