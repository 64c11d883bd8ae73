//===- Interrupts.cpp - an end by signal leaves no litter -----------------===//

#include "cleave/Support/Interrupts.h"

#include <filesystem>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

using namespace cleave;

Interrupts::Interrupts() {
  sigemptyset(&watched);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    // Who ignores a signal, as nohup does, goes on ignoring it.
    struct sigaction action;
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_DFL)
      sigaddset(&watched, signal);
  }
  pthread_sigmask(SIG_BLOCK, &watched, &before);
  signals = signalfd(-1, &watched, SFD_CLOEXEC);
  over = eventfd(0, EFD_CLOEXEC);
  watcher = std::thread([this] { watch(); });
}

Interrupts::~Interrupts() {
  uint64_t one = 1;
  (void)!write(over, &one, sizeof one);
  watcher.join();
  close(signals);
  close(over);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Interrupts::guard(std::string folder) {
  std::lock_guard lock(mutex);
  guarded = std::move(folder);
}

void Interrupts::watch() {
  pollfd sources[2] = {{signals, POLLIN, 0}, {over, POLLIN, 0}};
  while (poll(sources, 2, -1) < 0)
    ;
  signalfd_siginfo info;
  if (sources[1].revents || read(signals, &info, sizeof info) != sizeof info)
    return;
  // Held for good: what the folder is to become, it does not become any more.
  mutex.lock();
  // Others still write into it, until it is gone.
  std::error_code status;
  while (!guarded.empty() && std::filesystem::exists(guarded, status))
    std::filesystem::remove_all(guarded, status);
  // Ends as it would have without this: the signal finds its own default here.
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, int(info.ssi_signo));
  raise(int(info.ssi_signo));
  pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
}
