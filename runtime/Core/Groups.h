//===- Groups.h - who meets whom ------------------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_GROUPS_H
#define CLEAVE_RUNTIME_CORE_GROUPS_H

#include "cleave/Runtime/Program.h"

#include <vector>

namespace cleave::runtime {

/// The set of a group that a rank belongs to, and its number in it.
struct Membership {
  uint32_t set;
  uint32_t member;
  uint32_t size;
  const uint32_t *ranks; ///< [size], by member number
};

/// The groups of a verified program, looked up by rank.
class Groups {
public:
  explicit Groups(const cleave_program &program) : program(program) {
    places.resize(size_t(program.num_groups) * program.num_ranks);
    for (uint32_t g = 0; g < program.num_groups; ++g)
      for (uint32_t i = 0; i < program.num_ranks; ++i)
        places[index(g, program.groups[g].members[i])] = i;
  }

  Membership find(uint32_t group, uint32_t rank) const {
    const cleave_group &entry = program.groups[group];
    uint32_t place = places[index(group, rank)];
    uint32_t set = place / entry.group_size;
    return {set, place % entry.group_size, entry.group_size,
            entry.members + size_t(set) * entry.group_size};
  }

  /// The rank that a transfer of `rank` goes to or comes from.
  uint32_t peerOf(const cleave_command &command, uint32_t rank) const {
    return find(command.group, rank).ranks[command.peer];
  }

private:
  size_t index(uint32_t group, uint32_t rank) const {
    return size_t(group) * program.num_ranks + rank;
  }

  const cleave_program &program;
  std::vector<uint32_t> places; ///< [group][rank], index into its members
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_GROUPS_H
