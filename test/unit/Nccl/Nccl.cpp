//===- Nccl.cpp - what the runtime asks of NCCL, of the real one too ------===//
//
// On the simulator, or where CLEAVE_TEST_GPU names the chip of this machine's GPUs on
// those, over as many ranks as there are: one rank is enough to know that a library has
// what the runtime calls, and does it without blocking and in graphs.
//
//===----------------------------------------------------------------------===//

#include "../../../runtime/Cuda/Driver.h"
#include "../../../runtime/Nccl/Library.h"

#include <gtest/gtest.h>

#include <string>
#include <unistd.h>
#include <vector>

using namespace cleave::runtime;

namespace {

constexpr size_t kElements = 1000, kBytes = 4 * kElements;

/// A rank with a GPU of its own, whose memory has kElements of its own and room for those
/// of all.
struct Rank {
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUdeviceptr memory = 0;
  ncclComm_t world = nullptr, half = nullptr;
  void *registration = nullptr;
  ncclWindow_t window = nullptr;

  void *data() const { return reinterpret_cast<void *>(memory); }
};

class NcclCalls : public testing::Test {
protected:
  void SetUp() override {
    setenv("CLEAVE_SIMT_DEVICES", "4", 0);
    bool simulated = !getenv("CLEAVE_TEST_GPU");
    cleave_error error = {};
    std::string problem;
    ASSERT_EQ(openDriver(simulated, cuda, &error), CLEAVE_OK) << error.message;
    nccl = openNccl(simulated, problem);
    ASSERT_TRUE(nccl) << problem;
    ASSERT_EQ(cuda->cuDeviceGetCount(&devices), CUDA_SUCCESS);
  }

  /// Calls `act` with each rank, whose context is current, as one group of calls.
  template <typename Act> void together(Act act) {
    ncclResult_t result = nccl->ncclGroupStart();
    each([&](Rank &rank, int number) {
      ncclResult_t own = act(rank, number);
      result = result == ncclSuccess && own != ncclInProgress ? own : result;
    });
    ncclResult_t end = nccl->ncclGroupEnd();
    ASSERT_EQ(result, ncclSuccess) << nccl->ncclGetErrorString(result);
    ASSERT_TRUE(end == ncclSuccess || end == ncclInProgress) << nccl->ncclGetErrorString(end);
    for (Rank &rank : ranks)
      for (ncclComm_t comm : {rank.world, rank.half})
        ASSERT_EQ(stateOf(comm), ncclSuccess) << nccl->ncclGetLastError(comm);
  }

  template <typename Act> void each(Act act) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      ASSERT_EQ(cuda->cuCtxSetCurrent(ranks[i].context), CUDA_SUCCESS);
      act(ranks[i], int(i));
    }
  }

  /// When its calls, which do not block, have ended.
  ncclResult_t stateOf(ncclComm_t comm) {
    ncclResult_t state = comm ? ncclInProgress : ncclSuccess;
    for (int i = 0; i < 30'000 && state == ncclInProgress; ++i) {
      if (ncclResult_t result = nccl->ncclCommGetAsyncError(comm, &state))
        return result;
      usleep(state == ncclInProgress ? 1000 : 0);
    }
    return state;
  }

  void begin(int count) {
    ranks.resize(size_t(count));
    for (int i = 0; i < count; ++i) {
      Rank &rank = ranks[size_t(i)];
      ASSERT_EQ(cuda->cuDeviceGet(&rank.device, i), CUDA_SUCCESS);
      ASSERT_EQ(cuda->cuDevicePrimaryCtxRetain(&rank.context, rank.device), CUDA_SUCCESS);
    }
    each([&](Rank &rank, int number) {
      std::vector<float> values(kElements * (1 + ranks.size()), float(number + 1));
      EXPECT_EQ(cuda->cuStreamCreateWithPriority(&rank.stream, CU_STREAM_NON_BLOCKING, 0),
                CUDA_SUCCESS);
      void *memory = nullptr;
      if (nccl->hasWindows())
        EXPECT_EQ(nccl->ncclMemAlloc(&memory, 4 * values.size()), ncclSuccess);
      rank.memory = reinterpret_cast<CUdeviceptr>(memory);
      if (!memory)
        EXPECT_EQ(cuda->cuMemAlloc(&rank.memory, 4 * values.size()), CUDA_SUCCESS);
      EXPECT_EQ(cuda->cuMemcpyHtoD(rank.memory, values.data(), 4 * values.size()), CUDA_SUCCESS);
    });
    ncclUniqueId id;
    ASSERT_EQ(nccl->ncclGetUniqueId(&id), ncclSuccess);
    together([&](Rank &rank, int number) {
      return nccl->ncclCommInitRankConfig(&rank.world, count, id, number, &config);
    });
    together([&](Rank &rank, int number) {
      return nccl->ncclCommSplit(rank.world, number % 2, number, &rank.half, &config);
    });
    if (nccl->hasWindows())
      together([&](Rank &rank, int) {
        return nccl->ncclCommWindowRegister(rank.half, rank.data(), kBytes * (1 + ranks.size()),
                                            &rank.window, NCCL_WIN_COLL_SYMMETRIC);
      });
    if (nccl->ncclCommRegister)
      each([&](Rank &rank, int) {
        EXPECT_EQ(nccl->ncclCommRegister(rank.world, rank.data(), kBytes, &rank.registration),
                  ncclSuccess);
      });
  }

  void end() {
    each([&](Rank &rank, int) {
      EXPECT_EQ(cuda->cuStreamSynchronize(rank.stream), CUDA_SUCCESS);
      if (rank.registration)
        EXPECT_EQ(nccl->ncclCommDeregister(rank.world, rank.registration), ncclSuccess);
      if (rank.window)
        EXPECT_EQ(nccl->ncclCommWindowDeregister(rank.half, rank.window), ncclSuccess);
    });
    each([&](Rank &rank, int) {
      for (ncclComm_t comm : {rank.half, rank.world})
        EXPECT_EQ(nccl->ncclCommAbort(comm), ncclSuccess);
      if (nccl->hasWindows())
        EXPECT_EQ(nccl->ncclMemFree(rank.data()), ncclSuccess);
      else
        EXPECT_EQ(cuda->cuMemFree(rank.memory), CUDA_SUCCESS);
      EXPECT_EQ(cuda->cuStreamDestroy(rank.stream), CUDA_SUCCESS);
      EXPECT_EQ(cuda->cuDevicePrimaryCtxRelease(rank.device), CUDA_SUCCESS);
    });
    ranks.clear();
  }

  /// What a rank has from `first` on.
  std::vector<float> read(const Rank &rank, size_t first, size_t count) {
    std::vector<float> values(count);
    EXPECT_EQ(
        cuda->cuMemcpyDtoHAsync(values.data(), rank.memory + 4 * first, 4 * count, rank.stream),
        CUDA_SUCCESS);
    EXPECT_EQ(cuda->cuStreamSynchronize(rank.stream), CUDA_SUCCESS);
    return values;
  }

  /// Calls `test` with as many ranks as the machine has GPUs for, from one on.
  template <typename Test> void overRanks(Test test) {
    for (int count = 1; count <= devices && !HasFatalFailure(); count *= 2) {
      SCOPED_TRACE(count);
      begin(count);
      if (!HasFatalFailure())
        test(count);
      end();
    }
  }

  static ncclConfig_t nonBlocking() {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return config;
  }

  const Driver *cuda = nullptr;
  const Nccl *nccl = nullptr;
  ncclConfig_t config = nonBlocking();
  int devices = 0;
  std::vector<Rank> ranks;
};

} // namespace

TEST_F(NcclCalls, AGraphReducesAgainAndAgain) {
  overRanks([&](int count) {
    std::vector<CUgraphExec> executables(ranks.size());
    each([&](Rank &rank, int) {
      EXPECT_EQ(cuda->cuStreamBeginCapture(rank.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                CUDA_SUCCESS);
    });
    together([&](Rank &rank, int) {
      return nccl->ncclAllReduce(rank.data(), rank.data(), kElements, ncclFloat32, ncclSum,
                                 rank.world, rank.stream);
    });
    each([&](Rank &rank, int number) {
      CUgraph graph = nullptr;
      EXPECT_EQ(cuda->cuStreamEndCapture(rank.stream, &graph), CUDA_SUCCESS);
      EXPECT_EQ(cuda->cuGraphInstantiate(&executables[size_t(number)], graph, 0), CUDA_SUCCESS);
      EXPECT_EQ(cuda->cuGraphDestroy(graph), CUDA_SUCCESS);
    });
    float sum = float(count * (count + 1)) / 2;
    for (int run = 0; run < 3; ++run, sum *= float(count)) {
      each([&](Rank &rank, int number) {
        EXPECT_EQ(cuda->cuGraphLaunch(executables[size_t(number)], rank.stream), CUDA_SUCCESS);
      });
      each([&](Rank &rank, int) {
        EXPECT_EQ(read(rank, 0, kElements), std::vector<float>(kElements, sum));
      });
    }
    each([&](Rank &, int number) {
      EXPECT_EQ(cuda->cuGraphExecDestroy(executables[size_t(number)]), CUDA_SUCCESS);
    });
  });
}

TEST_F(NcclCalls, HalvesGatherWhatTheyHave) {
  overRanks([&](int count) {
    together([&](Rank &rank, int) {
      return nccl->ncclAllGather(rank.data(), static_cast<char *>(rank.data()) + kBytes, kBytes,
                                 ncclInt8, rank.half, rank.stream);
    });
    each([&](Rank &rank, int number) {
      std::vector<float> wanted;
      for (int other = number % 2; other < count; other += 2)
        wanted.insert(wanted.end(), kElements, float(other + 1));
      EXPECT_EQ(read(rank, kElements, wanted.size()), wanted);
    });
  });
}
