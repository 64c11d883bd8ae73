//===- Session.h - loads a program once and runs it often -----*- C -*-===//
//
// Every function that can fail returns a cleave_status and, unless it is 0,
// fills `error`, which may be null. No exception leaves the library. A session
// allocates when it is created and never after.
//
// What a caller may rely on while CLEAVE_ABI_VERSION stays the same: functions are
// added and none is taken away or changed; a struct that begins with its `size`
// grows at its end, where 0 means what it meant before; no other struct changes.
// Programs have a version of their own, CLEAVE_PROGRAM_VERSION.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SESSION_H
#define CLEAVE_RUNTIME_SESSION_H

#include "cleave/Runtime/Process.h"
#include "cleave/Runtime/Program.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Of this header. A caller compares it with cleave_abi_version(), which is that of
/// the library it got.
#define CLEAVE_ABI_VERSION 1u

uint32_t cleave_abi_version(void);

/// For people, as in "0.1.0".
const char *cleave_version(void);

typedef struct cleave_session cleave_session;

/// Zero in any field but `size` means its default.
typedef struct cleave_session_options {
  uint32_t size;        ///< sizeof(cleave_session_options), as the caller knows it
  uint32_t threads;     ///< cores to use; default: all this process may use
  uint32_t deadline_ms; ///< longest wait for another rank; default: 60 000
  uint32_t timing;      ///< nonzero: time each command
  uint32_t checks;      ///< nonzero: find bytes that change on their way to another rank
  /// This process runs its rank of the program alone; default: it runs all ranks.
  cleave_process *process;
  uint32_t runs;     ///< how often it is to run, where that is known; equal on all ranks of a job
  uint32_t unharmed; ///< nonzero: CLEAVE_FAULT is meant for other sessions
  uint32_t eager;    ///< nonzero: on GPUs each command is launched by itself, without graphs
} cleave_session_options;

/// As in `cleave_session_options options = CLEAVE_SESSION_OPTIONS;`
#define CLEAVE_SESSION_OPTIONS {sizeof(cleave_session_options), 0, 0, 0, 0, 0, 0, 0, 0}

/// Memory of one input or output of the caller, row-major. `bytes` must be
/// what the value's type and dims say.
typedef struct cleave_input {
  const void *data;
  uint64_t bytes;
} cleave_input;

typedef struct cleave_output {
  void *data;
  uint64_t bytes;
} cleave_output;

/// Room for ops that later versions have.
#define CLEAVE_MAX_OPS 32

/// Of one rank. Calls and bytes are those of `main`, by cleave_op, since the session
/// was created or its counters were reset; bytes are cleave_ring_bytes.
typedef struct cleave_counters {
  uint64_t calls[CLEAVE_MAX_OPS];
  uint64_t bytes[CLEAVE_MAX_OPS];
  uint64_t param_bytes; ///< of weights, as cleave_weight_bytes
  uint64_t arena_bytes;
  uint64_t output_bytes; ///< of the outputs that are not the caller's memory
} cleave_counters;

/// When a command began and ended, in nanoseconds of CLOCK_MONOTONIC, waits included; those
/// of a GPU by its own clock, from the begin of the run on.
/// Both are 0 where the run did not get to it.
typedef struct cleave_span {
  uint64_t begin, end;
} cleave_span;

/// Whether this machine has what programs for `device`, a cleave_device, run on; else it
/// is refused with the remedy, before anybody has made such a program.
int32_t cleave_device_check(uint32_t device, cleave_error *error);

/// Verifies `program`, maps its files, takes the memory of all ranks and runs
/// `load`. `options` may be null; those of a caller that knows fewer fields, or more
/// and leaves them 0, are good. Writes null to `session` when it fails.
int32_t cleave_session_create(const cleave_program *program, const cleave_session_options *options,
                              cleave_session **session, cleave_error *error);

/// Runs `main` once on all ranks. The calling thread is one of the workers.
/// `inputs` and `outputs` are in the program's order. Of several failures the
/// first is reported, when all ranks have stopped. Not to be called by two
/// threads at a time.
int32_t cleave_session_run(cleave_session *session, const cleave_input *inputs,
                           const cleave_output *outputs, cleave_error *error);

/// May be null.
void cleave_session_destroy(cleave_session *session);

/// What the last run left in output `index` of `rank`, or null where there is
/// no such rank or output, or no run yet, or the rank does not write it, or runs in
/// another process. That of the value's own rank is the caller's memory; where that
/// rank is another process than rank 0, the session's.
const void *cleave_session_output(const cleave_session *session, uint32_t rank, uint32_t index);

/// What ranks exchange through: `threads` of this process, `mpi`, `sockets`, or from GPU to
/// GPU, as in `NCCL 2.28.9`; "" where there is one rank. Stays valid as long as the session.
const char *cleave_session_exchange(const cleave_session *session);

/// Why it runs slower than was asked for, a line for people; "" where it does not. Stays
/// valid as long as the session.
const char *cleave_session_remark(const cleave_session *session);

int32_t cleave_session_counters(const cleave_session *session, uint32_t rank,
                                cleave_counters *counters);
void cleave_session_reset_counters(cleave_session *session);

/// Nanoseconds spent in each command of `main` by `rank`, waits included,
/// summed since the counters were reset; `count` is set to their number. Null
/// without `timing`.
const uint64_t *cleave_session_times(const cleave_session *session, uint32_t rank, uint32_t *count);

/// The commands of `main` of `rank` in the last run, in order; `count` is set to their
/// number. Null without `timing`.
const cleave_span *cleave_session_spans(const cleave_session *session, uint32_t rank,
                                        uint32_t *count);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_SESSION_H
