//===- Faults.cpp - one rank fails, all end, the first failure is told ----===//

#include "Programs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

using namespace cleave::test;
using Clock = std::chrono::steady_clock;

static std::atomic<int> armedRank{-1};
static std::atomic<int> sleepMs{0};

/// Fails on the armed rank.
static int32_t faulty(void *const *, const int64_t *coordinates) {
  return coordinates[0] == armedRank ? CLEAVE_FAULT_INDEX : CLEAVE_FAULT_NONE;
}

static int32_t strange(void *const *, const int64_t *) { return 42; }

/// Is late on the armed rank.
static int32_t late(void *const *, const int64_t *coordinates) {
  if (coordinates[0] == armedRank)
    std::this_thread::sleep_for(std::chrono::milliseconds(sleepMs));
  return CLEAVE_FAULT_NONE;
}

namespace {

/// Every rank launches "step", then all reduce one number in place.
struct Machine {
  Machine(uint32_t ranks, uint32_t threads, cleave_kernel kernel, uint32_t deadlineMs = 0)
      : builder(ranks) {
    uint32_t world = builder.world();
    builder.kernel(kernel);
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      builder.programs[rank].arena_bytes = 4;
      cleave_buffer number{CLEAVE_SPACE_ARENA, 0, 0, 4};
      builder.add(builder.main[rank], launch(0, 1, "step"), {number});
      builder.add(builder.main[rank],
                  collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "sum"),
                  {number, number}, {1});
    }
    cleave_session_options options = CLEAVE_SESSION_OPTIONS;
    options.threads = threads;
    options.deadline_ms = deadlineMs;
    EXPECT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  }
  ~Machine() { cleave_session_destroy(session); }

  int32_t run() { return cleave_session_run(session, nullptr, nullptr, &error); }

  Builder builder;
  cleave_session *session = nullptr;
  cleave_error error = {};
};

class Faults : public testing::TestWithParam<uint32_t> {
protected:
  void SetUp() override { armedRank = -1; }
};

} // namespace

TEST_P(Faults, FaultNamesCommandAndRank) {
  Machine machine(4, GetParam(), faulty);
  for (int rank = 0; rank < 4; ++rank) {
    armedRank = rank;
    EXPECT_EQ(machine.run(), CLEAVE_FAILED);
    EXPECT_EQ(machine.error.status, CLEAVE_FAILED);
    EXPECT_EQ(machine.error.rank, rank);
    EXPECT_EQ(machine.error.command, 0);
    EXPECT_EQ(std::string(machine.error.message),
              "rank " + std::to_string(rank) +
                  ", command 0, launch \"step\": an index is out of range");
  }
}

TEST_P(Faults, SessionRunsAgainAfterAFault) {
  Machine machine(4, GetParam(), faulty);
  for (int repeat = 0; repeat < 20; ++repeat) {
    armedRank = repeat % 4;
    EXPECT_EQ(machine.run(), CLEAVE_FAILED);
    armedRank = -1;
    EXPECT_EQ(machine.run(), CLEAVE_OK) << machine.error.message;
  }
}

TEST_P(Faults, UnknownFaultIsTold) {
  Machine machine(1, GetParam(), strange);
  EXPECT_EQ(machine.run(), CLEAVE_FAILED);
  EXPECT_STREQ(machine.error.message, "rank 0, command 0, launch \"step\": the "
                                      "kernel failed, got: fault 42");
}

INSTANTIATE_TEST_SUITE_P(Workers, Faults, testing::Values(1, 2, 4));

TEST(Deadline, LateRankIsNamed) {
  armedRank = 1;
  sleepMs = 150;
  Machine machine(4, 2, late, /*deadlineMs=*/100);
  EXPECT_EQ(machine.run(), CLEAVE_FAILED);
  EXPECT_NE(std::string(machine.error.message)
                .find("command 1, all_reduce \"sum\": waited 100 ms for rank "
                      "1, which is at command 0, launch \"step\""),
            std::string::npos)
      << machine.error.message;

  // It came back in the end, so that the session is whole.
  armedRank = -1;
  EXPECT_EQ(machine.run(), CLEAVE_OK) << machine.error.message;
}

TEST(Deadline, RankThatHangsIsGivenUp) {
  armedRank = 1;
  sleepMs = 600;
  Machine machine(2, 2, late, /*deadlineMs=*/100);
  auto start = Clock::now();
  EXPECT_EQ(machine.run(), CLEAVE_FAILED);
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(500));
  EXPECT_NE(std::string(machine.error.message).find("for rank 1"), std::string::npos)
      << machine.error.message;

  EXPECT_EQ(machine.run(), CLEAVE_FAILED);
  EXPECT_NE(
      std::string(machine.error.message).find("the session cannot run again: rank 0, command 1"),
      std::string::npos)
      << machine.error.message;
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
}

TEST(Deadline, RankThatHangsAtTheEndIsNamed) {
  armedRank = 1;
  sleepMs = 600;
  Builder builder(2);
  builder.kernel(late);
  for (uint32_t rank = 0; rank < 2; ++rank)
    builder.add(builder.main[rank], launch(0, 0, "tail"), {});
  cleave_session_options options = {sizeof options, 2, 100, 0};
  cleave_session *session;
  cleave_error error;
  ASSERT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  EXPECT_EQ(cleave_session_run(session, nullptr, nullptr, &error), CLEAVE_FAILED);
  EXPECT_STREQ(error.message, "rank 1, command 0, launch \"tail\": does not "
                              "end within 100 ms");
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  cleave_session_destroy(session);
}

TEST(Deadline, FastRanksDoNotWaitForIt) {
  Machine machine(8, 2, faulty, /*deadlineMs=*/30'000);
  armedRank = 5;
  auto start = Clock::now();
  EXPECT_EQ(machine.run(), CLEAVE_FAILED);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
}
