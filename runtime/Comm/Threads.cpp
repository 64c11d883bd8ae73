//===- Threads.cpp - all ranks in one process -----------------------------===//

#include "Threads.h"

#include "Reduce.h"

#include <algorithm>
#include <cstring>
#include <numeric>

using namespace cleave::runtime;

static uint64_t sum(const uint64_t *counts, uint64_t n, uint64_t stride = 1) {
  uint64_t total = 0;
  for (uint64_t i = 0; i < n; ++i)
    total += counts[i * stride];
  return total;
}

namespace {

/// Where the members of a set meet; lines of its own for what many write.
struct alignas(64) Meeting {
  std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> round{0};
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
  Threads(const cleave_program &program, const Groups &groups);
  Wake exchange(const Exchange &exchange, Waiter &waiter) noexcept override;
  void reset() noexcept override;

private:
  /// Returns when all members have called it.
  static Wake meet(Meeting &meeting, uint32_t size, Waiter &waiter) noexcept;

  const cleave_program &program;
  const Groups &groups;
  std::vector<uint32_t> firstMeeting; ///< by group; one meeting a set
  std::vector<Meeting> meetings;
  // By group, set and member: where each has its bytes.
  std::vector<const void *> inputs;
  std::vector<void *> outputs;
};

} // namespace

/// Each member combines one slice, in whole cache lines, for everybody.
void Share::allReduce() const {
  uint64_t n = exchange.counts[0];
  uint64_t line = 64 / elementBytes();
  uint64_t slice = ((n + self.size - 1) / self.size + line - 1) / line * line;
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

Threads::Threads(const cleave_program &program, const Groups &groups)
    : program(program), groups(groups), inputs(size_t(program.num_groups) * program.num_ranks),
      outputs(inputs.size()) {
  uint32_t numMeetings = 0;
  for (uint32_t g = 0; g < program.num_groups; ++g) {
    firstMeeting.push_back(numMeetings);
    numMeetings += program.num_ranks / program.groups[g].group_size;
  }
  meetings = std::vector<Meeting>(numMeetings);
}

void Threads::reset() noexcept {
  for (Meeting &meeting : meetings)
    meeting.arrived = meeting.round = 0;
}

Wake Threads::meet(Meeting &meeting, uint32_t size, Waiter &waiter) noexcept {
  uint32_t round = meeting.round.load(std::memory_order_relaxed);
  if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < size)
    return waiter.waitWhile(meeting.round, round);
  meeting.arrived.store(0, std::memory_order_relaxed);
  meeting.round.store(round + 1, std::memory_order_release);
  return Wake::Ready;
}

Wake Threads::exchange(const Exchange &e, Waiter &waiter) noexcept {
  uint32_t group = e.command->group;
  Membership self = groups.find(group, e.rank);
  Meeting &meeting = meetings[firstMeeting[group] + self.set];
  size_t place = size_t(group) * program.num_ranks + self.set * self.size;
  inputs[place + self.member] = e.input;
  outputs[place + self.member] = e.output;

  Wake wake = meet(meeting, self.size, waiter);
  if (wake != Wake::Ready)
    return wake;
  Share{e, self, &inputs[place], &outputs[place]}.run();
  return meet(meeting, self.size, waiter);
}

std::unique_ptr<Communicator> cleave::runtime::createThreads(const cleave_program &program,
                                                             const Groups &groups) {
  return std::make_unique<Threads>(program, groups);
}
