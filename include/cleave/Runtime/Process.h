//===- Process.h - one rank a process, launched by others -----*- C -*-===//
//
// A launcher starts one process a rank and says so in variables. A process
// joins the others once, makes sessions with `process` in their options, and
// leaves. Each session then runs one rank of its program: all processes create
// it, run it and destroy it in one order. Inputs are given on rank 0, outputs
// are whole on rank 0; the other ranks may pass null.
//
// A job fails as a whole: when one process dies, hangs or disagrees, every call
// of every process returns one and the same error, which names rank, host and
// command. A process whose kernel never returns is ended.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_H
#define CLEAVE_RUNTIME_PROCESS_H

#include "cleave/Runtime/Program.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cleave_process cleave_process;

typedef enum cleave_launcher {
  CLEAVE_LAUNCHER_NONE = 0, ///< started alone
  CLEAVE_LAUNCHER_OPEN_MPI = 1,
  CLEAVE_LAUNCHER_MPICH = 2,
  CLEAVE_LAUNCHER_SLURM = 3,
  CLEAVE_LAUNCHER_TORCHRUN = 4,
} cleave_launcher;

typedef struct cleave_launch {
  uint32_t launcher; ///< cleave_launcher
  uint32_t rank, size;
  uint32_t one_host; ///< nonzero: all processes are on this host
} cleave_launch;

/// Reads the variables of the launchers:
///
/// | launcher | rank, size, size on this host                               |
/// |----------|-------------------------------------------------------------|
/// | Open MPI | OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_SIZE                    |
/// | MPICH    | PMI_RANK, PMI_SIZE, MPI_LOCALNRANKS                         |
/// | Slurm    | SLURM_PROCID, SLURM_NTASKS, one host where SLURM_NNODES is 1 |
/// | torchrun | RANK, WORLD_SIZE, LOCAL_WORLD_SIZE                          |
///
/// Its number on this host, which says which GPU is its own, is in
/// OMPI_COMM_WORLD_LOCAL_RANK, MPI_LOCALRANKID, SLURM_LOCALID or LOCAL_RANK; where none is
/// set, processes of one host are counted.
/// A launcher counts as there when its rank is set. Two of them are refused, but
/// for PMI within Slurm (`srun --mpi=pmi2`) where both agree. `launch` then holds the
/// first one, so that the process of rank 0 alone may tell.
int32_t cleave_launch_read(cleave_launch *launch, cleave_error *error);

/// Joins the other processes of `launch`: over MPI under its launchers, else over
/// sockets (CLEAVE_WIRE=mpi or sockets decides otherwise). Over sockets rank 0 is
/// found by MASTER_ADDR and MASTER_PORT, or by the job of Slurm on one host.
/// CLEAVE_INTERFACE names the network interface to use between hosts, and
/// CLEAVE_TOKEN_FILE the secret, a file that only its owner may read.
/// Waits `deadline_ms` for the others; 0 means 30 000. `error` has an empty message
/// where rank 0 tells the user.
int32_t cleave_process_join(const cleave_launch *launch, uint32_t deadline_ms,
                            cleave_process **process, cleave_error *error);

uint32_t cleave_process_rank(const cleave_process *process);
uint32_t cleave_process_size(const cleave_process *process);

/// Ends the job for what went wrong outside of a session; `error` becomes the one that
/// all processes return. Its status.
int32_t cleave_process_fail(cleave_process *process, cleave_error *error);

/// Whether this process is the one to tell of the failure of the job: true in one
/// of them, so that there is one message.
int32_t cleave_process_speaks(cleave_process *process);

/// Ends the job since this process got `signal`. May be called by a signal handler, and
/// does nothing when `process` is null or has left.
void cleave_process_interrupt(cleave_process *process, int signal);

/// Waits until all have come this far, and frees `process`, which may be null. Its
/// sessions are gone by then. Tells of processes that died until now, with an empty
/// message where another process has told or is to tell the user; waits for nobody
/// when the job has failed.
int32_t cleave_process_leave(cleave_process *process, cleave_error *error);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_PROCESS_H
