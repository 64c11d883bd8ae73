//===- Proofs.cpp - the verifier and drawn schedules agree on mutants -----===//

#include "Mutants.h"

#include <gtest/gtest.h>

using namespace cleave::test;

/// A sound program of drawn shape: exchanges in one global order, which no list can
/// deadlock in, and sends that end some exchanges later.
static Builder drawProgram(std::mt19937 &random) {
  static const uint32_t rankCounts[] = {2, 3, 4, 6};
  uint32_t ranks = rankCounts[random() % std::size(rankCounts)];
  Builder builder(ranks);
  builder.world();
  for (uint32_t extra = 0; extra < 3; ++extra) {
    std::vector<uint32_t> members(ranks);
    std::iota(members.begin(), members.end(), 0);
    std::shuffle(members.begin(), members.end(), random);
    builder.group(members, ranks % 2 == 0 && extra ? 2 : ranks);
  }
  builder.finish();
  std::vector<std::deque<cleave_command>> ends(ranks);
  uint64_t top = 0; ///< of the arenas; each exchange has memory of its own
  auto endOldest = [&](uint32_t rank) {
    builder.add(builder.main[rank], ends[rank].front(), {});
    ends[rank].pop_front();
  };
  for (uint32_t i = 0, count = 4 + random() % 12; i < count; ++i) {
    uint32_t group = random() % uint32_t(builder.groups.size());
    const cleave_group &entry = builder.groups[group];
    const uint32_t *set = entry.members + random() % (ranks / entry.group_size) * entry.group_size;
    uint64_t elements = random() % 8;
    auto type = uint8_t(random() % CLEAVE_NUM_TYPES);
    uint64_t bytes = elements * cleave_type_bytes(type);
    cleave_buffer in{CLEAVE_SPACE_ARENA, 0, top, bytes},
        out{CLEAVE_SPACE_ARENA, 0, top + bytes, bytes};
    builder.names.push_back("exchange " + std::to_string(i));
    const char *name = builder.names.back().c_str();
    if (random() % 2) {
      uint32_t from = random() % entry.group_size;
      uint32_t to = (from + 1 + random() % (entry.group_size - 1)) % entry.group_size;
      builder.add(builder.main[set[from]], transfer(CLEAVE_OP_SEND, type, group, to, name), {in},
                  {elements});
      ends[set[from]].push_back(transfer(CLEAVE_OP_WAIT, 0, group, to, name));
      builder.add(builder.main[set[to]], transfer(CLEAVE_OP_RECV, type, group, from, name), {out},
                  {elements});
      top += 2 * bytes;
      if (ends[set[from]].size() > random() % 3)
        endOldest(set[from]);
      continue;
    }
    auto op = cleave_op(CLEAVE_OP_ALL_REDUCE + random() % 3);
    auto reduction = uint8_t(random() % CLEAVE_NUM_REDUCTIONS);
    uint64_t whole = bytes * entry.group_size;
    std::vector<uint64_t> counts(op == CLEAVE_OP_ALL_REDUCE ? 1 : entry.group_size, elements);
    if (op == CLEAVE_OP_ALL_GATHER)
      out.bytes = whole;
    if (op == CLEAVE_OP_REDUCE_SCATTER)
      in.bytes = whole;
    out.offset = in.offset + in.bytes;
    top = out.offset + out.bytes;
    for (uint32_t member = 0; member < entry.group_size; ++member)
      builder.add(builder.main[set[member]], collective(op, type, reduction, group, name),
                  {in, out}, counts);
  }
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    while (!ends[rank].empty())
      endOldest(rank);
    builder.programs[rank].arena_bytes = top;
  }
  return builder;
}

TEST(Proofs, MutantsOfDrawnProgramsAreRefusedUnlessEquivalent) {
  std::mt19937 random(3);
  uint32_t mutants = 0, equivalent = 0;
  while (mutants - equivalent < 1000) {
    Builder builder = drawProgram(random);
    cleave_error error = {};
    ASSERT_EQ(cleave_program_verify(builder.finish(), &error), CLEAVE_OK) << error.message;
    Proof proof = provesMutants(builder.program, 20, random);
    ASSERT_EQ(proof.problem, "");
    mutants += proof.mutants;
    equivalent += proof.equivalent;
  }
  printf("%u mutants, %u of them equivalent\n", mutants, equivalent);
}
