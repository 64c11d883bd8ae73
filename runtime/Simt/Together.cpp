//===- Together.cpp - barriers, and what the lanes of a warp do together --===//

#include "Execution.h"

#include <map>

using namespace cleave::simt;

void Execution::meet(uint32_t mask, void *slot, Gathering::Finish finish, uint64_t detail,
                     cleave_simt_site *site) {
  Thread &thread = self();
  Warp &warp = warps[thread.warp];
  // Lanes that a block does not fill never were.
  mask &= warp.lanes;
  if (!(mask >> thread.lane & 1))
    diverged(site, "its own lane is not in the mask");
  if (mask & warp.ended)
    diverged(site, "it waits for lanes that have ended");
  Gathering *found = nullptr;
  for (Gathering &one : warp.gatherings)
    if (one.mask >> thread.lane & 1)
      found = &one;
  if (!found) {
    warp.gatherings.push_back({mask, 0, thread.warp, finish, detail, site, {}});
    found = &warp.gatherings.back();
  } else if (found->mask != mask) {
    diverged(site, "other lanes wait for it with another mask");
  } else if (found->finish != finish || found->detail != detail ||
             (site->aligned && found->site != site)) {
    diverged(site, std::string("other lanes wait for it in ") + found->site->what + " at [" +
                       found->site->place + "]");
  }
  found->slots[thread.lane] = slot;
  found->arrived |= 1u << thread.lane;
  if (found->arrived != mask)
    return wait(site);
  Gathering complete = *found;
  warp.gatherings.erase(warp.gatherings.begin() + (found - warp.gatherings.data()));
  warp.ready |= mask;
  finish(*this, complete);
}

void Execution::meetAll(void *slot, Gathering::Finish finish, uint64_t detail,
                        cleave_simt_site *site) {
  constexpr uint32_t all = ~0u;
  if (warps[self().warp].lanes != all)
    diverged(site, "it wants all lanes of a warp, and the block has no whole one here");
  meet(all, slot, finish, detail, site);
}

void Execution::synchronize(const Gathering &gathering) {
  Meeting meeting;
  auto each = [&](auto &&act) {
    for (uint32_t lane = 0; lane < 32; ++lane)
      if (gathering.mask >> lane & 1)
        act(threads[gathering.warp * 32 + lane]);
  };
  each([&](Thread &thread) {
    meeting.release(thread.known, thread.index, thread.now.epoch, uint32_t(threads.size()));
    ++thread.now.epoch;
  });
  ClockRef clock = meeting.take();
  each([&](Thread &thread) { thread.known = clock; });
  if (gathering.mask == warps[gathering.warp].lanes)
    conflicts.meet(gathering.warp);
}

uint32_t Execution::arrive(const Arrival &arrival, cleave_simt_site *site) {
  Thread &thread = self();
  if (arrival.id >= barriers.size())
    diverged(site, "there is no barrier " + std::to_string(arrival.id));
  if (arrival.threads % 32)
    diverged(site,
             "a barrier is for whole warps, got: " + std::to_string(arrival.threads) + " threads");
  Barrier &barrier = barriers[arrival.id];
  uint32_t expected = arrival.threads ? arrival.threads : uint32_t(threads.size());
  if (barrier.arrived && barrier.expected != expected)
    diverged(site, "others wait at this barrier for another number of threads");
  const cleave_simt_site *&warpSite = barrier.sites[thread.warp];
  if (site->aligned && warpSite && warpSite != site)
    diverged(site, std::string("other threads of its warp wait at another barrier, [") +
                       warpSite->place + "]");
  warpSite = site;
  barrier.expected = expected;
  barrier.sum += arrival.predicate;
  barrier.all &= arrival.predicate;
  barrier.any |= arrival.predicate;
  barrier.meeting.release(thread.known, thread.index, thread.now.epoch, uint32_t(threads.size()));
  ++thread.now.epoch;
  if (arrival.waits)
    barrier.waiting.push_back(thread.index);
  if (++barrier.arrived == expected)
    completeBarrier(barrier);
  else if (arrival.waits)
    wait(site);
  switch (arrival.operation) {
  case CLEAVE_SIMT_AND: return thread.result >> 30 & 1;
  case CLEAVE_SIMT_OR: return thread.result >> 31;
  default: return thread.result & 0xffff;
  }
}

void Execution::completeBarrier(Barrier &barrier) {
  ClockRef clock = barrier.meeting.take();
  uint32_t result = barrier.sum | uint32_t(barrier.all) << 30 | uint32_t(barrier.any) << 31;
  for (uint32_t index : barrier.waiting) {
    Thread &thread = threads[index];
    thread.known = clock;
    thread.result = result;
    conflicts.meet(thread.warp);
    warps[thread.warp].ready |= 1u << thread.lane;
  }
  barrier = Barrier();
}

void Execution::reportDeadlock() {
  std::map<const cleave_simt_site *, std::vector<uint32_t>> waiting;
  uint32_t ended = uint32_t(threads.size()) - alive;
  for (const Thread &thread : threads)
    if (!(warps[thread.warp].ended >> thread.lane & 1))
      waiting[thread.waits].push_back(thread.index);
  std::string text;
  for (const auto &[site, indices] : waiting)
    text += (text.empty() ? "" : ", ") + std::to_string(indices.size()) + " threads wait at " +
            site->what + " [" + site->place + "]";
  if (ended)
    text += ", " + std::to_string(ended) + " have ended";
  text += missing();
  running = &threads[waiting.begin()->second.front()];
  report("deadlock", nullptr, text);
  outcome = Outcome::Failed;
}

void Execution::diverged(const cleave_simt_site *site, const std::string &text) {
  report("divergence", site, text);
  stop(Outcome::Failed);
}

static std::string write(const Dim &dim) {
  return "(" + std::to_string(dim.x) + "," + std::to_string(dim.y) + "," + std::to_string(dim.z) +
         ")";
}

void Execution::report(const char *kind, const cleave_simt_site *site, const std::string &text) {
  auto [known, isNew] = told.try_emplace({site ? site->place : nullptr, kind}, 0);
  if (!isNew && site)
    return findings.again(known->second);
  std::string place = site ? std::string(site->place) : "";
  std::string line = std::string(kind) + ": kernel \"" + launch->kernel->name + "\", block " +
                     write(blockId) + ", thread " + write(launch->block.at(running->index)) + ": " +
                     (site ? std::string(site->what) + ": " : "") + text;
  if (site)
    line += " [" + place + "]";
  known->second = findings.add(std::string(kind) + "|" + launch->kernel->name + "|" + place, line);
}
