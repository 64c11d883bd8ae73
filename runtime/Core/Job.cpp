//===- Job.cpp - a session that runs one rank of its program --------------===//
//
// All ranks compare what they are about to run, load, and meet, so that a session is
// there for all or for none. In a run rank 0 gives each input to who reads it, and gets
// each output from who makes it.
//
//===----------------------------------------------------------------------===//

#include "Digest.h"
#include "Session.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

using namespace cleave::runtime;

/// The cause of a broken wire is on its way to rank 0 by another one.
static constexpr uint32_t secondHandMs = 500;

int32_t Session::prepareJob(cleave_error *error) {
  auto own =
      std::make_unique<Messages>(program, groups, firstRank, process->api, process->wire, checks);
  messages = own.get();
  communicator = std::move(own);
  if (int32_t status = messages->prepare(error))
    return status;
  ranks[firstRank].step = &process->position(firstRank).step;
  inputBlocks.resize(program.num_inputs);
  readers.resize(program.num_inputs);
  meetingTokens.resize(program.num_ranks);
  for (uint32_t i = 0; i < program.num_inputs; ++i) {
    uint64_t bytes;
    valueBytes(program.inputs[i], bytes);
    if (firstRank > 0 && readsInput(firstRank, i) && !inputBlocks[i].allocate(bytes, i))
      return fail(error, CLEAVE_REFUSED, "the system has no memory for input \"%.200s\" of rank %u",
                  nameOf(program.inputs[i].name), firstRank);
    for (uint32_t r = 1; r < program.num_ranks && firstRank == 0; ++r)
      if (readsInput(r, i))
        readers[i].push_back(r);
  }
  process->control->attach(this, deadlineMs);
  return CLEAVE_OK;
}

bool Session::readsInput(uint32_t rank, uint32_t index) const {
  for (const cleave_command &command : listOf(program, rank, /*load=*/false))
    for (const cleave_buffer &buffer : buffersOf(program, command))
      if (buffer.space == CLEAVE_SPACE_INPUT && buffer.index == index && buffer.bytes)
        return true;
  return false;
}

const char *Session::hostOf(uint32_t rank) const {
  return process ? process->control->host(rank).c_str() : nullptr;
}

void Session::stopForJob() noexcept {
  failures.fetch_add(1, std::memory_order_acq_rel);
  workers.stop();
}

void Session::describePosition(uint32_t rank, Phase phase, uint32_t step, char *text,
                               size_t room) noexcept {
  bool load = phase == Phase::Load;
  std::span<const cleave_command> list = listOf(program, rank, load);
  if (step / 2 < list.size())
    describe(text, room, {rank, step / 2, load, &list[step / 2]});
  else
    snprintf(text, room, "the end of its commands");
}

int32_t Session::runInJob(cleave_error *error) noexcept {
  Control &control = *process->control;
  Position &position = process->position(firstRank);
  control.enter();
  // Seen here or, from now on, by what stopForJob sets.
  bool failed = control.failed(nullptr);
  if (!failed) {
    if (work == Work::Run)
      position.run.fetch_add(1, std::memory_order_relaxed);
    position.phase.store(loading             ? Phase::Load
                         : work == Work::Run ? Phase::Main
                                             : Phase::Outside,
                         std::memory_order_release);
    workers.run(*this);
    failed = failures.load(std::memory_order_acquire);
    // What others wait for on their GPUs is not to come.
    if (failed && gpu)
      gpu->disconnect();
    // Of a failure others look who stands where.
    if (!failed)
      position.phase.store(Phase::Outside, std::memory_order_release);
  }
  cleave_error verdict = {};
  if (failed)
    verdict = control.settle(failure, secondHand ? secondHandMs : 0);
  control.leaveCall();
  if (failed && error)
    *error = verdict;
  return verdict.status;
}

void Session::reportPlain(uint32_t rank, const char *format, ...) noexcept {
  if (failures.fetch_add(1, std::memory_order_acq_rel))
    return;
  char what[700];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  const char *host = hostOf(rank);
  fail(&failure, CLEAVE_FAILED, "rank %u%s%.60s: %s", rank, host ? " on " : "", nameOf(host), what);
  failure.rank = int32_t(rank);
  reported.store(true, std::memory_order_release);
  workers.stop();
}

/// Who is still at a command, and best of these who does not wait for others; false where
/// all do.
bool Session::describeLaggard(char *text, size_t room) noexcept {
  bool found = false;
  snprintf(text, room, "other ranks");
  for (bool waiting : {true, false})
    for (uint32_t r = 0; r < program.num_ranks; ++r) {
      const Position &at = process->position(r);
      Phase phase = at.phase.load(std::memory_order_acquire);
      uint32_t step = at.step.load(std::memory_order_relaxed);
      if (r == firstRank || phase == Phase::Outside || (step & 1) != waiting)
        continue;
      char where[512];
      describePosition(r, phase, step, where, sizeof where);
      snprintf(text, room, "rank %u on %.60s, which is at %.400s", r, hostOf(r), where);
      found = !waiting;
    }
  return found;
}

bool Session::moved(const Outcome &outcome, const char *what) noexcept {
  if (outcome.kind == Outcome::Late) {
    char who[600];
    describeLaggard(who, sizeof who);
    reportPlain(firstRank, "waited %u ms for %.500s, %.300s", deadlineMs, who, what);
  } else if (outcome.kind == Outcome::Broken) {
    secondHand = true;
    reportPlain(firstRank, "%.300s, %.300s", messages->problem(), what);
  } else if (outcome.kind == Outcome::Corrupted || outcome.kind == Outcome::Diverged)
    reportPlain(firstRank, "what rank %u sent arrived as other bytes, %.300s", outcome.peer, what);
  return bool(outcome);
}

/// Others receive in the order in which rank 0 sends.
bool Session::moveInputs(Waiter &waiter) noexcept {
  Outcome outcome = Outcome::Done;
  for (uint32_t i = 0; i < program.num_inputs && outcome; ++i) {
    uint64_t bytes;
    valueBytes(program.inputs[i], bytes);
    if (firstRank > 0) {
      if (inputBlocks[i].data())
        outcome = messages->postReceive(0, inputBlocks[i].data(), bytes, waiter);
      continue;
    }
    for (uint32_t r = 0; r < readers[i].size() && outcome; ++r)
      outcome = messages->postSend(readers[i][r], givenInputs[i].data, bytes, waiter);
  }
  if (outcome)
    outcome = messages->finish(waiter);
  return moved(outcome, "while the inputs went from rank 0 to those that read them");
}

bool Session::moveOutputs(Waiter &waiter) noexcept {
  Outcome outcome = Outcome::Done;
  for (uint32_t i = 0; i < program.num_outputs && outcome; ++i) {
    uint64_t bytes;
    valueBytes(program.outputs[i], bytes);
    uint32_t maker = program.outputs[i].rank;
    if (maker == 0 || !bytes)
      continue;
    if (firstRank == 0)
      outcome = messages->postReceive(maker, givenOutputs[i].data, bytes, waiter);
    else if (firstRank == maker)
      outcome = messages->postSend(0, ranks[firstRank].outputs[i].data(), bytes, waiter);
  }
  if (outcome)
    outcome = messages->finish(waiter);
  return moved(outcome, "while the outputs went to rank 0");
}

bool Session::meet(Waiter &waiter, const char *what) noexcept {
  uint8_t token = 0;
  Outcome outcome = Outcome::Done;
  for (bool arrive : {true, false}) {
    for (uint32_t r = 1; r < program.num_ranks && firstRank == 0 && outcome; ++r)
      outcome = arrive ? messages->postReceive(r, &meetingTokens[r], 1, waiter)
                       : messages->postSend(r, &token, 1, waiter);
    if (firstRank > 0 && outcome)
      outcome = arrive ? messages->postSend(0, &token, 1, waiter)
                       : messages->postReceive(0, &token, 1, waiter);
    if (outcome)
      outcome = messages->finish(waiter);
  }
  return moved(outcome, what);
}

namespace {

/// What all ranks of a job have to mean.
struct Intent {
  uint64_t digest[2];
  uint64_t runs;
};

/// Which command rank 0 asks another about.
struct Question {
  uint32_t asked; ///< 0: there is none
  uint32_t rank, load, index;
};

struct Reply {
  char text[512];
};

} // namespace

/// Rank 0 compares all programs with its own, and looks for the first difference with
/// the first rank that has another one. Then it compares how often they are to run.
bool Session::agree(Waiter &waiter) noexcept {
  try {
    Intent own = {{}, runs};
    cleave_program_digest(&program, own.digest);
    Outcome outcome = Outcome::Done;
    if (firstRank > 0) {
      Question question;
      outcome = messages->postSend(0, &own, sizeof own, waiter);
      if (outcome)
        outcome = messages->finish(waiter);
      if (outcome)
        outcome = messages->postReceive(0, &question, sizeof question, waiter);
      if (outcome)
        outcome = messages->finish(waiter);
      return moved(outcome, "while they compare programs") &&
             (!question.asked || explainTo(waiter));
    }
    std::vector<Intent> theirs(program.num_ranks);
    for (uint32_t r = 1; r < program.num_ranks && outcome; ++r)
      outcome = messages->postReceive(r, &theirs[r], sizeof own, waiter);
    if (outcome)
      outcome = messages->finish(waiter);
    uint32_t other = 0, uneven = 0;
    for (uint32_t r = program.num_ranks; --r > 0;) {
      if (memcmp(theirs[r].digest, own.digest, sizeof own.digest))
        other = r;
      if (theirs[r].runs != own.runs)
        uneven = r;
    }
    std::vector<Question> questions(program.num_ranks);
    for (uint32_t r = 1; r < program.num_ranks && outcome; ++r) {
      questions[r].asked = r == other;
      outcome = messages->postSend(r, &questions[r], sizeof(Question), waiter);
    }
    if (outcome)
      outcome = messages->finish(waiter);
    if (!moved(outcome, "while they compare programs") || (other && !compareWith(other, waiter)))
      return false;
    if (!uneven)
      return true;
    reportPlain(firstRank,
                "has --repeat %llu, and rank %u on %.60s has --repeat %llu; start all ranks with "
                "one",
                (unsigned long long)own.runs, uneven, hostOf(uneven),
                (unsigned long long)theirs[uneven].runs);
    failure.status = CLEAVE_REFUSED;
    return false;
  } catch (const std::bad_alloc &) {
    reportPlain(firstRank, "out of memory to compare programs");
    return false;
  }
}

/// At the rank with another program: first its marks, then what it has at one of them.
bool Session::explainTo(Waiter &waiter) {
  std::vector<Mark> marks = marksOf(program);
  std::vector<uint64_t> hashes;
  for (const Mark &mark : marks)
    hashes.push_back(mark.hash);
  uint64_t count = hashes.size();
  Question question;
  Outcome outcome = messages->postSend(0, &count, sizeof count, waiter);
  if (outcome)
    outcome = messages->postSend(0, hashes.data(), count * sizeof(uint64_t), waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (outcome)
    outcome = messages->postReceive(0, &question, sizeof question, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (!moved(outcome, "while they compare programs"))
    return false;
  Reply reply = {};
  describePosition(question.rank, question.load ? Phase::Load : Phase::Main, 2 * question.index,
                   reply.text, sizeof reply.text);
  outcome = messages->postSend(0, &reply, sizeof reply, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  return moved(outcome, "while they compare programs");
}

bool Session::compareWith(uint32_t peer, Waiter &waiter) {
  std::vector<Mark> marks = marksOf(program);
  uint64_t count = 0;
  Outcome outcome = messages->postReceive(peer, &count, sizeof count, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  std::vector<uint64_t> theirs(outcome ? count : 0);
  if (outcome)
    outcome = messages->postReceive(peer, theirs.data(), count * sizeof(uint64_t), waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (!moved(outcome, "while they compare programs"))
    return false;

  size_t at = 0;
  while (at < marks.size() && at < theirs.size() && marks[at].hash == theirs[at])
    ++at;
  bool equal = at == marks.size();
  Question question = {1, 0, 0, 0};
  if (!equal)
    question = {1, marks[at].rank, marks[at].load, marks[at].index};
  Reply reply = {}, own = {};
  outcome = messages->postSend(peer, &question, sizeof question, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (outcome)
    outcome = messages->postReceive(peer, &reply, sizeof reply, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (!moved(outcome, "while they compare programs"))
    return false;
  describePosition(question.rank, question.load ? Phase::Load : Phase::Main, 2 * question.index,
                   own.text, sizeof own.text);
  if (equal)
    reportPlain(firstRank,
                "rank %u on %.60s runs another program, which differs in its sizes, groups or "
                "values; start all ranks with one program",
                peer, hostOf(peer));
  else
    reportPlain(firstRank,
                "rank %u on %.60s runs another program: rank %u is to run %.200s here and %.200s "
                "there; start all ranks with one program",
                peer, hostOf(peer), question.rank, own.text, reply.text);
  failure.status = CLEAVE_REFUSED;
  return false;
}
