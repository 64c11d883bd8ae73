//===- Streams.cpp - work of streams that nothing orders ------------------===//

#include "Gpu.h"

#include <algorithm>
#include <random>

using namespace cleave::test;

static const char *const store = R"(
define ptx_kernel void @kernel(ptr addrspace(1) %x) {
  store i32 1, ptr addrspace(1) %x, align 4
  ret void
})";

static CUstream makeStream() {
  CUstream stream;
  EXPECT_EQ(cuda().cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
  return stream;
}

TEST(SimtStreams, AKernelAndACopyThatNothingOrders) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(store);
    CUdeviceptr x = gpu.upload(std::vector<int>{0});
    CUstream other = makeStream();
    int result;
    void *arguments[] = {&x};
    EXPECT_EQ(cuda().cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, gpu.stream, arguments, nullptr),
              CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuMemcpyDtoHAsync(&result, x, 4, other), CUDA_SUCCESS);
    // Each stream is waited for, but nothing says which goes first.
    cuda().cuStreamSynchronize(gpu.stream);
    EXPECT_EQ(cuda().cuStreamSynchronize(other), CUDA_ERROR_LAUNCH_FAILED);
    std::string report = Gpu::report();
    expectSays(report, "race");
    expectSays(report, "kernel \"kernel\"");
    expectSays(report, "copy to the host");
  }
}

namespace {

/// A random program: what each step does, and on which stream.
struct Step {
  enum Kind { Fill, Copy, Fetch, Record, Wait, Synchronize } kind;
  size_t stream, target = 0, source = 0, event = 0;
};

constexpr size_t kStreams = 3, kBuffers = 4, kEvents = 3, kSteps = 14;

std::vector<Step> draw(std::mt19937 &random, bool captured) {
  std::vector<Step> steps;
  bool recorded[kEvents] = {};
  while (steps.size() < kSteps) {
    Step step{Step::Kind(random() % (captured ? 5 : 6)), random() % kStreams, random() % kBuffers,
              random() % kBuffers, random() % kEvents};
    // Memory remembers two readers, so that two streams read.
    bool reads = step.kind == Step::Copy || step.kind == Step::Fetch;
    if ((reads && step.stream == 2) || (step.kind == Step::Wait && !recorded[step.event]))
      continue;
    recorded[step.event] |= step.kind == Step::Record;
    steps.push_back(step);
  }
  return steps;
}

/// Whether two steps touch the same buffer, one of them writing, and no path of streams,
/// events and waits leads from one to the other.
bool races(const std::vector<Step> &steps) {
  std::vector<std::vector<bool>> after(steps.size(), std::vector<bool>(steps.size()));
  auto touches = [](const Step &step, size_t buffer, bool writes) {
    if (writes)
      return step.kind <= Step::Copy && step.target == buffer;
    return (step.kind == Step::Copy || step.kind == Step::Fetch) && step.source == buffer;
  };
  for (size_t j = 0; j < steps.size(); ++j) {
    for (size_t i = j; i-- > 0;) {
      bool direct = steps[i].stream == steps[j].stream || steps[i].kind == Step::Synchronize;
      if (steps[j].kind == Step::Wait && steps[i].kind == Step::Record &&
          steps[i].event == steps[j].event)
        // The last one counts.
        direct |= std::none_of(steps.begin() + long(i) + 1, steps.begin() + long(j),
                               [&](const Step &step) {
                                 return step.kind == Step::Record && step.event == steps[j].event;
                               });
      for (size_t k = 0; direct && k <= i; ++k)
        if (k == i || after[i][k])
          after[j][k] = true;
    }
    for (size_t i = 0; i < j; ++i)
      for (size_t buffer = 0; buffer < kBuffers; ++buffer) {
        bool writes = touches(steps[i], buffer, true), writesToo = touches(steps[j], buffer, true);
        bool both = (writes || touches(steps[i], buffer, false)) &&
                    (writesToo || touches(steps[j], buffer, false));
        if (both && (writes || writesToo) && !after[j][i])
          return true;
      }
  }
  return false;
}

struct Player {
  explicit Player(Gpu &gpu) : streams{gpu.stream, makeStream(), makeStream()} {
    for (CUevent &event : events)
      EXPECT_EQ(cuda().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
    for (CUdeviceptr &buffer : buffers)
      buffer = gpu.upload(std::vector<int>{1, 2});
  }

  void play(const Step &step) {
    const Functions &c = cuda();
    CUstream stream = streams[step.stream];
    CUdeviceptr target = buffers[step.target], source = buffers[step.source];
    switch (step.kind) {
    case Step::Fill: c.cuMemsetD32Async(target, 7, 2, stream); break;
    case Step::Copy: c.cuMemcpyDtoDAsync(target, source, 8, stream); break;
    case Step::Fetch: c.cuMemcpyDtoHAsync(host, source, 8, stream); break;
    case Step::Record: c.cuEventRecord(events[step.event], stream); break;
    case Step::Wait: c.cuStreamWaitEvent(stream, events[step.event], 0); break;
    case Step::Synchronize: c.cuStreamSynchronize(stream); break;
    }
  }

  void capture(const std::vector<Step> &steps) {
    const Functions &c = cuda();
    CUevent fork;
    CUgraph graph;
    CUgraphExec executable;
    EXPECT_EQ(c.cuEventCreate(&fork, 0), CUDA_SUCCESS);
    EXPECT_EQ(c.cuStreamBeginCapture(streams[0], CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    c.cuEventRecord(fork, streams[0]);
    for (CUstream stream : {streams[1], streams[2]})
      c.cuStreamWaitEvent(stream, fork, 0);
    for (const Step &step : steps)
      play(step);
    for (CUstream stream : {streams[1], streams[2]}) {
      c.cuEventRecord(fork, stream);
      c.cuStreamWaitEvent(streams[0], fork, 0);
    }
    ASSERT_EQ(c.cuStreamEndCapture(streams[0], &graph), CUDA_SUCCESS);
    ASSERT_EQ(c.cuGraphInstantiate(&executable, graph, 0), CUDA_SUCCESS);
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(c.cuGraphLaunch(executable, streams[0]), CUDA_SUCCESS);
    EXPECT_EQ(c.cuGraphExecDestroy(executable), CUDA_SUCCESS);
    EXPECT_EQ(c.cuGraphDestroy(graph), CUDA_SUCCESS);
  }

  CUstream streams[kStreams];
  CUevent events[kEvents];
  CUdeviceptr buffers[kBuffers];
  int host[2];
};

} // namespace

class SimtStreamsOf : public testing::TestWithParam<bool> {};

TEST_P(SimtStreamsOf, RandomProgramsRaceExactlyWhereNothingOrdersThem) {
  size_t racy = 0;
  constexpr unsigned programs = 300;
  for (unsigned seed = 0; seed < programs; ++seed) {
    std::mt19937 random(seed);
    std::vector<Step> steps = draw(random, GetParam());
    Gpu gpu(schedules[seed % std::size(schedules)]);
    Player player(gpu);
    if (GetParam())
      player.capture(steps);
    else
      for (const Step &step : steps)
        player.play(step);
    cuda().cuCtxSynchronize();
    std::string report = Gpu::report();
    EXPECT_EQ(report.find("race") != report.npos, races(steps)) << seed << "\n" << report;
    racy += races(steps);
  }
  EXPECT_GT(racy, programs / 10);
  EXPECT_LT(racy, programs);
}

INSTANTIATE_TEST_SUITE_P(, SimtStreamsOf, testing::Bool(),
                         [](const auto &info) { return info.param ? "Graphs" : "Streams"; });
