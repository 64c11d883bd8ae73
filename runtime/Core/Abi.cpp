//===- Abi.cpp - the C functions of a session -----------------------------===//

#include "Options.h"
#include "Session.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <system_error>

using namespace cleave::runtime;

static Session *inside(cleave_session *session) { return reinterpret_cast<Session *>(session); }

static const Session *inside(const cleave_session *session) {
  return reinterpret_cast<const Session *>(session);
}

/// A session whose kernel never came back is left as it is: the thread that
/// hangs still uses its memory.
static void end(Session *session) {
  if (session && session->finish())
    delete session;
}

static_assert(CLEAVE_NUM_OPS <= CLEAVE_MAX_OPS);

uint32_t cleave_abi_version(void) { return CLEAVE_ABI_VERSION; }

const char *cleave_version(void) { return CLEAVE_VERSION; }

static int32_t create(const cleave_program *program, const cleave_session_options &options,
                      cleave_session **session, cleave_error *error) {
  if (int32_t status = cleave_program_verify(program, error))
    return status;
  auto *process = reinterpret_cast<Process *>(options.process);
  if (process && process->size != program->num_ranks)
    return fail(error, CLEAVE_REFUSED,
                "the program has %u rank%s and %u %s started; start %u, or one alone without a "
                "launcher",
                program->num_ranks, program->num_ranks == 1 ? "" : "s", process->size,
                process->size == 1 ? "process was" : "processes were", program->num_ranks);
  Session *made = nullptr;
  try {
    made = new Session(*program, options);
    int32_t status = made->prepare(error);
    if (status == CLEAVE_OK)
      *session = reinterpret_cast<cleave_session *>(made);
    else
      end(made);
    return status;
  } catch (const std::bad_alloc &) {
    end(made);
    return fail(error, CLEAVE_REFUSED, "out of memory for the session");
  }
}

/// What one rank of a job cannot do, none does, and all say why.
static int32_t createInJob(const cleave_program *program, const cleave_session_options &options,
                           cleave_session **session, cleave_error *error) {
  Process &process = *reinterpret_cast<Process *>(options.process);
  cleave_error own;
  process.control->enter();
  int32_t status = create(program, options, session, &own);
  if (status)
    own = process.settle(own);
  process.control->leaveCall();
  if (status && error)
    *error = own;
  return status ? own.status : status;
}

int32_t cleave_session_create(const cleave_program *program, const cleave_session_options *options,
                              cleave_session **session, cleave_error *error) {
  *session = nullptr;
  cleave_session_options wanted = CLEAVE_SESSION_OPTIONS;
  constexpr uint32_t first = offsetof(cleave_session_options, timing) + sizeof wanted.timing;
  if (int32_t status =
          readOptions(options, first, "session", "cleave_session_options", wanted, error))
    return status;
  return wanted.process ? createInJob(program, wanted, session, error)
                        : create(program, wanted, session, error);
}

int32_t cleave_session_run(cleave_session *session, const cleave_input *inputs,
                           const cleave_output *outputs, cleave_error *error) {
  return inside(session)->run(inputs, outputs, error);
}

void cleave_session_destroy(cleave_session *session) { end(inside(session)); }

const void *cleave_session_output(const cleave_session *session, uint32_t rank, uint32_t index) {
  const cleave_program &program = inside(session)->program;
  if (!inside(session)->isLocal(rank) || index >= program.num_outputs)
    return nullptr;
  return inside(session)->ranks[rank].outputData[index];
}

const char *cleave_session_exchange(const cleave_session *session) {
  return inside(session)->exchange();
}

const char *cleave_session_remark(const cleave_session *session) {
  return inside(session)->remark();
}

int32_t cleave_session_counters(const cleave_session *session, uint32_t rank,
                                cleave_counters *counters) {
  if (!inside(session)->isLocal(rank))
    return CLEAVE_REFUSED;
  *counters = inside(session)->ranks[rank].counters;
  return CLEAVE_OK;
}

void cleave_session_reset_counters(cleave_session *session) {
  for (uint32_t r = 0; r < inside(session)->program.num_ranks; ++r) {
    Rank &rank = inside(session)->ranks[r];
    std::fill(std::begin(rank.counters.calls), std::end(rank.counters.calls), 0);
    std::fill(std::begin(rank.counters.bytes), std::end(rank.counters.bytes), 0);
    std::fill(rank.times.begin(), rank.times.end(), 0);
  }
}

const uint64_t *cleave_session_times(const cleave_session *session, uint32_t rank,
                                     uint32_t *count) {
  *count = 0;
  if (!inside(session)->isLocal(rank))
    return nullptr;
  const std::vector<uint64_t> &times = inside(session)->ranks[rank].times;
  *count = uint32_t(times.size());
  return times.empty() ? nullptr : times.data();
}

const cleave_span *cleave_session_spans(const cleave_session *session, uint32_t rank,
                                        uint32_t *count) {
  *count = 0;
  if (rank >= inside(session)->program.num_ranks)
    return nullptr;
  const std::vector<cleave_span> &spans = inside(session)->ranks[rank].spans;
  *count = uint32_t(spans.size());
  return spans.empty() ? nullptr : spans.data();
}
