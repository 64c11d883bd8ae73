//===- Faults.cpp - planted bugs are told, with kernel and place ----------===//

#include "Gpu.h"

using namespace cleave::test;

namespace {

/// A kernel with one bug, run by 64 threads on 64 ints in and out.
struct Fault {
  const char *name, *body;
  CUresult result;
  std::vector<std::string> says;
  const char *globals = "";
};

} // namespace

static std::string kernelOf(const Fault &fault) {
  return std::string(fault.globals) + R"(
define ptx_kernel void @broken(ptr addrspace(1) %in, ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %lane = and i32 %t, 31
  %first = icmp eq i32 %t, 0
  %src = getelementptr i32, ptr addrspace(1) %in, i32 %t
  %dst = getelementptr i32, ptr addrspace(1) %out, i32 %t
)" + fault.body +
         "\n}\n";
}

static const char *const tile = "@tile = internal addrspace(3) global [64 x i32] undef, align 16\n";

static const Fault faults[] = {
    {"ReadPastTheEnd",
     R"(
  %p = getelementptr i32, ptr addrspace(1) %src, i32 1
  %x = load i32, ptr addrspace(1) %p, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out of bounds: kernel \"broken\", block (0,0,0), thread (63,0,0): load: 4 bytes at an "
      "allocation of 256 bytes+256 [%x = load"}},
    {"WriteBeforeTheBegin",
     R"(
  %p = getelementptr i32, ptr addrspace(1) %out, i32 -1
  store i32 1, ptr addrspace(1) %p, align 4
  ret void)",
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out of bounds: kernel \"broken\"", "an allocation of 256 bytes-4"}},
    {"SharedPastTheEnd",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 64
  store i32 1, ptr addrspace(3) %p, align 4
  ret void)",
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out of bounds: kernel \"broken\"", "store"},
     tile},
    {"Misaligned",
     R"(
  %p = getelementptr i8, ptr addrspace(1) %in, i32 2
  %x = load i32, ptr addrspace(1) %p, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_MISALIGNED_ADDRESS,
     {"misaligned: kernel \"broken\"", "an allocation of 256 bytes+2"}},
    {"UninitialisedShared",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  %x = load i32, ptr addrspace(3) %p, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"uninitialised: kernel \"broken\"", " were never written [%x = load"},
     tile},
    {"UninitialisedGlobal",
     R"(
  %x = load i32, ptr addrspace(1) %dst, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"uninitialised: kernel \"broken\"", " were never written [%x = load"}},
    {"RaceOnGlobal",
     R"(
  store i32 %t, ptr addrspace(1) %out, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"race: kernel \"broken\"", "store: 4 bytes at an allocation of 256 bytes+0"}},
    {"BarrierInABranch",
     R"(
  br i1 %first, label %some, label %end
some:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  br label %end
end:
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"deadlock: kernel \"broken\"", "1 threads wait at barrier.cta.sync.aligned.all",
      "63 have ended"}},
    {"TwoBarriersInBranches",
     R"(
  br i1 %first, label %some, label %others
some:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  ret void
others:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"divergence: kernel \"broken\"", "other threads of its warp wait at another barrier"}},
    {"ShuffleInABranch",
     R"(
  br i1 %first, label %some, label %end
some:
  %x = call i32 @llvm.nvvm.shfl.sync.idx.i32(i32 -1, i32 %t, i32 1, i32 31)
  store i32 %x, ptr addrspace(1) %dst, align 4
  br label %end
end:
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {": kernel \"broken\"", "shfl.sync.idx.i32"}},
    {"MasksThatDiffer",
     R"(
  %mask = select i1 %first, i32 -1, i32 -2
  %x = call i32 @llvm.nvvm.shfl.sync.idx.i32(i32 %mask, i32 %t, i32 1, i32 31)
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {": kernel \"broken\"", "shfl.sync.idx.i32"}},
    {"LaneOutsideOfItsMask",
     R"(
  %x = call i32 @llvm.nvvm.shfl.sync.idx.i32(i32 1, i32 %t, i32 0, i32 31)
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"divergence: kernel \"broken\"", "its own lane is not in the mask"}},
    {"MissingWait",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  call void @llvm.nvvm.cp.async.ca.shared.global.4(ptr addrspace(3) %p, ptr addrspace(1) %src)
  call void @llvm.nvvm.cp.async.commit.group()
  %x = load i32, ptr addrspace(3) %p, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"race: kernel \"broken\"", "that an asynchronous copy of thread (",
      "[%x = load i32, ptr addrspace(3) %p, align 4]"},
     tile},
    {"MissingBarrierAfterTheWait",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  call void @llvm.nvvm.cp.async.ca.shared.global.4(ptr addrspace(3) %p, ptr addrspace(1) %src)
  call void @llvm.nvvm.cp.async.wait.all()
  %n = xor i32 %t, 32
  call void @llvm.nvvm.bar.warp.sync(i32 -1)
  %q = getelementptr i32, ptr addrspace(3) @tile, i32 %n
  %x = load i32, ptr addrspace(3) %q, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {": kernel \"broken\"", "[%x = load i32, ptr addrspace(3) %q, align 4]"},
     tile},
    {"RefillTooEarly",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  %n = xor i32 %t, 1
  %q = getelementptr i32, ptr addrspace(3) @tile, i32 %n
  store i32 %t, ptr addrspace(3) %p, align 4
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %x = load i32, ptr addrspace(3) %q, align 4
  call void @llvm.nvvm.cp.async.ca.shared.global.4(ptr addrspace(3) %p, ptr addrspace(1) %src)
  call void @llvm.nvvm.cp.async.wait.all()
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"race: kernel \"broken\"", "shared \"tile\"+"},
     tile},
    {"MissingWarpSync",
     R"(
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  %n = xor i32 %t, 1
  %q = getelementptr i32, ptr addrspace(3) @tile, i32 %n
  store i32 %t, ptr addrspace(3) %p, align 4
  %x = load i32, ptr addrspace(3) %q, align 4
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void)",
     CUDA_ERROR_LAUNCH_FAILED,
     {"race: kernel \"broken\"", "shared \"tile\"+"},
     tile},
    {"Trap",
     R"(
  call void @llvm.trap()
  ret void)",
     CUDA_ERROR_ILLEGAL_INSTRUCTION,
     {"trap: kernel \"broken\""}},
};

TEST(SimtFaults, AreToldInEverySchedule) {
  for (const Fault &fault : faults)
    for (const char *schedule : schedules) {
      SCOPED_TRACE(std::string(fault.name) + ", " + schedule);
      Gpu gpu(schedule);
      CUfunction kernel = gpu.load(kernelOf(fault), "broken");
      CUdeviceptr in = gpu.upload(std::vector<int>(64, 1)), out = gpu.allocate(256);
      EXPECT_EQ(gpu.run(kernel, 1, 64, 0, in, out), fault.result);
      std::string report = gpu.report();
      for (const std::string &part : fault.says)
        expectSays(report, part);
    }
}

TEST(SimtFaults, MemoryThatWasFreed) {
  Gpu gpu;
  CUfunction kernel = gpu.load(R"(
define ptx_kernel void @broken(ptr addrspace(1) %out) {
  store i32 1, ptr addrspace(1) %out, align 4
  ret void
})",
                               "broken");
  CUdeviceptr out = gpu.allocate(256);
  EXPECT_EQ(cuda().cuMemFree(out), CUDA_SUCCESS);
  EXPECT_EQ(gpu.run(kernel, 1, 1, 0, out), CUDA_ERROR_ILLEGAL_ADDRESS);
  expectSays(gpu.report(), "use after free: kernel \"broken\"");
  // Nothing but a reset helps.
  EXPECT_EQ(cuda().cuMemAlloc(&out, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(SimtFaults, UnknownIntrinsicsAreRefused) {
  std::string error;
  EXPECT_TRUE(imageOf(R"(
define ptx_kernel void @strange() {
  call void @llvm.nvvm.barrier.cluster.arrive()
  ret void
})",
                      &error)
                  .empty());
  EXPECT_EQ(error, "kernel \"strange\": the simulator does not know "
                   "\"llvm.nvvm.barrier.cluster.arrive\"");
  EXPECT_TRUE(imageOf(R"(
define ptx_kernel void @strange() {
  call void asm sideeffect "discard.global.L2 [$0], 128;", "l"(i64 0)
  ret void
})",
                      &error)
                  .empty());
  expectSays(error, "kernel \"strange\": the simulator does not know the assembly");
}
