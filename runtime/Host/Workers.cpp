//===- Workers.cpp - ranks as fibers on a few cores -----------------------===//

#include "Workers.h"

#include "../Core/Clock.h"

#include <boost/context/fiber.hpp>

#include <algorithm>
#include <climits>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace cleave::runtime;
namespace context = boost::context;

/// Longer than a barrier takes, shorter than anybody would notice on a bill.
static constexpr int64_t spinNs = 50'000;
/// Pauses before a waiting core is offered to other threads of the machine.
static constexpr uint32_t spinsBeforeYield = 4096;
static constexpr uint32_t spinsPerClock = 512;
/// The same of a process that waits for others: a look asks the system.
static constexpr uint32_t looksBeforeYield = 64;
/// Where others wait for this core, among them whom we wait for.
static constexpr uint32_t looksWhenCrowded = 4;

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

static void futexWait(const std::atomic<uint32_t> &word, uint32_t value, int64_t timeoutNs) {
  timespec timeout{time_t(timeoutNs / 1'000'000'000), long(timeoutNs % 1'000'000'000)};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, timeoutNs < 0 ? nullptr : &timeout, nullptr,
          0);
}

static void futexWake(const std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

namespace {

/// Tells Boost that a stack is kept: it is used again by the next run.
struct KeptStack {
  using traits_type = context::stack_traits;
  context::stack_context allocate() { return {}; }
  void deallocate(context::stack_context &) noexcept {}
};

/// Puts the calling thread on one core while it works.
class Pinned {
public:
  explicit Pinned(int core) {
    if (core < 0 || pthread_getaffinity_np(pthread_self(), sizeof before, &before))
      return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    changed = !pthread_setaffinity_np(pthread_self(), sizeof one, &one);
  }
  ~Pinned() {
    if (changed)
      pthread_setaffinity_np(pthread_self(), sizeof before, &before);
  }

private:
  cpu_set_t before;
  bool changed = false;
};

} // namespace

/// One rank in one run.
class Workers::Fiber final : public Waiter {
public:
  Fiber(Workers &workers, uint32_t rank) : workers(workers), rank(rank) {}

  Wake waitWhile(const std::atomic<uint32_t> &awaited, uint32_t value) noexcept override {
    if (awaited.load(std::memory_order_acquire) != value)
      return Wake::Ready;
    word = &awaited;
    held = value;
    Wake result = wait();
    word = nullptr;
    return result;
  }

  Wake waitUntil(Condition &awaited) noexcept override {
    if (awaited.holds())
      return Wake::Ready;
    condition = &awaited;
    Wake result = wait();
    condition = nullptr;
    return result;
  }

  bool ready() noexcept {
    if (condition ? condition->holds() : !word || word->load(std::memory_order_acquire) != held)
      return true;
    if (wake == Wake::Late)
      return true;
    if (!workers.stopped.load(std::memory_order_relaxed))
      return false;
    wake = Wake::Stopped;
    return true;
  }

  Workers &workers;
  const uint32_t rank;
  context::fiber self;   ///< while it waits
  context::fiber worker; ///< while it runs
  const std::atomic<uint32_t> *word = nullptr;
  uint32_t held = 0;
  Condition *condition = nullptr;
  int64_t waitingSince = 0; ///< 0 until the worker first looks at a clock
  Wake wake = Wake::Ready;

private:
  Wake wait() noexcept {
    waitingSince = 0;
    wake = Wake::Ready;
    worker = std::move(worker).resume();
    return wake;
  }
};

struct Workers::Worker {
  uint32_t number;
  int core; ///< -1: wherever the system puts it
  std::vector<Fiber *> ranks;
  std::vector<Fiber *> alive;
  std::thread thread;
};

Workers::Workers(uint32_t numRanks, uint32_t threads, uint32_t deadlineMs, Peers peers)
    : numThreads(std::min(numRanks, threads)), deadlineNs(int64_t(deadlineMs) * 1'000'000),
      yieldAfter(peers == Peers::Threads     ? spinsBeforeYield
                 : peers == Peers::Processes ? looksBeforeYield
                                             : looksWhenCrowded),
      lookEvery(std::min(yieldAfter, spinsPerClock)) {
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set))
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &set))
        cores.push_back(core);
  for (uint32_t i = 0; i < numThreads; ++i) {
    auto worker = std::make_unique<Worker>();
    worker->number = i;
    // Alone, the calling thread stays where it is; with more workers than
    // cores the system does better than we.
    bool pin = numThreads > 1 && numThreads <= cores.size();
    worker->core = pin ? cores[i] : -1;
    workers.push_back(std::move(worker));
  }
  for (uint32_t rank = 0; rank < numRanks; ++rank) {
    fibers.push_back(std::make_unique<Fiber>(*this, rank));
    workers[rank % numThreads]->ranks.push_back(fibers.back().get());
  }
  for (auto &worker : workers)
    worker->alive.reserve(worker->ranks.size());
}

Workers::~Workers() { finish(); }

uint32_t Workers::available() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set))
    return 1;
  return std::max(1, CPU_COUNT(&set));
}

bool Workers::start() {
  if (!stacks.allocate(uint32_t(fibers.size())))
    return false;
  started = true;
  try {
    for (uint32_t i = 1; i < numThreads; ++i)
      workers[i]->thread = std::thread([this, i] { threadMain(*workers[i]); });
  } catch (const std::system_error &) {
    return false;
  }
  return true;
}

bool Workers::finish() noexcept {
  if (!started)
    return true;
  started = false;
  if (!awaitOthers()) {
    for (auto &worker : workers)
      if (worker->thread.joinable())
        worker->thread.detach();
    return false;
  }
  ending = true;
  beginEpoch();
  for (auto &worker : workers)
    if (worker->thread.joinable())
      worker->thread.join();
  return true;
}

bool Workers::run(RankBody &rankBody) noexcept {
  body = &rankBody;
  stopped.store(false, std::memory_order_relaxed);
  busy.store(numThreads - 1, std::memory_order_relaxed);
  if (numThreads > 1)
    beginEpoch();
  Pinned pinned(workers[0]->core);
  runRanks(*workers[0]);
  return awaitOthers();
}

void Workers::beginEpoch() noexcept {
  epoch.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst))
    futexWake(epoch);
}

void Workers::threadMain(Worker &worker) noexcept {
  Pinned pinned(worker.core);
  uint32_t seen = 0;
  for (;;) {
    seen = awaitEpoch(seen);
    if (ending)
      return;
    runRanks(worker);
    if (busy.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
        callerSleeps.load(std::memory_order_seq_cst))
      futexWake(busy);
  }
}

/// Runs follow each other closely or not at all: spins a little, then sleeps.
uint32_t Workers::awaitEpoch(uint32_t seen) noexcept {
  uint64_t until = now() + spinNs;
  uint32_t current;
  while ((current = epoch.load(std::memory_order_acquire)) == seen) {
    if (now() < until) {
      relax();
      continue;
    }
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    if (epoch.load(std::memory_order_seq_cst) == seen)
      futexWait(epoch, seen, -1);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
  return current;
}

/// The caller has nothing left to do until the other workers end.
bool Workers::awaitOthers() noexcept {
  int64_t start = 0;
  uint32_t left;
  while ((left = busy.load(std::memory_order_acquire))) {
    int64_t time = now();
    if (!start)
      start = time;
    int64_t remaining = start + deadlineNs - time;
    if (remaining <= 0)
      return false;
    if (time - start < spinNs) {
      relax();
      continue;
    }
    callerSleeps.store(1, std::memory_order_seq_cst);
    if (busy.load(std::memory_order_seq_cst) == left)
      futexWait(busy, left, remaining);
    callerSleeps.store(0, std::memory_order_relaxed);
  }
  return true;
}

void Workers::createFiber(Fiber &fiber) noexcept {
  context::stack_context stack;
  stack.sp = stacks.top(fiber.rank);
  stack.size = Stacks::size();
  fiber.word = nullptr;
  fiber.condition = nullptr;
  fiber.self =
      context::fiber(std::allocator_arg, context::preallocated(stack.sp, stack.size, stack),
                     KeptStack(), [this, &fiber](context::fiber &&worker) {
                       fiber.worker = std::move(worker);
                       body->runRank(fiber.rank, fiber);
                       return std::move(fiber.worker);
                     });
}

void Workers::runRanks(Worker &worker) noexcept {
  worker.alive.assign(worker.ranks.begin(), worker.ranks.end());
  for (Fiber *fiber : worker.alive)
    createFiber(*fiber);

  uint32_t spins = 0;
  while (!worker.alive.empty()) {
    bool progress = false;
    for (Fiber *fiber : worker.alive)
      if (fiber->ready()) {
        fiber->self = std::move(fiber->self).resume();
        progress = true;
      }
    if (!progress) {
      idle(worker, spins);
      continue;
    }
    spins = 0;
    std::erase_if(worker.alive, [](Fiber *fiber) { return !fiber->self; });
  }
}

void Workers::idle(Worker &worker, uint32_t &spins) noexcept {
  relax();
  if (++spins % lookEvery)
    return;
  expireWaits(worker);
  if (spins < yieldAfter)
    return;
  spins = yieldAfter - lookEvery;
  sched_yield();
}

void Workers::expireWaits(Worker &worker) noexcept {
  int64_t time = now();
  for (Fiber *fiber : worker.alive) {
    if (!fiber->waitingSince)
      fiber->waitingSince = time;
    if (time - fiber->waitingSince >= deadlineNs)
      fiber->wake = Wake::Late;
  }
}
