//===- Execute.cpp - runs the lists of all ranks --------------------------===//

#include "Clock.h"
#include "Session.h"

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <unistd.h>

using namespace cleave::runtime;

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
  // What waits on a GPU for a rank that failed waits for ever.
  if (gpu && gpu->isConnected() && !broken) {
    gpu->disconnect();
    isCut = true;
  }
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
  // One for all ranks of the process.
  case Work::Connect:
    if (r == firstRank)
      connect(waiter);
    return;
  case Work::Meet: meet(waiter, "while all load"); return;
  case Work::End: meet(waiter, "while all end"); return;
  case Work::Load: runSteps(r, waiter); return;
  case Work::Capture: captureOnGpu(r, waiter); return;
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
  if (gpu && !beginOnGpu(r, waiter))
    return false;
  for (uint32_t i = 0; i < steps.size(); ++i) {
    rank.step->store(2 * i, std::memory_order_relaxed);
    // A failure elsewhere is seen here too, not only where this rank waits.
    if (failures.load(std::memory_order_relaxed))
      return false;
    const Step &step = steps[i];
    Place place{r, i, loading, step.command, hostOf(r)};
    if (fault.strikes(r, i, loading) && !strike(place, waiter))
      return false;
    // What a GPU does it times itself.
    bool timed = timing && !loading && !gpu;
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
    rank.counters.calls[step.command->op] += 1;
    if (isExchange(step.command->op))
      rank.counters.bytes[step.command->op] += step.bytes;
  }
  if (gpu && !finishOnGpu(r, waiter))
    return false;
  for (size_t i = 0; i < rank.times.size() && !loading; ++i)
    rank.times[i] += rank.spans[i].end - rank.spans[i].begin;
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
    // As a kernel would that never returns.
    while (process)
      pause();
    [[fallthrough]];
  case Fault::Drop:
    if (process)
      return true;
    // One of many on a thread lets the others be; without what it gives all are late.
    if (std::atomic<uint32_t> never{0}; waiter.waitWhile(never, 0) == Wake::Late)
      report(place, "held by CLEAVE_FAULT for %u ms", deadlineMs);
    return false;
  case Fault::Delay: std::this_thread::sleep_for(std::chrono::milliseconds(fault.ms)); return true;
  default: return true;
  }
}

bool Session::execute(const Place &place, const Step &step, Waiter &waiter) noexcept {
  if (gpu && (gpu->isConnected() || !isExchange(step.command->op)))
    return executeOnGpu(place, step, waiter);
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
  reportFault(place, fault);
  return false;
}

void Session::reportFault(const Place &place, int32_t fault) noexcept {
  if (fault == CLEAVE_FAULT_INDEX)
    report(place, "an index is out of range");
  else
    report(place, "the kernel failed, got: fault %d", fault);
}

/// What has not ended within the deadline, or whose other end is gone, another process may
/// be to blame for.
bool Session::describeGpu(uint32_t r, char *text, size_t room) noexcept {
  snprintf(text, room, "%s", gpu->problem(r));
  if (!*text || !process || !gpu->isConnected())
    return *text;
  char who[600];
  secondHand |= gpu->causeOf(r) == Gpu::Cause::Ended;
  if (gpu->causeOf(r) == Gpu::Cause::Late && describeLaggard(who, sizeof who))
    snprintf(text, room, "waited %u ms for %s", deadlineMs, who);
  return true;
}

bool Session::reportGpu(const Place &place) noexcept {
  if (char text[700]; describeGpu(place.rank, text, sizeof text))
    report(place, "%s", text);
  return false;
}

bool Session::executeOnGpu(const Place &place, const Step &step, Waiter &waiter) noexcept {
  if (isExchange(step.command->op))
    ranks[place.rank].step->store(2 * place.index + 1, std::memory_order_relaxed);
  return gpu->execute(place.rank, loading, step, waiter) || reportGpu(place);
}

bool Session::captureOnGpu(uint32_t r, Waiter &waiter) noexcept {
  if (gpu->capture(r, ranks[r].main, waiter))
    return true;
  if (*gpu->problem(r)) {
    reportPlain(r, "its commands make no CUDA graph: %s; --eager runs them one by one",
                gpu->problem(r));
    failure.status = CLEAVE_REFUSED;
  }
  return false;
}

bool Session::beginOnGpu(uint32_t r, Waiter &waiter) noexcept {
  bool done = gpu->settle(r, waiter);
  for (uint32_t i = 0; i < program.num_inputs && done && !loading; ++i)
    gpu->writeInput(r, i, givenInputs ? givenInputs[i].data : inputBlocks[i].data());
  done = done && gpu->begin(r, loading);
  if (char text[700]; !done && describeGpu(r, text, sizeof text))
    reportPlain(r, "%s", text);
  return done;
}

bool Session::finishOnGpu(uint32_t r, Waiter &waiter) noexcept {
  int64_t faulty = -1;
  ranks[r].step->store(2 * uint32_t((loading ? ranks[r].load : ranks[r].main).size()) + 1,
                       std::memory_order_relaxed);
  bool timed = timing && !loading;
  if (!gpu->finish(r, loading, waiter, faulty) ||
      (timed && !gpu->readSpans(r, ranks[r].spans.data(), waiter))) {
    if (char text[700]; describeGpu(r, text, sizeof text))
      reportPlain(r, "%s", text);
    return false;
  }
  for (uint32_t i = 0; i < program.num_outputs && !loading; ++i)
    if (const void *data = ranks[r].outputData[i])
      gpu->readOutput(r, i, const_cast<void *>(data));
  if (faulty < 0)
    return true;
  reportFault(
      {r, uint32_t(faulty), loading, &listOf(program, r, loading)[size_t(faulty)], hostOf(r)},
      CLEAVE_FAULT_INDEX);
  return false;
}

bool Session::exchange(const Place &place, const Step &step, Waiter &waiter) noexcept {
  const cleave_command &command = *step.command;
  Tamper tamper = Tamper::None;
  if (fault.strikes(place.rank, place.index, loading))
    tamper = fault.tamper();
  ranks[place.rank].step->store(2 * place.index + 1, std::memory_order_relaxed);
  Ends ends = endsOf(program, step);
  if (gpu && !gpu->arrive(place.rank, loading, place.index, step, ends, waiter))
    return reportGpu(place);
  Outcome outcome =
      communicator->exchange({&command, place.rank, ends.input, ends.output,
                              program.counts + command.first_count, place.index, tamper},
                             waiter);
  if (!outcome) {
    reportOutcome(place, outcome);
  } else if (gpu && !gpu->leave(place.rank, loading, place.index, step)) {
    return reportGpu(place);
  }
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
  std::span<const cleave_command> list = listOf(program, outcome.peer, loading);
  uint32_t index = std::min(outcome.command, uint32_t(list.size()) - 1);
  Place sender{outcome.peer, index, loading, &list[index], hostOf(outcome.peer)};
  char where[512];
  describe(where, sizeof where, place);
  if (outcome.kind == Outcome::Corrupted)
    report(sender, "what it sent arrived at rank %u as other bytes, in %.300s", place.rank, where);
  else
    report(sender, "it sends as of another command than rank %u receives in %.300s", place.rank,
           where);
}

bool Session::isBehind(uint32_t rank) const {
  return !isLocal(rank) && process->position(rank).run.load(std::memory_order_relaxed) <
                               process->position(firstRank).run.load(std::memory_order_relaxed);
}

uint32_t Session::stepOf(uint32_t rank) const {
  if (isLocal(rank))
    return ranks[rank].step->load(std::memory_order_relaxed);
  if (isBehind(rank))
    return 0;
  const Position &at = process->position(rank), &own = process->position(firstRank);
  bool same = at.phase.load(std::memory_order_acquire) == own.phase &&
              at.run.load(std::memory_order_relaxed) == own.run;
  // Outside of its list it is before or behind it.
  return same ? at.step.load(std::memory_order_relaxed)
              : 2 * uint32_t(listOf(program, rank, loading).size());
}

/// How many commands of a kind a rank has begun, or with `done`, has behind it.
template <typename Which>
static uint32_t countUpTo(const cleave_program &program, uint32_t rank, bool load, uint32_t step,
                          bool done, Which which) {
  std::span<const cleave_command> list = listOf(program, rank, load);
  size_t end = std::min<size_t>(list.size(), done ? step / 2 : (step + 1) / 2);
  return uint32_t(std::ranges::count_if(list.first(end), which));
}

static auto ofGroup(uint32_t group) {
  return [group](const cleave_command &c) { return isCollective(c.op) && c.group == group; };
}

/// Collectives of a group that a rank has arrived at.
uint32_t Session::arrivals(uint32_t rank, uint32_t group) const {
  return countUpTo(program, rank, loading, stepOf(rank), false, ofGroup(group));
}

/// The `number`-th command of a kind, from 1.
template <typename Which>
Place Session::placeOf(uint32_t rank, uint32_t number, Which which) const {
  uint32_t at = 0;
  std::span<const cleave_command> list = listOf(program, rank, loading);
  while (at + 1 < list.size() && (!which(list[at]) || --number))
    ++at;
  return {rank, at, loading, list.data() + at, hostOf(rank)};
}

/// What a rank waits for, standing at an exchange.
Awaited Session::awaitedBy(const Place &place) const {
  const cleave_command &command = *place.command;
  Membership set = groups.find(command.group, place.rank);
  if (isTransfer(command.op)) {
    uint32_t peer = set.ranks[command.peer];
    if (command.op != CLEAVE_OP_RECV)
      return {place, peer, /*lost=*/false};
    auto between = [&](uint8_t op, uint32_t rank, uint32_t other) {
      return [this, op, rank, other](const cleave_command &c) {
        return c.op == op && groups.peerOf(c, rank) == other;
      };
    };
    uint32_t sent = countUpTo(program, peer, loading, stepOf(peer), true,
                              between(CLEAVE_OP_SEND, peer, place.rank));
    uint32_t wanted = countUpTo(program, place.rank, loading, 2 * place.index + 1, false,
                                between(CLEAVE_OP_RECV, place.rank, peer));
    if (sent < wanted)
      return {place, peer, /*lost=*/false};
    return {place, peer, /*lost=*/true,
            placeOf(peer, wanted, between(CLEAVE_OP_SEND, peer, place.rank))};
  }
  uint32_t own = arrivals(place.rank, command.group);
  for (uint32_t i = 0; i < set.size; ++i) {
    uint32_t rank = set.ranks[i], at = stepOf(rank);
    std::span<const cleave_command> list = listOf(program, rank, loading);
    bool stands = (at & 1) && at / 2 < list.size() && ofGroup(command.group)(list[at / 2]);
    uint32_t reached = arrivals(rank, command.group);
    if (reached < own)
      return {place, rank, /*lost=*/false};
    if (!stands || reached > own)
      return {place, rank, /*lost=*/true, placeOf(rank, own, ofGroup(command.group))};
  }
  return {place, place.rank, /*lost=*/false};
}

/// From rank to rank that one waits for, to one that waits for nobody, or whose bytes
/// were lost.
Awaited Session::culprit(const Place &place) const {
  Awaited awaited = awaitedBy(place);
  for (uint32_t hop = 1; hop < program.num_ranks && !awaited.lost; ++hop) {
    uint32_t rank = awaited.rank, at = stepOf(rank);
    std::span<const cleave_command> list = listOf(program, rank, loading);
    if (!(at & 1) || at / 2 >= list.size())
      break;
    Awaited next = awaitedBy({rank, at / 2, loading, &list[at / 2]});
    if (!next.lost && (next.rank == place.rank || next.rank == rank))
      break;
    awaited = next;
  }
  return awaited;
}

void Session::reportLate(const Place &place) noexcept {
  Awaited awaited = culprit(place);
  uint32_t rank = awaited.rank;
  if (rank == place.rank && !awaited.lost)
    return report(place, "waited %u ms for the others of its group", deadlineMs);
  // That one stands in a run before this and has waited longer: it knows the cause.
  secondHand = isBehind(rank);
  uint32_t at = secondHand ? process->position(rank).step.load() : stepOf(rank);
  std::span<const cleave_command> list = listOf(program, rank, loading);
  const char *host = hostOf(rank);
  char where[512] = "its end";
  if (awaited.lost) {
    describe(where, sizeof where, awaited.by);
    return report(awaited.sender, "what it sent did not arrive at rank %u, %.300s, within %u ms",
                  awaited.by.rank, where, deadlineMs);
  }
  if (at / 2 < list.size())
    describe(where, sizeof where, {rank, at / 2, loading, &list[at / 2]});
  report(place, "waited %u ms for rank %u%s%.60s, which is at %.300s", deadlineMs, rank,
         host ? " on " : "", nameOf(host), where);
}

/// What was read to fill parameters would else be held twice.
void Session::releaseFiles(const cleave_command &command) noexcept {
  for (const cleave_buffer &buffer : buffersOf(program, command))
    if (buffer.space == CLEAVE_SPACE_FILE)
      fileUse.unused(
          buffer.index, buffer.offset, buffer.offset + buffer.bytes,
          [&](uint64_t begin, uint64_t end) { files[buffer.index].release(begin, end); });
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
    std::span<const cleave_command> list = listOf(program, r, loading);
    uint32_t at = ranks[r].step->load(std::memory_order_relaxed) / 2;
    if (at < list.size())
      report({r, at, loading, &list[at]}, "does not end within %u ms", deadlineMs);
  }
}
