//===- Lanes.cpp - shuffles, votes and their like -------------------------===//

#include "Execution.h"
#include "Functions.h"

#include <algorithm>
#include <bit>

using namespace cleave::simt;

static void meet(uint32_t mask, void *slot, Gathering::Finish finish, uint64_t detail,
                 cleave_simt_site *site) {
  Execution::get().meet(mask, slot, finish, detail, site);
}

/// Calls `act` with the lane and its slot, for every lane of the mask.
template <typename Slot, typename Act> static void eachLane(Gathering &gathering, Act &&act) {
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (gathering.mask >> lane & 1)
      act(lane, *static_cast<Slot *>(gathering.slots[lane]));
}

void device::warp_sync(uint32_t mask, cleave_simt_site *site) {
  meet(
      mask, nullptr,
      [](Execution &execution, Gathering &gathering) { execution.synchronize(gathering); }, 0,
      site);
}

namespace {

struct Shuffle {
  uint32_t value, operand, clamp, mode;
  uint32_t result = 0, inside = 0, source = 0;

  /// Where a lane reads, within its segment (PTX ISA, shfl.sync).
  void find(uint32_t lane) {
    uint32_t segment = clamp >> 8 & 31, bound = clamp & 31, by = operand & 31;
    uint32_t last = (lane & segment) | (bound & ~segment & 31);
    switch (mode) {
    case CLEAVE_SIMT_UP:
      source = lane - by;
      inside = int32_t(source) >= int32_t(last);
      break;
    case CLEAVE_SIMT_DOWN:
      source = lane + by;
      inside = source <= last;
      break;
    case CLEAVE_SIMT_BFLY:
      source = lane ^ by;
      inside = source <= last;
      break;
    default: source = (lane & segment) | (by & ~segment & 31); inside = source <= last;
    }
    if (!inside)
      source = lane;
  }
};

} // namespace

static void finishShuffle(Execution &execution, Gathering &gathering) {
  eachLane<Shuffle>(gathering, [&](uint32_t lane, Shuffle &shuffle) {
    shuffle.find(lane);
    if (gathering.mask >> shuffle.source & 1)
      shuffle.result = static_cast<Shuffle *>(gathering.slots[shuffle.source])->value;
    else
      execution.report("divergence", gathering.site,
                       "lane " + std::to_string(lane) + " reads lane " +
                           std::to_string(shuffle.source) + ", which takes no part");
  });
}

uint32_t device::shuffle(uint32_t mask, uint32_t value, uint32_t lane, uint32_t clamp,
                         uint32_t mode, uint32_t *inside, cleave_simt_site *site) {
  Shuffle shuffle{value, lane, clamp, mode};
  meet(mask, &shuffle, finishShuffle, mode, site);
  *inside = shuffle.inside;
  return shuffle.result;
}

namespace {
struct Vote {
  uint32_t predicate, mode, result = 0;
};
struct Match {
  uint64_t value;
  bool all;
  uint32_t result = 0, equal = 0;
};
struct Reduction {
  uint32_t value, operation, result = 0;
};
} // namespace

uint32_t device::vote(uint32_t mask, uint32_t predicate, uint32_t mode, cleave_simt_site *site) {
  Vote vote{predicate, mode};
  auto finish = [](Execution &, Gathering &gathering) {
    uint32_t ballot = 0;
    eachLane<Vote>(gathering, [&](uint32_t lane, Vote &one) {
      ballot |= uint32_t(one.predicate != 0) << lane;
    });
    eachLane<Vote>(gathering, [&](uint32_t, Vote &one) {
      switch (one.mode) {
      case CLEAVE_SIMT_ALL: one.result = ballot == gathering.mask; break;
      case CLEAVE_SIMT_ANY: one.result = ballot != 0; break;
      case CLEAVE_SIMT_UNI: one.result = !ballot || ballot == gathering.mask; break;
      default: one.result = ballot;
      }
    });
  };
  meet(mask, &vote, finish, mode, site);
  return vote.result;
}

uint32_t device::match(uint32_t mask, uint64_t value, uint32_t all, uint32_t *equal,
                       cleave_simt_site *site) {
  Match match{value, all != 0};
  auto finish = [](Execution &, Gathering &gathering) {
    eachLane<Match>(gathering, [&](uint32_t, Match &one) {
      eachLane<Match>(gathering, [&](uint32_t lane, Match &other) {
        one.result |= uint32_t(one.value == other.value) << lane;
      });
      one.equal = one.result == gathering.mask;
      if (one.all && !one.equal)
        one.result = 0;
    });
  };
  meet(mask, &match, finish, all, site);
  *equal = match.equal;
  return match.result;
}

uint32_t device::elect(uint32_t mask, uint32_t *elected, cleave_simt_site *site) {
  uint32_t leader = 0;
  auto finish = [](Execution &, Gathering &gathering) {
    eachLane<uint32_t>(gathering, [&](uint32_t, uint32_t &one) {
      one = uint32_t(std::countr_zero(gathering.mask));
    });
  };
  meet(mask, &leader, finish, 0, site);
  *elected = Execution::get().self().lane == leader;
  return leader;
}

static uint32_t combine(uint32_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
  case CLEAVE_SIMT_AND: return a & b;
  case CLEAVE_SIMT_OR: return a | b;
  case CLEAVE_SIMT_XOR: return a ^ b;
  case CLEAVE_SIMT_MIN: return uint32_t(std::min(int32_t(a), int32_t(b)));
  case CLEAVE_SIMT_MAX: return uint32_t(std::max(int32_t(a), int32_t(b)));
  case CLEAVE_SIMT_UMIN: return std::min(a, b);
  case CLEAVE_SIMT_UMAX: return std::max(a, b);
  default: return a + b;
  }
}

uint32_t device::reduce(uint32_t mask, uint32_t value, uint32_t operation, cleave_simt_site *site) {
  Reduction reduction{value, operation};
  auto finish = [](Execution &, Gathering &gathering) {
    Reduction *sum = nullptr;
    eachLane<Reduction>(gathering, [&](uint32_t, Reduction &one) {
      one.result = sum ? combine(one.operation, sum->result, one.value) : one.value;
      sum = &one;
    });
    eachLane<Reduction>(gathering, [&](uint32_t, Reduction &one) { one.result = sum->result; });
  };
  meet(mask, &reduction, finish, operation, site);
  return reduction.result;
}
