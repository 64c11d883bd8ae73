//===- Execute.cpp - runs the lists of all ranks --------------------------===//

#include "Session.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <unistd.h>

using namespace cleave::runtime;

static uint64_t now() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

int32_t Session::runAll(Work next, cleave_error *error) noexcept {
  work = next;
  loading = next == Work::Load;
  secondHand = false;
  failures.store(0, std::memory_order_relaxed);
  reported.store(false, std::memory_order_relaxed);
  for (uint32_t r = firstRank; r < endRank; ++r)
    ranks[r].step->store(0, std::memory_order_relaxed);
  if (process)
    return runInJob(error);

  if (!workers.run(*this)) {
    broken = true;
    reportHanging();
  }
  if (!failures.load(std::memory_order_acquire))
    return CLEAVE_OK;
  if (!broken)
    communicator->reset();
  // A rank of a broken session may still be writing.
  while (!reported.load(std::memory_order_acquire))
    std::this_thread::yield();
  if (error)
    *error = failure;
  return failure.status;
}

void Session::runRank(uint32_t index, Waiter &waiter) noexcept {
  uint32_t r = firstRank + index;
  switch (work) {
  case Work::Agree: agree(waiter); return;
  case Work::Meet: meet(waiter); return;
  case Work::Load: runSteps(r, waiter); return;
  case Work::Run: break;
  }
  if (!process)
    runSteps(r, waiter);
  else if (moveInputs(waiter) && runSteps(r, waiter))
    moveOutputs(waiter);
}

bool Session::runSteps(uint32_t r, Waiter &waiter) noexcept {
  Rank &rank = ranks[r];
  const std::vector<Step> &steps = loading ? rank.load : rank.main;
  std::fill(rank.spans.begin(), rank.spans.end(), cleave_span{});
  for (uint32_t i = 0; i < steps.size(); ++i) {
    rank.step->store(2 * i, std::memory_order_relaxed);
    // A failure elsewhere is seen here too, not only where this rank waits.
    if (failures.load(std::memory_order_relaxed))
      return false;
    const Step &step = steps[i];
    Place place{r, i, loading, step.command, hostOf(r)};
    if (fault.strikes(r, i, loading) && !strike(place, waiter))
      return false;
    bool timed = timing && !loading;
    if (timed)
      rank.spans[i].begin = now();
    bool done = execute(place, step, waiter);
    if (timed)
      rank.spans[i].end = now();
    if (!done)
      return false;
    if (loading) {
      releaseFiles(*step.command);
      continue;
    }
    if (timed)
      rank.times[i] += rank.spans[i].end - rank.spans[i].begin;
    rank.counters.calls[step.command->op] += 1;
    if (isExchange(step.command->op))
      rank.counters.bytes[step.command->op] += step.bytes;
  }
  rank.step->store(2 * uint32_t(steps.size()), std::memory_order_relaxed);
  return true;
}

/// What is left to the exchange is done there.
bool Session::strike(const Place &place, Waiter &waiter) noexcept {
  switch (fault.kind) {
  case Fault::Kill:
    if (process)
      kill(getpid(), SIGKILL);
    report(place, "killed by CLEAVE_FAULT");
    return false;
  case Fault::Stall:
    // As a kernel would that never returns; one of many on a thread lets the others be.
    while (process)
      pause();
    if (std::atomic<uint32_t> never{0}; waiter.waitWhile(never, 0) == Wake::Late)
      report(place, "stalled by CLEAVE_FAULT, not back within %u ms", deadlineMs);
    return false;
  case Fault::Delay: std::this_thread::sleep_for(std::chrono::milliseconds(fault.ms)); return true;
  default: return true;
  }
}

bool Session::execute(const Place &place, const Step &step, Waiter &waiter) noexcept {
  switch (step.command->op) {
  case CLEAVE_OP_LAUNCH: return launch(place, step);
  case CLEAVE_OP_COPY:
    if (step.bytes)
      memcpy(step.pointers[1], step.pointers[0], step.bytes);
    return true;
  case CLEAVE_OP_FILL:
    if (step.bytes)
      memset(step.pointers[0], 0, step.bytes);
    return true;
  }
  return exchange(place, step, waiter);
}

bool Session::launch(const Place &place, const Step &step) noexcept {
  const int64_t *coordinates = program.coordinates + size_t(place.rank) * program.num_axes;
  int32_t fault = program.kernels[step.command->kernel](step.pointers, coordinates);
  if (fault == CLEAVE_FAULT_NONE)
    return true;
  if (fault == CLEAVE_FAULT_INDEX)
    report(place, "an index is out of range");
  else
    report(place, "the kernel failed, got: fault %d", fault);
  return false;
}

bool Session::exchange(const Place &place, const Step &step, Waiter &waiter) noexcept {
  const cleave_command &command = *step.command;
  bool reads = command.op != CLEAVE_OP_RECV && command.op != CLEAVE_OP_WAIT;
  bool writes = numWritten(command) > 0;
  Tamper tamper = Tamper::None;
  if (fault.strikes(place.rank, place.index, loading))
    tamper = fault.tamper();
  ranks[place.rank].step->store(2 * place.index + 1, std::memory_order_relaxed);
  Outcome outcome =
      communicator->exchange({&command, place.rank, reads ? step.pointers[0] : nullptr,
                              writes ? step.pointers[command.num_buffers - 1] : nullptr,
                              program.counts + command.first_count, place.index, tamper},
                             waiter);
  if (!outcome)
    reportOutcome(place, outcome);
  return bool(outcome);
}

void Session::reportOutcome(const Place &place, const Outcome &outcome) noexcept {
  if (outcome.kind == Outcome::Late)
    return reportLate(place);
  if (outcome.kind == Outcome::Broken) {
    secondHand = true;
    return report(place, "%.300s", communicator->problem());
  }
  if (outcome.kind != Outcome::Corrupted && outcome.kind != Outcome::Diverged)
    return;
  // The sender is to blame, not who found it.
  uint32_t count;
  const cleave_command *list = listOf(program, outcome.peer, loading, count);
  uint32_t index = std::min(outcome.command, count - 1);
  Place sender{outcome.peer, index, loading, list + index, hostOf(outcome.peer)};
  char where[512];
  describe(where, sizeof where, place);
  if (outcome.kind == Outcome::Corrupted)
    report(sender, "what it sent arrived at rank %u as other bytes, in %.300s", place.rank, where);
  else
    report(sender, "it sends as of another command than rank %u receives in %.300s", place.rank,
           where);
}

uint32_t Session::stepOf(uint32_t rank) const {
  if (isLocal(rank))
    return ranks[rank].step->load(std::memory_order_relaxed);
  const Position &at = process->position(rank);
  Phase own = process->position(firstRank).phase.load(std::memory_order_relaxed);
  uint32_t count;
  listOf(program, rank, loading, count);
  // Outside of its list it is before or behind it.
  return at.phase.load(std::memory_order_acquire) == own ? at.step.load(std::memory_order_relaxed)
                                                         : 2 * count;
}

/// How many collectives of a group a rank has arrived at.
uint32_t Session::arrivals(uint32_t rank, uint32_t group) const {
  uint32_t count;
  const cleave_command *list = listOf(program, rank, loading, count);
  uint32_t at = stepOf(rank);
  return uint32_t(std::count_if(list, list + (at + 1) / 2, [&](const cleave_command &command) {
    return isCollective(command.op) && command.group == group;
  }));
}

/// The rank that one waits for; itself where that cannot be said.
uint32_t Session::awaitedBy(const Place &place) const {
  Membership set = groups.find(place.command->group, place.rank);
  if (isTransfer(place.command->op))
    return set.ranks[place.command->peer];
  uint32_t own = arrivals(place.rank, place.command->group);
  for (uint32_t i = 0; i < set.size; ++i) {
    uint32_t at = stepOf(set.ranks[i]);
    if (!(at & 1) || arrivals(set.ranks[i], place.command->group) != own)
      return set.ranks[i];
  }
  return place.rank;
}

/// From rank to rank that one waits for, to one that waits for nobody or in a circle.
uint32_t Session::culprit(const Place &place) const {
  uint32_t rank = awaitedBy(place);
  for (uint32_t hop = 1; hop < program.num_ranks; ++hop) {
    uint32_t count, at = stepOf(rank);
    const cleave_command *list = listOf(program, rank, loading, count);
    if (!(at & 1) || at / 2 >= count)
      break;
    uint32_t next = awaitedBy({rank, at / 2, loading, list + at / 2});
    if (next == place.rank || next == rank)
      break;
    rank = next;
  }
  return rank;
}

void Session::reportLate(const Place &place) noexcept {
  uint32_t rank = culprit(place);
  if (rank == place.rank)
    return report(place, "waited %u ms for the others of its group", deadlineMs);
  uint32_t count, at = stepOf(rank);
  const cleave_command *list = listOf(program, rank, loading, count);
  char where[512] = "its end";
  if (at / 2 < count)
    describe(where, sizeof where, {rank, at / 2, loading, list + at / 2});
  const char *host = hostOf(rank);
  report(place, "waited %u ms for rank %u%s%.60s, which is at %.300s", deadlineMs, rank,
         host ? " on " : "", nameOf(host), where);
}

/// What was read to fill parameters would else be held twice.
void Session::releaseFiles(const cleave_command &command) noexcept {
  for (uint32_t b = 0; b < command.num_buffers; ++b) {
    const cleave_buffer &buffer = program.buffers[command.first_buffer + b];
    if (buffer.space == CLEAVE_SPACE_FILE)
      fileUse.unused(
          buffer.index, buffer.offset, buffer.offset + buffer.bytes,
          [&](uint64_t begin, uint64_t end) { files[buffer.index].release(begin, end); });
  }
}

void Session::report(const Place &place, const char *format, ...) noexcept {
  if (failures.fetch_add(1, std::memory_order_acq_rel))
    return;
  char what[448];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  failAt(&failure, CLEAVE_FAILED, place, "%s", what);
  reported.store(true, std::memory_order_release);
  workers.stop();
}

void Session::reportHanging() noexcept {
  for (uint32_t r = firstRank; r < endRank; ++r) {
    uint32_t count;
    const cleave_command *list = listOf(program, r, loading, count);
    uint32_t at = ranks[r].step->load(std::memory_order_relaxed) / 2;
    if (at < count)
      report({r, at, loading, list + at}, "does not end within %u ms", deadlineMs);
  }
}
