//===- Blocks.cpp - barriers, shuffles, and what goes wrong with them -----===//

#include "Gpu.h"

#include <numeric>

using namespace cleave::test;

/// Sums 64 numbers by a tree in shared memory; `barrier` stands between its steps.
static std::string treeSum(const std::string &barrier) {
  return R"(
@tile = internal addrspace(3) global [64 x i32] undef, align 4
define ptx_kernel void @kernel(ptr addrspace(1) %in, ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %from = getelementptr i32, ptr addrspace(1) %in, i32 %t
  %x = load i32, ptr addrspace(1) %from, align 4
  %own = getelementptr i32, ptr addrspace(3) @tile, i32 %t
  store i32 %x, ptr addrspace(3) %own, align 4
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  br label %loop
loop:
  %s = phi i32 [ 32, %0 ], [ %next, %join ]
  %active = icmp ult i32 %t, %s
  br i1 %active, label %add, label %join
add:
  %o = add i32 %t, %s
  %there = getelementptr i32, ptr addrspace(3) @tile, i32 %o
  %a = load i32, ptr addrspace(3) %own, align 4
  %b = load i32, ptr addrspace(3) %there, align 4
  %c = add i32 %a, %b
  store i32 %c, ptr addrspace(3) %own, align 4
  br label %join
join:
)" + barrier +
         R"(
  %next = lshr i32 %s, 1
  %more = icmp ne i32 %next, 0
  br i1 %more, label %loop, label %end
end:
  %first = icmp eq i32 %t, 0
  br i1 %first, label %write, label %done
write:
  %sum = load i32, ptr addrspace(3) @tile, align 4
  store i32 %sum, ptr addrspace(1) %out, align 4
  br label %done
done:
  ret void
}
)";
}

TEST(Simt, BarriersOrderSharedMemory) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel =
        gpu.load(treeSum("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)"));
    std::vector<int> in(64);
    std::iota(in.begin(), in.end(), 1);
    CUdeviceptr input = gpu.upload(in), output = gpu.allocate(4);
    ASSERT_EQ(gpu.run(kernel, 1, 64, 0, input, output), CUDA_SUCCESS) << gpu.report();
    EXPECT_EQ(gpu.download<int>(output, 1)[0], 64 * 65 / 2);
  }
}

TEST(Simt, MissingBarrierIsARace) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(treeSum(""));
    CUdeviceptr input = gpu.upload(std::vector<int>(64, 1)), output = gpu.allocate(4);
    EXPECT_EQ(gpu.run(kernel, 1, 64, 0, input, output), CUDA_ERROR_LAUNCH_FAILED);
    std::string report = gpu.report();
    expectSays(report, "race: kernel \"kernel\", block (0,0,0), thread (");
    expectSays(report, "4 bytes at shared \"tile\"+");
    expectSays(report, "[store i32 %c, ptr addrspace(3) %own, align 4]");
  }
}

/// Every block writes a number; the last one that counts itself adds them up.
static std::string lastBlockSums(const std::string &fence) {
  return R"(
define ptx_kernel void @kernel(ptr addrspace(1) %parts, ptr addrspace(1) %count,
                               ptr addrspace(1) %out) {
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %p = getelementptr i32, ptr addrspace(1) %parts, i32 %b
  store i32 %b, ptr addrspace(1) %p, align 4
)" + fence +
         R"(
  %old = atomicrmw add ptr addrspace(1) %count, i32 1 syncscope("device") monotonic, align 4
  %last = icmp eq i32 %old, 7
  br i1 %last, label %loop, label %end
loop:
  %i = phi i32 [ 0, %0 ], [ %next, %loop ]
  %sum = phi i32 [ 0, %0 ], [ %more, %loop ]
  %q = getelementptr i32, ptr addrspace(1) %parts, i32 %i
  %x = load i32, ptr addrspace(1) %q, align 4
  %more = add i32 %sum, %x
  %next = add i32 %i, 1
  %again = icmp ult i32 %next, 8
  br i1 %again, label %loop, label %write
write:
  store i32 %more, ptr addrspace(1) %out, align 4
  br label %end
end:
  ret void
}
)";
}

TEST(Simt, FencesAndAtomicsOrderBlocks) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction fenced = gpu.load(lastBlockSums("call void @llvm.nvvm.membar.gl()"));
    CUfunction bare = gpu.load(lastBlockSums(""));
    CUdeviceptr parts = gpu.allocate(32), out = gpu.allocate(4);
    CUdeviceptr count = gpu.upload(std::vector<int>{0}), again = gpu.upload(std::vector<int>{0});
    ASSERT_EQ(gpu.run(fenced, 8, 1, 0, parts, count, out), CUDA_SUCCESS) << gpu.report();
    EXPECT_EQ(gpu.download<int>(out, 1)[0], 28);
    EXPECT_EQ(gpu.run(bare, 8, 1, 0, parts, again, out), CUDA_ERROR_LAUNCH_FAILED);
    std::string report = gpu.report();
    expectSays(report, "race: kernel \"kernel\"");
    expectSays(report, "of another block");
  }
}

TEST(Simt, ShufflesSumAWarp) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(R"(
define ptx_kernel void @kernel(ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %x = uitofp i32 %t to float
  %a = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %x, i32 16, i32 31)
  %x1 = fadd float %x, %a
  %b = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %x1, i32 8, i32 31)
  %x2 = fadd float %x1, %b
  %c = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %x2, i32 4, i32 31)
  %x3 = fadd float %x2, %c
  %d = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %x3, i32 2, i32 31)
  %x4 = fadd float %x3, %d
  %e = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %x4, i32 1, i32 31)
  %x5 = fadd float %x4, %e
  %p = getelementptr float, ptr addrspace(1) %out, i32 %t
  store float %x5, ptr addrspace(1) %p, align 4
  ret void
})");
    CUdeviceptr output = gpu.allocate(64 * 4);
    ASSERT_EQ(gpu.run(kernel, 1, 64, 0, output), CUDA_SUCCESS) << gpu.report();
    std::vector<float> sums = gpu.download<float>(output, 64);
    EXPECT_EQ(sums[0], 496);
    EXPECT_EQ(sums[31], 496);
    EXPECT_EQ(sums[63], 496 + 32 * 32);
  }
}
