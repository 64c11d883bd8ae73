//===- Execution.h - kernels, thread by thread ------------------*- C++ -*-===//
//
// Each thread of a block is a fiber with a stack of its own; a block runs alone. Code of
// the device runs on fibers and throws nothing: what it does wrong beyond repair jumps
// to the scheduler, which gives the launch up.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_EXECUTION_H
#define CLEAVE_RUNTIME_SIMT_EXECUTION_H

#include "../Host/Memory.h"
#include "Async.h"
#include "Conflicts.h"
#include "Findings.h"
#include "Memory.h"

#include "cleave/Runtime/SimtAbi.h"

#include <deque>
#include <map>
#include <random>
#include <string>

namespace cleave::simt {

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
  Dim at(uint64_t index) const {
    return {uint32_t(index % x), uint32_t(index / x % y), uint32_t(index / x / y)};
  }
};

/// How a launch ended; what CUDA would say of it.
enum class Outcome { Done, IllegalAddress, Misaligned, Trap, Assert, Failed };

struct Launch {
  const cleave_simt_image *image;
  const cleave_simt_kernel *kernel;
  Dim grid, block;
  uint32_t dynamicBytes;
  int device;
  std::vector<std::vector<char>> values; ///< of the arguments, as they were at the call
  bool isEarly = false;                  ///< may begin before the kernel in front of it has ended
};

/// What threads and copies do first.
struct Schedule {
  bool shuffled = false;
  uint64_t seed = 0;
  /// "greedy" or "shuffled[:SEED]"; false for anything else.
  bool parse(const std::string &text);
};

/// A copy from global to shared memory on its way.
struct Copy {
  char *target;
  const char *source;
  uint32_t bytes, sourceBytes; ///< what is not copied is zero

  void perform() const {
    memcpy(target, source, sourceBytes);
    memset(target + sourceBytes, 0, bytes - sourceBytes);
  }
};

struct Thread {
  void *context = nullptr; ///< where it goes on
  uint32_t index = 0, warp = 0, lane = 0;
  Access now;     ///< with its epoch
  ClockRef known; ///< of others
  const cleave_simt_site *waits = nullptr;
  uint32_t result = 0;                           ///< of the barrier that it waited for
  uint32_t strong = 0;                           ///< atomics and volatile accesses
  ClockRef fenced;                               ///< what others may know that see its atomics
  std::vector<uint32_t> proxyFences, initFences; ///< epochs that they end
  ClockRef proxied;                              ///< what it knew at its last fence of proxies
  BulkGroups bulk;
  bool gaveUp = false;    ///< its last wait at an mbarrier
  bool hasWaited = false; ///< for the kernel in front of its own
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

class Execution;

/// Lanes on their way to do something together. The last one does it for all.
struct Gathering {
  using Finish = void (*)(Execution &, Gathering &);
  uint32_t mask, arrived, warp;
  Finish finish;
  uint64_t detail; ///< has to be the same for all
  const cleave_simt_site *site;
  void *slots[32];
};

struct Warp {
  uint32_t lanes = 0, ready = 0, ended = 0;
  std::vector<Gathering> gatherings;
  Products products;
};

struct Barrier {
  uint32_t expected = 0, arrived = 0, sum = 0;
  bool all = true, any = false;
  Meeting meeting;
  std::vector<uint32_t> waiting;
  std::array<const cleave_simt_site *, 32> sites = {}; ///< by warp
};

class Execution {
public:
  static Execution &get();

  /// Takes memory; false where the system refuses.
  bool prepare();
  Outcome run(const Launch &launch);
  /// Notes that the work that runs, `name`, reads or writes memory without a kernel.
  void touch(uint64_t address, uint64_t bytes, bool write, const std::string &name);

  Memory memory;
  Findings findings;
  Timeline timeline;
  Conflicts conflicts;
  Schedule schedule;

  // What follows is for code of the device.

  enum class Touch { Read, Write, Atomic, AtomicRead };
  void check(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  /// The same for an access that banks of shared memory serve for a warp.
  void checkBanked(uint64_t address, Touch touch, cleave_simt_site *site);
  /// Checks an asynchronous copy that begins.
  void checkCopy(const Copy &copy, cleave_simt_site *site);
  /// Waits for all groups of copies but the last ones.
  void finishCopies(size_t groupsLeft);

  /// What the thread has done is known to whoever sees a later atomic of it.
  void fence();
  /// Waits until all lanes of `mask` are here, and `finish` has been called once.
  void meet(uint32_t mask, void *slot, Gathering::Finish finish, uint64_t detail,
            cleave_simt_site *site);
  /// The same with all lanes of a whole warp.
  void meetAll(void *slot, Gathering::Finish finish, uint64_t detail, cleave_simt_site *site);
  struct Arrival {
    uint32_t id, threads;
    bool waits, predicate;
    uint32_t operation;
  };
  uint32_t arrive(const Arrival &arrival, cleave_simt_site *site);
  /// What every thread of a gathering did before is known to all of them.
  void synchronize(const Gathering &gathering);

  // At an mbarrier.
  void initBarrier(uint64_t address, uint32_t count, cleave_simt_site *site);
  void endBarrier(uint64_t address, cleave_simt_site *site);
  struct Signal {
    uint32_t count = 1, flags = 0; ///< cleave_simt_mbarrier
    int64_t bytes = 0;             ///< that are expected besides, or have come
  };
  uint64_t signal(uint64_t address, const Signal &signal, cleave_simt_site *site);
  /// Whether a phase has ended, by its parity or by what an arrival in it returned.
  bool test(uint64_t address, uint64_t phase, uint32_t flags, cleave_simt_site *site);

  /// Begins a copy that arrives at the mbarrier of its address, or in groups.
  void begin(Bulk bulk, cleave_simt_site *site);
  void commitBulk();
  void waitForBulk(uint32_t groupsLeft, bool onlyRead);
  /// What a worker of the thread, or of its warp, touches.
  struct Agent {
    uint32_t worker;
    uint64_t epoch;
    const Clock *known;
    uint64_t begins; ///< by which thread it is begun; none for what a warp knows
  };
  Agent reader(const Bulk &bulk);
  Agent writer(const Bulk &bulk);
  /// The mbarrier of a copy that begins now, and its phase.
  void aim(Bulk &bulk, uint64_t barrier, cleave_simt_site *site);
  void touch(uint64_t address, uint64_t bytes, bool write, const Agent &agent,
             cleave_simt_site *site);
  void fenceProxy(uint32_t kind);

  // Of a group of four warps.
  /// What each warp of the group has to do in this order.
  void step(const WarpGroup::Step &step);
  /// What all lanes of the warp know.
  Clock commonKnowledge(uint32_t warp) const;
  void learn(Thread &thread, uint32_t worker, uint32_t epoch);
  Warp &warpOf(const Thread &thread) { return warps[thread.warp]; }
  uint32_t addWorker(std::string name);
  uint64_t shared() const { return sharedBase; }
  Thread &threadOf(uint32_t warp, uint32_t lane) { return threads[warp * 32 + lane]; }

  /// Lets other threads go on.
  void yield();
  [[noreturn]] void stop(Outcome outcome);
  /// Adds a finding of `kind` at a place of the running thread.
  void report(const char *kind, const cleave_simt_site *site, const std::string &text);
  [[noreturn]] void diverged(const cleave_simt_site *site, const std::string &text);

  Thread &self() { return *running; }
  uint32_t read(uint32_t sreg) const;
  bool isShared(uint64_t address) const { return address - sharedBase < sharedCapacity; }
  bool isLocal(uint64_t address) const;
  const Launch &current() const { return *launch; }

private:
  /// Gives `count` numbers of blocks, from `firstBlock` on, to the work `name`.
  void takeBlocks(uint64_t count, const std::string &name);
  bool runBlock(uint64_t index);
  void enterBlock(uint64_t index);
  Thread *pick();
  Thread *pickIn(uint32_t warp);
  void wait(const cleave_simt_site *site);
  void switchToScheduler();
  static void fiberMain();
  void endThread();
  void reportDeadlock();
  void completeBarrier(Barrier &barrier);
  Mbarrier &mbarrierAt(uint64_t address, Touch touch, cleave_simt_site *site);
  void advance(uint64_t address, Mbarrier &barrier, const cleave_simt_site *site);
  void land(size_t index);
  bool landAny();
  void endBlock();
  bool isFenced(const Access &write, const Agent &agent, bool init) const;
  std::string missing() const;

  void checkShared(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  void checkGlobal(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  void checkSharedBytes(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  /// False for memory without a shadow.
  bool checkGlobalBytes(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  Allocation &allocationOf(uint64_t address, uint64_t bytes, Touch touch, cleave_simt_site *site);
  void passOn(uint64_t address, bool write);
  void race(const Access &before, bool write, const std::string &where,
            const cleave_simt_site *site);
  /// How work that `before` is of has touched what is touched now.
  std::string earlier(const Access &before, bool write) const;
  void misaligned(uint64_t address, uint64_t bytes, const std::string &where,
                  const cleave_simt_site *site);
  const cleave_simt_variable *variableAt(uint64_t offset) const;
  std::string sharedPlace(uint64_t address) const;
  std::string globalPlace(uint64_t address);
  Shadow::Thread shadowThread(bool shared, Touch touch, bool pending) const;

  static constexpr uint64_t sharedCapacity = 1 << 18, maxThreads = 1024;
  /// Below 2^32, so that 32 bits hold an address, and aligned to its size, so that 18
  /// bits do.
  uint64_t sharedBase = 0;
  Bits sharedWritten;
  std::vector<uint8_t> sharedWords;
  std::vector<Cell> sharedCells;
  runtime::Stacks stacks;

  // Of the launch.
  const Launch *launch = nullptr;
  struct alignas(64) Line {
    char bytes[64];
  };
  std::vector<Line> argumentLines; ///< each at the begin of a line
  std::vector<void *> arguments;
  std::vector<uint32_t> order; ///< of blocks
  uint64_t firstBlock = 1;     ///< the number of the first block of the launch
  uint32_t sharedBytes = 0, dynamicOffset = 0;
  Shadow shadow;
  std::unordered_map<uint64_t, Blocks> released; ///< by address of atomics
  std::map<std::pair<const void *, std::string>, size_t> told;
  std::mt19937_64 random;

  // Of the block.
  Dim blockId;
  Blocks knownBlocks;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers;
  std::map<uint64_t, Mbarrier> mbarriers; ///< by address
  std::vector<WarpGroup> warpGroups;
  std::vector<std::string> workers; ///< whose numbers are behind those of the threads
  std::vector<Bulk> inFlight;
  Thread *running = nullptr;
  uint32_t alive = 0, rotations = 0;
  bool rotates = false;
  int32_t patience = 0; ///< accesses until another thread is picked
  void *scheduler = nullptr;
  Outcome outcome = Outcome::Done;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_EXECUTION_H
