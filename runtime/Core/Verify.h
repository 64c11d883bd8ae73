//===- Verify.h - the parts of the proof that a program can run -*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_VERIFY_H
#define CLEAVE_RUNTIME_CORE_VERIFY_H

#include "Groups.h"

#include <span>

namespace cleave::runtime {

inline bool isCollective(uint8_t op) {
  switch (op) {
#define CLEAVE_COMMAND(ENUM, NAME)
#define CLEAVE_COLLECTIVE(ENUM, NAME) case CLEAVE_OP_##ENUM:
#include "cleave/Runtime/Commands.def"
    return true;
  }
  return false;
}

inline bool isTransfer(uint8_t op) {
  switch (op) {
#define CLEAVE_COMMAND(ENUM, NAME)
#define CLEAVE_TRANSFER(ENUM, NAME) case CLEAVE_OP_##ENUM:
#include "cleave/Runtime/Commands.def"
    return true;
  }
  return false;
}

/// Whether a command acts within a group.
inline bool isExchange(uint8_t op) { return isCollective(op) || isTransfer(op); }

inline bool isReducing(uint8_t op) {
  return op == CLEAVE_OP_ALL_REDUCE || op == CLEAVE_OP_REDUCE_SCATTER;
}

/// Bytes of a whole value; false where its dims lie or overflow.
bool valueBytes(const cleave_value &value, uint64_t &bytes);

/// Bytes that a member gives to and gets from a collective; false where they
/// overflow. `p` counts (p * p of all_to_all) must be there.
bool collectiveBytes(const cleave_command &command, const uint64_t *counts, uint32_t p,
                     uint32_t member, uint64_t &given, uint64_t &gotten);

/// How many of its buffers, the last ones, a command writes.
uint32_t numWritten(const cleave_command &command);

/// Whether `main` of a class writes output `index`, or a part of it.
bool writesOutput(const cleave_program &program, const cleave_rank_program &own, uint32_t index);

bool overlap(const cleave_buffer &a, const cleave_buffer &b);

/// Where in its buffer what a map shows ends; false where that overflows.
bool mapEnd(const cleave_map &map, uint64_t &end);

/// Commands and buffers of every rank; needs valid tables.
int32_t verifyCommands(const cleave_program &program, const Groups &groups, cleave_error *error);

/// All members meet in equal collectives, in one order; needs valid commands.
int32_t verifyOrder(const cleave_program &program, const Groups &groups, bool load,
                    cleave_error *error);

/// The list of a rank, and the buffers of a command.
inline std::span<const cleave_command> listOf(const cleave_program &program, uint32_t rank,
                                              bool load) {
  const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
  return load ? std::span(own.load, own.num_load) : std::span(own.main, own.num_main);
}
inline std::span<const cleave_buffer> buffersOf(const cleave_program &program,
                                                const cleave_command &command) {
  return {program.buffers + command.first_buffer, command.num_buffers};
}

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_VERIFY_H
