//===- Seal.h - finds what a message was on its way -----------*- C++ -*-===//
//
// With checks on, what goes to another rank carries a seal: the hash of the bytes,
// and which command of the program they are of. The reader compares both, so a
// changed byte or a rank at another command is found at once and by name.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_COMM_SEAL_H
#define CLEAVE_RUNTIME_COMM_SEAL_H

#include "Communicator.h"

namespace cleave::runtime {

struct Seal {
  uint64_t bytes;   ///< hash
  uint64_t meaning; ///< hash of what all sides of the exchange agree on
  uint64_t command; ///< of the sender's list
};

/// A tampered exchange gets the seal of other bytes, or of another command.
Seal seal(const Exchange &exchange, const void *data, uint64_t bytes);

/// Done, or what the seal of `peer` says.
Outcome compare(const Exchange &exchange, const Seal &theirs, uint32_t peer, const void *data,
                uint64_t bytes);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_SEAL_H
