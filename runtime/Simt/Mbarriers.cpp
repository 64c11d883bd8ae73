//===- Mbarriers.cpp - barriers in shared memory, and copies to them ------===//

#include "Execution.h"
#include "Functions.h"

#include <algorithm>

using namespace cleave::simt;

static constexpr uint32_t mostArrivals = (1 << 20) - 1;

Mbarrier &Execution::mbarrierAt(uint64_t address, Touch touch, cleave_simt_site *site) {
  if (schedule.shuffled && random() % 4 == 0) {
    if (random() % 2)
      landAny();
    switchToScheduler();
  }
  if (!isShared(address)) {
    report("out of bounds", site, "an mbarrier at an address outside of shared memory");
    stop(Outcome::IllegalAddress);
  }
  auto known = mbarriers.find(address);
  if (known == mbarriers.end()) {
    report("uninitialised", site, "there is no mbarrier at " + sharedPlace(address));
    stop(Outcome::Failed);
  }
  checkShared(address, 8, touch, site);
  // Arrivals do not race with each other, and so hide who made it.
  const Access &made = known->second.made;
  if (touch != Touch::Write && made.thread != self().index &&
      !knows(self().known.get(), made.thread, made.epoch))
    race(made, /*write=*/true, "the mbarrier at " + sharedPlace(address), site);
  return known->second;
}

void Execution::initBarrier(uint64_t address, uint32_t count, cleave_simt_site *site) {
  if (isShared(address) && mbarriers.count(address)) {
    report("uninitialised", site,
           "the mbarrier at " + sharedPlace(address) + " is there and was not invalidated");
    stop(Outcome::Failed);
  }
  if (!count || count > mostArrivals)
    diverged(site, "an mbarrier counts 1 to " + std::to_string(mostArrivals) +
                       " arrivals, got: " + std::to_string(count));
  // Others may look at it while this thread is checked.
  Mbarrier &barrier = mbarriers[address];
  barrier.expected = barrier.pending = count;
  barrier.made = self().now;
  mbarrierAt(address, Touch::Write, site);
}

void Execution::endBarrier(uint64_t address, cleave_simt_site *site) {
  mbarrierAt(address, Touch::Write, site);
  mbarriers.erase(address);
}

uint64_t Execution::signal(uint64_t address, const Signal &signal, cleave_simt_site *site) {
  Thread &thread = self();
  Mbarrier &barrier = mbarrierAt(address, Touch::Atomic, site);
  uint64_t token = barrier.phase;
  barrier.bytes += signal.bytes;
  if (signal.count > barrier.pending)
    diverged(site, "the mbarrier at " + sharedPlace(address) + " wants " +
                       std::to_string(barrier.pending) +
                       " arrivals more in this phase, got: " + std::to_string(signal.count));
  if (signal.count && !(signal.flags & CLEAVE_SIMT_RELAXED)) {
    barrier.arrivals.release(thread.known, thread.index, uint32_t(thread.now.epoch),
                             uint32_t(threads.size()));
    ++thread.now.epoch;
  }
  if (signal.flags & CLEAVE_SIMT_DROP)
    barrier.expected -= std::min(barrier.expected, signal.count);
  barrier.pending -= signal.count;
  if (!barrier.pending && signal.flags & CLEAVE_SIMT_NO_COMPLETE)
    diverged(site, "it ends the phase, which it promises not to");
  advance(address, barrier, site);
  return token;
}

/// Ends the phase where nothing is missing.
void Execution::advance(uint64_t address, Mbarrier &barrier, const cleave_simt_site *site) {
  if (barrier.pending)
    return;
  if (barrier.bytes < 0) {
    report("expectation", site,
           "the mbarrier at " + sharedPlace(address) + " gets " + std::to_string(-barrier.bytes) +
               " bytes more than it expects");
    barrier.bytes = 0;
  }
  if (barrier.bytes)
    return;
  for (const Bulk &bulk : inFlight)
    if (bulk.barrier == address && bulk.phase == barrier.phase)
      report("expectation", bulk.site,
             "the mbarrier at " + sharedPlace(address) +
                 " ends the phase without these bytes, which it does not expect");
  if (barrier.lastCopy)
    barrier.arrivals.release(nullptr, barrier.worker, uint32_t(barrier.phase + 1),
                             uint32_t(threads.size()));
  barrier.completed = barrier.arrivals.take();
  ++barrier.phase;
  barrier.pending = barrier.expected;
  rotations = 0;
  for (uint32_t index : barrier.waiting)
    warps[index / 32].ready |= 1u << index % 32;
  barrier.waiting.clear();
}

bool Execution::test(uint64_t address, uint64_t phase, uint32_t flags, cleave_simt_site *site) {
  Thread &thread = self();
  if (flags & CLEAVE_SIMT_PARITY && phase > 1)
    diverged(site, "the parity of a phase is 0 or 1, got: " + std::to_string(phase));
  for (;;) {
    Mbarrier &barrier = mbarrierAt(address, Touch::AtomicRead, site);
    bool ended = flags & CLEAVE_SIMT_PARITY ? (barrier.phase & 1) != phase : barrier.phase > phase;
    if (ended) {
      if (!(flags & CLEAVE_SIMT_RELAXED))
        thread.known = join(thread.known, barrier.completed);
      return true;
    }
    if (!(flags & CLEAVE_SIMT_SUSPEND)) {
      yield();
      return false;
    }
    // A GPU may give up before: so each first time, for those who do not ask again.
    if (!(flags & CLEAVE_SIMT_FOREVER) && !thread.gaveUp) {
      thread.gaveUp = true;
      return false;
    }
    thread.gaveUp = false;
    barrier.waiting.push_back(thread.index);
    wait(site);
  }
}

/// What threads wait for that do not go on.
std::string Execution::missing() const {
  std::string text;
  for (const auto &[address, barrier] : mbarriers)
    if (!barrier.waiting.empty())
      text += ", the mbarrier at " + sharedPlace(address) + " lacks " +
              std::to_string(barrier.pending) + " arrivals and " + std::to_string(barrier.bytes) +
              " bytes";
  return text;
}

void device::mbarrier_init(void *barrier, uint32_t count, cleave_simt_site *site) {
  Execution::get().initBarrier(reinterpret_cast<uint64_t>(barrier), count, site);
}

void device::mbarrier_inval(void *barrier, cleave_simt_site *site) {
  Execution::get().endBarrier(reinterpret_cast<uint64_t>(barrier), site);
}

uint64_t device::mbarrier_arrive(void *barrier, uint32_t count, uint32_t bytes, uint32_t flags,
                                 cleave_simt_site *site) {
  return Execution::get().signal(reinterpret_cast<uint64_t>(barrier),
                                 {count, flags, int64_t(bytes)}, site);
}

void device::mbarrier_expect(void *barrier, int32_t bytes, cleave_simt_site *site) {
  Execution::get().signal(reinterpret_cast<uint64_t>(barrier), {0, 0, bytes}, site);
}

uint32_t device::mbarrier_test(void *barrier, uint64_t phase, uint32_t flags,
                               cleave_simt_site *site) {
  return Execution::get().test(reinterpret_cast<uint64_t>(barrier), phase, flags, site);
}

void device::fence_proxy(uint32_t kind, cleave_simt_site *) { Execution::get().fenceProxy(kind); }
