//===- Messages.cpp - ranks that are processes ----------------------------===//

#include "Messages.h"

#include "../Core/Error.h"
#include "../Core/Verify.h"
#include "Reduce.h"

#include <algorithm>
#include <bit>
#include <cstring>

using namespace cleave::runtime;

/// Up to here everybody gets everything at once: the second round that slices need
/// costs more than the bytes that they save.
static constexpr uint64_t atOnceBytes = 16 << 10;
/// Looks before other work of this process is asked for.
static constexpr uint32_t looksInPlace = 64;

/// What a session moves beside its commands is bytes, and no command's.
static const cleave_command moving = [] {
  cleave_command command = {};
  command.op = CLEAVE_OP_SEND;
  command.type = CLEAVE_U8;
  command.name = "inputs and outputs";
  return command;
}();
static const Exchange beside{&moving, 0, nullptr, nullptr, nullptr};

Messages::Messages(const cleave_program &program, const Groups &groups, uint32_t rank,
                   const cleave_wire_api *api, cleave_wire *wire, bool checks)
    : program(program), groups(groups), rank(rank), api(api), wire(wire), checks(checks),
      stride(checks ? 2 : 1) {}

int32_t Messages::prepare(cleave_error *error) {
  uint32_t peers = program.num_ranks - 1;
  numSlots = 2 * peers * stride;
  arrivals.reserve(numSlots);
  sent.resize(size_t(CLEAVE_NUM_CHANNELS) * program.num_ranks);
  received.resize(sent.size());
  blocks.resize(program.num_ranks);
  planLanes();
  uint32_t all = numSlots + uint32_t(freeSlots.size()) * stride;
  seals.resize(all);
  if (peers && api->reserve(wire, all))
    return fail(error, CLEAVE_REFUSED, "%.500s", api->error(wire));
  if (!scratch.allocate(scratchBytes(), rank))
    return fail(error, CLEAVE_REFUSED, "the system has no memory for the exchanges of rank %u",
                rank);
  return CLEAVE_OK;
}

/// As many slots as sends fly at once, and one for what is received.
void Messages::planLanes() {
  lanes.resize(program.num_ranks);
  uint32_t mostAtAll = 0;
  std::vector<uint32_t> most(program.num_ranks);
  for (bool load : {true, false}) {
    uint32_t atAll = 0;
    std::vector<uint32_t> now(program.num_ranks);
    for (const cleave_command &command : listOf(program, rank, load)) {
      if (command.op != CLEAVE_OP_SEND && command.op != CLEAVE_OP_WAIT)
        continue;
      uint32_t peer = groups.peerOf(command, rank);
      bool starts = command.op == CLEAVE_OP_SEND;
      now[peer] += starts ? 1 : -1;
      atAll += starts ? 1 : -1;
      most[peer] = std::max(most[peer], now[peer]);
      mostAtAll = std::max(mostAtAll, atAll);
    }
  }
  for (uint32_t peer = 0; peer < program.num_ranks; ++peer)
    lanes[peer].ring.resize(std::bit_ceil(most[peer]));
  for (uint32_t i = 0; i <= mostAtAll; ++i)
    freeSlots.push_back(numSlots + i * stride);
}

uint64_t Messages::scratchBytes() const {
  uint64_t most = 0;
  for (bool load : {true, false})
    for (const cleave_command &command : listOf(program, rank, load)) {
      if (!isReducing(command.op))
        continue;
      const uint64_t *counts = program.counts + command.first_count;
      Membership self = groups.find(command.group, rank);
      uint64_t bytes = cleave_type_bytes(command.type);
      uint64_t elements = command.op == CLEAVE_OP_REDUCE_SCATTER ? counts[self.member]
                          : counts[0] * bytes <= atOnceBytes ? counts[0]
                                                             : sliceOf(counts[0], self.size, bytes);
      most = std::max(most, elements * bytes * (self.size - 1));
    }
  return most;
}

const char *Messages::problem() const noexcept { return api ? api->error(wire) : ""; }

/// An empty message is none, but its seal goes.
bool Messages::give(const Exchange &e, uint32_t peer, uint32_t channel, uint32_t slot,
                    const void *data, uint64_t bytes) noexcept {
  uint32_t &tag = sent[channel * program.num_ranks + peer];
  bool lost = e.tamper == Tamper::Drop;
  if (bytes) {
    ++tag;
    if (!lost && api->send(wire, slot, peer, channel, tag, data, bytes))
      return false;
  }
  if (!checks)
    return true;
  seals[slot] = seal(e, data, bytes);
  ++tag;
  return lost || !api->send(wire, slot + 1, peer, channel, tag, &seals[slot], sizeof(Seal));
}

bool Messages::take(uint32_t peer, uint32_t channel, uint32_t slot, void *data,
                    uint64_t bytes) noexcept {
  uint32_t &tag = received[channel * program.num_ranks + peer];
  arrivals.push_back({peer, slot, data, bytes});
  if (bytes) {
    ++tag;
    if (api->receive(wire, slot, peer, channel, tag, data, bytes))
      return false;
  }
  if (!checks)
    return true;
  ++tag;
  return !api->receive(wire, slot + 1, peer, channel, tag, &seals[slot], sizeof(Seal));
}

void Messages::give(const Share &share, uint32_t member, const char *data,
                    uint64_t bytes) noexcept {
  if (!give(share.exchange, share.self.ranks[member], CLEAVE_CHANNEL_COLLECTIVE, used, data, bytes))
    broken = true;
  used += stride;
}

void Messages::take(const Share &share, uint32_t member, char *data, uint64_t bytes) noexcept {
  if (!take(share.self.ranks[member], CLEAVE_CHANNEL_COLLECTIVE, used, data, bytes))
    broken = true;
  used += stride;
}

namespace {

/// Whether messages are through; looked at by turns with other work.
class Flight final : public Condition {
public:
  Flight(const cleave_wire_api *api, cleave_wire *wire, uint32_t first, uint32_t count)
      : api(api), wire(wire), first(first), count(count) {}
  bool holds() noexcept override {
    result = api->test(wire, first, count);
    return result != 0;
  }
  int32_t result = 0;

private:
  const cleave_wire_api *api;
  cleave_wire *wire;
  uint32_t first, count;
};

} // namespace

Outcome Messages::await(uint32_t first, uint32_t count, Waiter &waiter) noexcept {
  if (broken)
    return Outcome::Broken;
  if (!count)
    return Outcome::Done;
  Flight flight(api, wire, first, count);
  for (uint32_t look = 0; look < looksInPlace && !flight.result; ++look)
    flight.holds();
  if (!flight.result)
    if (Wake wake = waiter.waitUntil(flight); wake != Wake::Ready)
      return wake;
  broken = flight.result < 0;
  return broken ? Outcome::Broken : Outcome::Done;
}

/// Ends a round of a collective.
Outcome Messages::finish(const Exchange &e, Waiter &waiter) noexcept {
  Outcome outcome = await(0, used, waiter);
  used = 0;
  if (checks)
    for (uint32_t i = 0; i < arrivals.size() && outcome; ++i) {
      const Arrival &arrival = arrivals[i];
      outcome = compare(e, seals[arrival.slot], arrival.peer, arrival.data, arrival.bytes);
    }
  arrivals.clear();
  return outcome;
}

Outcome Messages::finish(Waiter &waiter) noexcept { return finish(beside, waiter); }

Outcome Messages::postSend(uint32_t peer, const void *data, uint64_t bytes,
                           Waiter &waiter) noexcept {
  Outcome outcome = used + stride > numSlots ? finish(waiter) : Outcome::Done;
  if (outcome && !give(beside, peer, CLEAVE_CHANNEL_COLLECTIVE, used, data, bytes))
    outcome = Outcome::Broken;
  used += stride;
  return outcome;
}

Outcome Messages::postReceive(uint32_t peer, void *data, uint64_t bytes, Waiter &waiter) noexcept {
  Outcome outcome = used + stride > numSlots ? finish(waiter) : Outcome::Done;
  if (outcome && !take(peer, CLEAVE_CHANNEL_COLLECTIVE, used, data, bytes))
    outcome = Outcome::Broken;
  used += stride;
  return outcome;
}

Outcome Messages::transfer(const Exchange &e, Waiter &waiter) noexcept {
  uint32_t peer = groups.peerOf(*e.command, rank);
  Lane &lane = lanes[peer];
  if (e.command->op == CLEAVE_OP_WAIT) {
    uint32_t slot = lane.slot(lane.first);
    Outcome outcome = await(slot, stride, waiter);
    if (outcome) {
      ++lane.first;
      freeSlots.push_back(slot);
    }
    return outcome;
  }
  uint32_t slot = freeSlots.back();
  uint64_t bytes = e.counts[0] * cleave_type_bytes(e.command->type);
  if (e.command->op == CLEAVE_OP_SEND) {
    freeSlots.pop_back();
    lane.slot(lane.last++) = slot;
    broken |= !give(e, peer, CLEAVE_CHANNEL_TRANSFER, slot, e.input, bytes);
    return broken ? Outcome::Broken : Outcome::Done;
  }
  broken |= !take(peer, CLEAVE_CHANNEL_TRANSFER, slot, e.output, bytes);
  arrivals.clear();
  Outcome outcome = await(slot, stride, waiter);
  return outcome && checks ? compare(e, seals[slot], peer, e.output, bytes) : outcome;
}

void Messages::reduce(const Share &share, const char *own, uint64_t elements,
                      char *target) noexcept {
  if (!elements)
    return;
  const char *next = scratch.data();
  for (uint32_t member = 0; member < share.self.size; ++member) {
    bool isOwn = member == share.self.member;
    blocks[member] = isOwn ? own : next;
    next += isOwn ? 0 : elements * share.elementBytes;
  }
  void *targets[] = {target};
  const cleave_command &command = *share.exchange.command;
  findReduce(command.type, command.reduction)({blocks.data(), share.self.size, targets, 1,
                                               /*begin=*/0, elements, /*shift=*/0});
}

/// Every other member, the next ones first, so that not all begin with the same.
template <typename Visit> static void eachOther(const Membership &self, Visit visit) {
  for (uint32_t i = 1; i < self.size; ++i)
    visit((self.member + i) % self.size);
}

/// Where the block of a member lies among those of the others.
static uint64_t placeOf(const Membership &self, uint32_t member) {
  return member - (member > self.member ? 1 : 0);
}

Outcome Messages::allReduceAtOnce(const Share &s) noexcept {
  uint64_t elements = s.exchange.counts[0], bytes = elements * s.elementBytes;
  eachOther(s.self, [&](uint32_t member) {
    take(s, member, scratch.data() + placeOf(s.self, member) * bytes, bytes);
  });
  eachOther(s.self, [&](uint32_t member) { give(s, member, s.input, bytes); });
  // In place, the input is on its way until here.
  Outcome outcome = finish(s.exchange, s.waiter);
  if (outcome)
    reduce(s, s.input, elements, s.output);
  return outcome;
}

/// Each member combines a slice, and gives it to all.
Outcome Messages::allReduce(const Share &s) noexcept {
  uint64_t elements = s.exchange.counts[0];
  if (elements * s.elementBytes <= atOnceBytes)
    return allReduceAtOnce(s);
  uint64_t slice = sliceOf(elements, s.self.size, s.elementBytes);
  auto begin = [&](uint32_t member) { return std::min(elements, slice * member); };
  auto at = [&](uint32_t member) { return begin(member) * s.elementBytes; };
  auto bytes = [&](uint32_t member) { return at(member + 1) - at(member); };
  uint32_t self = s.self.member;
  eachOther(s.self, [&](uint32_t member) {
    take(s, member, scratch.data() + placeOf(s.self, member) * bytes(self), bytes(self));
  });
  eachOther(s.self, [&](uint32_t member) { give(s, member, s.input + at(member), bytes(member)); });
  if (Outcome outcome = finish(s.exchange, s.waiter); !outcome)
    return outcome;
  reduce(s, s.input + at(self), begin(self + 1) - begin(self), s.output + at(self));
  eachOther(s.self,
            [&](uint32_t member) { take(s, member, s.output + at(member), bytes(member)); });
  eachOther(s.self, [&](uint32_t member) { give(s, member, s.output + at(self), bytes(self)); });
  return finish(s.exchange, s.waiter);
}

static void copy(char *to, const char *from, uint64_t bytes) {
  if (bytes)
    memcpy(to, from, bytes);
}

Outcome Messages::allGather(const Share &s) noexcept {
  const uint64_t *counts = s.exchange.counts;
  auto at = [&](uint32_t member) { return sum(counts, member) * s.elementBytes; };
  uint64_t own = counts[s.self.member] * s.elementBytes;
  eachOther(s.self, [&](uint32_t member) {
    take(s, member, s.output + at(member), counts[member] * s.elementBytes);
  });
  eachOther(s.self, [&](uint32_t member) { give(s, member, s.input, own); });
  copy(s.output + at(s.self.member), s.input, own);
  return finish(s.exchange, s.waiter);
}

Outcome Messages::reduceScatter(const Share &s) noexcept {
  const uint64_t *counts = s.exchange.counts;
  auto at = [&](uint32_t member) { return sum(counts, member) * s.elementBytes; };
  uint64_t own = counts[s.self.member] * s.elementBytes;
  eachOther(s.self, [&](uint32_t member) {
    take(s, member, scratch.data() + placeOf(s.self, member) * own, own);
  });
  eachOther(s.self, [&](uint32_t member) {
    give(s, member, s.input + at(member), counts[member] * s.elementBytes);
  });
  Outcome outcome = finish(s.exchange, s.waiter);
  if (outcome)
    reduce(s, s.input + at(s.self.member), counts[s.self.member], s.output);
  return outcome;
}

Outcome Messages::allToAll(const Share &s) noexcept {
  const uint64_t *counts = s.exchange.counts;
  uint32_t size = s.self.size, self = s.self.member;
  auto bytes = [&](uint32_t from, uint32_t to) {
    return counts[from * size + to] * s.elementBytes;
  };
  auto input = [&](uint32_t to) {
    return s.input + sum(counts + self * size, to) * s.elementBytes;
  };
  auto output = [&](uint32_t from) {
    return s.output + sum(counts + self, from, size) * s.elementBytes;
  };
  eachOther(s.self, [&](uint32_t from) { take(s, from, output(from), bytes(from, self)); });
  eachOther(s.self, [&](uint32_t to) { give(s, to, input(to), bytes(self, to)); });
  copy(output(self), input(self), bytes(self, self));
  return finish(s.exchange, s.waiter);
}

Outcome Messages::exchange(const Exchange &e, Waiter &waiter) noexcept {
  if (isTransfer(e.command->op))
    return transfer(e, waiter);
  Membership self = groups.find(e.command->group, rank);
  Share share{e,
              self,
              cleave_type_bytes(e.command->type),
              static_cast<const char *>(e.input),
              static_cast<char *>(e.output),
              waiter};
  switch (e.command->op) {
  case CLEAVE_OP_ALL_REDUCE: return allReduce(share);
  case CLEAVE_OP_ALL_GATHER: return allGather(share);
  case CLEAVE_OP_REDUCE_SCATTER: return reduceScatter(share);
  }
  return allToAll(share);
}
