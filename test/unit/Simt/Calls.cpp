//===- Calls.cpp - streams, events, graphs and errors as CUDA's -----------===//

#include "Gpu.h"

using namespace cleave::test;

/// Adds `by` to a number, and multiplies it.
static const char *const steps = R"(
define ptx_kernel void @add(ptr addrspace(1) %x, i32 %by) {
  %old = load i32, ptr addrspace(1) %x, align 4
  %new = add i32 %old, %by
  store i32 %new, ptr addrspace(1) %x, align 4
  ret void
}
define ptx_kernel void @times(ptr addrspace(1) %x, i32 %by) {
  %old = load i32, ptr addrspace(1) %x, align 4
  %new = mul i32 %old, %by
  store i32 %new, ptr addrspace(1) %x, align 4
  ret void
})";

static CUresult launch(CUfunction kernel, CUstream stream, CUdeviceptr x, int by) {
  void *arguments[] = {&x, &by};
  return cuda().cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr);
}

TEST(SimtCalls, EventsOrderStreams) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction add = gpu.load(steps, "add"), times = gpu.load(steps, "times");
    CUstream other;
    CUevent event;
    ASSERT_EQ(cuda().cuStreamCreateWithPriority(&other, CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
    ASSERT_EQ(cuda().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
    CUdeviceptr x = gpu.upload(std::vector<int>{1});
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(launch(add, gpu.stream, x, 1), CUDA_SUCCESS);
      EXPECT_EQ(cuda().cuEventRecord(event, gpu.stream), CUDA_SUCCESS);
      EXPECT_EQ(cuda().cuStreamWaitEvent(other, event, 0), CUDA_SUCCESS);
      EXPECT_EQ(launch(times, other, x, 3), CUDA_SUCCESS);
      EXPECT_EQ(cuda().cuEventRecord(event, other), CUDA_SUCCESS);
      EXPECT_EQ(cuda().cuStreamWaitEvent(gpu.stream, event, 0), CUDA_SUCCESS);
    }
    int want = 1;
    for (int i = 0; i < 5; ++i)
      want = (want + 1) * 3;
    EXPECT_EQ(gpu.download<int>(x, 1)[0], want);
    EXPECT_EQ(cuda().cuEventDestroy(event), CUDA_SUCCESS);
  }
}

/// A launch that may begin early has to wait before it touches what others write.
TEST(SimtCalls, EarlyKernelsWait) {
  static const char *const early = R"(
declare void @llvm.nvvm.griddepcontrol.wait()
define ptx_kernel void @patient(ptr addrspace(1) %x) {
  call void @llvm.nvvm.griddepcontrol.wait()
  store i32 7, ptr addrspace(1) %x, align 4
  ret void
}
define ptx_kernel void @hasty(ptr addrspace(1) %x) {
  store i32 8, ptr addrspace(1) %x, align 4
  call void @llvm.nvvm.griddepcontrol.wait()
  ret void
})";
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUdeviceptr x = gpu.allocate(4);
    CUlaunchAttribute attribute = {};
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, gpu.stream, &attribute, 1};
    void *arguments[] = {&x};
    auto launch = [&](const char *name) {
      CUfunction kernel = gpu.load(early, name);
      return cuda().cuLaunchKernelEx(&config, kernel, arguments, nullptr);
    };
    EXPECT_EQ(launch("patient"), CUDA_SUCCESS);
    EXPECT_EQ(gpu.download<int>(x, 1)[0], 7);
    EXPECT_EQ(launch("hasty"), CUDA_SUCCESS);
    EXPECT_NE(cuda().cuStreamSynchronize(gpu.stream), CUDA_SUCCESS);
    EXPECT_NE(gpu.report().find("too early: kernel \"hasty\""), std::string::npos);
    // Without the attribute it has no reason to wait.
    config.numAttrs = 0;
    EXPECT_EQ(launch("hasty"), CUDA_SUCCESS);
    EXPECT_EQ(gpu.download<int>(x, 1)[0], 8);
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    config.numAttrs = 1;
    EXPECT_EQ(launch("patient"), CUDA_ERROR_NOT_SUPPORTED);
  }
}

TEST(SimtCalls, NothingIsDoneBeforeSomebodyWaits) {
  Gpu gpu;
  CUdeviceptr x = gpu.allocate(4);
  int value = 1, result = 0;
  EXPECT_EQ(cuda().cuMemcpyHtoDAsync(x, &value, 4, gpu.stream), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuMemcpyDtoHAsync(&result, x, 4, gpu.stream), CUDA_SUCCESS);
  value = 5;
  EXPECT_EQ(result, 0);
  EXPECT_EQ(cuda().cuStreamSynchronize(gpu.stream), CUDA_SUCCESS);
  EXPECT_EQ(result, 5);
}

TEST(SimtCalls, CaptureEqualsEager) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction add = gpu.load(steps, "add"), times = gpu.load(steps, "times");
    CUdeviceptr x = gpu.upload(std::vector<int>{1});
    CUgraph graph;
    CUgraphExec executable;
    ASSERT_EQ(cuda().cuStreamBeginCapture(gpu.stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    EXPECT_EQ(launch(add, gpu.stream, x, 2), CUDA_SUCCESS);
    EXPECT_EQ(launch(times, gpu.stream, x, 5), CUDA_SUCCESS);
    ASSERT_EQ(cuda().cuStreamEndCapture(gpu.stream, &graph), CUDA_SUCCESS);
    ASSERT_EQ(cuda().cuGraphInstantiate(&executable, graph, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuGraphDestroy(graph), CUDA_SUCCESS);
    EXPECT_EQ(gpu.download<int>(x, 1)[0], 1);
    EXPECT_EQ(cuda().cuGraphLaunch(executable, gpu.stream), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuGraphLaunch(executable, gpu.stream), CUDA_SUCCESS);
    EXPECT_EQ(gpu.download<int>(x, 1)[0], ((1 + 2) * 5 + 2) * 5);
    EXPECT_EQ(cuda().cuGraphExecDestroy(executable), CUDA_SUCCESS);
  }
}

TEST(SimtCalls, CaptureForbidsWhatItCannotRepeat) {
  Gpu gpu;
  CUgraph graph;
  CUdeviceptr x;
  ASSERT_EQ(cuda().cuStreamBeginCapture(gpu.stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuMemAlloc(&x, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(cuda().cuStreamEndCapture(gpu.stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  ASSERT_EQ(cuda().cuStreamBeginCapture(gpu.stream, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuStreamSynchronize(gpu.stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(cuda().cuStreamEndCapture(gpu.stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST(SimtCalls, OtherImagesAreRefused) {
  Gpu gpu;
  CUmodule module;
  std::vector<char> image = imageOf("define ptx_kernel void @kernel() {\n  ret void\n}\n");
  EXPECT_EQ(cuda().cuModuleLoadData(&module, image.data()), CUDA_SUCCESS);
  CUfunction function;
  EXPECT_EQ(cuda().cuModuleGetFunction(&function, module, "none"), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(cuda().cuModuleUnload(module), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuModuleLoadData(&module, "//\n// Generated PTX\n.version 8.0\n"),
            CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(cuda().cuModuleLoadData(&module, "junk that is no image"), CUDA_ERROR_INVALID_IMAGE);
  std::vector<char> cubin = image;
  cubin[18] = char(190); // EM_CUDA
  cubin[19] = 0;
  EXPECT_EQ(cuda().cuModuleLoadData(&module, cubin.data()), CUDA_ERROR_NO_BINARY_FOR_GPU);
}

/// The simulator is a chip of capability 9.0.
TEST(SimtCalls, ImagesForOtherChipsAreRefused) {
  Gpu gpu;
  for (auto [chip, want] : {std::pair("sm_80", CUDA_SUCCESS),
                            {"sm_90a", CUDA_SUCCESS},
                            {"sm_87a", CUDA_ERROR_NO_BINARY_FOR_GPU},
                            {"sm_100", CUDA_ERROR_NO_BINARY_FOR_GPU}}) {
    CUmodule module;
    std::vector<char> image = imageOf("define ptx_kernel void @kernel() \"target-cpu\"=\"" +
                                      std::string(chip) + "\" {\n  ret void\n}\n");
    EXPECT_EQ(cuda().cuModuleLoadData(&module, image.data()), want) << chip;
    if (!want) {
      EXPECT_EQ(cuda().cuModuleUnload(module), CUDA_SUCCESS);
    }
  }
}

TEST(SimtCalls, LaunchesThatNoGpuTakes) {
  Gpu gpu;
  CUfunction kernel = gpu.load("define ptx_kernel void @kernel() {\n  ret void\n}\n");
  EXPECT_EQ(gpu.run(kernel, 1, 1025, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(gpu.run(kernel, 0, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(gpu.run(kernel, 1, 1, 49153), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(
      cuda().cuFuncSetAttribute(kernel, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000),
      CUDA_SUCCESS);
  EXPECT_EQ(gpu.run(kernel, 1, 1, 100000), CUDA_SUCCESS) << gpu.report();
  CUdeviceptr x;
  EXPECT_EQ(cuda().cuMemAlloc(&x, size_t(1) << 40), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(cuda().cuMemFree(12345), CUDA_ERROR_INVALID_VALUE);
}
