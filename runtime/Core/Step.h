//===- Step.h - a command whose places are known --------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_STEP_H
#define CLEAVE_RUNTIME_CORE_STEP_H

#include "Verify.h"

namespace cleave::runtime {

/// A command of one rank, its buffers resolved to addresses.
struct Step {
  const cleave_command *command;
  void **pointers;
  uint64_t bytes;             ///< of a copy or fill; sent, of a collective or transfer
  void **arguments = nullptr; ///< of a launch on a device
};

/// What an exchange reads and writes; null and 0 where it does not.
struct Ends {
  void *input = nullptr, *output = nullptr;
  uint64_t bytesIn = 0, bytesOut = 0;
};

inline Ends endsOf(const cleave_program &program, const Step &step) {
  const cleave_command &command = *step.command;
  std::span<const cleave_buffer> buffers = buffersOf(program, command);
  Ends ends;
  if (command.op != CLEAVE_OP_RECV && command.op != CLEAVE_OP_WAIT) {
    ends.input = step.pointers[0];
    ends.bytesIn = buffers[0].bytes;
  }
  if (numWritten(command)) {
    ends.output = step.pointers[command.num_buffers - 1];
    ends.bytesOut = buffers.back().bytes;
  }
  return ends;
}

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_STEP_H
