//===- Bulk.cpp - copies of many bytes that one thread begins -------------===//

#include "Execution.h"
#include "Functions.h"
#include "TensorMap.h"

#include <algorithm>

using namespace cleave::simt;

uint32_t Execution::addWorker(std::string name) {
  workers.push_back(std::move(name));
  return uint32_t(threads.size() + workers.size() - 1);
}

void Execution::learn(Thread &thread, uint32_t worker, uint32_t epoch) {
  auto clock = thread.known ? std::make_shared<Clock>(*thread.known) : std::make_shared<Clock>();
  clock->resize(std::max<size_t>(clock->size(), worker + 1));
  (*clock)[worker] = std::max((*clock)[worker], epoch);
  thread.known = std::move(clock);
}

void Execution::fenceProxy(uint32_t kind) {
  Thread &thread = self();
  bool init = kind == CLEAVE_SIMT_INIT_FENCE;
  (init ? thread.initFences : thread.proxyFences).push_back(uint32_t(thread.now.epoch));
  if (!init)
    thread.proxied = thread.known;
  ++thread.now.epoch;
}

/// Whether a fence stands between what a thread wrote and the agent: in the thread that
/// wrote, before it gave that away, or in the one that begins, after it took it.
bool Execution::isFenced(const Access &write, const Agent &agent, bool init) const {
  const Thread &by = threads[write.thread];
  auto hasFence = [&](const std::vector<uint32_t> &fences) {
    auto first = std::lower_bound(fences.begin(), fences.end(), uint32_t(write.epoch));
    return first != fences.end() &&
           (write.thread == agent.begins || knows(agent.known, write.thread, *first));
  };
  return hasFence(by.proxyFences) || (init && hasFence(by.initFences)) ||
         knows(running->proxied.get(), write.thread, write.epoch);
}

void Execution::touch(uint64_t address, uint64_t bytes, bool write, const Agent &agent,
                      cleave_simt_site *site) {
  Touch how = write ? Touch::Write : Touch::Read;
  bool isHere = isShared(address);
  if (isHere)
    checkSharedBytes(address, bytes, how, site);
  else if (!checkGlobalBytes(address, bytes, how, site))
    return;
  auto place = [&] {
    return std::to_string(bytes) + " bytes at " +
           (isHere ? sharedPlace(address) : globalPlace(address));
  };
  Cell *cell = isHere ? &sharedCells[(address - sharedBase) / 4] : memory.cellOf(address);
  bool unfenced = false;
  shadow.eachWrite(cell, bytes + address % 4, [&](const Access &before) {
    unfenced |= before.block == running->now.block && before.thread < threads.size() &&
                !isFenced(before, agent, /*init=*/false);
  });
  if (unfenced)
    report("proxy", site,
           place() + ", which a thread has written, with no fence.proxy.async "
                     "between");
  Access now = running->now;
  now.thread = agent.worker;
  now.epoch = agent.epoch;
  Access before =
      shadow.touch(cell, address, bytes, write,
                   {now, agent.begins, agent.known, &knownBlocks, &timeline, firstBlock, isHere});
  if (before.block)
    race(before, write, place(), site);
}

void Execution::aim(Bulk &bulk, uint64_t address, cleave_simt_site *site) {
  cleave_simt_site here = *site;
  here.align = 8;
  Mbarrier &barrier = mbarrierAt(address, Touch::AtomicRead, &here);
  if (!isFenced(barrier.made, {0, 0, self().known.get(), self().index}, /*init=*/true))
    report("proxy", site,
           "the mbarrier at " + sharedPlace(address) +
               " was made with no fence.mbarrier_init or fence.proxy.async since");
  if (!barrier.worker)
    barrier.worker = addWorker("a copy to the mbarrier at " + sharedPlace(address));
  bulk.barrier = address;
  bulk.phase = barrier.phase;
  barrier.lastCopy = barrier.phase + 1;
}

/// Of one that is aimed, whoever waits at the mbarrier learns; of others their thread.
Execution::Agent Execution::writer(const Bulk &bulk) {
  Thread &thread = self();
  if (bulk.barrier)
    return {mbarriers.at(bulk.barrier).worker, bulk.phase + 1, thread.known.get(), thread.index};
  if (!thread.bulk.writer)
    thread.bulk.writer = addWorker("a copy out of shared memory");
  return {thread.bulk.writer, thread.bulk.committed + 1, thread.known.get(), thread.index};
}

Execution::Agent Execution::reader(const Bulk &bulk) {
  if (bulk.barrier)
    return writer(bulk);
  Thread &thread = self();
  if (!thread.bulk.reader)
    thread.bulk.reader = addWorker("a copy out of shared memory");
  return {thread.bulk.reader, thread.bulk.committed + 1, thread.known.get(), thread.index};
}

void Execution::begin(Bulk bulk, cleave_simt_site *site) {
  Thread &thread = self();
  bulk.site = site;
  bulk.thread = thread.index;
  if (!bulk.barrier) {
    bulk.phase = thread.bulk.committed + 1;
    thread.bulk.open = true;
    thread.bulk.last = site;
  }
  inFlight.push_back(std::move(bulk));
  if (!schedule.shuffled)
    land(inFlight.size() - 1);
}

void Execution::land(size_t index) {
  Bulk bulk = std::move(inFlight[index]);
  inFlight.erase(inFlight.begin() + int64_t(index));
  bulk.perform();
  auto barrier = mbarriers.find(bulk.barrier);
  if (barrier == mbarriers.end())
    return;
  barrier->second.bytes -= int64_t(bulk.bytes);
  Thread *before = running;
  running = &threads[bulk.thread];
  advance(bulk.barrier, barrier->second, bulk.site);
  running = before;
}

bool Execution::landAny() {
  if (inFlight.empty())
    return false;
  land(random() % inFlight.size());
  return true;
}

void Execution::commitBulk() {
  BulkGroups &groups = self().bulk;
  ++groups.committed;
  groups.open = false;
}

void Execution::waitForBulk(uint32_t groupsLeft, bool onlyRead) {
  Thread &thread = self();
  BulkGroups &groups = thread.bulk;
  uint32_t done = groups.committed - std::min(groups.committed, groupsLeft);
  for (size_t i = inFlight.size(); i--;)
    if (!inFlight[i].barrier && inFlight[i].thread == thread.index && inFlight[i].phase <= done)
      land(i);
  groups.read = std::max(groups.read, done);
  if (groups.reader)
    learn(thread, groups.reader, done);
  if (groups.writer && !onlyRead)
    learn(thread, groups.writer, done);
}

/// What is still under way when all threads have ended.
void Execution::endBlock() {
  while (landAny())
    ;
  for (const auto &[address, barrier] : mbarriers) {
    if (!barrier.lastCopy)
      continue;
    bool waited = std::any_of(threads.begin(), threads.end(), [&](const Thread &thread) {
      return knows(thread.known.get(), barrier.worker, barrier.lastCopy);
    });
    if (!waited)
      report("unfinished", nullptr,
             "the block ends without a wait for copies to the mbarrier at " + sharedPlace(address));
  }
  for (size_t group = 0; group < warpGroups.size(); ++group)
    if (!warpGroups[group].steps.empty())
      report("divergence", warpGroups[group].steps.front().site,
             "warps of group " + std::to_string(group) + " have ended without it");
}

static uint64_t address(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// Checks what a copy of `bytes` wants of them and of its addresses.
static void checkBulk(uint64_t target, uint64_t source, uint64_t bytes, cleave_simt_site *site) {
  if ((target | source | bytes) % 16 == 0)
    return;
  Execution::get().report("misaligned", site,
                          "addresses and " + std::to_string(bytes) +
                              " bytes have to be multiples of 16");
  Execution::get().stop(Outcome::Misaligned);
}

static void copyBulk(Bulk &bulk, void *target, const void *source, uint64_t bytes,
                     cleave_simt_site *site) {
  Execution &execution = Execution::get();
  checkBulk(address(target), address(source), bytes, site);
  if (!bytes)
    return;
  execution.touch(address(source), bytes, /*write=*/false, execution.reader(bulk), site);
  execution.touch(address(target), bytes, /*write=*/true, execution.writer(bulk), site);
  bulk.pieces.push_back(
      {static_cast<char *>(target), static_cast<const char *>(source), uint32_t(bytes)});
  bulk.bytes = bytes;
}

void device::bulk_load(void *target, void *barrier, const void *source, uint32_t bytes,
                       cleave_simt_site *site) {
  Bulk bulk;
  Execution::get().aim(bulk, address(barrier), site);
  copyBulk(bulk, target, source, bytes, site);
  Execution::get().begin(std::move(bulk), site);
}

void device::bulk_store(void *target, const void *source, uint32_t bytes, cleave_simt_site *site) {
  Bulk bulk;
  copyBulk(bulk, target, source, bytes, site);
  Execution::get().begin(std::move(bulk), site);
}

/// The map that is meant, once it is seen to be one of a tensor with `rank` dimensions.
static TensorMap readMap(const void *map, uint32_t rank, cleave_simt_site *site) {
  Execution &execution = Execution::get();
  TensorMap read;
  if (execution.memory.find(address(map), sizeof(CUtensorMap)))
    memcpy(&read, map, sizeof read);
  if (read.magic == TensorMap::mark && read.rank == rank)
    return read;
  execution.report("out of bounds", site,
                   "there is no map of a tensor with " + std::to_string(rank) + " dimensions");
  execution.stop(Outcome::IllegalAddress);
}

/// Calls `act` with what lies where of a box at `corner`.
template <typename Act>
static void eachChunk(const TensorMap &map, uint64_t box, const int32_t *corner,
                      cleave_simt_site *site, Act &&act) {
  if (box % 128) {
    Execution::get().report("misaligned", site,
                            "a box in shared memory begins at a multiple of "
                            "128 bytes");
    Execution::get().stop(Outcome::Misaligned);
  }
  map.eachChunk(corner, [&](TensorMap::Chunk chunk) {
    uint64_t at = map.swizzled(box + chunk.offset);
    act(at, chunk);
  });
}

void device::tensor_load(void *target, void *barrier, const void *map, const int32_t *corner,
                         uint32_t rank, cleave_simt_site *site) {
  Execution &execution = Execution::get();
  TensorMap tensor = readMap(map, rank, site);
  Bulk bulk;
  execution.aim(bulk, address(barrier), site);
  cleave_simt_site there = *site;
  there.align = 1;
  eachChunk(tensor, address(target), corner, site, [&](uint64_t at, const TensorMap::Chunk &chunk) {
    if (chunk.bytes)
      execution.touch(chunk.address, chunk.bytes, /*write=*/false, execution.reader(bulk), &there);
    execution.touch(at, 16, /*write=*/true, execution.writer(bulk), site);
    char *to = reinterpret_cast<char *>(at);
    if (chunk.bytes < 16)
      bulk.pieces.push_back({to, nullptr, 16});
    if (chunk.bytes)
      bulk.pieces.push_back(
          {to + chunk.skipped, reinterpret_cast<const char *>(chunk.address), chunk.bytes});
    bulk.bytes += 16;
  });
  execution.begin(std::move(bulk), site);
}

void device::tensor_store(const void *source, const void *map, const int32_t *corner, uint32_t rank,
                          cleave_simt_site *site) {
  Execution &execution = Execution::get();
  TensorMap tensor = readMap(map, rank, site);
  Bulk bulk;
  cleave_simt_site there = *site;
  there.align = 1;
  eachChunk(tensor, address(source), corner, site, [&](uint64_t at, const TensorMap::Chunk &chunk) {
    if (!chunk.bytes)
      return;
    execution.touch(at + chunk.skipped, chunk.bytes, /*write=*/false, execution.reader(bulk),
                    &there);
    execution.touch(chunk.address, chunk.bytes, /*write=*/true, execution.writer(bulk), &there);
    bulk.pieces.push_back({reinterpret_cast<char *>(chunk.address),
                           reinterpret_cast<const char *>(at + chunk.skipped), chunk.bytes});
  });
  execution.begin(std::move(bulk), site);
}

void device::bulk_commit() { Execution::get().commitBulk(); }

void device::bulk_wait(uint32_t groups, uint32_t onlyRead) {
  Execution::get().waitForBulk(groups, onlyRead != 0);
}
