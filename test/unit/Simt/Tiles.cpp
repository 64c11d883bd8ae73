//===- Tiles.cpp - products, copies and arithmetic of right kernels -------===//

#include "Gpu.h"

#include <cmath>

using namespace cleave::test;

/// One warp multiplies A[16,16] and B[16,8] of f16, from registers it fills itself.
static const char *const product = R"(
define ptx_kernel void @kernel(ptr addrspace(1) %a, ptr addrspace(1) %b, ptr addrspace(1) %c) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %g = lshr i32 %t, 2
  %q = and i32 %t, 3
  %q2 = shl i32 %q, 1
  %arow = mul i32 %g, 16
  %ai = add i32 %arow, %q2
  %p0 = getelementptr half, ptr addrspace(1) %a, i32 %ai
  %p1 = getelementptr half, ptr addrspace(1) %p0, i32 128
  %p2 = getelementptr half, ptr addrspace(1) %p0, i32 8
  %p3 = getelementptr half, ptr addrspace(1) %p0, i32 136
  %a0 = load <2 x half>, ptr addrspace(1) %p0, align 4
  %a1 = load <2 x half>, ptr addrspace(1) %p1, align 4
  %a2 = load <2 x half>, ptr addrspace(1) %p2, align 4
  %a3 = load <2 x half>, ptr addrspace(1) %p3, align 4
  %bi = add i32 %arow, %q2
  %r0 = getelementptr half, ptr addrspace(1) %b, i32 %bi
  %r1 = getelementptr half, ptr addrspace(1) %r0, i32 8
  %b0 = load <2 x half>, ptr addrspace(1) %r0, align 4
  %b1 = load <2 x half>, ptr addrspace(1) %r1, align 4
  %d = call {float, float, float, float} @llvm.nvvm.mma.m16n8k16.row.col.f32.f32(
      <2 x half> %a0, <2 x half> %a1, <2 x half> %a2, <2 x half> %a3, <2 x half> %b0,
      <2 x half> %b1, float 1.0, float 1.0, float 1.0, float 1.0)
  %d0 = extractvalue {float, float, float, float} %d, 0
  %d1 = extractvalue {float, float, float, float} %d, 1
  %d2 = extractvalue {float, float, float, float} %d, 2
  %d3 = extractvalue {float, float, float, float} %d, 3
  %crow = mul i32 %g, 8
  %ci = add i32 %crow, %q2
  %c0 = getelementptr float, ptr addrspace(1) %c, i32 %ci
  %c1 = getelementptr float, ptr addrspace(1) %c0, i32 1
  %c2 = getelementptr float, ptr addrspace(1) %c0, i32 64
  %c3 = getelementptr float, ptr addrspace(1) %c0, i32 65
  store float %d0, ptr addrspace(1) %c0, align 4
  store float %d1, ptr addrspace(1) %c1, align 4
  store float %d2, ptr addrspace(1) %c2, align 4
  store float %d3, ptr addrspace(1) %c3, align 4
  ret void
})";

TEST(SimtTiles, MultipliesAsAPlainProduct) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(product);
    std::vector<_Float16> a(256), b(128);
    for (size_t i = 0; i < a.size(); ++i)
      a[i] = _Float16(float(i % 13) - 6);
    for (size_t i = 0; i < b.size(); ++i)
      b[i] = _Float16(float(i % 7) - 3);
    CUdeviceptr da = gpu.upload(a), db = gpu.upload(b), dc = gpu.allocate(128 * 4);
    ASSERT_EQ(gpu.run(kernel, 1, 32, 0, da, db, dc), CUDA_SUCCESS) << gpu.report();
    std::vector<float> c = gpu.download<float>(dc, 128);
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 8; ++j) {
        float sum = 1;
        for (size_t k = 0; k < 16; ++k)
          sum += float(a[i * 16 + k]) * float(b[j * 16 + k]);
        EXPECT_EQ(c[i * 8 + j], sum) << i << ", " << j;
      }
  }
}

/// Reverses 64 ints through dynamic shared memory that copies fill; the last 8 are zero.
TEST(SimtTiles, CopiesAreThereAfterWaitAndBarrier) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(R"(
@dynamic = external addrspace(3) global [0 x i8], align 1024
define ptx_kernel void @kernel(ptr addrspace(1) %in, ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %src = getelementptr i32, ptr addrspace(1) %in, i32 %t
  %p = getelementptr i32, ptr addrspace(3) @dynamic, i32 %t
  %there = icmp ult i32 %t, 56
  %size = select i1 %there, i32 4, i32 0
  call void @llvm.nvvm.cp.async.ca.shared.global.4.s(ptr addrspace(3) %p, ptr addrspace(1) %src,
                                                     i32 %size)
  call void @llvm.nvvm.cp.async.commit.group()
  call void @llvm.nvvm.cp.async.wait.group(i32 0)
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %n = sub i32 63, %t
  %q = getelementptr i32, ptr addrspace(3) @dynamic, i32 %n
  %x = load i32, ptr addrspace(3) %q, align 4
  %dst = getelementptr i32, ptr addrspace(1) %out, i32 %t
  store i32 %x, ptr addrspace(1) %dst, align 4
  ret void
})");
    std::vector<int> in(56);
    for (size_t i = 0; i < in.size(); ++i)
      in[i] = int(i) + 1;
    CUdeviceptr input = gpu.upload(in), output = gpu.allocate(256);
    ASSERT_EQ(gpu.run(kernel, 1, 64, 256, input, output), CUDA_SUCCESS) << gpu.report();
    std::vector<int> out = gpu.download<int>(output, 64);
    for (size_t i = 0; i < 64; ++i)
      EXPECT_EQ(out[i], i < 8 ? 0 : int(64 - i));
  }
}

TEST(SimtTiles, AtomicsOfAllBlocksAdd) {
  for (const char *schedule : schedules) {
    Gpu gpu(schedule);
    CUfunction kernel = gpu.load(R"(
define ptx_kernel void @kernel(ptr addrspace(1) %sum) {
  %old = atomicrmw add ptr addrspace(1) %sum, i32 1 syncscope("device") monotonic, align 4
  ret void
})");
    CUdeviceptr sum = gpu.upload(std::vector<int>{7});
    ASSERT_EQ(gpu.run(kernel, 5, 96, 0, sum), CUDA_SUCCESS) << gpu.report();
    EXPECT_EQ(gpu.download<int>(sum, 1)[0], 7 + 5 * 96);
  }
}

TEST(SimtTiles, ArithmeticIsThatOfItsNames) {
  Gpu gpu;
  CUfunction kernel = gpu.load(R"(
define ptx_kernel void @kernel(ptr addrspace(1) %out) {
  %e = call float @llvm.nvvm.ex2.approx.ftz.f32(float 3.0)
  %r = call float asm "rcp.approx.ftz.f32 $0,$1;", "=f,f"(float 4.0)
  %z = call float @llvm.nvvm.div.rz.f(float 2.0, float 3.0)
  %i = call i32 @llvm.nvvm.f2i.rn(float 2.5)
  %f = sitofp i32 %i to float
  %k = call float asm sideeffect "", "=f,0"(float %e)
  %b = fptrunc float 1.00390625 to bfloat
  %w = fpext bfloat %b to float
  %p1 = getelementptr float, ptr addrspace(1) %out, i32 1
  %p2 = getelementptr float, ptr addrspace(1) %out, i32 2
  %p3 = getelementptr float, ptr addrspace(1) %out, i32 3
  %p4 = getelementptr float, ptr addrspace(1) %out, i32 4
  store float %k, ptr addrspace(1) %out, align 4
  store float %r, ptr addrspace(1) %p1, align 4
  store float %z, ptr addrspace(1) %p2, align 4
  store float %f, ptr addrspace(1) %p3, align 4
  store float %w, ptr addrspace(1) %p4, align 4
  ret void
})");
  CUdeviceptr output = gpu.allocate(20);
  ASSERT_EQ(gpu.run(kernel, 1, 1, 0, output), CUDA_SUCCESS) << gpu.report();
  std::vector<float> out = gpu.download<float>(output, 5);
  EXPECT_EQ(out[0], 8);
  EXPECT_EQ(out[1], 0.25f);
  EXPECT_EQ(out[2], std::nextafter(2.f / 3, 0.f));
  EXPECT_EQ(out[3], 2);
  EXPECT_EQ(out[4], 1);
}

TEST(SimtTiles, PairsOfBrainFloatsComeFromSeveralBlocks) {
  Gpu gpu;
  CUfunction kernel = gpu.load(R"(
define ptx_kernel void @kernel(ptr addrspace(1) %out) {
entry:
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %x = sitofp i32 %t to float
  %first = icmp eq i32 %t, 0
  %a = call <2 x bfloat> @llvm.nvvm.ff2bf16x2.rn(float %x, float 3.0)
  br i1 %first, label %other, label %end
other:
  %y = fadd float %x, 1.0
  %b = call <2 x bfloat> @llvm.nvvm.ff2bf16x2.rn(float %y, float %y)
  br label %end
end:
  %pair = phi <2 x bfloat> [ %a, %entry ], [ %b, %other ]
  %word = bitcast <2 x bfloat> %pair to i32
  %p = getelementptr i32, ptr addrspace(1) %out, i32 %t
  store i32 %word, ptr addrspace(1) %p, align 4
  ret void
})");
  CUdeviceptr output = gpu.allocate(12);
  ASSERT_EQ(gpu.run(kernel, 1, 3, 0, output), CUDA_SUCCESS) << gpu.report();
  EXPECT_EQ(gpu.download<uint32_t>(output, 3),
            (std::vector<uint32_t>{0x3f803f80, 0x3f804040, 0x40004040}));
}
