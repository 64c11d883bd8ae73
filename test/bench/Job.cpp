//===- Job.cpp - all-reduce between processes, beside raw MPI --------------===//
//
// Under mpirun: CleaveJobBench. For each size, blocks of ours and of MPI_Allreduce in
// turn, f32 sum in one process each; the best block of each counts, since whatever else
// runs on the machine only adds. Prints µs and their ratio.
//
//===----------------------------------------------------------------------===//

#include "../unit/Runtime/Programs.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

using namespace cleave::test;
using Clock = std::chrono::steady_clock;

static constexpr int blocks = 15;

static double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

/// `repeats` all-reduces a run.
static cleave_session *create(cleave_process *process, uint32_t ranks, uint64_t bytes,
                              uint32_t repeats, Builder &builder) {
  uint32_t world = builder.world();
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    builder.programs[rank].arena_bytes = 2 * bytes;
    for (uint32_t i = 0; i < repeats; ++i)
      builder.add(builder.main[rank],
                  collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "sum"),
                  {{CLEAVE_SPACE_ARENA, 0, 0, bytes}, {CLEAVE_SPACE_ARENA, 0, bytes, bytes}},
                  {bytes / 4});
  }
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.process = process;
  cleave_session *session = nullptr;
  cleave_error error;
  if (cleave_session_create(builder.finish(), &options, &session, &error))
    fprintf(stderr, "%s\n", error.message);
  return session;
}

int main() {
  cleave_launch launch;
  cleave_process *process = nullptr;
  cleave_error error;
  if (cleave_launch_read(&launch, &error) || cleave_process_join(&launch, 0, &process, &error)) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  bool root = launch.rank == 0;
  if (root)
    printf("%u ranks\n%10s %12s %12s %8s\n", launch.size, "bytes", "cleave, us", "MPI, us",
           "ratio");
  for (uint64_t bytes = 8; bytes <= 16 << 20; bytes *= 4) {
    uint32_t repeats = bytes <= 64 << 10 ? 500 : bytes <= 1 << 20 ? 50 : 8;
    Builder builder(launch.size);
    cleave_session *session = create(process, launch.size, bytes, repeats, builder);
    if (!session)
      return 1;
    std::vector<float> in(bytes / 4), out(bytes / 4);
    double ours = 1e30, theirs = 1e30;
    for (int block = 0; block < blocks; ++block) {
      MPI_Barrier(MPI_COMM_WORLD);
      auto begin = Clock::now();
      if (cleave_session_run(session, nullptr, nullptr, &error))
        return 1;
      ours = std::min(ours, microseconds(Clock::now() - begin) / repeats);
      MPI_Barrier(MPI_COMM_WORLD);
      begin = Clock::now();
      for (uint32_t i = 0; i < repeats; ++i)
        MPI_Allreduce(in.data(), out.data(), int(bytes / 4), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      theirs = std::min(theirs, microseconds(Clock::now() - begin) / repeats);
    }
    if (root)
      printf("%10llu %12.2f %12.2f %8.2f\n", (unsigned long long)bytes, ours, theirs,
             ours / theirs);
    cleave_session_destroy(session);
  }
  return cleave_process_leave(process, &error);
}
