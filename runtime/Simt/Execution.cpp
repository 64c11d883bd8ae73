//===- Execution.cpp - kernels, thread by thread --------------------------===//

#include "Execution.h"

#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <bit>
#include <numeric>
#include <sys/mman.h>

using namespace cleave::simt;
namespace context = boost::context::detail;

bool Schedule::parse(const std::string &text) {
  static const std::string name = "shuffled";
  Schedule parsed;
  if (text != "greedy") {
    if (text.compare(0, name.size(), name))
      return false;
    parsed.shuffled = true;
    std::string rest = text.substr(name.size());
    if (!rest.empty()) {
      if (rest[0] != ':' || rest.size() < 2 || rest.size() > 19 ||
          rest.find_first_not_of("0123456789", 1) != rest.npos)
        return false;
      parsed.seed = std::stoull(rest.substr(1));
    }
  }
  *this = parsed;
  return true;
}

Execution &Execution::get() {
  static Execution execution;
  return execution;
}

bool Execution::prepare() {
  if (sharedBase)
    return true;
  void *window = mmap(nullptr, 2 * sharedCapacity, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (window == MAP_FAILED || !memory.reserve() || !stacks.allocate(maxThreads))
    return false;
  sharedWords.resize(sharedCapacity / 8 + 1);
  sharedWritten.words = sharedWords.data();
  sharedCells.resize(sharedCapacity / 4);
  sharedBase =
      (reinterpret_cast<uint64_t>(window) + sharedCapacity - 1) / sharedCapacity * sharedCapacity;
  return true;
}

void Execution::takeBlocks(uint64_t count, const std::string &name) {
  shadow.trim();
  if (firstBlock + count > Access::lastBlock) {
    memory.forgetRaces();
    std::fill(sharedCells.begin(), sharedCells.end(), Cell());
    shadow.forgetParts();
    timeline.forgetBlocks();
    firstBlock = 1;
  }
  timeline.addBlocks(firstBlock, name);
}

Outcome Execution::run(const Launch &what) {
  launch = &what;
  random.seed(schedule.seed);
  outcome = Outcome::Done;
  told.clear();
  conflicts.beginKernel(what.kernel->name);
  released.clear();

  uint64_t numBlocks = what.grid.count();
  takeBlocks(numBlocks, std::string("kernel \"") + what.kernel->name + '"');
  order.resize(numBlocks);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);

  const cleave_simt_kernel &kernel = *what.kernel;
  uint32_t align = std::max(kernel.dynamic_align, 16u);
  dynamicOffset = (kernel.static_shared + align - 1) / align * align;
  sharedBytes = what.dynamicBytes ? dynamicOffset + what.dynamicBytes : kernel.static_shared;
  *what.image->shared = reinterpret_cast<void *>(sharedBase);
  *what.image->dynamic_shared = reinterpret_cast<void *>(sharedBase + dynamicOffset);
  arguments.clear();
  auto linesOf = [](const std::vector<char> &value) { return value.size() / sizeof(Line) + 1; };
  size_t numLines = 0;
  for (const std::vector<char> &value : what.values)
    numLines += linesOf(value);
  argumentLines.resize(numLines);
  Line *line = argumentLines.data();
  for (const std::vector<char> &value : what.values) {
    memcpy(line, value.data(), value.size());
    memory.add(line, value.size(), Allocation::Argument, "");
    arguments.push_back(line);
    line += linesOf(value);
  }

  for (uint64_t i = 0; i < numBlocks && outcome == Outcome::Done; ++i)
    runBlock(i);
  for (void *argument : arguments)
    memory.remove(argument, Allocation::Argument);
  firstBlock += numBlocks;
  launch = nullptr;
  return outcome;
}

void Execution::enterBlock(uint64_t index) {
  blockId = launch->grid.at(order[index]);
  uint32_t count = uint32_t(launch->block.count());
  // NaN, in every type.
  memset(reinterpret_cast<void *>(sharedBase), 0xff, sharedBytes);
  std::fill_n(sharedWords.begin(), sharedBytes / 8 + 1, 0);
  knownBlocks.clear();
  threads.assign(count, Thread());
  warps.assign((count + 31) / 32, Warp());
  barriers.fill(Barrier());
  conflicts.beginBlock(warps.size());
  mbarriers.clear();
  warpGroups.assign((warps.size() + 3) / 4, WarpGroup());
  workers.clear();
  inFlight.clear();
  for (uint32_t i = 0; i < count; ++i) {
    Thread &thread = threads[i];
    thread.index = i;
    thread.warp = i / 32;
    thread.lane = i % 32;
    thread.now.block = firstBlock + index;
    thread.now.thread = i;
    thread.now.epoch = 1;
    thread.context = context::make_fcontext(stacks.top(i), runtime::Stacks::size(),
                                            [](context::transfer_t from) {
                                              get().scheduler = from.fctx;
                                              fiberMain();
                                            });
    warps[thread.warp].lanes |= 1u << thread.lane;
  }
  for (Warp &warp : warps)
    warp.ready = warp.lanes;
  running = threads.data();
  alive = count;
  rotations = 0;
}

bool Execution::runBlock(uint64_t index) {
  enterBlock(index);
  while (alive) {
    Thread *next = pick();
    while (!next && landAny())
      next = pick();
    if (!next) {
      reportDeadlock();
      return false;
    }
    running = next;
    context::transfer_t from = context::jump_fcontext(next->context, nullptr);
    if (outcome != Outcome::Done)
      return false;
    next->context = from.fctx;
  }
  endBlock();
  return outcome == Outcome::Done;
}

void Execution::fiberMain() {
  Execution &execution = get();
  execution.launch->kernel->entry(execution.arguments.data());
  execution.endThread();
}

void Execution::endThread() {
  Thread &thread = self();
  if (!thread.open.empty())
    thread.groups.push_back(std::move(thread.open));
  finishCopies(0);
  if (thread.bulk.read < thread.bulk.committed + thread.bulk.open)
    report("unfinished", thread.bulk.last,
           "its thread ends without a wait for what it reads in shared memory");
  Warp &warp = warps[thread.warp];
  warp.ready &= ~(1u << thread.lane);
  warp.ended |= 1u << thread.lane;
  for (const Gathering &gathering : warp.gatherings)
    if (gathering.mask >> thread.lane & 1)
      diverged(gathering.site,
               "lanes wait for lane " + std::to_string(thread.lane) + ", which has ended");
  --alive;
  if (warp.ended == warp.lanes)
    conflicts.meet(thread.warp);
  switchToScheduler();
}

void Execution::switchToScheduler() { scheduler = context::jump_fcontext(scheduler, nullptr).fctx; }

void Execution::stop(Outcome how) {
  outcome = how;
  switchToScheduler();
  __builtin_unreachable();
}

void Execution::wait(const cleave_simt_site *site) {
  Thread &thread = self();
  thread.waits = site;
  warps[thread.warp].ready &= ~(1u << thread.lane);
  switchToScheduler();
}

void Execution::yield() {
  rotates = true;
  // Nobody else will ever do what they wait for: a block runs alone.
  constexpr uint32_t enough = 1 << 20;
  if (++rotations > enough) {
    report("deadlock", nullptr, "threads wait in a loop for what does not happen");
    stop(Outcome::Failed);
  }
  switchToScheduler();
}

Thread *Execution::pickIn(uint32_t number) {
  uint32_t ready = warps[number].ready;
  if (!ready)
    return nullptr;
  uint32_t lane = 0;
  if (schedule.shuffled) {
    for (uint64_t skip = random() % uint64_t(std::popcount(ready)); skip; --skip)
      ready &= ready - 1;
  } else if (number == running->warp) {
    // The next lane, so that nobody who yields is picked again before the others.
    uint32_t behind = running->lane == 31 ? 0 : ready >> (running->lane + 1);
    if (behind)
      return &threads[number * 32 + running->lane + 1 + uint32_t(std::countr_zero(behind))];
  }
  lane = uint32_t(std::countr_zero(ready));
  return &threads[number * 32 + lane];
}

/// Greedy: stay in the warp while anything in it can run, so that warps run far ahead of
/// each other; shuffled: any.
Thread *Execution::pick() {
  uint32_t count = uint32_t(warps.size());
  uint32_t first = schedule.shuffled ? uint32_t(random() % count)
                   : rotates         ? running->warp + 1
                                     : running->warp;
  rotates = false;
  for (uint32_t i = 0; i < count; ++i)
    if (Thread *thread = pickIn((first + i) % count))
      return thread;
  return nullptr;
}

uint32_t Execution::read(uint32_t sreg) const {
  auto component = [&](const Dim &dim, uint32_t first) {
    return sreg == first ? dim.x : sreg == first + 1 ? dim.y : dim.z;
  };
  if (sreg < CLEAVE_SIMT_NTID)
    return component(launch->block.at(running->index), CLEAVE_SIMT_TID);
  if (sreg < CLEAVE_SIMT_CTAID)
    return component(launch->block, CLEAVE_SIMT_NTID);
  if (sreg < CLEAVE_SIMT_NCTAID)
    return component(blockId, CLEAVE_SIMT_CTAID);
  if (sreg < CLEAVE_SIMT_LANE)
    return component(launch->grid, CLEAVE_SIMT_NCTAID);
  switch (sreg) {
  case CLEAVE_SIMT_LANE: return running->lane;
  case CLEAVE_SIMT_WARP: return running->warp;
  case CLEAVE_SIMT_NUM_WARPS: return uint32_t(warps.size());
  case CLEAVE_SIMT_DYNAMIC_BYTES: return launch->dynamicBytes;
  default: return sharedBytes;
  }
}
