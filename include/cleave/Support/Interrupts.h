//===- Interrupts.h - an end by signal leaves no litter -------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_INTERRUPTS_H
#define CLEAVE_SUPPORT_INTERRUPTS_H

#include <csignal>
#include <mutex>
#include <string>
#include <thread>

namespace cleave {

/// While it lives, SIGINT, SIGTERM and SIGHUP remove a folder before they end the
/// process. To be made before any thread is: those that begin later leave signals to
/// the one that waits for them here, which may do all that a handler may not.
class Interrupts {
public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts &) = delete;
  Interrupts &operator=(const Interrupts &) = delete;

  /// The folder to remove from now on; empty for none.
  void guard(std::string folder);
  /// Runs `step` with no signal in between; then `folder` is the one to remove.
  template <typename Step> auto exchange(Step step, std::string folder) {
    std::lock_guard lock(mutex);
    auto result = step();
    if (result)
      guarded = std::move(folder);
    return result;
  }

private:
  void watch();

  sigset_t watched, before;
  int signals = -1, over = -1;
  std::mutex mutex;
  std::string guarded;
  std::thread watcher;
};

} // namespace cleave

#endif // CLEAVE_SUPPORT_INTERRUPTS_H
