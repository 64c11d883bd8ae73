//===- GpuFaults.cpp - one rank on a GPU fails, and all end ---------------===//

#include "Programs.h"

#include <gtest/gtest.h>

using namespace cleave::test;

namespace {

/// Two ranks that reduce and pass on what they have.
struct Ring {
  static constexpr uint32_t count = 6;

  Ring() : builder(2) {
    uint32_t world = builder.world();
    for (uint32_t rank = 0; rank < 2; ++rank) {
      std::vector<cleave_command> &list = builder.main[rank];
      builder.programs[rank].arena_bytes = 2 * bytes;
      cleave_buffer own{CLEAVE_SPACE_ARENA, 0, 0, bytes},
          other{CLEAVE_SPACE_ARENA, 0, bytes, bytes};
      builder.add(list, local(CLEAVE_OP_FILL, "clear"), {own});
      builder.add(list, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "reduce"),
                  {own, own}, {elements});
      builder.add(list, transfer(CLEAVE_OP_SEND, CLEAVE_F32, world, 1 - rank, "pass"), {own},
                  {elements});
      builder.add(list, transfer(CLEAVE_OP_RECV, CLEAVE_F32, world, 1 - rank, "take"), {other},
                  {elements});
      builder.add(list, transfer(CLEAVE_OP_WAIT, 0, world, 1 - rank, "passed"), {});
      builder.add(list, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_MAX, world, "again"),
                  {other, own}, {elements});
    }
    builder.onGpu();
  }

  static constexpr uint64_t elements = 100, bytes = 4 * elements;
  Builder builder;
};

struct Way {
  const char *name;
  uint32_t eager, checks; ///< checked bytes pass the host
};

class GpuFaults : public testing::TestWithParam<Way> {
protected:
  void TearDown() override { unsetenv("CLEAVE_FAULT"); }

  void run(const std::string &fault, int32_t wanted, const std::string &message, int times = 2) {
    setenv("CLEAVE_FAULT", fault.c_str(), 1);
    Ring ring;
    cleave_session_options options = CLEAVE_SESSION_OPTIONS;
    options.threads = 2;
    options.deadline_ms = 300;
    options.eager = GetParam().eager;
    options.checks = GetParam().checks;
    cleave_session *session = nullptr;
    cleave_error error = {};
    ASSERT_EQ(cleave_session_create(ring.builder.finish(), &options, &session, &error), CLEAVE_OK)
        << error.message;
    EXPECT_STREQ(cleave_session_remark(session), "");
    // What one run has cut, the next one has whole again.
    for (int i = 0; i < times; ++i) {
      error = {};
      EXPECT_EQ(cleave_session_run(session, nullptr, nullptr, &error), wanted) << error.message;
      EXPECT_EQ(std::string(error.message).substr(0, message.size()), message) << error.message;
    }
    cleave_session_destroy(session);
  }
};

} // namespace

TEST_P(GpuFaults, ARankThatEndsAtAnyCommandEndsAll) {
  for (uint32_t rank = 0; rank < 2; ++rank)
    for (uint32_t command = 0; command < Ring::count; ++command) {
      std::string place = "rank=" + std::to_string(rank) + ",command=" + std::to_string(command);
      std::string begin = "rank " + std::to_string(rank) + ", command " + std::to_string(command);
      run(place + ",kind=kill", CLEAVE_FAILED, begin);
      run(place + ",kind=stall", CLEAVE_FAILED, "rank ", /*times=*/1);
      run(place + ",kind=delay,ms=1", CLEAVE_OK, "");
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, GpuFaults,
                         testing::Values(Way{"graphs", 0, 0}, Way{"eager", 1, 0},
                                         Way{"host", 0, 1}),
                         [](const testing::TestParamInfo<Way> &info) { return info.param.name; });
