//===- Messages.h - ranks that are processes ------------------*- C++ -*-===//
//
// All collectives and transfers over any wire. Everybody sends to everybody what is
// theirs, in one round, or two for a large all-reduce; rings and trees save messages
// only where there are many more ranks than a host has cores. Reductions combine in
// member order by the code that threads use, so both give the same bits.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_COMM_MESSAGES_H
#define CLEAVE_RUNTIME_COMM_MESSAGES_H

#include "../Core/Groups.h"
#include "Communicator.h"
#include "Seal.h"
#include "cleave/Runtime/Wire.h"

#include <vector>

namespace cleave::runtime {

/// The process's own rank; rank numbers are process numbers.
class Messages final : public Communicator {
public:
  /// `api` is null where the process is alone. `program` and `groups` outlive it.
  /// With `checks`, each message carries a seal.
  Messages(const cleave_program &program, const Groups &groups, uint32_t rank,
           const cleave_wire_api *api, cleave_wire *wire, bool checks);

  /// Takes memory, and slots of the wire.
  int32_t prepare(cleave_error *error);

  Outcome exchange(const Exchange &exchange, Waiter &waiter) noexcept override;
  /// A job that failed has ended: nothing runs after it.
  void reset() noexcept override {}
  const char *problem() const noexcept override;
  /// When nothing is to be exchanged any more: whether nothing flies.
  bool withdraw() noexcept { return !api || api->withdraw(wire) > 0; }

  // What a session moves beside its commands, ranks that agree on it: any number
  // of posts, then `finish`. The memory stays as it is until then.
  Outcome postSend(uint32_t peer, const void *data, uint64_t bytes, Waiter &waiter) noexcept;
  Outcome postReceive(uint32_t peer, void *data, uint64_t bytes, Waiter &waiter) noexcept;
  Outcome finish(Waiter &waiter) noexcept;

private:
  /// What arrives, to be compared with its seal.
  struct Arrival {
    uint32_t peer, slot;
    const void *data;
    uint64_t bytes;
  };
  /// The sends to a peer that have not ended: their slots, oldest first, in a ring.
  struct Lane {
    std::vector<uint32_t> ring;
    uint32_t first = 0, last = 0;
    uint32_t &slot(uint32_t number) { return ring[number & (ring.size() - 1)]; }
  };
  /// A collective as this member sees it.
  struct Share {
    const Exchange &exchange;
    const Membership &self;
    uint64_t elementBytes;
    const char *input;
    char *output;
    Waiter &waiter;
  };

  void planLanes();
  uint64_t scratchBytes() const;

  bool give(const Exchange &e, uint32_t peer, uint32_t channel, uint32_t slot, const void *data,
            uint64_t bytes) noexcept;
  bool take(uint32_t peer, uint32_t channel, uint32_t slot, void *data, uint64_t bytes) noexcept;
  /// The same in the next slot of the collective channel, member numbers for ranks.
  void give(const Share &share, uint32_t member, const char *data, uint64_t bytes) noexcept;
  void take(const Share &share, uint32_t member, char *data, uint64_t bytes) noexcept;
  Outcome await(uint32_t first, uint32_t count, Waiter &waiter) noexcept;
  Outcome finish(const Exchange &e, Waiter &waiter) noexcept;

  Outcome transfer(const Exchange &e, Waiter &waiter) noexcept;
  Outcome allReduce(const Share &share) noexcept;
  Outcome allReduceAtOnce(const Share &share) noexcept;
  Outcome allGather(const Share &share) noexcept;
  Outcome reduceScatter(const Share &share) noexcept;
  Outcome allToAll(const Share &share) noexcept;
  /// Combines the own block and those in `scratch`, which are one by one.
  void reduce(const Share &share, const char *own, uint64_t elements, char *target) noexcept;

  const cleave_program &program;
  const Groups &groups;
  const uint32_t rank;
  const cleave_wire_api *const api;
  cleave_wire *const wire;
  const bool checks;
  const uint32_t stride; ///< slots of a message and its seal

  uint32_t numSlots = 0; ///< of collectives; those of transfers come after
  uint32_t used = 0;     ///< by the collective that runs
  bool broken = false;
  std::vector<Arrival> arrivals;
  std::vector<Seal> seals;              ///< by slot
  std::vector<uint32_t> sent, received; ///< messages so far, [channel][peer]
  std::vector<Lane> lanes;              ///< by peer
  std::vector<uint32_t> freeSlots;      ///< of transfers
  std::vector<const void *> blocks;     ///< by member
  Block scratch;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_MESSAGES_H
