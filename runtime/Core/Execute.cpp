//===- Execute.cpp - runs the lists of all ranks --------------------------===//

#include "Session.h"

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>

using namespace cleave::runtime;

static uint64_t now() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

int32_t Session::runAll(bool load, cleave_error *error) noexcept {
  loading = load;
  failures.store(0, std::memory_order_relaxed);
  reported.store(false, std::memory_order_relaxed);
  for (uint32_t r = 0; r < program.num_ranks; ++r)
    ranks[r].step.store(0, std::memory_order_relaxed);

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

void Session::runRank(uint32_t r, Waiter &waiter) noexcept {
  Rank &rank = ranks[r];
  const std::vector<Step> &steps = loading ? rank.load : rank.main;
  std::fill(rank.spans.begin(), rank.spans.end(), cleave_span{});
  for (uint32_t i = 0; i < steps.size(); ++i) {
    rank.step.store(i, std::memory_order_relaxed);
    // A failure elsewhere is seen here too, not only where this rank waits.
    if (failures.load(std::memory_order_relaxed))
      return;
    const Step &step = steps[i];
    bool timed = timing && !loading;
    if (timed)
      rank.spans[i].begin = now();
    bool done = execute({r, i, loading, step.command}, step, waiter);
    if (timed)
      rank.spans[i].end = now();
    if (!done)
      return;
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
  rank.step.store(uint32_t(steps.size()), std::memory_order_relaxed);
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
  Wake wake = communicator->exchange({&command, place.rank, reads ? step.pointers[0] : nullptr,
                                      writes ? step.pointers[command.num_buffers - 1] : nullptr,
                                      program.counts + command.first_count},
                                     waiter);
  if (wake == Wake::Late)
    reportLate(place);
  return wake == Wake::Ready;
}

/// Members that arrived stand at a collective of the group; another does not.
void Session::reportLate(const Place &place) noexcept {
  Membership set = groups.find(place.command->group, place.rank);
  bool isPair = isTransfer(place.command->op);
  for (uint32_t i = 0; i < set.size; ++i) {
    if (isPair && i != place.command->peer)
      continue;
    uint32_t count;
    const cleave_command *list = listOf(program, set.ranks[i], loading, count);
    uint32_t at = ranks[set.ranks[i]].step.load(std::memory_order_relaxed);
    if (!isPair && at < count && isCollective(list[at].op) &&
        list[at].group == place.command->group)
      continue;
    char where[512] = "its end";
    if (at < count)
      describe(where, sizeof where, {set.ranks[i], at, loading, list + at});
    return report(place, "waited %u ms for rank %u, which is at %.300s", deadlineMs, set.ranks[i],
                  where);
  }
  report(place, "waited %u ms for the others of its group", deadlineMs);
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
  for (uint32_t r = 0; r < program.num_ranks; ++r) {
    uint32_t count;
    const cleave_command *list = listOf(program, r, loading, count);
    uint32_t at = ranks[r].step.load(std::memory_order_relaxed);
    if (at < count)
      report({r, at, loading, list + at}, "does not end within %u ms", deadlineMs);
  }
}
