//===- Threads.cpp - all ranks in one process -----------------------------===//

#include "Threads.h"

#include "../Core/Verify.h"
#include "Reduce.h"
#include "Seal.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <numeric>

using namespace cleave::runtime;

namespace {

/// Where the members of a set meet; lines of its own for what many write.
struct alignas(64) Meeting {
  std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> round{0};
};

/// What one rank sends to another. Each number counts the sends of a run, and
/// is written by one side.
struct alignas(64) Channel {
  std::vector<const void *> sources; ///< a ring of as many as fly at once
  std::vector<Seal> seals;           ///< the same
  alignas(64) std::atomic<uint32_t> sent{0};
  uint32_t ended = 0; ///< by `wait`
  alignas(64) std::atomic<uint32_t> received{0};

  const void *&source(uint32_t number) { return sources[number & (sources.size() - 1)]; }
  Seal &seal(uint32_t number) { return seals[number & (seals.size() - 1)]; }
};

/// One exchange as a member sees it, with the blocks of all members.
struct Share {
  const Exchange &exchange;
  const Membership &self;
  const void *const *inputs; ///< [size], by member
  void *const *outputs;

  uint64_t elementBytes() const { return cleave_type_bytes(exchange.command->type); }

  /// Copies elements [begin, begin + count) of a member's input to `at`.
  void pull(uint32_t member, uint64_t begin, uint64_t count, uint64_t at) const {
    uint64_t bytes = elementBytes();
    if (count)
      memcpy(static_cast<char *>(exchange.output) + at * bytes,
             static_cast<const char *>(inputs[member]) + begin * bytes, count * bytes);
  }

  void reduce(uint64_t begin, uint64_t count, void *const *targets, uint32_t numTargets,
              uint64_t shift) const {
    if (count)
      findReduce(exchange.command->type, exchange.command->reduction)(
          {inputs, self.size, targets, numTargets, begin, count, shift});
  }

  void run() const;

private:
  void allReduce() const;
  void allGather() const;
  void reduceScatter() const;
  void allToAll() const;
};

class Threads final : public Communicator {
public:
  Threads(const cleave_program &program, const Groups &groups, bool checks);
  Outcome exchange(const Exchange &exchange, Waiter &waiter) noexcept override;
  void reset() noexcept override;

private:
  void createChannels();
  Channel &channel(uint32_t sender, uint32_t receiver);
  Outcome transfer(const Exchange &exchange, Waiter &waiter) noexcept;
  Outcome compareAll(const Exchange &exchange, const Membership &self, size_t place) const noexcept;

  /// Returns when all members have called it.
  static Wake meet(Meeting &meeting, uint32_t size, Waiter &waiter) noexcept;

  const cleave_program &program;
  const Groups &groups;
  std::vector<uint32_t> firstMeeting; ///< by group; one meeting a set
  std::vector<Meeting> meetings;
  // By group, set and member: where each has its bytes.
  std::vector<const void *> inputs;
  std::vector<void *> outputs;
  std::vector<Seal> seals; ///< of the inputs
  const bool checks;
  /// Pairs of ranks, ascending, and the channel of each.
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  std::vector<Channel> channels;
};

} // namespace

/// Each member combines one slice, in whole cache lines, for everybody.
void Share::allReduce() const {
  uint64_t n = exchange.counts[0];
  uint64_t slice = sliceOf(n, self.size, elementBytes());
  uint64_t begin = std::min(n, slice * self.member);
  reduce(begin, std::min(slice, n - begin), outputs, self.size, /*shift=*/0);
}

void Share::allGather() const {
  uint64_t at = 0;
  for (uint32_t member = 0; member < self.size; ++member) {
    pull(member, 0, exchange.counts[member], at);
    at += exchange.counts[member];
  }
}

void Share::reduceScatter() const {
  uint64_t begin = sum(exchange.counts, self.member);
  reduce(begin, exchange.counts[self.member], &exchange.output, 1,
         /*shift=*/begin);
}

void Share::allToAll() const {
  uint64_t at = 0;
  for (uint32_t member = 0; member < self.size; ++member) {
    const uint64_t *row = exchange.counts + uint64_t(member) * self.size;
    pull(member, sum(row, self.member), row[self.member], at);
    at += row[self.member];
  }
}

void Share::run() const {
  switch (exchange.command->op) {
  case CLEAVE_OP_ALL_REDUCE: return allReduce();
  case CLEAVE_OP_ALL_GATHER: return allGather();
  case CLEAVE_OP_REDUCE_SCATTER: return reduceScatter();
  case CLEAVE_OP_ALL_TO_ALL: return allToAll();
  }
}

Threads::Threads(const cleave_program &program, const Groups &groups, bool checks)
    : program(program), groups(groups), inputs(size_t(program.num_groups) * program.num_ranks),
      outputs(inputs.size()), seals(inputs.size()), checks(checks) {
  uint32_t numMeetings = 0;
  for (uint32_t g = 0; g < program.num_groups; ++g) {
    firstMeeting.push_back(numMeetings);
    numMeetings += program.num_ranks / program.groups[g].group_size;
  }
  meetings = std::vector<Meeting>(numMeetings);
  createChannels();
}

/// As many channels as there are pairs that send, each as long as the most sends
/// that it holds at once.
void Threads::createChannels() {
  struct Load {
    uint32_t now = 0, most = 0;
  };
  std::map<std::pair<uint32_t, uint32_t>, Load> loads;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
    for (bool load : {true, false})
      for (const cleave_command &command : listOf(program, rank, load)) {
        if (command.op != CLEAVE_OP_SEND && command.op != CLEAVE_OP_WAIT)
          continue;
        Load &own = loads[{rank, groups.peerOf(command, rank)}];
        own.now += command.op == CLEAVE_OP_SEND ? 1 : -1;
        own.most = std::max(own.most, own.now);
      }
  channels = std::vector<Channel>(loads.size());
  for (const auto &[pair, load] : loads) {
    channels[pairs.size()].sources.resize(std::bit_ceil(load.most));
    channels[pairs.size()].seals.resize(std::bit_ceil(load.most));
    pairs.push_back(pair);
  }
}

Channel &Threads::channel(uint32_t sender, uint32_t receiver) {
  auto found = std::lower_bound(pairs.begin(), pairs.end(), std::pair(sender, receiver));
  return channels[found - pairs.begin()];
}

void Threads::reset() noexcept {
  for (Meeting &meeting : meetings)
    meeting.arrived = meeting.round = 0;
  for (Channel &channel : channels)
    channel.sent = channel.received = channel.ended = 0;
}

static uint64_t inputBytes(const Exchange &e, const Membership &self, uint32_t member) {
  uint64_t given = 0, gotten;
  collectiveBytes(*e.command, e.counts, self.size, member, given, gotten);
  return given;
}

/// The receiver copies; the sender's memory stays as it is until it has.
Outcome Threads::transfer(const Exchange &e, Waiter &waiter) noexcept {
  uint32_t peer = groups.peerOf(*e.command, e.rank);
  bool receives = e.command->op == CLEAVE_OP_RECV;
  Channel &c = receives ? channel(peer, e.rank) : channel(e.rank, peer);
  uint64_t bytes =
      e.command->op == CLEAVE_OP_WAIT ? 0 : e.counts[0] * cleave_type_bytes(e.command->type);
  if (e.command->op == CLEAVE_OP_SEND) {
    uint32_t number = c.sent.load(std::memory_order_relaxed);
    c.source(number) = e.input;
    if (checks)
      c.seal(number) = seal(e, e.input, bytes);
    c.sent.store(number + 1, std::memory_order_release);
    return Outcome::Done;
  }
  if (!receives) {
    Wake wake = waiter.waitWhile(c.received, c.ended);
    c.ended += wake == Wake::Ready;
    return wake;
  }
  uint32_t number = c.received.load(std::memory_order_relaxed);
  Wake wake = waiter.waitWhile(c.sent, number);
  if (wake != Wake::Ready)
    return wake;
  if (bytes)
    memcpy(e.output, c.source(number), bytes);
  Outcome outcome = checks ? compare(e, c.seal(number), peer, e.output, bytes) : Outcome::Done;
  c.received.store(number + 1, std::memory_order_release);
  return outcome;
}

Wake Threads::meet(Meeting &meeting, uint32_t size, Waiter &waiter) noexcept {
  uint32_t round = meeting.round.load(std::memory_order_relaxed);
  if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < size)
    return waiter.waitWhile(meeting.round, round);
  meeting.arrived.store(0, std::memory_order_relaxed);
  meeting.round.store(round + 1, std::memory_order_release);
  return Wake::Ready;
}

/// Every byte of others that this rank may read.
Outcome Threads::compareAll(const Exchange &e, const Membership &self,
                            size_t place) const noexcept {
  for (uint32_t member = 0; member < self.size; ++member) {
    if (member == self.member)
      continue;
    if (Outcome outcome = compare(e, seals[place + member], self.ranks[member],
                                  inputs[place + member], inputBytes(e, self, member));
        !outcome)
      return outcome;
  }
  return Outcome::Done;
}

Outcome Threads::exchange(const Exchange &e, Waiter &waiter) noexcept {
  if (isTransfer(e.command->op))
    return transfer(e, waiter);
  uint32_t group = e.command->group;
  Membership self = groups.find(group, e.rank);
  Meeting &meeting = meetings[firstMeeting[group] + self.set];
  size_t place = size_t(group) * program.num_ranks + self.set * self.size;
  inputs[place + self.member] = e.input;
  outputs[place + self.member] = e.output;
  if (checks)
    seals[place + self.member] = seal(e, e.input, inputBytes(e, self, self.member));

  Wake wake = meet(meeting, self.size, waiter);
  if (wake != Wake::Ready)
    return wake;
  if (checks) {
    if (Outcome outcome = compareAll(e, self, place); !outcome)
      return outcome;
    // In place, an output is the input that another still compares.
    if (wake = meet(meeting, self.size, waiter); wake != Wake::Ready)
      return wake;
  }
  Share{e, self, &inputs[place], &outputs[place]}.run();
  return meet(meeting, self.size, waiter);
}

std::unique_ptr<Communicator> cleave::runtime::createThreads(const cleave_program &program,
                                                             const Groups &groups, bool checks) {
  return std::make_unique<Threads>(program, groups, checks);
}
