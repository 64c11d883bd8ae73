//===- Injections.cpp - a job with a fault ends as one, and says whose ----===//
//
// Faults at drawn places, on threads and processes. CLEAVE_INJECTIONS says how many;
// the default is a few of each kind of job.
//
//===----------------------------------------------------------------------===//

#include "Jobs.h"
#include "Layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

using namespace cleave::test;

static constexpr uint32_t deadlineMs = 600;

static uint32_t numInjections() {
  const char *text = getenv("CLEAVE_INJECTIONS");
  return text ? uint32_t(atoi(text)) : 18;
}

/// Lines that begin as a failure of a rank does; launchers write their own beside.
static long messagesIn(const std::string &text) {
  long count = text.starts_with("rank ");
  for (size_t at = 0; (at = text.find("\nrank ", at)) != text.npos; ++at)
    ++count;
  return count;
}

namespace {

struct Injection {
  std::string kind;
  uint32_t ranks, rank, command;
  bool threads; ///< without a launcher
  JobKind job;

  std::string variable() const {
    return "rank=" + std::to_string(rank) + ",command=" + std::to_string(command) + ",kind=" + kind;
  }

  /// Where it strikes: some take the next command that sends.
  uint32_t place() const {
    uint32_t at = command;
    if (kind == "drop" || kind == "corrupt" || kind == "diverge")
      while (at % Layers::commandsEach != 1 && at % Layers::commandsEach != 2)
        ++at;
    return at;
  }
};

} // namespace

static Injection draw(std::mt19937 &random, const std::vector<Launcher> &launchers) {
  static const char *const kinds[] = {"kill", "stall", "delay", "drop", "corrupt", "diverge"};
  Injection drawn;
  drawn.kind = kinds[random() % std::size(kinds)];
  drawn.ranks = 2 + random() % 3;
  drawn.rank = random() % drawn.ranks;
  // The last command that sends is the send of the last layer.
  drawn.command = random() % (Layers::count * Layers::commandsEach - 2);
  size_t which = random() % (launchers.size() + 1);
  drawn.threads = which == launchers.size();
  drawn.job = {drawn.threads ? Launcher::Torchrun : launchers[which],
               drawn.threads ? 1 : drawn.ranks};
  return drawn;
}

static void expectEnd(const Injection &drawn, const JobResult &result) {
  SCOPED_TRACE((drawn.threads ? "threads" : nameOf(drawn.job)) + " of " +
               std::to_string(drawn.ranks) + ", " + drawn.variable() + "\n" + result.text);
  if (drawn.kind == "delay") {
    EXPECT_EQ(result.worst, 0);
    EXPECT_EQ(messagesIn(result.text), 0);
    return;
  }
  bool direct = drawn.job.launcher == Launcher::Torchrun;
  bool dies = drawn.kind == "kill" && !drawn.threads && direct;
  EXPECT_EQ(result.killed, dies);
  // A launcher has statuses of its own.
  if (direct)
    EXPECT_EQ(result.worst, 1);
  else
    EXPECT_NE(result.worst, 0);
  // This launcher kills all others with the first that dies, at times before they speak.
  if (drawn.kind == "kill" && drawn.job.launcher == Launcher::Mpich && !messagesIn(result.text))
    return;
  EXPECT_EQ(messagesIn(result.text), 1);
  EXPECT_NE(result.text.find("rank " + std::to_string(drawn.rank)), std::string::npos);
  EXPECT_NE(result.text.find("command " + std::to_string(drawn.place()) + ","), std::string::npos);
}

TEST(Injections, TheRankAndItsCommandAreNamed) {
  std::vector<Launcher> launchers = {Launcher::Torchrun};
  for (Launcher launcher : {Launcher::OpenMpi, Launcher::Mpich})
    if (isThere(launcher))
      launchers.push_back(launcher);
  const char *seed = getenv("CLEAVE_INJECTIONS_SEED");
  std::mt19937 random(seed ? uint32_t(atoi(seed)) : 1);
  std::map<std::string, int64_t> slowest;
  for (uint32_t i = 0; i < numInjections(); ++i) {
    Injection drawn = draw(random, launchers);
    JobResult result =
        runJob(drawn.job, {"layers", std::to_string(drawn.ranks), std::to_string(deadlineMs)},
               {{"CLEAVE_FAULT", drawn.variable()}});
    expectEnd(drawn, result);
    int64_t &worst =
        slowest[(drawn.threads ? "threads" : nameOf({drawn.job.launcher, 0})) + " " + drawn.kind];
    worst = std::max<int64_t>(worst, result.took.count());
  }
  for (const auto &[kind, ms] : slowest)
    printf("%-24s at most %5lld ms from start to end, launcher included\n", kind.c_str(),
           (long long)ms);
}

/// Each kind at places of its own; the first three over NCCL.
TEST(Injections, OfGpusTheRankAndItsCommandAreNamed) {
  uint32_t command = 0;
  for (const char *kind : {"kill", "kill", "kill", "kill", "stall", "stall", "stall", "stall",
                           "delay", "drop", "corrupt", "diverge"}) {
    Injection drawn{kind, 3, command % 3, command, false, {Launcher::Torchrun, 3}};
    command = (command + 11) % (Layers::count * Layers::commandsEach - 2);
    expectEnd(drawn, runJob(drawn.job, {"layers", "3", std::to_string(deadlineMs), "gpu"},
                            {{"CLEAVE_FAULT", drawn.variable()}}));
  }
}

/// Ranks that wait for nobody go on to the next run, and wait there for one that is stuck.
TEST(Injections, AMessageThatWasLostInTheRunBeforeIsNamed) {
  Injection lost{"drop", 4, 1, 5 * Layers::commandsEach + 2, false, {Launcher::Torchrun, 4}};
  for (int i = 0; i < 3; ++i)
    expectEnd(lost, runJob(lost.job, {"layers", "4", std::to_string(deadlineMs)},
                           {{"CLEAVE_FAULT", lost.variable()}}));
}

/// A rank has its own bytes from nowhere.
TEST(Injections, AnotherRankThanTheOneToBlameFindsIt) {
  for (const char *kind : {"corrupt", "diverge"})
    for (int i = 0; i < 8; ++i) {
      Injection drawn{kind, 3, 1, 1, true, {Launcher::Torchrun, 1}};
      JobResult result =
          runJob(drawn.job, {"layers", "3", "600"}, {{"CLEAVE_FAULT", drawn.variable()}});
      expectEnd(drawn, result);
      EXPECT_TRUE(result.text.find("at rank 1 as") == result.text.npos &&
                  result.text.find("than rank 1 ") == result.text.npos)
          << result.text;
    }
}

static void expectRefusal(const JobResult &result, const std::string &message) {
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find(message), std::string::npos) << result.text;
  EXPECT_EQ(std::count(result.text.begin(), result.text.end(), '\n'), 1) << result.text;
}

TEST(Injections, WhatMakesNoSenseIsRefused) {
  auto run = [](const char *variable) {
    return runJob({Launcher::Torchrun, 1}, {"layers", "2", "500"}, {{"CLEAVE_FAULT", variable}});
  };
  expectRefusal(run("rank=1,kind=kill"), "CLEAVE_FAULT is rank=R,command=N,kind=");
  expectRefusal(run("rank=1,command=2,kind=melt"), "CLEAVE_FAULT is rank=R,command=N,kind=");
  expectRefusal(run("rank=1,rank=0,command=2,kind=kill"), "CLEAVE_FAULT is rank=R,command=N,kind=");
  expectRefusal(run("rank=2,command=2,kind=kill"),
                "CLEAVE_FAULT names a rank that does not exist, got: 2 of 2");
  expectRefusal(run("rank=1,command=30,kind=kill"),
                "CLEAVE_FAULT names a command that does not exist, got: 30 of 30");
  expectRefusal(run("rank=1,command=28,kind=drop"),
                "CLEAVE_FAULT finds nothing that rank 1 sends from command 28 on");
}

TEST(Jobs, AnotherNumberOfRanksIsRefused) {
  expectRefusal(runJob({Launcher::Torchrun, 2}, {"layers", "4", "500"}),
                "the program has 4 ranks and 2 processes were started; start 4, or one alone "
                "without a launcher");
}

TEST(Jobs, AnotherProgramIsRefusedAndItsFirstCommandNamed) {
  JobResult result = runJob({Launcher::Torchrun, 3}, {"differ", "3", "2000"});
  expectRefusal(result,
                "runs another program: rank 0 is to run command 5, launch \"compute\" here and "
                "command 5, launch \"other\" there; start all ranks with one program");
  EXPECT_NE(result.text.find("rank 2 on "), std::string::npos) << result.text;
}

TEST(Jobs, ASignalEndsTheJob) {
  JobResult result = runJob({Launcher::Torchrun, 3}, {"signalled", "3", "5000"});
  EXPECT_EQ(result.worst, 1);
  EXPECT_EQ(messagesIn(result.text), 1);
  EXPECT_NE(result.text.find("ended by signal 15"), std::string::npos) << result.text;
}
