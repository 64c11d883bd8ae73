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

/// What fault injection does to an exchange (Core/Fault.h).
enum class Tamper : uint8_t { None, Drop, Corrupt, Diverge };

/// One rank's part of a collective or transfer, as the tables in Program.h lay it
/// out. A send has no output, a recv no input, a wait neither.
struct Exchange {
  const cleave_command *command;
  uint32_t rank;
  const void *input;
  void *output;
  const uint64_t *counts;
  uint32_t index = 0; ///< of the command in the rank's list
  Tamper tamper = Tamper::None;
};

/// How an exchange ended.
struct Outcome {
  enum Kind : uint8_t {
    Done,
    Late,      ///< the deadline passed
    Stopped,   ///< another rank failed
    Broken,    ///< the connection to others is lost
    Corrupted, ///< what `peer` sent did not arrive as it was
    Diverged,  ///< `peer` is at another exchange
  } kind = Done;
  uint32_t peer = 0;    ///< a rank
  uint32_t command = 0; ///< of the peer's list

  Outcome(Kind kind, uint32_t peer = 0, uint32_t command = 0)
      : kind(kind), peer(peer), command(command) {}
  Outcome(Wake wake) : kind(wake == Wake::Ready ? Done : wake == Wake::Late ? Late : Stopped) {}
  explicit operator bool() const { return kind == Done; }
};

inline uint64_t sum(const uint64_t *counts, uint64_t n, uint64_t stride = 1) {
  uint64_t total = 0;
  for (uint64_t i = 0; i < n; ++i)
    total += counts[i * stride];
  return total;
}

/// Elements of the slice that each member but the last combines, in whole lines.
inline uint64_t sliceOf(uint64_t elements, uint32_t size, uint64_t elementBytes) {
  uint64_t line = 64 / elementBytes;
  return ((elements + size - 1) / size + line - 1) / line * line;
}

class Communicator {
public:
  virtual ~Communicator() = default;

  /// Returns when `output` holds the result and `input` may be overwritten; of a
  /// send at once.
  virtual Outcome exchange(const Exchange &exchange, Waiter &waiter) noexcept = 0;

  /// Forgets exchanges that a failed run left half done. Nobody is in one.
  virtual void reset() noexcept = 0;

  /// Why the connection is lost.
  virtual const char *problem() const noexcept { return ""; }
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_COMMUNICATOR_H
