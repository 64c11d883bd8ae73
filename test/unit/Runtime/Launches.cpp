//===- Launches.cpp - variables of launchers, and how processes meet ------===//

#include "Jobs.h"

#include "../../../runtime/Process/Hmac.h"
#include "cleave/Runtime/Process.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sys/stat.h>

using namespace cleave::test;
using namespace cleave::runtime;

static const char *const known[] = {"OMPI_COMM_WORLD_RANK",
                                    "OMPI_COMM_WORLD_SIZE",
                                    "OMPI_COMM_WORLD_LOCAL_SIZE",
                                    "OMPI_COMM_WORLD_LOCAL_RANK",
                                    "PMI_RANK",
                                    "PMI_SIZE",
                                    "MPI_LOCALNRANKS",
                                    "MPI_LOCALRANKID",
                                    "SLURM_PROCID",
                                    "SLURM_NTASKS",
                                    "SLURM_NNODES",
                                    "SLURM_LOCALID",
                                    "RANK",
                                    "WORLD_SIZE",
                                    "LOCAL_WORLD_SIZE",
                                    "LOCAL_RANK"};

static cleave_launch readWith(const Variables &variables, cleave_error &error) {
  for (const char *name : known)
    unsetenv(name);
  for (const auto &[name, value] : variables)
    setenv(name.c_str(), value.c_str(), 1);
  error = {};
  cleave_launch launch = {};
  cleave_launch_read(&launch, &error);
  for (const char *name : known)
    unsetenv(name);
  return launch;
}

static void expectLaunch(const Variables &variables, cleave_launch wanted) {
  cleave_error error;
  cleave_launch launch = readWith(variables, error);
  EXPECT_EQ(error.status, CLEAVE_OK) << error.message;
  EXPECT_EQ(launch.launcher, wanted.launcher);
  EXPECT_EQ(launch.rank, wanted.rank);
  EXPECT_EQ(launch.size, wanted.size);
  EXPECT_EQ(launch.one_host, wanted.one_host);
}

static std::string refusalOf(const Variables &variables) {
  cleave_error error;
  readWith(variables, error);
  EXPECT_EQ(error.status, CLEAVE_REFUSED);
  return error.message;
}

TEST(Launch, EachLauncherIsRead) {
  expectLaunch({}, {CLEAVE_LAUNCHER_NONE, 0, 1, 1});
  expectLaunch({{"OMPI_COMM_WORLD_RANK", "2"},
                {"OMPI_COMM_WORLD_SIZE", "4"},
                {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
               {CLEAVE_LAUNCHER_OPEN_MPI, 2, 4, 0});
  expectLaunch({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "2"}},
               {CLEAVE_LAUNCHER_MPICH, 1, 2, 1});
  expectLaunch({{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "8"}, {"SLURM_NNODES", "1"}},
               {CLEAVE_LAUNCHER_SLURM, 3, 8, 1});
  expectLaunch({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "1"}},
               {CLEAVE_LAUNCHER_TORCHRUN, 0, 2, 0});
}

TEST(Launch, MixedSetsAreRefused) {
  EXPECT_EQ(refusalOf({{"OMPI_COMM_WORLD_RANK", "0"},
                       {"OMPI_COMM_WORLD_SIZE", "2"},
                       {"RANK", "0"},
                       {"WORLD_SIZE", "2"}}),
            "variables of two launchers are set, OMPI_COMM_WORLD_RANK of Open MPI and RANK of "
            "torchrun; use one launcher, or unset the variables of the other");
  // srun sets both, and they say the same.
  Variables both = {{"PMI_RANK", "1"},     {"PMI_SIZE", "2"},     {"SLURM_PROCID", "1"},
                    {"SLURM_NTASKS", "2"}, {"SLURM_NNODES", "1"}, {"MPI_LOCALNRANKS", "2"}};
  expectLaunch(both, {CLEAVE_LAUNCHER_MPICH, 1, 2, 1});
  both["SLURM_PROCID"] = "0";
  EXPECT_NE(refusalOf(both).find("PMI_RANK of MPICH and SLURM_PROCID of Slurm"), std::string::npos);
}

TEST(Launch, WhatIsNoNumberIsRefused) {
  EXPECT_EQ(refusalOf({{"RANK", "one"}, {"WORLD_SIZE", "2"}}),
            "RANK is to be a number, got: \"one\"");
  EXPECT_EQ(refusalOf({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
            "RANK is to be below WORLD_SIZE, got: 2 of 2");
  EXPECT_EQ(refusalOf({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "-1"}}),
            "LOCAL_RANK is to be a number, got: \"-1\"");
  EXPECT_EQ(refusalOf({{"PMI_RANK", "0"}}),
            "PMI_RANK is set and PMI_SIZE is not; start all ranks with one launcher");
}

static std::string hexOf(const Digest &digest) {
  std::string text;
  for (uint8_t byte : digest)
    for (int digit : {byte >> 4, byte & 15})
      text += "0123456789abcdef"[digit];
  return text;
}

/// The examples of FIPS 180-4 and RFC 4231.
TEST(Hmac, KnownAnswers) {
  EXPECT_EQ(hexOf(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hexOf(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hexOf(hmac("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hexOf(hmac(std::string(131, '\xaa'),
                       "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

namespace {

class Meeting : public testing::Test {
protected:
  Meeting() : token(testing::TempDir() + "cleave-token"), other(token + "-other") {
    write(token, "a secret of more than sixteen bytes");
    write(other, "a secret that nobody else here knows");
  }
  ~Meeting() override {
    remove(token.c_str());
    remove(other.c_str());
  }

  static void write(const std::string &path, const std::string &text) {
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
  }

  Variables overNetwork() const {
    return {{"CLEAVE_INTERFACE", "lo"}, {"CLEAVE_TOKEN_FILE", token}};
  }

  std::string token, other;
};

} // namespace

TEST_F(Meeting, OverANetworkWithASecret) {
  JobResult result = runJob({Launcher::Torchrun, 3}, {"meet"}, overNetwork());
  EXPECT_EQ(result.worst, 0) << result.text;
}

TEST_F(Meeting, WithoutASecretThereIsNoPort) {
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet"}, {{"CLEAVE_INTERFACE", "lo"}});
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find("CLEAVE_TOKEN_FILE is not set"), std::string::npos) << result.text;
}

TEST_F(Meeting, ASecretThatOthersReadIsRefused) {
  chmod(token.c_str(), 0640);
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet"}, overNetwork());
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find("can be read by others than its owner"), std::string::npos)
      << result.text;
}

TEST_F(Meeting, WhoKnowsAnotherSecretIsRefused) {
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet", "500"}, overNetwork(),
                            {{}, {{"CLEAVE_TOKEN_FILE", other}}});
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find("rank 0 knows another secret"), std::string::npos) << result.text;
  EXPECT_NE(result.text.find("rank 1 of 2 did not come within 500 ms"), std::string::npos)
      << result.text;
}

TEST_F(Meeting, DifferentNumbersOfRanksAreRefused) {
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet"}, {},
                            {{}, {{"WORLD_SIZE", "3"}, {"LOCAL_WORLD_SIZE", "3"}}});
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find("rank 1 was started as one of 3 ranks and rank 0 as one of 2"),
            std::string::npos)
      << result.text;
}

TEST_F(Meeting, WhoDoesNotComeIsNamed) {
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet", "300"},
                            {{"WORLD_SIZE", "3"}, {"LOCAL_WORLD_SIZE", "3"}});
  EXPECT_EQ(result.worst, 1);
  EXPECT_NE(result.text.find("rank 2 of 3 did not come within 300 ms"), std::string::npos)
      << result.text;
}

TEST_F(Meeting, AHostThatDoesNotAnswerIsNamed) {
  // 192.0.2.0/24 is nobody's, by RFC 5737.
  Variables variables = {{"WORLD_SIZE", "2"},
                         {"LOCAL_WORLD_SIZE", "1"},
                         {"MASTER_ADDR", "192.0.2.1"},
                         {"CLEAVE_TOKEN_FILE", token},
                         {"RANK", "1"},
                         {"MASTER_PORT", "29999"}};
  JobResult result = runJob({Launcher::Torchrun, 1}, {"meet", "300"}, variables);
  EXPECT_EQ(result.worst, 1);
  EXPECT_NE(result.text.find("nobody answers at 192.0.2.1 port 29999"), std::string::npos)
      << result.text;
}

TEST_F(Meeting, ASecondJobAtTheSamePlaceIsRefused) {
  Variables alone = {
      {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "2"}, {"MASTER_PORT", "19999"}, {"RANK", "0"}};
  // Two ranks 0, of which one is of another job.
  JobResult result = runJob({Launcher::Torchrun, 2}, {"meet", "500"}, alone);
  EXPECT_EQ(result.worst, 2);
  EXPECT_NE(result.text.find("another job listens at"), std::string::npos) << result.text;
}
