//===- Conflicts.cpp - bank conflicts that are known ----------------------===//

#include "Gpu.h"

using namespace cleave::test;

namespace {

/// Expects what a warp of the kernel takes longer, with one number as its argument.
void expectConflicts(const std::string &module, uint32_t argument, uint64_t extra,
                     uint64_t accesses) {
  for (const char *schedule : schedules) {
    SCOPED_TRACE(std::to_string(argument) + ", " + schedule);
    Gpu gpu(schedule);
    uint64_t before, seen, all;
    cuda().conflicts("kernel", &before, &before);
    ASSERT_EQ(gpu.run(gpu.load(module), 1, 32, 0, argument), CUDA_SUCCESS) << gpu.report();
    ASSERT_EQ(cuda().conflicts("kernel", &seen, &all), 0);
    EXPECT_EQ(seen, extra);
    EXPECT_EQ(all, accesses);
  }
}

} // namespace

TEST(SimtConflicts, ColumnsOfATileThatIsTransposed) {
  static const char *const transpose = R"(
@tile = internal addrspace(3) global [1056 x i32] undef, align 16
define ptx_kernel void @kernel(i32 %stride) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %start = mul i32 %t, %stride
  br label %loop
loop:
  %k = phi i32 [ 0, %0 ], [ %next, %loop ]
  %i = add i32 %start, %k
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %i
  store i32 %i, ptr addrspace(3) %p, align 4
  %next = add i32 %k, 1
  %more = icmp ult i32 %next, 32
  br i1 %more, label %loop, label %end
end:
  ret void
})";
  expectConflicts(transpose, 32, 32 * 31, 32);
  expectConflicts(transpose, 33, 0, 32);
}

TEST(SimtConflicts, ManyAccessesBeforeLanesMeet) {
  expectConflicts(R"(
@tile = internal addrspace(3) global [64 x i32] undef, align 16
define ptx_kernel void @kernel(i32 %times) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %i = shl i32 %t, 1
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 %i
  br label %loop
loop:
  %k = phi i32 [ 0, %0 ], [ %next, %loop ]
  store i32 %k, ptr addrspace(3) %p, align 4
  %next = add i32 %k, 1
  %more = icmp ult i32 %next, %times
  br i1 %more, label %loop, label %end
end:
  ret void
})",
                  20000, 20000, 20000);
}

TEST(SimtConflicts, SwizzledMatrices) {
  static const char *const matrices = R"(
@tile = internal addrspace(3) global [4096 x i8] undef, align 128
define ptx_kernel void @kernel(i32 %swizzle) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %chunk = shl i32 %t, 4
  br label %loop
loop:
  %k = phi i32 [ 0, %0 ], [ %next, %loop ]
  %row = shl i32 %k, 9
  %i = add i32 %row, %chunk
  %p = getelementptr i8, ptr addrspace(3) @tile, i32 %i
  store <4 x i32> zeroinitializer, ptr addrspace(3) %p, align 16
  %next = add i32 %k, 1
  %more = icmp ult i32 %next, 8
  br i1 %more, label %loop, label %end
end:
  call void @llvm.nvvm.bar.warp.sync(i32 -1)
  %line = shl i32 %t, 7
  %column = and i32 %t, %swizzle
  %offset = shl i32 %column, 4
  %at = or i32 %line, %offset
  %q = getelementptr i8, ptr addrspace(3) @tile, i32 %at
  %m = call {i32, i32, i32, i32} @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3(ptr addrspace(3) %q)
  ret void
})";
  expectConflicts(matrices, 0, 4 * 7, 9);
  expectConflicts(matrices, 7, 0, 9);
}
