//===- Jobs.h - starts processes as launchers do --------------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_JOBS_H
#define CLEAVE_TEST_UNIT_RUNTIME_JOBS_H

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cleave::test {

/// Torchrun: this test sets its variables; the others are the programs themselves.
enum class Launcher { Torchrun, OpenMpi, Mpich };

struct JobKind {
  Launcher launcher;
  uint32_t ranks;
};

std::string nameOf(const JobKind &kind);
bool isThere(Launcher launcher);

struct JobResult {
  int worst = 0;    ///< the highest exit status of a process that ended by itself
  int killed = 0;   ///< processes that ended by a signal
  std::string text; ///< all that they wrote, and on Torchrun only what they wrote
  std::chrono::milliseconds took{0};
};

using Variables = std::map<std::string, std::string>;

/// Runs CleaveTestJob, which stands beside this program, once a rank. `perRank` is
/// added by rank on Torchrun only.
JobResult runJob(const JobKind &kind, const std::vector<std::string> &arguments,
                 const Variables &variables = {}, const std::vector<Variables> &perRank = {});

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_JOBS_H
