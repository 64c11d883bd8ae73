//===- VerifyOrder.cpp - all members meet, in one order -------------------===//
//
// The lists are run with nothing but their collectives: a rank stops at each
// until all members of its set stand there too, and then all go on. If every
// rank reaches its end, no schedule of the real run can deadlock, since a
// collective that may fire stays so whatever other ranks do first.
//
//===----------------------------------------------------------------------===//

#include "Verify.h"

#include "Error.h"

#include <algorithm>

using namespace cleave::runtime;

namespace {

class OrderVerifier {
public:
  OrderVerifier(const cleave_program &program, const Groups &groups, bool load, cleave_error *error)
      : program(program), groups(groups), load(load), error(error), next(program.num_ranks) {}

  int32_t verify() {
    std::vector<uint32_t> ready;
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
      next[rank] = collectiveFrom(rank, 0);
      ready.push_back(program.num_ranks - 1 - rank);
    }
    while (!ready.empty()) {
      uint32_t rank = ready.back();
      ready.pop_back();
      const cleave_command *command = current(rank);
      if (!command)
        continue;
      Membership set = groups.find(command->group, rank);
      if (absent(set, command->group) != set.size)
        continue;
      if (int32_t status = verifyEqual(set))
        return status;
      for (uint32_t i = 0; i < set.size; ++i) {
        next[set.ranks[i]] = collectiveFrom(set.ranks[i], next[set.ranks[i]] + 1);
        ready.push_back(set.ranks[i]);
      }
    }
    return verifyEnded();
  }

private:
  uint32_t collectiveFrom(uint32_t rank, uint32_t index) const {
    uint32_t count;
    const cleave_command *list = listOf(program, rank, load, count);
    while (index < count && !isCollective(list[index].op))
      ++index;
    return index;
  }

  /// The collective that a rank stands at, or null at its end.
  const cleave_command *current(uint32_t rank) const {
    uint32_t count;
    const cleave_command *list = listOf(program, rank, load, count);
    return next[rank] < count ? list + next[rank] : nullptr;
  }

  Place placeOf(uint32_t rank) const { return {rank, next[rank], load, current(rank)}; }

  /// The first member that stands at no collective of `group`; the size of
  /// the set where all do.
  uint32_t absent(const Membership &set, uint32_t group) const {
    for (uint32_t i = 0; i < set.size; ++i) {
      const cleave_command *command = current(set.ranks[i]);
      if (!command || command->group != group)
        return i;
    }
    return set.size;
  }

  int32_t verifyEqual(const Membership &set) const {
    const cleave_command &first = *current(set.ranks[0]);
    for (uint32_t i = 1; i < set.size; ++i) {
      const cleave_command &other = *current(set.ranks[i]);
      const char *what = difference(first, other);
      if (!what)
        continue;
      char where[512];
      describe(where, sizeof where, placeOf(set.ranks[0]));
      return failAt(error, CLEAVE_REFUSED, placeOf(set.ranks[i]),
                    "the %s differs from that of rank %u, %.300s", what, set.ranks[0], where);
    }
    return CLEAVE_OK;
  }

  const char *difference(const cleave_command &a, const cleave_command &b) const {
    if (a.op != b.op)
      return "collective";
    if (a.type != b.type)
      return "type";
    if (isReducing(a.op) && a.reduction != b.reduction)
      return "reduction";
    const uint64_t *countsA = program.counts + a.first_count;
    const uint64_t *countsB = program.counts + b.first_count;
    if (!std::equal(countsA, countsA + a.num_counts, countsB, countsB + b.num_counts))
      return "list of counts";
    return nullptr;
  }

  int32_t verifyEnded() const {
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
      const cleave_command *command = current(rank);
      if (!command)
        continue;
      Membership set = groups.find(command->group, rank);
      uint32_t peer = set.ranks[absent(set, command->group)];
      if (!current(peer))
        return failAt(error, CLEAVE_REFUSED, placeOf(rank),
                      "waits for rank %u, which has no collective left", peer);
      char where[512];
      describe(where, sizeof where, placeOf(peer));
      return failAt(error, CLEAVE_REFUSED, placeOf(rank),
                    "waits for rank %u, which stands at %.300s of another "
                    "group",
                    peer, where);
    }
    return CLEAVE_OK;
  }

  const cleave_program &program;
  const Groups &groups;
  bool load;
  cleave_error *error;
  std::vector<uint32_t> next; ///< by rank: the collective it stands at
};

} // namespace

int32_t cleave::runtime::verifyOrder(const cleave_program &program, const Groups &groups, bool load,
                                     cleave_error *error) {
  return OrderVerifier(program, groups, load, error).verify();
}
