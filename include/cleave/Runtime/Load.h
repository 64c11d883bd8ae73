//===- Load.h - fills the parameters of a rank, without a session -*- C -*-===//

#ifndef CLEAVE_RUNTIME_LOAD_H
#define CLEAVE_RUNTIME_LOAD_H

#include "cleave/Runtime/Program.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Gets each range of the parameters when the command that fills it is done.
typedef void (*cleave_filled)(void *context, uint64_t offset, uint64_t bytes);

/// Runs `load` of `rank` into `params`: zeroed memory of param_bytes, at a multiple
/// of 64, for example a mapped file. `program` has been verified; `filled` and
/// `error` may be null. What was read of the model's files is let go command by
/// command. Runs on the calling thread; ranks may be loaded side by side. Refuses
/// a list in which ranks meet, and programs for GPUs.
int32_t cleave_load_params(const cleave_program *program, uint32_t rank, void *params,
                           cleave_filled filled, void *context, cleave_error *error);

/// Bytes of weights that `rank` holds: its parameters, and what `main` reads of files as it is.
uint64_t cleave_weight_bytes(const cleave_program *program, uint32_t rank);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_LOAD_H
