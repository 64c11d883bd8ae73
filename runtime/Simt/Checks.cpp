//===- Checks.cpp - every access to memory that others may see ------------===//

#include "Execution.h"

#include <algorithm>
#include <bit>

using namespace cleave::simt;

bool Execution::isLocal(uint64_t address) const {
  uint64_t top = reinterpret_cast<uint64_t>(stacks.top(running->index));
  return top - address <= runtime::Stacks::size();
}

static bool isWrite(Execution::Touch touch) {
  return touch == Execution::Touch::Write || touch == Execution::Touch::Atomic;
}

static bool isRead(Execution::Touch touch) { return touch != Execution::Touch::Write; }

void Execution::fence() {
  Meeting meeting;
  meeting.release(running->known, running->index, running->now.epoch, uint32_t(threads.size()));
  running->fenced = meeting.take();
  ++running->now.epoch;
}

/// An atomic gives what its thread has fenced, and takes what others gave there.
void Execution::passOn(uint64_t address, bool write) {
  auto found = released.find(address);
  if (found != released.end())
    for (const auto &[block, clock] : found->second) {
      ClockRef &known = block == running->now.block ? running->known : knownBlocks[block];
      known = join(known, clock);
    }
  if (write && running->fenced) {
    ClockRef &given = released[address][running->now.block];
    given = join(given, running->fenced);
  }
}

void Execution::check(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site) {
  if (isLocal(address))
    return;
  // Spinning threads wait for others; a schedule that stays would wait with them.
  bool strong = touch == Touch::Atomic || touch == Touch::AtomicRead;
  if (strong && ++running->strong % 64 == 0)
    yield();
  else if (schedule.shuffled && --patience < 0) {
    patience = int32_t(random() % 64);
    switchToScheduler();
  }
  if (strong)
    passOn(address, isWrite(touch));
  if (isShared(address))
    checkShared(address, bytes, touch, site);
  else
    checkGlobal(address, bytes, touch, site);
}

void Execution::checkBanked(uint64_t address, Touch touch, cleave_simt_site *site) {
  check(address, site->bytes, touch, site);
  if (isShared(address) &&
      conflicts.note(running->warp, running->lane, uint32_t(address - sharedBase), site))
    switchToScheduler();
}

static std::string bytesAt(uint64_t bytes, const std::string &where) {
  return std::to_string(bytes) + " bytes at " + where;
}

std::string Execution::earlier(const Access &before, bool write) const {
  return ", which " + timeline.nameOf(before.block) + " has " + (write ? "read or " : "") +
         "written, with no order of a stream, event or wait between the two";
}

Shadow::Thread Execution::shadowThread(bool shared, Touch touch, bool pending) const {
  Access now = running->now;
  now.atomic = touch == Touch::Atomic || touch == Touch::AtomicRead;
  now.pending = pending;
  return {now, now.thread, running->known.get(), &knownBlocks, &timeline, firstBlock, shared};
}

void Execution::touch(uint64_t address, uint64_t bytes, bool write, const std::string &name) {
  takeBlocks(1, name);
  Access now;
  now.block = firstBlock++;
  now.epoch = 1;
  Access before =
      shadow.touch(memory.cellOf(address), address, bytes, write,
                   {now, now.thread, nullptr, &knownBlocks, &timeline, now.block, false});
  if (!before.block)
    return;
  std::string line =
      "race: " + name + ", " + bytesAt(bytes, globalPlace(address)) + earlier(before, write);
  findings.add(line, line);
}

void Execution::race(const Access &before, bool write, const std::string &where,
                     const cleave_simt_site *site) {
  if (before.block < firstBlock) {
    report("race", site, where + earlier(before, write));
    return;
  }
  bool elsewhere = before.block != running->now.block;
  Dim other = launch->block.at(before.thread);
  std::string who = "thread (" + std::to_string(other.x) + "," + std::to_string(other.y) + "," +
                    std::to_string(other.z) + ")";
  if (before.thread >= threads.size())
    who = elsewhere ? "a copy" : workers[before.thread - threads.size()];
  if (elsewhere)
    who += " of another block";
  std::string text =
      before.pending ? " that an asynchronous copy of " + who + " fills, which is not waited for"
                     : ", which " + who + " has " + (write ? "read or " : "") +
                           "written, with nothing between that orders the two";
  report("race", site, where + text);
}

const cleave_simt_variable *Execution::variableAt(uint64_t offset) const {
  const cleave_simt_kernel &kernel = *launch->kernel;
  for (uint32_t i = 0; i < kernel.num_variables; ++i)
    if (offset - kernel.variables[i].offset < kernel.variables[i].bytes)
      return &kernel.variables[i];
  return nullptr;
}

std::string Execution::sharedPlace(uint64_t address) const {
  uint64_t offset = address - sharedBase;
  const cleave_simt_variable *variable = variableAt(offset);
  if (variable)
    return std::string("shared \"") + variable->name + "\"+" +
           std::to_string(offset - variable->offset);
  if (launch->dynamicBytes && offset >= dynamicOffset)
    return "dynamic shared memory+" + std::to_string(offset - dynamicOffset);
  return "shared memory+" + std::to_string(offset);
}

void Execution::checkSharedBytes(uint64_t address, uint64_t bytes, Touch touch,
                                 cleave_simt_site *site) {
  uint64_t offset = address - sharedBase;
  const cleave_simt_variable *variable = variableAt(offset);
  uint64_t end = variable ? variable->offset + variable->bytes
                 : launch->dynamicBytes && offset >= dynamicOffset ? sharedBytes
                                                                   : 0;
  if (offset + bytes > end) {
    report(
        "out of bounds", site,
        bytesAt(bytes, sharedPlace(address)) +
            (end ? ", which ends " + std::to_string(end - std::min(end, offset)) + " bytes further"
                 : ", where nothing is"));
    stop(Outcome::IllegalAddress);
  }
  if (address % site->align)
    misaligned(address, bytes, sharedPlace(address), site);
  if (isRead(touch) && !sharedWritten.all(offset, bytes))
    report("uninitialised", site, bytesAt(bytes, sharedPlace(address)) + " were never written");
  if (isWrite(touch))
    sharedWritten.set(offset, bytes);
}

void Execution::checkShared(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site) {
  checkSharedBytes(address, bytes, touch, site);
  uint64_t offset = address - sharedBase;
  Access before = shadow.touch(&sharedCells[offset / 4], address, bytes, isWrite(touch),
                               shadowThread(/*shared=*/true, touch, /*pending=*/false));
  if (before.block)
    race(before, isWrite(touch), bytesAt(bytes, sharedPlace(address)), site);
}

/// A GPU faults where an instruction's own bytes are not aligned; a promise of more that
/// is broken lets the compiler make wider instructions of several.
void Execution::misaligned(uint64_t address, uint64_t bytes, const std::string &where,
                           const cleave_simt_site *site) {
  report("misaligned", site,
         bytesAt(bytes, where) + ", which the program promises to be a multiple of " +
             std::to_string(site->align));
  uint64_t needed = std::min<uint64_t>({std::bit_floor(bytes), 16, site->align});
  if (address % needed)
    stop(Outcome::Misaligned);
}

std::string Execution::globalPlace(uint64_t address) {
  Allocation *allocation = memory.before(address), *next = memory.after(address);
  auto of = [](Allocation *one) {
    return "an allocation of " + std::to_string(one->bytes) + " bytes";
  };
  uint64_t behind = allocation ? address - allocation->begin : ~uint64_t(0);
  if (next && allocation && behind >= allocation->bytes &&
      next->begin - address < behind - allocation->bytes)
    return of(next) + "-" + std::to_string(next->begin - address);
  return allocation ? of(allocation) + "+" + std::to_string(behind) : "an address of nobody";
}

Allocation &Execution::allocationOf(uint64_t address, uint64_t bytes, Touch touch,
                                    cleave_simt_site *site) {
  auto *cached = static_cast<Allocation *>(site->cache);
  if (cached && cached->live && cached->holds(address, bytes))
    return *cached;
  Allocation *allocation = memory.find(address, bytes);
  if (!allocation) {
    Allocation *near = memory.before(address);
    bool freed =
        near && !near->live && near->kind == Allocation::Device && near->holds(address, bytes);
    report(freed ? "use after free" : "out of bounds", site, bytesAt(bytes, globalPlace(address)));
    stop(Outcome::IllegalAddress);
  }
  if (isWrite(touch) && allocation->kind >= Allocation::Constant) {
    report("out of bounds", site, "constants are only read");
    stop(Outcome::IllegalAddress);
  }
  if (allocation->kind == Allocation::Device && allocation->device != launch->device) {
    report("out of bounds", site,
           "memory of device " + std::to_string(allocation->device) + " on device " +
               std::to_string(launch->device));
    stop(Outcome::IllegalAddress);
  }
  site->cache = allocation;
  return *allocation;
}

bool Execution::checkGlobalBytes(uint64_t address, uint64_t bytes, Touch touch,
                                 cleave_simt_site *site) {
  if (site->space == CLEAVE_SIMT_SHARED) {
    report("out of bounds", site, "an address outside of shared memory");
    stop(Outcome::IllegalAddress);
  }
  Allocation &allocation = allocationOf(address, bytes, touch, site);
  if (address % site->align)
    misaligned(address, bytes, globalPlace(address), site);
  if (allocation.kind != Allocation::Device)
    return false;
  if (launch->isEarly && !running->hasWaited)
    report("too early", site,
           bytesAt(bytes, globalPlace(address)) + ", before a wait for the kernel in front");
  if (isRead(touch) && !memory.isWritten(address, bytes))
    report("uninitialised", site, bytesAt(bytes, globalPlace(address)) + " were never written");
  if (isWrite(touch))
    memory.setWritten(address, bytes);
  return true;
}

void Execution::checkGlobal(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site) {
  if (!checkGlobalBytes(address, bytes, touch, site))
    return;
  Access before = shadow.touch(memory.cellOf(address), address, bytes, isWrite(touch),
                               shadowThread(/*shared=*/false, touch, /*pending=*/false));
  if (before.block)
    race(before, isWrite(touch), bytesAt(bytes, globalPlace(address)), site);
}

void Execution::checkCopy(const Copy &copy, cleave_simt_site *site) {
  uint64_t target = reinterpret_cast<uint64_t>(copy.target);
  uint64_t source = reinterpret_cast<uint64_t>(copy.source);
  if (!isShared(target)) {
    report("out of bounds", site, "a copy to an address outside of shared memory");
    stop(Outcome::IllegalAddress);
  }
  if (copy.sourceBytes > copy.bytes)
    diverged(site, "it copies more than its size, " + std::to_string(copy.sourceBytes));
  checkShared(target, copy.bytes, Touch::Write, site);
  // Nobody may touch it before it is waited for, the thread itself neither.
  uint64_t offset = target - sharedBase;
  shadow.touch(&sharedCells[offset / 4], target, copy.bytes, /*write=*/true,
               shadowThread(/*shared=*/true, Touch::Write, /*pending=*/true));
  if (!copy.sourceBytes)
    return;
  cleave_simt_site from = *site;
  from.space = CLEAVE_SIMT_GLOBAL;
  checkGlobal(source, copy.sourceBytes, Touch::Read, &from);
  site->cache = from.cache;
}

void Execution::finishCopies(size_t groupsLeft) {
  Thread &thread = self();
  while (thread.groups.size() > groupsLeft) {
    for (const Copy &copy : thread.groups.front()) {
      if (schedule.shuffled)
        copy.perform();
      uint64_t offset = reinterpret_cast<uint64_t>(copy.target) - sharedBase;
      shadow.settle(&sharedCells[offset / 4], copy.bytes, thread.now);
    }
    thread.groups.pop_front();
  }
}
