//===- Job.cpp - what a process of a tested job does ----------------------===//
//
//   CleaveTestJob meet [DEADLINE_MS]
//   CleaveTestJob conformance CASES [gpu]
//   CleaveTestJob layers|differ|signalled RANKS DEADLINE_MS [gpu]
//   CleaveTestJob drawn PROGRAMS
//   CleaveTestJob placed|interface
//
// Started by a launcher, or by Jobs.cpp with its variables. All ranks draw the same
// cases, since they draw from the same seed. `layers` runs Layers.h, without a launcher
// on threads; with `differ` rank 2 has another program, with `signalled` rank 1 gets a
// signal. `drawn` compares drawn programs on GPUs with cores, and `placed` tells what rank 0
// has to say of the GPUs that ranks have; `interface` tells where NCCL is to be.
//
//===----------------------------------------------------------------------===//

#include "Drawn.h"
#include "Exchanges.h"
#include "Layers.h"

#include <rapidcheck.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace cleave::test;

/// Tells of a failure once, and ends as the programs do.
static int leave(cleave_process *process, int32_t status, const cleave_error &error) {
  if (status && (!process || cleave_process_speaks(process)))
    fprintf(stderr, "%s\n", error.message);
  cleave_error late = {};
  int32_t atEnd = cleave_process_leave(process, &late);
  if (late.message[0])
    fprintf(stderr, "%s\n", late.message);
  return status ? status : atEnd;
}

/// Not RapidCheck's own loop: that would shrink on one rank and not on others.
static int conformance(cleave_process *process, const char *cases, bool gpu) {
  std::string settings = std::string("seed=7 noshrink=1 max_success=") + cases;
  setenv("RC_PARAMS", settings.c_str(), 1);
  bool good = true;
  for (bool checks : {false, true})
    for (uint8_t type = 0; type < CLEAVE_NUM_TYPES; ++type) {
      Engine engine{1, checks, process, gpu};
      for (uint8_t op : {CLEAVE_OP_ALL_REDUCE, CLEAVE_OP_ALL_GATHER, CLEAVE_OP_REDUCE_SCATTER,
                         CLEAVE_OP_ALL_TO_ALL})
        good &= rc::check([&] { checkCollective(engine, op, type); });
      if (cleave_process_size(process) > 1)
        good &= rc::check([&] { checkTransfers(engine, type); });
    }
  cleave_error error = {};
  return leave(process, 0, error) || !good;
}

static int drawn(cleave_process *process, uint32_t programs) {
  bool good = true;
  for (uint32_t seed = 0; seed < programs; ++seed) {
    Drawn gpus(seed, cleave_process_size(process)), cores(seed, cleave_process_size(process));
    gpus.onGpu();
    auto got = gpus.run({.eager = seed % 2 == 1, .process = process});
    if (gpus.error.status)
      return leave(process, gpus.error.status, gpus.error);
    bool equal = cleave_process_rank(process) > 0 || got == cores.run({});
    if (!equal)
      fprintf(stderr, "program %u gives what cores do not\n", seed);
    good &= equal;
  }
  return leave(process, 0, {}) || !good;
}

static int placed(cleave_process *process, bool interface) {
  Drawn program(0, cleave_process_size(process));
  program.onGpu();
  program.run({.process = process});
  if (cleave_process_rank(process) == 0 && *program.remark)
    fprintf(stderr, "%s\n", program.remark);
  if (interface)
    fprintf(stderr, "%s, %s\n", getenv("NCCL_SOCKET_IFNAME"), getenv("NCCL_RAS_ENABLE"));
  return leave(process, program.error.status, program.error);
}

static cleave_process *interrupted = nullptr;

static int layers(cleave_process *process, const std::string &mode, uint32_t ranks,
                  uint32_t deadline, bool gpu) {
  interrupted = process;
  signal(SIGTERM, [](int number) { cleave_process_interrupt(interrupted, number); });
  Layers layers(ranks, gpu);
  if (mode == "differ" && cleave_process_rank(process) == 2)
    layers.builder.main[0][5].name = "other";
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.deadline_ms = deadline;
  options.process = cleave_process_size(process) > 1 ? process : nullptr;
  cleave_session *session = nullptr;
  cleave_error error = {};
  int32_t status = cleave_session_create(layers.builder.finish(), &options, &session, &error);
  if (mode == "signalled" && cleave_process_rank(process) == 1)
    raise(SIGTERM);
  // The others run until they hear of it.
  for (uint32_t run = 0; (run < 3 || mode == "signalled") && !status; ++run)
    status = cleave_session_run(session, nullptr, nullptr, &error);
  cleave_session_destroy(session);
  return leave(process, status, error);
}

int main(int argc, char **argv) {
  cleave_error error = {};
  cleave_launch launch;
  cleave_process *process = nullptr;
  if (argc < 2)
    return 2;
  bool meets = !strcmp(argv[1], "meet");
  uint32_t deadline = meets && argc > 2 ? uint32_t(atoi(argv[2])) : 20'000;
  int32_t status = cleave_launch_read(&launch, &error);
  if (!status)
    status = cleave_process_join(&launch, deadline, &process, &error);
  if (status || meets)
    return leave(process, status, error);
  if (!strcmp(argv[1], "conformance"))
    return conformance(process, argc > 2 ? argv[2] : "4", argc > 3);
  if (!strcmp(argv[1], "drawn") && argc > 2)
    return drawn(process, uint32_t(atoi(argv[2])));
  if (!strcmp(argv[1], "placed") || !strcmp(argv[1], "interface"))
    return placed(process, !strcmp(argv[1], "interface"));
  if (argc > 3)
    return layers(process, argv[1], uint32_t(atoi(argv[2])), uint32_t(atoi(argv[3])), argc > 4);
  return leave(process, 2, error);
}
