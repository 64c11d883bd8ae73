//===- VerifyOrder.cpp - all members meet, in one order -------------------===//
//
// The lists are run with nothing but their collectives and transfers. A rank
// stops at a collective until all members of its set stand there too, at a recv
// until its peer has sent, at a wait until its oldest send has been received;
// a send never stops it. If every rank reaches its end, no schedule of the real
// run can deadlock, and all schedules bring the same bytes to the same places:
//
// - What a rank may do next it may do whatever others do first: others that arrive or
//   send only add to what it waits for, and nobody but it takes from its queues. So
//   two steps of two ranks can change places, and by that any schedule can be turned
//   into this one, step by step: all end, or all are stuck at the same commands.
// - Each pair of ranks has a queue of its own and nobody receives from "anyone", so
//   the k-th recv gets the k-th send in all of them; type, count and group are compared
//   here for each pair, as are all members of a collective, and of what a collective is
//   (its name), so that two equal ones that changed places are found as well.
// - From a send to its wait, which stand in one list, nothing of that list writes what
//   flies; and of other ranks none can.
//
// A real run may let a wait go on earlier, when the bytes are buffered: it then does
// what it may do later as well.
//
//===----------------------------------------------------------------------===//

#include "Verify.h"

#include "Error.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

using namespace cleave::runtime;

namespace {

/// What one rank sends to another.
struct Queue {
  std::deque<uint32_t> sent;    ///< sends not received, by index in the sender's list
  std::deque<uint32_t> started; ///< sends not ended
};

class OrderVerifier {
public:
  OrderVerifier(const cleave_program &program, const Groups &groups, bool load, cleave_error *error)
      : program(program), groups(groups), load(load), error(error), next(program.num_ranks),
        flying(program.num_ranks) {}

  int32_t verify() {
    for (uint32_t rank = program.num_ranks; rank--;)
      ready.push_back(rank);
    while (!ready.empty()) {
      uint32_t rank = ready.back();
      ready.pop_back();
      if (int32_t status = advance(rank))
        return status;
    }
    return verifyEnded();
  }

private:
  /// Goes on with a rank until it has to wait.
  int32_t advance(uint32_t rank) {
    while (const cleave_command *command = current(rank)) {
      if (int32_t status = verifyWrites(rank, *command))
        return status;
      bool goesOn = true;
      int32_t status = CLEAVE_OK;
      if (isCollective(command->op))
        status = meet(rank, *command, goesOn);
      else if (isTransfer(command->op))
        status = transfer(rank, *command, goesOn);
      if (status || !goesOn)
        return status;
      ++next[rank];
    }
    return CLEAVE_OK;
  }

  int32_t meet(uint32_t rank, const cleave_command &command, bool &goesOn) {
    Membership set = groups.find(command.group, rank);
    goesOn = absent(set, command.group) == set.size;
    if (!goesOn)
      return CLEAVE_OK;
    if (int32_t status = verifyEqual(set))
      return status;
    for (uint32_t i = 0; i < set.size; ++i)
      if (set.ranks[i] != rank) {
        ++next[set.ranks[i]];
        ready.push_back(set.ranks[i]);
      }
    return CLEAVE_OK;
  }

  int32_t transfer(uint32_t rank, const cleave_command &command, bool &goesOn) {
    uint32_t peer = groups.peerOf(command, rank);
    if (command.op == CLEAVE_OP_RECV) {
      Queue &queue = queues[{peer, rank}];
      goesOn = !queue.sent.empty();
      return goesOn ? receive(rank, command, peer, queue) : CLEAVE_OK;
    }
    Queue &queue = queues[{rank, peer}];
    if (command.op == CLEAVE_OP_SEND) {
      queue.sent.push_back(next[rank]);
      queue.started.push_back(next[rank]);
      flying[rank].push_back(next[rank]);
      ready.push_back(peer);
      return CLEAVE_OK;
    }
    if (queue.started.empty())
      return failAt(error, CLEAVE_REFUSED, placeOf(rank),
                    "waits for a send to rank %u that was not started", peer);
    goesOn = queue.started.size() > queue.sent.size();
    if (goesOn) {
      std::erase(flying[rank], queue.started.front());
      queue.started.pop_front();
    }
    return CLEAVE_OK;
  }

  int32_t receive(uint32_t rank, const cleave_command &command, uint32_t peer, Queue &queue) {
    Place sent{peer, queue.sent.front(), load, &listOf(program, peer, load)[queue.sent.front()]};
    queue.sent.pop_front();
    ready.push_back(peer);
    const char *what =
        sent.command->group == command.group ? difference(command, *sent.command) : "group";
    if (!what)
      return CLEAVE_OK;
    char where[512];
    describe(where, sizeof where, sent);
    return failAt(error, CLEAVE_REFUSED, placeOf(rank),
                  "the %s differs from what rank %u sends, %.300s", what, peer, where);
  }

  /// Nothing may be written that is on its way.
  int32_t verifyWrites(uint32_t rank, const cleave_command &command) const {
    uint32_t written = numWritten(command);
    for (uint32_t index : flying[rank]) {
      const cleave_command &send = listOf(program, rank, load)[index];
      const cleave_buffer &source = program.buffers[send.first_buffer];
      for (uint32_t i = command.num_buffers - written; i < command.num_buffers; ++i)
        if (overlap(source, program.buffers[command.first_buffer + i])) {
          char where[512];
          describe(where, sizeof where, {rank, index, load, &send});
          return failAt(error, CLEAVE_REFUSED, placeOf(rank),
                        "writes buffer %u, which %.300s still sends",
                        i - (command.num_buffers - written), where);
        }
    }
    return CLEAVE_OK;
  }

  /// The command that a rank stands at, or null at its end.
  const cleave_command *current(uint32_t rank) const {
    std::span<const cleave_command> list = listOf(program, rank, load);
    return next[rank] < list.size() ? &list[next[rank]] : nullptr;
  }

  Place placeOf(uint32_t rank) const { return {rank, next[rank], load, current(rank)}; }

  /// The first member that stands at no collective of `group`; the size of
  /// the set where all do.
  uint32_t absent(const Membership &set, uint32_t group) const {
    for (uint32_t i = 0; i < set.size; ++i) {
      const cleave_command *command = current(set.ranks[i]);
      if (!command || !isCollective(command->op) || command->group != group)
        return i;
    }
    return set.size;
  }

  int32_t verifyEqual(const Membership &set) const {
    const cleave_command &first = *current(set.ranks[0]);
    for (uint32_t i = 1; i < set.size; ++i) {
      const cleave_command &other = *current(set.ranks[i]);
      const char *what = first.op == other.op ? difference(first, other) : "collective";
      // Equal in all but what they are of: two of them have changed places.
      if (!what && strcmp(nameOf(first.name), nameOf(other.name)))
        what = "name";
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
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
      if (const cleave_command *command = current(rank))
        return failStanding(rank, *command);
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
      if (!flying[rank].empty()) {
        uint32_t index = flying[rank].front();
        return failAt(error, CLEAVE_REFUSED,
                      {rank, index, load, &listOf(program, rank, load)[index]},
                      "is not waited for");
      }
    return CLEAVE_OK;
  }

  int32_t failStanding(uint32_t rank, const cleave_command &command) const {
    Membership set = groups.find(command.group, rank);
    uint32_t peer = set.ranks[isTransfer(command.op) ? command.peer : absent(set, command.group)];
    if (!current(peer))
      return failAt(error, CLEAVE_REFUSED, placeOf(rank), "waits for rank %u, which is at its end",
                    peer);
    char where[512];
    describe(where, sizeof where, placeOf(peer));
    return failAt(error, CLEAVE_REFUSED, placeOf(rank), "waits for rank %u, which stands at %.300s",
                  peer, where);
  }

  const cleave_program &program;
  const Groups &groups;
  bool load;
  cleave_error *error;
  std::vector<uint32_t> next; ///< by rank: the command it stands at
  /// By rank: its sends that have not ended.
  std::vector<std::vector<uint32_t>> flying;
  std::map<std::pair<uint32_t, uint32_t>, Queue> queues; ///< by sender and receiver
  std::vector<uint32_t> ready;                           ///< ranks that may go on
};

} // namespace

int32_t cleave::runtime::verifyOrder(const cleave_program &program, const Groups &groups, bool load,
                                     cleave_error *error) {
  return OrderVerifier(program, groups, load, error).verify();
}
