//===- Seal.cpp - finds what a message was on its way ---------------------===//

#include "Seal.h"

#include "../Core/Verify.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace cleave::runtime;

static uint64_t meaningOf(const Exchange &exchange) {
  const cleave_command &command = *exchange.command;
  // A send and its recv are one transfer.
  struct {
    uint32_t op, type, reduction, group, numCounts, pad;
  } fields = {isTransfer(command.op) ? uint32_t(CLEAVE_OP_SEND) : command.op,
              command.type,
              isReducing(command.op) ? command.reduction : 0u,
              command.group,
              command.num_counts,
              0};
  return XXH3_64bits_withSeed(exchange.counts, command.num_counts * sizeof(uint64_t),
                              XXH3_64bits(&fields, sizeof fields));
}

Seal cleave::runtime::seal(const Exchange &exchange, const void *data, uint64_t bytes) {
  Seal result{XXH3_64bits(data, bytes), meaningOf(exchange), exchange.index};
  if (exchange.tamper == Tamper::Corrupt)
    result.bytes ^= 1;
  if (exchange.tamper == Tamper::Diverge)
    result.meaning ^= 1;
  return result;
}

Outcome cleave::runtime::compare(const Exchange &exchange, const Seal &theirs, uint32_t peer,
                                 const void *data, uint64_t bytes) {
  if (theirs.meaning != meaningOf(exchange))
    return {Outcome::Diverged, peer, uint32_t(theirs.command)};
  if (theirs.bytes != XXH3_64bits(data, bytes))
    return {Outcome::Corrupted, peer, uint32_t(theirs.command)};
  return Outcome::Done;
}
