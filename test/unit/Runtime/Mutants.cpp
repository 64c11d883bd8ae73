//===- Mutants.cpp - programs with one thing wrong, and whether it is -----===//

#include "Mutants.h"

#include <algorithm>
#include <cstring>
#include <map>

using namespace cleave::test;

static bool isTransfer(uint8_t op) {
  return op == CLEAVE_OP_SEND || op == CLEAVE_OP_RECV || op == CLEAVE_OP_WAIT;
}

static bool isExchange(uint8_t op) { return op >= CLEAVE_OP_ALL_REDUCE && op <= CLEAVE_OP_WAIT; }

static bool reduces(uint8_t op) {
  return op == CLEAVE_OP_ALL_REDUCE || op == CLEAVE_OP_REDUCE_SCATTER;
}

namespace {

/// Where a rank is in a group.
struct Seat {
  uint32_t set, member, size;
  const uint32_t *ranks;
};

} // namespace

static Seat seatOf(const cleave_program &program, uint32_t group, uint32_t rank) {
  const cleave_group &entry = program.groups[group];
  auto *place = std::find(entry.members, entry.members + program.num_ranks, rank);
  auto at = uint32_t(place - entry.members);
  return {at / entry.group_size, at % entry.group_size, entry.group_size,
          entry.members + size_t(at / entry.group_size) * entry.group_size};
}

Builder cleave::test::ownLists(const cleave_program &program) {
  Builder builder(program.num_ranks);
  builder.program.num_axes = program.num_axes;
  builder.coordinates.assign(program.coordinates,
                             program.coordinates + size_t(program.num_ranks) * program.num_axes);
  for (uint32_t g = 0; g < program.num_groups; ++g)
    builder.group({program.groups[g].members, program.groups[g].members + program.num_ranks},
                  program.groups[g].group_size);
  builder.kernels.assign(program.kernels, program.kernels + program.num_kernels);
  builder.files.assign(program.files, program.files + program.num_files);
  builder.inputs.assign(program.inputs, program.inputs + program.num_inputs);
  builder.outputs.assign(program.outputs, program.outputs + program.num_outputs);
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
    builder.programs[rank] = own;
    auto copy = [&](std::vector<cleave_command> &list, const cleave_command *from, uint32_t count) {
      for (uint32_t i = 0; i < count; ++i)
        builder.add(list, from[i],
                    {program.buffers + from[i].first_buffer,
                     program.buffers + from[i].first_buffer + from[i].num_buffers},
                    {program.counts + from[i].first_count,
                     program.counts + from[i].first_count + from[i].num_counts});
    };
    copy(builder.load[rank], own.load, own.num_load);
    copy(builder.main[rank], own.main, own.num_main);
  }
  return builder;
}

/// Elements that a member gives to and gets from a collective.
static std::pair<uint64_t, uint64_t> elementsOf(const cleave_command &command,
                                                const uint64_t *counts, const Seat &seat) {
  auto sum = [&](uint64_t first, uint64_t stride) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < seat.size; ++i)
      total += counts[first + i * stride];
    return total;
  };
  switch (command.op) {
  case CLEAVE_OP_ALL_GATHER: return {counts[seat.member], sum(0, 1)};
  case CLEAVE_OP_REDUCE_SCATTER: return {sum(0, 1), counts[seat.member]};
  case CLEAVE_OP_ALL_TO_ALL:
    return {sum(uint64_t(seat.member) * seat.size, 1), sum(seat.member, seat.size)};
  }
  return {counts[0], counts[0]};
}

/// Makes the buffers of a command what its counts say; false where they would grow.
static bool fit(Builder &builder, uint32_t rank, const cleave_command &command) {
  builder.finish();
  uint64_t bytes = cleave_type_bytes(command.type);
  auto [given, gotten] = elementsOf(command, &builder.counts[command.first_count],
                                    seatOf(builder.program, command.group, rank));
  cleave_buffer *buffers = &builder.buffers[command.first_buffer];
  for (uint32_t i = 0; i < command.num_buffers; ++i) {
    uint64_t wanted = (i ? gotten : given) * bytes;
    if (wanted > buffers[i].bytes)
      return false;
    buffers[i].bytes = wanted;
  }
  return true;
}

namespace {

/// One change; each returns whether it could be made.
class Mutation {
public:
  Mutation(Builder &builder, std::mt19937 &random)
      : builder(builder), random(random), rank(random() % builder.program.num_ranks),
        list(builder.main[rank]) {
    for (uint32_t i = 0; i < list.size(); ++i)
      if (isExchange(list[i].op))
        places.push_back(i);
  }

  std::string make() {
    if (places.empty())
      return "";
    at = places[random() % places.size()];
    using Change = bool (Mutation::*)();
    static const std::pair<const char *, Change> changes[] = {
        {"swapped", &Mutation::swap},
        {"dropped", &Mutation::drop},
        {"doubled", &Mutation::repeat},
        {"other size", &Mutation::size},
        {"other group", &Mutation::group},
        {"other type", &Mutation::type},
        {"other reduction", &Mutation::reduction},
        {"other peer", &Mutation::peer},
        {"overwritten", &Mutation::overwrite}};
    const auto &[name, change] = changes[random() % std::size(changes)];
    std::string what = std::string(name) + ": rank " + std::to_string(rank) + ", command " +
                       std::to_string(at) + ", " + cleave_op_name(list[at].op);
    return (this->*change)() ? what : "";
  }

private:
  bool swap() {
    uint32_t other = places[random() % places.size()];
    std::swap(list[at], list[other]);
    return at != other;
  }
  bool drop() {
    list.erase(list.begin() + at);
    return true;
  }
  bool repeat() {
    list.insert(list.begin() + at, cleave_command(list[at]));
    return true;
  }
  bool size() {
    cleave_command &c = list[at];
    if (!c.num_counts)
      return false;
    uint64_t &count = builder.counts[c.first_count + random() % c.num_counts];
    return count && (--count, fit(builder, rank, c));
  }
  bool group() {
    uint32_t other = random() % uint32_t(builder.groups.size());
    if (builder.groups[other].group_size != builder.groups[list[at].group].group_size ||
        other == list[at].group)
      return false;
    list[at].group = other;
    return isSound();
  }
  bool type() {
    list[at].type = uint8_t(random() % CLEAVE_NUM_TYPES);
    return fit(builder, rank, list[at]);
  }
  bool reduction() {
    list[at].reduction = uint8_t(random() % CLEAVE_NUM_REDUCTIONS);
    return true;
  }
  bool peer() {
    list[at].peer = random() % builder.groups[list[at].group].group_size;
    return isSound();
  }
  /// Zeros to what is sent, before its wait.
  bool overwrite() {
    if (list[at].op != CLEAVE_OP_SEND)
      return false;
    cleave_buffer source = builder.buffers[list[at].first_buffer];
    if (source.space != CLEAVE_SPACE_ARENA)
      return false;
    std::vector<cleave_command> added;
    builder.add(added, local(CLEAVE_OP_FILL, "zeros"), {source});
    list.insert(list.begin() + at + 1, added[0]);
    return true;
  }
  /// A transfer goes to another rank.
  bool isSound() {
    builder.finish();
    Seat seat = seatOf(builder.program, list[at].group, rank);
    if (isTransfer(list[at].op))
      return list[at].peer != seat.member;
    return fit(builder, rank, list[at]);
  }

  Builder &builder;
  std::mt19937 &random;
  uint32_t rank, at = 0;
  std::vector<cleave_command> &list;
  std::vector<uint32_t> places;
};

/// Runs the exchanges of a program; which rank goes next is drawn.
class Schedule {
public:
  Schedule(const cleave_program &program, std::mt19937 &random)
      : program(program), random(random), next(program.num_ranks), arrived(program.num_ranks),
        flying(program.num_ranks) {}

  std::string run() {
    std::vector<uint32_t> ranks(program.num_ranks);
    std::iota(ranks.begin(), ranks.end(), 0);
    for (bool moved = true; moved;) {
      moved = false;
      std::shuffle(ranks.begin(), ranks.end(), random);
      for (uint32_t rank : ranks)
        for (uint32_t steps = random() % 4; steps-- && step(rank);)
          moved = true;
      for (uint32_t rank : ranks)
        if (problem.empty() && !moved)
          moved = step(rank);
      if (!problem.empty())
        return problem;
    }
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
      if (current(rank))
        return "rank " + std::to_string(rank) + " never ends";
      if (!flying[rank].empty())
        return "rank " + std::to_string(rank) + " never ends a send";
    }
    return "";
  }

private:
  const cleave_command *current(uint32_t rank) const {
    const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
    return next[rank] < own.num_main ? own.main + next[rank] : nullptr;
  }

  const uint64_t *counts(const cleave_command &c) const { return program.counts + c.first_count; }

  bool sameCounts(const cleave_command &a, const cleave_command &b) const {
    return std::equal(counts(a), counts(a) + a.num_counts, counts(b), counts(b) + b.num_counts);
  }

  bool step(uint32_t rank) {
    const cleave_command *c = current(rank);
    if (!c || !problem.empty())
      return false;
    checkWrites(rank, *c);
    bool goes = !isExchange(c->op) ? true : isTransfer(c->op) ? transfer(rank, *c) : meet(rank, *c);
    next[rank] += goes;
    return goes;
  }

  void checkWrites(uint32_t rank, const cleave_command &c) {
    uint32_t written = c.op == CLEAVE_OP_LAUNCH                           ? c.num_outputs
                       : c.op == CLEAVE_OP_SEND || c.op == CLEAVE_OP_WAIT ? 0
                                                                          : 1;
    for (const cleave_command *send : flying[rank])
      for (uint32_t i = c.num_buffers - written; i < c.num_buffers; ++i) {
        const cleave_buffer &a = program.buffers[send->first_buffer];
        const cleave_buffer &b = program.buffers[c.first_buffer + i];
        if (a.space == b.space && a.index == b.index && a.bytes && b.bytes &&
            std::max(a.offset, b.offset) < std::min(a.offset + a.bytes, b.offset + b.bytes))
          problem = "rank " + std::to_string(rank) + " writes what flies";
      }
  }

  /// The last to come lets the others go.
  bool meet(uint32_t rank, const cleave_command &c) {
    if (arrived[rank]) {
      arrived[rank] = false;
      return true;
    }
    Seat seat = seatOf(program, c.group, rank);
    auto &members = meetings[{c.group, seat.set}];
    if (std::find(members.begin(), members.end(), rank) == members.end())
      members.push_back(rank);
    if (members.size() < seat.size)
      return false;
    for (uint32_t other : members) {
      const cleave_command &o = *current(other);
      if (o.op != c.op || o.type != c.type || (reduces(c.op) && o.reduction != c.reduction) ||
          !sameCounts(o, c) || strcmp(o.name, c.name))
        problem = "rank " + std::to_string(other) + " meets rank " + std::to_string(rank) +
                  " in another collective";
      arrived[other] = other != rank;
    }
    members.clear();
    return true;
  }

  bool transfer(uint32_t rank, const cleave_command &c) {
    uint32_t peer = seatOf(program, c.group, rank).ranks[c.peer];
    if (c.op == CLEAVE_OP_SEND) {
      messages[{rank, peer}].push_back(&c);
      flying[rank].push_back(&c);
      sends[{rank, peer}].push_back(&c);
      return true;
    }
    if (c.op == CLEAVE_OP_RECV) {
      auto &queue = messages[{peer, rank}];
      if (queue.empty())
        return false;
      const cleave_command &sent = *queue.front();
      queue.pop_front();
      if (sent.type != c.type || sent.group != c.group || !sameCounts(sent, c))
        problem = "rank " + std::to_string(rank) + " receives another message";
      return true;
    }
    auto &own = sends[{rank, peer}];
    if (own.empty()) {
      problem = "rank " + std::to_string(rank) + " ends no send";
      return false;
    }
    if (own.size() <= messages[{rank, peer}].size())
      return false;
    flying[rank].erase(std::find(flying[rank].begin(), flying[rank].end(), own.front()));
    own.pop_front();
    return true;
  }

  using Pair = std::pair<uint32_t, uint32_t>;
  const cleave_program &program;
  std::mt19937 &random;
  std::vector<uint32_t> next;
  std::vector<bool> arrived; ///< at a collective that all have reached
  std::map<Pair, std::vector<uint32_t>> meetings;
  std::map<Pair, std::deque<const cleave_command *>> messages, sends;
  std::vector<std::vector<const cleave_command *>> flying;
  std::string problem;
};

} // namespace

std::string cleave::test::mutate(Builder &builder, std::mt19937 &random) {
  builder.finish();
  return Mutation(builder, random).make();
}

std::string cleave::test::whatIsWrong(const cleave_program &program, std::mt19937 &random,
                                      uint32_t schedules) {
  std::string problem;
  while (schedules-- && problem.empty())
    problem = Schedule(program, random).run();
  return problem;
}

Proof cleave::test::provesMutants(const cleave_program &program, uint32_t count,
                                  std::mt19937 &random) {
  Proof proof;
  if (std::string wrong = whatIsWrong(program, random, 4); !wrong.empty())
    proof.problem = "the program itself: " + wrong;
  while (proof.mutants < count && proof.problem.empty()) {
    Builder mutant = ownLists(program);
    std::string how = mutate(mutant, random);
    if (how.empty())
      continue;
    ++proof.mutants;
    cleave_error error = {};
    bool passes = cleave_program_verify(mutant.finish(), &error) == CLEAVE_OK;
    std::string wrong = whatIsWrong(mutant.program, random, 4);
    proof.equivalent += wrong.empty();
    if (passes != wrong.empty())
      proof.problem = how + "; the schedules say: " + (wrong.empty() ? "equivalent" : wrong) +
                      "; the verifier says: " + (passes ? "sound" : error.message);
  }
  return proof;
}
