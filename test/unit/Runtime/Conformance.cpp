//===- Conformance.cpp - all communicators under one suite ----------------===//
//
// Threads here, and simulated GPUs, which exchange over NCCL unless bytes are checked;
// processes by Job.cpp, started as launchers do, on cores and on GPUs.
//
//===----------------------------------------------------------------------===//

#include "Exchanges.h"
#include "Jobs.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

using namespace cleave::test;

namespace {

class Conformance : public testing::TestWithParam<Engine> {
protected:
  /// Every type by itself: what is drawn must not leave one out.
  void checkAll(uint8_t op) {
    checkTypes([&](uint8_t type) { checkCollective(GetParam(), op, type); });
  }

  /// Copies know no types, and sessions on GPUs take a while: there one is drawn each time.
  template <typename Check> void checkTypes(Check check) {
    if (GetParam().gpu) {
      EXPECT_TRUE(rc::check([&] { check(*rc::gen::inRange<uint8_t>(0, CLEAVE_NUM_TYPES)); }));
      return;
    }
    for (uint8_t type = 0; type < CLEAVE_NUM_TYPES; ++type)
      EXPECT_TRUE(rc::check(cleave_type_name(type), [&] { check(type); }));
  }
};

struct Processes {
  JobKind kind;
  bool gpu = false; ///< each with a simulated GPU
};

class ProcessConformance : public testing::TestWithParam<Processes> {};

} // namespace

TEST_P(Conformance, AllReduce) { checkAll(CLEAVE_OP_ALL_REDUCE); }

TEST_P(Conformance, AllGather) { checkAll(CLEAVE_OP_ALL_GATHER); }

TEST_P(Conformance, ReduceScatter) { checkAll(CLEAVE_OP_REDUCE_SCATTER); }

TEST_P(Conformance, AllToAll) { checkAll(CLEAVE_OP_ALL_TO_ALL); }

TEST_P(Conformance, Transfers) {
  checkTypes([&](uint8_t type) { checkTransfers(GetParam(), type); });
}

INSTANTIATE_TEST_SUITE_P(Threads, Conformance,
                         testing::Values(Engine{1, false, nullptr}, Engine{2, false, nullptr},
                                         Engine{5, false, nullptr}, Engine{2, true, nullptr},
                                         Engine{1, false, nullptr, true},
                                         Engine{2, false, nullptr, true},
                                         Engine{2, true, nullptr, true}),
                         [](const testing::TestParamInfo<Engine> &info) {
                           return "threads" + std::to_string(info.param.threads) +
                                  (info.param.checks ? "checked" : "") +
                                  (info.param.gpu ? "gpu" : "");
                         });

TEST_P(ProcessConformance, AllExchanges) {
  const auto &[kind, gpu] = GetParam();
  if (!isThere(kind.launcher))
    GTEST_SKIP() << "this launcher is not installed";
  std::vector<std::string> arguments = {"conformance", gpu ? "1" : "4"};
  if (gpu)
    arguments.push_back("gpu");
  JobResult result = runJob(kind, arguments);
  EXPECT_EQ(result.worst, 0) << result.text;
}

INSTANTIATE_TEST_SUITE_P(
    Processes, ProcessConformance,
    testing::Values(Processes{{Launcher::Torchrun, 1}}, Processes{{Launcher::Torchrun, 2}},
                    Processes{{Launcher::Torchrun, 4}}, Processes{{Launcher::Torchrun, 6}},
                    Processes{{Launcher::OpenMpi, 2}}, Processes{{Launcher::OpenMpi, 4}},
                    Processes{{Launcher::Mpich, 2}}, Processes{{Launcher::Mpich, 3}},
                    Processes{{Launcher::Torchrun, 1}, true},
                    Processes{{Launcher::Torchrun, 4}, true},
                    Processes{{Launcher::OpenMpi, 2}, true}, Processes{{Launcher::Mpich, 3}, true}),
    [](const testing::TestParamInfo<Processes> &info) {
      return nameOf(info.param.kind) + (info.param.gpu ? "gpu" : "");
    });
