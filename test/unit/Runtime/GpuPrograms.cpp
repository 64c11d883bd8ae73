//===- GpuPrograms.cpp - drawn programs on simulated GPUs and on cores ----===//

#include "Drawn.h"
#include "Jobs.h"

#include <gtest/gtest.h>

using namespace cleave::test;

class GpuPrograms : public testing::TestWithParam<bool> {};

TEST_P(GpuPrograms, GiveWhatCoresGive) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Drawn cores(seed), gpus(seed);
    gpus.onGpu();
    EXPECT_EQ(gpus.run({.eager = GetParam()}), cores.run({})) << seed << "\n" << gpus.error.message;
    if (HasFailure())
      return;
  }
}

INSTANTIATE_TEST_SUITE_P(, GpuPrograms, testing::Bool(),
                         [](const auto &info) { return info.param ? "Eager" : "Graphs"; });

class GpuJobs : public testing::TestWithParam<JobKind> {};

TEST_P(GpuJobs, GiveWhatCoresGive) {
  if (!isThere(GetParam().launcher))
    GTEST_SKIP() << "this launcher is not installed";
  JobResult result = runJob(GetParam(), {"drawn", "40"});
  EXPECT_EQ(result.worst, 0) << result.text;
  EXPECT_EQ(result.text, "");
}

INSTANTIATE_TEST_SUITE_P(, GpuJobs,
                         testing::Values(JobKind{Launcher::Torchrun, 2},
                                         JobKind{Launcher::Torchrun, 4},
                                         JobKind{Launcher::OpenMpi, 2}),
                         [](const auto &info) { return nameOf(info.param); });

namespace {

/// What rank 0 of four says of the GPUs that they have.
std::string placed(const Variables &variables, const std::vector<Variables> &perRank = {}) {
  JobResult result = runJob({Launcher::Torchrun, 4}, {"placed"}, variables, perRank);
  EXPECT_EQ(result.worst, 0);
  return result.text;
}

} // namespace

TEST(GpuPlaces, ARankHasTheGpuOfItsPlaceOnItsHost) {
  EXPECT_EQ(placed({{"CLEAVE_SIMT_DEVICES", "4"}}), "");
  // Each sees one, which is its own.
  std::vector<Variables> own, places;
  for (const char *number : {"2", "0", "3", "1"}) {
    own.push_back({{"CLEAVE_SIMT_VISIBLE", number}});
    places.push_back({{"LOCAL_RANK", number}});
  }
  EXPECT_EQ(placed({{"CLEAVE_SIMT_DEVICES", "4"}}, own), "");
  EXPECT_EQ(placed({{"CLEAVE_SIMT_DEVICES", "4"}}, places), "");
}

TEST(GpuPlaces, WhereNcclDoesNotServeItIsToldOnce) {
  std::vector<Variables> perRank(3);
  perRank[2] = {{"CLEAVE_SIMT_NCCL", "2.10.3"}};
  std::string old = placed({}, perRank);
  EXPECT_TRUE(old.starts_with("rank 2 on ")) << old;
  EXPECT_TRUE(old.ends_with(": NCCL is too old, 2.10.3; install 2.18.1 or newer; until then ranks "
                            "exchange through memory of the host\n"))
      << old;
  perRank[2] = {{"CLEAVE_SIMT_NCCL", "2.20.3"}};
  std::string other = placed({{"CLEAVE_SIMT_NCCL", "2.28.9"}}, perRank);
  EXPECT_TRUE(other.starts_with("rank 2 on ")) << other;
  EXPECT_TRUE(other.ends_with(": NCCL is 2.20.3, and 2.28.9 at rank 0; install one on all hosts; "
                              "until then ranks exchange through memory of the host\n"))
      << other;
}

/// Of connections that are this host's own, and of a network's.
TEST(GpuPlaces, NcclIsWhereTheJobIs) {
  auto asked = [](const Variables &variables) {
    JobResult result = runJob({Launcher::Torchrun, 2}, {"interface"}, variables);
    EXPECT_EQ(result.worst, 0);
    return result.text;
  };
  EXPECT_EQ(asked({}), "=lo, 0\n=lo, 0\n");
  EXPECT_EQ(asked({{"NCCL_SOCKET_IFNAME", "eth7"}, {"NCCL_RAS_ENABLE", "1"}}),
            "eth7, 1\neth7, 1\n");
}

TEST(GpuPlaces, RanksThatShareAGpuSaySo) {
  std::string first = placed({{"CLEAVE_SIMT_DEVICES", "2"}});
  EXPECT_TRUE(first.starts_with("ranks 0 and 2 on ")) << first;
  EXPECT_NE(first.find(" share a GPU, so ranks exchange through memory of the host; start no more "
                       "ranks on a host than it has GPUs, and let each see its own\n"),
            std::string::npos)
      << first;
  std::string second = placed({{"CLEAVE_SIMT_DEVICES", "4"}}, {{}, {{"LOCAL_RANK", "0"}}});
  EXPECT_TRUE(second.starts_with("ranks 0 and 1 on ")) << second;
}
