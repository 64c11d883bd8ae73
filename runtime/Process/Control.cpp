//===- Control.cpp - how a job ends as one --------------------------------===//

#include "Control.h"

#include "../Core/Error.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace cleave::runtime;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

static constexpr auto beatEvery = 100ms;
/// A launcher signals all when one has died; of this one the hub hears by itself.
static constexpr auto signalGrace = 300ms;
/// What a rank may take to come back from its command after the job has failed.
static constexpr auto returnGrace = 500ms;
/// Beats come late on a machine with much else to do.
static constexpr auto silenceGrace = 1500ms;
/// Processes that have not left after it are ended.
static constexpr auto leaveGrace = 1000ms;
static constexpr short goneEvents = POLLHUP | POLLRDHUP | POLLERR;

Control::Control(uint32_t rank, std::vector<ControlPeer> given, Board &board)
    : rank(rank), peers(std::move(given)), board(board), wakeup(eventfd(0, EFD_CLOEXEC)),
      deadlineMs(60'000) {
  for (uint32_t r = 0; r < peers.size(); ++r)
    if (r != rank && (isHub() || r == 0))
      lines.push_back({r, true, false, false, 0, Clock::now()});
  thread = std::thread([this] { threadMain(); });
}

Control::~Control() {
  {
    Lock lock(mutex);
    ending = true;
  }
  wakeThread();
  thread.join();
  close(wakeup);
}

void Control::wakeThread() {
  uint64_t one = 1;
  // Full means that it is awake anyway.
  [[maybe_unused]] ssize_t written = write(wakeup, &one, sizeof one);
}

void Control::attach(JobMember *session, uint32_t sessionDeadlineMs) {
  Lock lock(mutex);
  member = session;
  deadlineMs = sessionDeadlineMs;
  if (member && verdict)
    member->stopForJob();
}

void Control::setInside(bool value) {
  Lock lock(mutex);
  inside = value;
}

void Control::setFlying() {
  Lock lock(mutex);
  flying = true;
}

void Control::interrupt(int number) {
  signal.store(number);
  wakeThread();
}

bool Control::failed(cleave_error *error) {
  Lock lock(mutex);
  if (verdict && error)
    *error = *verdict;
  return verdict.has_value();
}

cleave_error Control::settle(const cleave_error &failure, uint32_t afterMs) {
  Lock lock(mutex);
  auto known = [&] { return verdict.has_value(); };
  if (changed.wait_for(lock, std::chrono::milliseconds(afterMs), known))
    return *verdict;
  if (isHub() || hubGone) {
    decide(failure);
    return *verdict;
  }
  outgoing = failure;
  wakeThread();
  // The hub answers, or its own end is the verdict.
  if (!changed.wait_for(lock, leaveGrace, known))
    decide(failure);
  return *verdict;
}

/// At a member only what the hub said, or what is left to say without it.
void Control::decide(const cleave_error &error) {
  if (verdict)
    return;
  verdict = error;
  decided = Clock::now();
  if (isHub())
    sendAll(Kind::Verdict, &error);
  if (member)
    member->stopForJob();
  changed.notify_all();
}

/// Never waits: who does not read 1 KB of control for long is lost anyway.
void Control::send(Line &line, Kind kind, const cleave_error *error) {
  if (!line.open)
    return;
  Frame frame = {};
  frame.kind = kind;
  const Position &own = board.position(rank);
  frame.phase = own.phase.load(std::memory_order_relaxed);
  frame.step = own.step.load(std::memory_order_relaxed);
  frame.run = own.run.load(std::memory_order_relaxed);
  frame.process = board.isShared() ? getpid() : 0;
  frame.flying = flying;
  if (error)
    frame.error = *error;
  if (peers[line.rank].socket.writeAll(&frame, sizeof frame, Deadline(20)))
    return;
  // Who has gone has said so, perhaps, in what is not read yet.
  while (line.open && receive(line, /*gone=*/false))
    ;
  if (line.open)
    lost(line, "it takes no messages any more");
}

void Control::sendAll(Kind kind, const cleave_error *error) {
  for (Line &line : lines)
    send(line, kind, error);
}

void Control::lost(Line &line, const char *how) {
  line.open = false;
  if (!isHub())
    hubGone = true;
  if (!line.bye && !verdict) {
    const Position &at = board.position(line.rank);
    char where[512] = "outside of a session";
    Phase phase = at.phase.load(std::memory_order_acquire);
    uint32_t step = at.step.load(std::memory_order_acquire);
    if (member && phase != Phase::Outside)
      member->describePosition(line.rank, phase, step, where, sizeof where);
    cleave_error error;
    fail(&error, CLEAVE_FAILED, "rank %u on %.60s, %.500s: %s", line.rank,
         peers[line.rank].host.c_str(), where, how);
    error.rank = int32_t(line.rank);
    error.command = phase == Phase::Outside ? -1 : int64_t(step / 2);
    decide(error);
  }
  changed.notify_all();
}

bool Control::receive(Line &line, bool gone) {
  Frame frame;
  int fd = peers[line.rank].socket.get();
  ssize_t got = recv(fd, &frame, sizeof frame, MSG_PEEK | MSG_DONTWAIT);
  bool again = got < 0 && (errno == EAGAIN || errno == EINTR);
  if (got < ssize_t(sizeof frame)) {
    if (gone || got == 0 || (got < 0 && !again))
      lost(line, "the process ended");
    return false;
  }
  peers[line.rank].socket.readAll(&frame, sizeof frame, Deadline(0));
  line.heard = Clock::now();
  line.process = frame.process;
  line.flying = frame.flying;
  // Else it writes to the board itself, which knows more than a message.
  if (!board.isShared() || !frame.process) {
    Position &at = board.position(line.rank);
    at.phase.store(frame.phase, std::memory_order_relaxed);
    at.step.store(frame.step, std::memory_order_relaxed);
    at.run.store(frame.run, std::memory_order_relaxed);
  }
  switch (frame.kind) {
  case Kind::Beat: break;
  case Kind::Failure:
  case Kind::Verdict: decide(frame.error); break;
  case Kind::Bye: line.bye = true; break;
  case Kind::ToldAll: whole = true; [[fallthrough]];
  case Kind::Told: hubTold = true; break;
  }
  changed.notify_all();
  return true;
}

void Control::watch() {
  auto now = Clock::now();
  if (now - beaten >= beatEvery) {
    beaten = now;
    sendAll(Kind::Beat);
  }
  for (Line &line : lines)
    if (line.open && now - line.heard > std::chrono::milliseconds(deadlineMs) + silenceGrace)
      lost(line, "it is not heard of any more");
  if (outgoing) {
    sendAll(Kind::Failure, &*outgoing);
    outgoing.reset();
  }
  if (int number = signal.load(); number && !verdict) {
    if (signalled == Clock::time_point{})
      signalled = now;
    if (now - signalled >= signalGrace) {
      cleave_error error;
      fail(&error, CLEAVE_FAILED, "rank %u on %.60s: ended by signal %d, %s", rank,
           peers[rank].host.c_str(), number, strsignal(number));
      error.rank = int32_t(rank);
      if (isHub() || hubGone)
        decide(error);
      else
        sendAll(Kind::Failure, &error);
      signalled = now;
    }
  }
  endThatHangs();
}

/// Nobody can stop a kernel from outside but by ending its process. Where its caller
/// would have told the user, this does.
void Control::endThatHangs() {
  if (!verdict || !inside || Clock::now() - decided < returnGrace)
    return;
  if (claimWord()) {
    std::string line = std::string(verdict->message) + "\n";
    [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  }
  sendAll(Kind::Told);
  _exit(verdict->status);
}

void Control::threadMain() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::vector<pollfd> entries(lines.size() + 1);
  Lock lock(mutex);
  while (!ending) {
    for (size_t i = 0; i < lines.size(); ++i)
      entries[i] = {lines[i].open ? peers[lines[i].rank].socket.get() : -1, POLLIN | POLLRDHUP, 0};
    entries.back() = {wakeup, POLLIN, 0};
    lock.unlock();
    poll(entries.data(), entries.size(), int(std::chrono::milliseconds(beatEvery).count()) / 2);
    lock.lock();
    uint64_t count;
    if (entries.back().revents) [[maybe_unused]]
      ssize_t got = read(wakeup, &count, sizeof count);
    // Who is gone comes first: others only complain of it.
    for (bool gone : {true, false})
      for (size_t i = 0; i < lines.size(); ++i) {
        if (!entries[i].revents || bool(entries[i].revents & goneEvents) != gone)
          continue;
        do
          receive(lines[i], gone);
        while (gone && lines[i].open);
      }
    watch();
  }
}

bool Control::speaks() {
  Lock lock(mutex);
  return claimWord();
}

bool Control::claimWord() {
  if (!hubGone)
    return isHub() && board.claimWord();
  if (peers[rank].host == peers[0].host)
    return board.claimWord();
  // The board is another one on each host: the first rank of the other hosts.
  for (uint32_t r = 0; r < rank; ++r)
    if (peers[r].host != peers[0].host)
      return false;
  return board.claimWord();
}

bool Control::allBye() const {
  return std::all_of(lines.begin(), lines.end(),
                     [](const Line &line) { return line.bye || !line.open; });
}

int32_t Control::leave(uint32_t waitMs, cleave_error *error) {
  Lock lock(mutex);
  member = nullptr;
  if (!verdict) {
    auto settled = [&] { return verdict.has_value() || allBye(); };
    auto wait = std::chrono::milliseconds(waitMs);
    // Members first; the hub answers when it has heard all, so that nobody goes early.
    // The hub may have much to write, and is watched while it does.
    if (!isHub()) {
      sendAll(Kind::Bye);
      changed.wait(lock, settled);
    } else if (!changed.wait_for(lock, wait, settled)) {
      cleave_error late;
      uint32_t missing = std::find_if(lines.begin(), lines.end(), [](const Line &line) {
                           return !line.bye && line.open;
                         })->rank;
      fail(&late, CLEAVE_FAILED, "waited %u ms for rank %u on %.60s to end", waitMs, missing,
           peers[missing].host.c_str());
      late.rank = int32_t(missing);
      decide(late);
    }
    if (isHub() && !verdict)
      sendAll(Kind::Bye);
  }
  if (!verdict) {
    whole = true;
    return CLEAVE_OK;
  }
  if (error) {
    *error = *verdict;
    if (!claimWord())
      error->message[0] = '\0';
  }
  leaveFailed(lock);
  return verdict->status;
}

/// The hub lets all go once it has told the user, since a launcher ends the rest of a
/// job with its first process; who does not go is ended.
void Control::leaveFailed(Lock &lock) {
  if (!isHub()) {
    sendAll(Kind::Bye);
    // The hub waits for the others first.
    changed.wait_for(lock, 2 * leaveGrace, [&] { return hubTold || hubGone; });
    return;
  }
  auto count = [&](bool Line::*what) {
    return size_t(std::count_if(lines.begin(), lines.end(), [&](Line &l) { return l.*what; }));
  };
  changed.wait_for(lock, leaveGrace, [&] { return count(&Line::open) < lines.size() || allBye(); });
  whole = count(&Line::open) == lines.size() && allBye() && !flying && !count(&Line::flying);
  sendAll(whole ? Kind::ToldAll : Kind::Told);
  if (changed.wait_for(lock, leaveGrace, [&] { return !count(&Line::open); }))
    return;
  for (const Line &line : lines)
    if (line.open && line.process)
      kill(line.process, SIGKILL);
}
