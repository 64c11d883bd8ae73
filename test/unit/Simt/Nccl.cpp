//===- Nccl.cpp - ranks that meet in the simulator ------------------------===//

#include "Gpu.h"

#include <nccl.h>

#include <dlfcn.h>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>

using namespace cleave::test;

namespace {

/// NCCL's functions, from where CUDA's are.
struct Nccl {
#define CLEAVE_NCCL_FUNCTION(name) decltype(&::name) name;
#include "../../../runtime/Nccl/Functions.def"

  Nccl() {
    void *library = dlopen(CLEAVE_TEST_SIMT, RTLD_NOW | RTLD_LOCAL);
#define CLEAVE_NCCL_FUNCTION(name) name = reinterpret_cast<decltype(name)>(dlsym(library, #name));
#include "../../../runtime/Nccl/Functions.def"
  }
};

/// Two ranks with a stream and four floats each, that all hold the rank's number.
struct Two {
  Two() {
    EXPECT_EQ(cuda().cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cuda().schedule("greedy"), 0);
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    EXPECT_EQ(nccl.ncclGetUniqueId(&id), ncclSuccess);
    for (int rank : {0, 1}) {
      EXPECT_EQ(cuda().cuDevicePrimaryCtxRetain(&contexts[rank], rank), CUDA_SUCCESS);
      enter(rank);
      EXPECT_EQ(cuda().cuStreamCreateWithPriority(&streams[rank], CU_STREAM_NON_BLOCKING, 0),
                CUDA_SUCCESS);
      EXPECT_EQ(cuda().cuMemAlloc(&memory[rank], bytes), CUDA_SUCCESS);
      fill(rank, rank + 1);
      EXPECT_EQ(nccl.ncclCommInitRankConfig(&comms[rank], 2, id, rank, &config), ncclInProgress);
      ncclResult_t state;
      EXPECT_EQ(nccl.ncclCommGetAsyncError(comms[rank], &state), ncclSuccess);
      EXPECT_EQ(state, rank ? ncclSuccess : ncclInProgress);
    }
  }
  ~Two() {
    for (int rank : {0, 1}) {
      nccl.ncclCommAbort(comms[rank]);
      enter(rank);
      EXPECT_EQ(cuda().cuDevicePrimaryCtxRelease(rank), CUDA_SUCCESS);
    }
  }

  void enter(int rank) { EXPECT_EQ(cuda().cuCtxSetCurrent(contexts[rank]), CUDA_SUCCESS); }
  void fill(int rank, int value) {
    float number = float(value);
    unsigned bits;
    memcpy(&bits, &number, 4);
    enter(rank);
    EXPECT_EQ(cuda().cuMemsetD32Async(memory[rank], bits, 4, streams[rank]), CUDA_SUCCESS);
  }
  void reduce(int rank, size_t count, ncclRedOp_t reduction = ncclSum) {
    enter(rank);
    auto *data = reinterpret_cast<void *>(memory[rank]);
    EXPECT_EQ(
        nccl.ncclAllReduce(data, data, count, ncclFloat32, reduction, comms[rank], streams[rank]),
        ncclSuccess);
  }
  bool isDone(int rank) {
    enter(rank);
    for (int i = 0; i < 8; ++i)
      if (cuda().cuStreamQuery(streams[rank]) != CUDA_ERROR_NOT_READY)
        return true;
    return false;
  }
  float first(int rank) {
    float value = 0;
    enter(rank);
    EXPECT_EQ(cuda().cuMemcpyDtoHAsync(&value, memory[rank], 4, streams[rank]), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuStreamSynchronize(streams[rank]), CUDA_SUCCESS);
    return value;
  }

  static constexpr size_t bytes = 16;
  Nccl nccl;
  CUcontext contexts[2];
  CUstream streams[2];
  CUdeviceptr memory[2];
  ncclComm_t comms[2] = {};
};

} // namespace

TEST(SimtNccl, ACallEndsWhenAllHaveCalled) {
  Two two;
  two.reduce(0, 4);
  EXPECT_FALSE(two.isDone(0));
  two.reduce(1, 4);
  EXPECT_TRUE(two.isDone(1));
  EXPECT_TRUE(two.isDone(0));
  EXPECT_EQ(two.first(0), 3);
  EXPECT_EQ(two.first(1), 3);
}

TEST(SimtNccl, CallsThatDifferAreToldWithBothRanks) {
  Two two;
  two.reduce(0, 4);
  two.reduce(1, 3, ncclMax);
  two.isDone(0);
  two.isDone(1);
  expectSays(Gpu::report(), "mismatch: in a clique of 2, rank 0 calls all_reduce of 4 float32, sum "
                            "where rank 1 calls all_reduce of 3 float32, max");
}

TEST(SimtNccl, TransfersThatDifferAreTold) {
  Two two;
  two.enter(0);
  EXPECT_EQ(two.nccl.ncclSend(reinterpret_cast<void *>(two.memory[0]), 4, ncclFloat32, 1,
                              two.comms[0], two.streams[0]),
            ncclSuccess);
  two.enter(1);
  EXPECT_EQ(two.nccl.ncclRecv(reinterpret_cast<void *>(two.memory[1]), 2, ncclFloat32, 0,
                              two.comms[1], two.streams[1]),
            ncclSuccess);
  two.isDone(0);
  two.isDone(1);
  expectSays(Gpu::report(), "rank 0 calls send of 4 float32 where rank 1 calls recv of 2 float32");
}

TEST(SimtNccl, AbortEndsWhatWaits) {
  Two two;
  two.reduce(0, 4);
  EXPECT_FALSE(two.isDone(0));
  EXPECT_EQ(two.nccl.ncclCommAbort(two.comms[0]), ncclSuccess);
  EXPECT_TRUE(two.isDone(0));
  EXPECT_EQ(two.nccl.ncclCommAbort(two.comms[0]), ncclInvalidArgument);
}

/// A graph holds the call, and what it reads is what is there when it runs.
TEST(SimtNccl, GraphsMeetAgainAndAgain) {
  Two two;
  CUgraphExec executables[2];
  for (int rank : {0, 1}) {
    CUgraph graph;
    two.enter(rank);
    EXPECT_EQ(cuda().cuStreamBeginCapture(two.streams[rank], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
              CUDA_SUCCESS);
    two.reduce(rank, 4);
    EXPECT_EQ(cuda().cuStreamEndCapture(two.streams[rank], &graph), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuGraphInstantiate(&executables[rank], graph, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuGraphDestroy(graph), CUDA_SUCCESS);
  }
  for (int run = 0; run < 3; ++run) {
    for (int rank : {0, 1}) {
      two.fill(rank, run + rank);
      EXPECT_EQ(cuda().cuGraphLaunch(executables[rank], two.streams[rank]), CUDA_SUCCESS);
      EXPECT_EQ(two.isDone(0), rank == 1);
    }
    EXPECT_EQ(two.first(0), 2 * run + 1);
    EXPECT_EQ(two.first(1), 2 * run + 1);
  }
  for (CUgraphExec executable : executables)
    EXPECT_EQ(cuda().cuGraphExecDestroy(executable), CUDA_SUCCESS);
}

namespace {

/// One rank of this process, with a stream and four floats that hold its number plus 1.
struct One {
  One(const ncclUniqueId &id, int rank, int device) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    float number = float(rank + 1);
    unsigned bits;
    memcpy(&bits, &number, 4);
    cuda().cuDevicePrimaryCtxRetain(&context, device);
    cuda().cuCtxSetCurrent(context);
    cuda().cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0);
    cuda().cuMemAlloc(&memory, 16);
    cuda().cuMemsetD32Async(memory, bits, 4, stream);
    nccl.ncclCommInitRankConfig(&comm, 2, id, rank, &config);
  }

  /// How long calls go on is the other process's to say.
  ncclResult_t await(ncclResult_t past) {
    ncclResult_t state = past;
    for (int i = 0; i < 100'000 && state == past; ++i) {
      nccl.ncclCommGetAsyncError(comm, &state);
      usleep(100);
    }
    return state;
  }
  float reduce(size_t count = 4) {
    auto *data = reinterpret_cast<void *>(memory);
    float value = 0;
    nccl.ncclAllReduce(data, data, count, ncclFloat32, ncclSum, comm, stream);
    cuda().cuMemcpyDtoHAsync(&value, memory, 4, stream);
    cuda().cuStreamSynchronize(stream);
    return value;
  }

  Nccl nccl;
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUdeviceptr memory = 0;
  ncclComm_t comm = nullptr;
};

/// Rank 0 here and rank 1 in a child, which ends with what `child` returns.
struct Processes {
  Processes(int device, int (*child)(One &)) {
    EXPECT_EQ(cuda().cuInit(0), CUDA_SUCCESS);
    ncclUniqueId id;
    EXPECT_EQ(Nccl().ncclGetUniqueId(&id), ncclSuccess);
    process = fork();
    if (!process) {
      One own(id, 1, device);
      _exit(child(own));
    }
    rank.emplace(id, 0, 0);
  }
  ~Processes() {
    int status = -1;
    waitpid(process, &status, 0);
    EXPECT_EQ(status, 0);
    rank->nccl.ncclCommAbort(rank->comm);
    cuda().cuDevicePrimaryCtxRelease(0);
  }

  pid_t process;
  std::optional<One> rank;
};

} // namespace

TEST(SimtNccl, RanksOfTwoProcessesMeet) {
  Processes two(1, [](One &own) {
    return int(own.await(ncclInProgress) != ncclSuccess || own.reduce() != 3 || own.reduce() != 6);
  });
  ASSERT_EQ(two.rank->await(ncclInProgress), ncclSuccess);
  EXPECT_EQ(two.rank->reduce(), 3);
  EXPECT_EQ(two.rank->reduce(), 6);
}

TEST(SimtNccl, CallsOfTwoProcessesThatDifferAreTold) {
  Processes two(1, [](One &own) {
    own.await(ncclInProgress);
    own.reduce(3);
    return int(Gpu::report().find("rank 0 calls all_reduce of 4 float32, sum where rank 1 calls "
                                  "all_reduce of 3 float32, sum") == std::string::npos);
  });
  ASSERT_EQ(two.rank->await(ncclInProgress), ncclSuccess);
  two.rank->reduce(4);
  expectSays(Gpu::report(), "rank 0 calls all_reduce of 4 float32, sum where rank 1 calls "
                            "all_reduce of 3 float32, sum");
}

TEST(SimtNccl, AProcessThatEndsIsSeen) {
  Processes two(1, [](One &own) { return int(own.await(ncclInProgress)); });
  ASSERT_EQ(two.rank->await(ncclInProgress), ncclSuccess);
  EXPECT_EQ(two.rank->await(ncclSuccess), ncclRemoteError);
}

TEST(SimtNccl, TwoProcessesOnOneDeviceAreTold) {
  Processes two(0, [](One &own) { return int(own.await(ncclInProgress) != ncclInvalidUsage); });
  EXPECT_EQ(two.rank->await(ncclInProgress), ncclInvalidUsage);
}

TEST(SimtNccl, RegistrationsArePaired) {
  Two two;
  auto *data = reinterpret_cast<void *>(two.memory[0]);
  void *first = nullptr, *second = nullptr;
  EXPECT_EQ(two.nccl.ncclCommRegister(two.comms[0], data, two.bytes, &first), ncclSuccess);
  EXPECT_EQ(Gpu::report(), "");
  EXPECT_EQ(two.nccl.ncclCommRegister(two.comms[0], data, 4, &second), ncclSuccess);
  expectSays(Gpu::report(), "registration: memory of 4 bytes of rank 0 in a clique of 2 is "
                            "registered twice");
  EXPECT_EQ(two.nccl.ncclCommDeregister(two.comms[0], first), ncclSuccess);
  EXPECT_EQ(two.nccl.ncclCommDeregister(two.comms[0], first), ncclInvalidArgument);
  expectSays(Gpu::report(), "is given back without a registration");
  two.enter(0);
  EXPECT_EQ(cuda().cuStreamSynchronize(two.streams[0]), CUDA_SUCCESS);
  EXPECT_EQ(two.nccl.ncclCommAbort(two.comms[0]), ncclSuccess);
  expectSays(Gpu::report(), "registration: memory of 4 bytes of rank 0 in a clique of 2 is still "
                            "registered where the communicator ends");
}

TEST(SimtNccl, MemoryOfAGpuThatWasAtWorkMayStayRegistered) {
  Two two;
  auto *data = reinterpret_cast<void *>(two.memory[0]);
  void *registration = nullptr;
  EXPECT_EQ(two.nccl.ncclCommRegister(two.comms[0], data, two.bytes, &registration), ncclSuccess);
  two.reduce(0, 4);
  EXPECT_FALSE(two.isDone(0));
  CUevent end;
  EXPECT_EQ(cuda().cuEventCreate(&end, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuEventRecord(end, two.streams[0]), CUDA_SUCCESS);
  two.reduce(1, 4);
  EXPECT_EQ(cuda().cuStreamWaitEvent(two.streams[1], end, 0), CUDA_SUCCESS);
  EXPECT_TRUE(two.isDone(1));
  EXPECT_EQ(two.nccl.ncclCommAbort(two.comms[0]), ncclSuccess);
  EXPECT_EQ(Gpu::report(), "");
}

namespace {

/// Two ranks, each with a symmetric window of 16 floats.
struct TwoWindows : Two {
  TwoWindows() {
    for (int rank : {0, 1}) {
      enter(rank);
      EXPECT_EQ(nccl.ncclMemAlloc(&data[rank], windowBytes), ncclSuccess);
      EXPECT_EQ(cuda().cuMemsetD32Async(CUdeviceptr(data[rank]), 0, 16, streams[rank]),
                CUDA_SUCCESS);
    }
  }
  ~TwoWindows() {
    for (int rank : {0, 1}) {
      enter(rank);
      EXPECT_EQ(cuda().cuStreamSynchronize(streams[rank]), CUDA_SUCCESS);
      if (windows[rank])
        EXPECT_EQ(nccl.ncclCommWindowDeregister(comms[rank], windows[rank]), ncclSuccess);
      EXPECT_EQ(nccl.ncclMemFree(data[rank]), ncclSuccess);
    }
  }

  ncclResult_t open(int rank, size_t bytes = windowBytes) {
    enter(rank);
    return nccl.ncclCommWindowRegister(comms[rank], data[rank], bytes, &windows[rank],
                                       NCCL_WIN_COLL_SYMMETRIC);
  }
  ncclResult_t state(int rank) {
    ncclResult_t state = ncclInternalError;
    EXPECT_EQ(nccl.ncclCommGetAsyncError(comms[rank], &state), ncclSuccess);
    return state;
  }
  void reduceAt(int rank, int first) {
    enter(rank);
    void *place = static_cast<float *>(data[rank]) + first;
    EXPECT_EQ(nccl.ncclAllReduce(place, place, 4, ncclFloat32, ncclSum, comms[rank], streams[rank]),
              ncclSuccess);
  }

  static constexpr size_t windowBytes = 64;
  void *data[2] = {};
  ncclWindow_t windows[2] = {};
};

} // namespace

TEST(SimtNccl, WindowsOpenWhenAllHaveAsked) {
  TwoWindows two;
  EXPECT_EQ(two.open(0), ncclInProgress);
  EXPECT_EQ(two.state(0), ncclInProgress);
  EXPECT_EQ(two.open(1), ncclInProgress);
  EXPECT_EQ(two.state(0), ncclSuccess);
  EXPECT_EQ(two.state(1), ncclSuccess);
  for (int rank : {0, 1})
    two.reduceAt(rank, 4);
  EXPECT_TRUE(two.isDone(0) && two.isDone(1));
  EXPECT_EQ(Gpu::report(), "");
}

TEST(SimtNccl, PlacesInWindowsThatDifferAreTold) {
  TwoWindows two;
  for (int rank : {0, 1})
    EXPECT_EQ(two.open(rank), ncclInProgress);
  for (int rank : {0, 1})
    two.reduceAt(rank, 4 * rank);
  two.isDone(0);
  two.isDone(1);
  expectSays(Gpu::report(), "rank 0 calls all_reduce of 4 float32, sum, from 0 to 0 of windows "
                            "where rank 1 calls all_reduce of 4 float32, sum, from 16 to 16 of "
                            "windows");
}

TEST(SimtNccl, WindowsAreOfOneSizeAndOfMemoryThatMayBeInOne) {
  TwoWindows two;
  EXPECT_EQ(two.open(0), ncclInProgress);
  EXPECT_EQ(two.open(1, 32), ncclInProgress);
  two.state(0);
  expectSays(Gpu::report(), "rank 0 calls window of 64 int8 where rank 1 calls window of 32 int8");
  ncclWindow_t window = nullptr;
  EXPECT_EQ(two.nccl.ncclCommWindowRegister(two.comms[0], reinterpret_cast<void *>(two.memory[0]),
                                            two.bytes, &window, NCCL_WIN_COLL_SYMMETRIC),
            ncclUnhandledCudaError);
  EXPECT_EQ(two.nccl.ncclMemFree(reinterpret_cast<void *>(two.memory[0])), ncclInvalidArgument);
}

TEST(SimtNccl, OneDeviceIsOneRank) {
  Two two;
  ncclUniqueId id;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t first = nullptr, second = nullptr;
  EXPECT_EQ(two.nccl.ncclGetUniqueId(&id), ncclSuccess);
  two.enter(0);
  EXPECT_EQ(two.nccl.ncclCommInitRankConfig(&first, 2, id, 0, &config), ncclInProgress);
  EXPECT_EQ(two.nccl.ncclCommInitRankConfig(&second, 2, id, 1, &config), ncclInvalidUsage);
  EXPECT_EQ(two.nccl.ncclCommAbort(first), ncclSuccess);
}
