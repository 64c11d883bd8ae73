//===- Job.cpp - what a process of a tested job does ----------------------===//
//
//   CleaveTestJob meet [DEADLINE_MS]
//   CleaveTestJob conformance [CASES]
//
// Started by a launcher, or by Jobs.cpp with its variables. All ranks draw the same
// cases, since they draw from the same seed.
//
//===----------------------------------------------------------------------===//

#include "Exchanges.h"

#include <rapidcheck.h>

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
  if (atEnd && !status)
    fprintf(stderr, "%s\n", late.message);
  return status ? status : atEnd;
}

/// Not RapidCheck's own loop: that would shrink on one rank and not on others.
static int conformance(cleave_process *process, const char *cases) {
  std::string settings = std::string("seed=7 noshrink=1 max_success=") + (cases ? cases : "8");
  setenv("RC_PARAMS", settings.c_str(), 1);
  bool good = true;
  for (bool checks : {false, true})
    for (uint8_t type = 0; type < CLEAVE_NUM_TYPES; ++type) {
      Engine engine{1, checks, process};
      for (uint8_t op : {CLEAVE_OP_ALL_REDUCE, CLEAVE_OP_ALL_GATHER, CLEAVE_OP_REDUCE_SCATTER,
                         CLEAVE_OP_ALL_TO_ALL})
        good &= rc::check([&] { checkCollective(engine, op, type); });
      if (cleave_process_size(process) > 1)
        good &= rc::check([&] { checkTransfers(engine, type); });
    }
  cleave_error error = {};
  return leave(process, 0, error) || !good;
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
    return conformance(process, argc > 2 ? argv[2] : nullptr);
  return leave(process, 2, error);
}
