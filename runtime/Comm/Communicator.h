//===- Communicator.h - how ranks exchange bytes --------------*- C++ -*-===//
//
// One suite, test/unit/Runtime/Conformance.cpp, says what every communicator
// must do; README.md why it is what it is.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_COMM_COMMUNICATOR_H
#define CLEAVE_RUNTIME_COMM_COMMUNICATOR_H

#include "../Host/Workers.h"

namespace cleave::runtime {

/// One rank's part of a collective or transfer, as the tables in Program.h lay it
/// out. A send has no output, a recv no input, a wait neither.
struct Exchange {
  const cleave_command *command;
  uint32_t rank;
  const void *input;
  void *output;
  const uint64_t *counts;
};

class Communicator {
public:
  virtual ~Communicator() = default;

  /// Returns when `output` holds the result and `input` may be overwritten; of a
  /// send at once.
  virtual Wake exchange(const Exchange &exchange, Waiter &waiter) noexcept = 0;

  /// Forgets exchanges that a failed run left half done. Nobody is in one.
  virtual void reset() noexcept = 0;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_COMMUNICATOR_H
