//===- Workers.h - ranks as fibers on a few cores -------------*- C++ -*-===//
//
// Rank r lives on worker r mod n. A worker runs a rank until it has to wait
// for another one, then goes on with the next that can run. The thread that
// calls run() is worker 0.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_HOST_WORKERS_H
#define CLEAVE_RUNTIME_HOST_WORKERS_H

#include "Memory.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace cleave::runtime {

/// How a wait ended.
enum class Wake { Ready, Late, Stopped };

/// What is waited for; looked at by the thread that waits.
class Condition {
public:
  virtual bool holds() noexcept = 0;

protected:
  ~Condition() = default;
};

/// What code on a rank's fiber uses to wait.
class Waiter {
public:
  /// Gives the core to other ranks while `word` holds `value`. Late after the
  /// deadline, Stopped when another rank failed.
  virtual Wake waitWhile(const std::atomic<uint32_t> &word, uint32_t value) noexcept = 0;

  /// The same until `condition` holds, which costs more to look at.
  virtual Wake waitUntil(Condition &condition) noexcept = 0;

protected:
  ~Waiter() = default;
};

/// What every rank does in a run. Never throws.
class RankBody {
public:
  virtual void runRank(uint32_t rank, Waiter &waiter) noexcept = 0;

protected:
  ~RankBody() = default;
};

/// Whom ranks wait for. Crowded: processes, of which this host runs more than it has
/// cores.
enum class Peers : uint8_t { Threads, Processes, Crowded };

class Workers {
public:
  Workers(uint32_t numRanks, uint32_t numThreads, uint32_t deadlineMs, Peers peers);
  Workers(const Workers &) = delete;
  Workers &operator=(const Workers &) = delete;
  ~Workers();

  /// Takes stacks and starts the threads; false where the system refuses.
  bool start();

  /// Runs `body` for every rank. False where a worker did not come back within
  /// the deadline after all others: its kernel hangs, and what it uses must
  /// stay in place.
  bool run(RankBody &body) noexcept;

  /// Ends all waits of this run, now and later ones.
  void stop() noexcept { stopped.store(true, std::memory_order_release); }

  /// Waits once more for workers that did not come back, and ends the threads;
  /// false where one still hangs.
  bool finish() noexcept;

  /// Cores that this process may use.
  static uint32_t available();

private:
  class Fiber;
  struct Worker;

  void threadMain(Worker &worker) noexcept;
  void runRanks(Worker &worker) noexcept;
  void createFiber(Fiber &fiber) noexcept;
  void idle(Worker &worker, uint32_t &spins) noexcept;
  void expireWaits(Worker &worker) noexcept;
  uint32_t awaitEpoch(uint32_t seen) noexcept;
  bool awaitOthers() noexcept;
  void beginEpoch() noexcept;

  const uint32_t numThreads;
  const int64_t deadlineNs;
  const uint32_t yieldAfter, lookEvery; ///< in looks at what is waited for
  Stacks stacks;
  std::vector<std::unique_ptr<Fiber>> fibers; ///< by rank
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<int> cores;
  RankBody *body = nullptr;
  bool ending = false;
  bool started = false;

  alignas(64) std::atomic<uint32_t> epoch{0}; ///< one more, one more run
  std::atomic<uint32_t> sleepers{0};
  alignas(64) std::atomic<uint32_t> busy{0}; ///< threads within this epoch
  std::atomic<uint32_t> callerSleeps{0};
  alignas(64) std::atomic<bool> stopped{false};
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_HOST_WORKERS_H
