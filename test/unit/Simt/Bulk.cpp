//===- Bulk.cpp - mbarriers, and copies of boxes that arrive at them ------===//

#include "Gpu.h"

#include <numeric>

using namespace cleave::test;

namespace {

/// Thread 0 brings four boxes of 4 rows of 32 ints through two stages, and the second warp
/// puts them out.
const char *const ring = R"(
@full = internal addrspace(3) global [2 x i64] undef, align 8
@empty = internal addrspace(3) global [2 x i64] undef, align 8
@stages = internal addrspace(3) global [1024 x i8] undef, align 1024
define ptx_kernel void @kernel(ptr byval([128 x i8]) align 64 "nvvm.grid_constant" %map,
                               ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %lane = and i32 %t, 31
  %first = icmp eq i32 %t, 0
  br i1 %first, label %init, label %ready
init:
  %full1 = getelementptr i64, ptr addrspace(3) @full, i32 1
  %empty1 = getelementptr i64, ptr addrspace(3) @empty, i32 1
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @full, i32 1)
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) %full1, i32 1)
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @empty, i32 32)
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) %empty1, i32 32)
  call void @llvm.nvvm.fence.mbarrier_init.release.cluster()
  br label %ready
ready:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %consumes = icmp ugt i32 %t, 31
  br i1 %consumes, label %take, label %bring
bring:
  br i1 %first, label %produce, label %end
produce:
  %i = phi i32 [ 0, %bring ], [ %inext, %fill ]
  %s = and i32 %i, 1
  %half = lshr i32 %i, 1
  %phase = and i32 %half, 1
  %other = xor i32 %phase, 1
  %pf = getelementptr i64, ptr addrspace(3) @full, i32 %s
  %pe = getelementptr i64, ptr addrspace(3) @empty, i32 %s
  %ps = getelementptr [512 x i8], ptr addrspace(3) @stages, i32 %s
  br label %pwait
pwait:
  %pok = call i1 @llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta(ptr addrspace(3) %pe, i32 %other)
  br i1 %pok, label %fill, label %pwait
fill:
  %token = call i64 @llvm.nvvm.mbarrier.arrive.expect.tx.scope.cta.space.cta(ptr addrspace(3) %pf, i32 512)
  %row = shl i32 %i, 2
  call void @llvm.nvvm.cp.async.bulk.tensor.g2s.cta.tile.2d(ptr addrspace(3) %ps, ptr addrspace(3) %pf, ptr %map, i32 0, i32 %row, i64 0, i1 false)
  %inext = add i32 %i, 1
  %imore = icmp ult i32 %inext, 4
  br i1 %imore, label %produce, label %end
take:
  %j = phi i32 [ 0, %ready ], [ %jnext, %free ]
  %cs = and i32 %j, 1
  %chalf = lshr i32 %j, 1
  %cphase = and i32 %chalf, 1
  %cf = getelementptr i64, ptr addrspace(3) @full, i32 %cs
  %ce = getelementptr i64, ptr addrspace(3) @empty, i32 %cs
  br label %cwait
cwait:
  %cok = call i1 @llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta(ptr addrspace(3) %cf, i32 %cphase)
  br i1 %cok, label %rows, label %cwait
rows:
  %r = phi i32 [ 0, %cwait ], [ %rnext, %rows ]
  %srow = shl i32 %cs, 2
  %prow = add i32 %srow, %r
  %chunk = lshr i32 %lane, 2
  %swizzled = xor i32 %chunk, %prow
  %within = and i32 %lane, 3
  %column = shl i32 %swizzled, 2
  %at = or i32 %column, %within
  %line = shl i32 %prow, 5
  %index = add i32 %line, %at
  %p = getelementptr i32, ptr addrspace(3) @stages, i32 %index
  %x = load i32, ptr addrspace(3) %p, align 4
  %orow = shl i32 %j, 2
  %oline = add i32 %orow, %r
  %obase = shl i32 %oline, 5
  %oat = or i32 %obase, %lane
  %q = getelementptr i32, ptr addrspace(1) %out, i32 %oat
  store i32 %x, ptr addrspace(1) %q, align 4
  %rnext = add i32 %r, 1
  %rmore = icmp ult i32 %rnext, 4
  br i1 %rmore, label %rows, label %free
free:
  %used = call i64 @llvm.nvvm.mbarrier.arrive.shared(ptr addrspace(3) %ce)
  %jnext = add i32 %j, 1
  %jmore = icmp ult i32 %jnext, 4
  br i1 %jmore, label %take, label %end
end:
  ret void
})";

/// Rows of the tensor: 14, of which the last box takes 2 beyond.
const Map ringMap{
    CU_TENSOR_MAP_DATA_TYPE_INT32, {32, 14}, {128}, {32, 4}, CU_TENSOR_MAP_SWIZZLE_128B};

/// A warp writes 128 ints of shared memory, and its first thread copies them out.
const char *const store = R"(
@tile = internal addrspace(3) global [512 x i8] undef, align 128
define ptx_kernel void @kernel(ptr byval([128 x i8]) align 64 "nvvm.grid_constant" %map,
                               ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %first = icmp eq i32 %t, 0
  %p = getelementptr [16 x i8], ptr addrspace(3) @tile, i32 %t
  %x = insertelement <4 x i32> <i32 1, i32 1, i32 1, i32 1>, i32 %t, i32 0
  store <4 x i32> %x, ptr addrspace(3) %p, align 16
  call void @llvm.nvvm.fence.proxy.async.shared_cta()
  call void @llvm.nvvm.bar.warp.sync(i32 -1)
  br i1 %first, label %copy, label %end
copy:
  call void @llvm.nvvm.cp.async.bulk.tensor.s2g.tile.2d(ptr addrspace(3) @tile, ptr %map, i32 -4, i32 1, i64 0, i1 false)
  call void @llvm.nvvm.cp.async.bulk.shared.cta.to.global(ptr addrspace(1) %out, ptr addrspace(3) @tile, i32 64, i64 0, i1 false)
  call void @llvm.nvvm.cp.async.bulk.commit.group()
  call void @llvm.nvvm.cp.async.bulk.wait.group.read(i32 0)
  br label %end
end:
  ret void
})";

const Map storeMap{CU_TENSOR_MAP_DATA_TYPE_INT32, {8, 4}, {32}, {16, 8}};

/// A copy of 64 bytes at whose end a thread reads them, by what its arrival returned.
const char *const plain = R"(
@barrier = internal addrspace(3) global i64 undef, align 8
@tile = internal addrspace(3) global [16 x i32] undef, align 16
define ptx_kernel void @kernel(ptr addrspace(1) %in, ptr addrspace(1) %out) {
  %cluster = addrspacecast ptr addrspace(3) @tile to ptr addrspace(7)
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @barrier, i32 2)
  call void @llvm.nvvm.fence.proxy.async()
  call void asm sideeffect "@$2 mbarrier.arrive.expect_tx.shared.b64 _, [$0], $1;", "r,n,b"(ptr addrspace(3) @barrier, i32 64, i1 true)
  call void @llvm.nvvm.cp.async.bulk.global.to.shared.cluster(ptr addrspace(7) %cluster, ptr addrspace(3) @barrier, ptr addrspace(1) %in, i32 64, i16 0, i64 0, i1 false, i1 false)
  %token = call i64 @llvm.nvvm.mbarrier.arrive.scope.cta.space.cta(ptr addrspace(3) @barrier, i32 1)
  br label %wait
wait:
  %ok = call i1 @llvm.nvvm.mbarrier.test.wait.scope.cta.space.cta(ptr addrspace(3) @barrier, i64 %token)
  br i1 %ok, label %read, label %wait
read:
  call void asm sideeffect "{\0A\09.reg .pred       P1; \0A\09LAB_WAIT: \0A\09mbarrier.try_wait.parity.shared.b64 P1, [$0], $1, $2; \0A\09@P1 bra.uni DONE; \0A\09bra.uni     LAB_WAIT; \0A\09DONE: \0A\09}", "r,r,n"(ptr addrspace(3) @barrier, i32 0, i32 128)
  %p = getelementptr i32, ptr addrspace(3) @tile, i32 15
  %x = load i32, ptr addrspace(3) %p, align 4
  store i32 %x, ptr addrspace(1) %out, align 4
  call void @llvm.nvvm.mbarrier.inval.shared(ptr addrspace(3) @barrier)
  ret void
})";

/// What a run returns and reports.
struct Seen {
  CUresult result;
  std::string report;
};

Seen runRing(const std::string &module, const std::string &schedule) {
  Gpu gpu(schedule);
  std::vector<int> in(14 * 32);
  std::iota(in.begin(), in.end(), 1);
  CUdeviceptr input = gpu.upload(in), output = gpu.allocate(512 * 4);
  CUresult result = gpu.run(gpu.load(module), 1, 64, 0, ringMap.of(input), output);
  if (result == CUDA_SUCCESS) {
    std::vector<int> out = gpu.download<int>(output, 512);
    for (size_t i = 0; i < out.size(); ++i)
      EXPECT_EQ(out[i], i < in.size() ? in[i] : 0) << i;
  }
  return {result, Gpu::report()};
}

Seen runStore(const std::string &module, const std::string &schedule) {
  Gpu gpu(schedule);
  CUdeviceptr tensor = gpu.upload(std::vector<int>(32, -1)), out = gpu.allocate(64);
  CUresult result = gpu.run(gpu.load(module), 1, 32, 0, storeMap.of(tensor), out);
  if (result == CUDA_SUCCESS) {
    std::vector<int> rows = gpu.download<int>(tensor, 32);
    // The first chunk of each row of 16 lies before the tensor.
    for (int row = 0; row < 4; ++row)
      for (int column = 0; column < 8; ++column)
        EXPECT_EQ(rows[size_t(row * 8 + column)], row == 0          ? -1
                                                  : column % 4 == 0 ? (row - 1) * 4 + column / 4 + 1
                                                                    : 1);
    EXPECT_EQ(gpu.download<int>(out, 16)[4], 1);
  }
  return {result, Gpu::report()};
}

Seen runPlain(const std::string &module, const std::string &schedule) {
  Gpu gpu(schedule);
  CUdeviceptr in = gpu.upload(std::vector<int>(16, 7)), out = gpu.allocate(4);
  CUresult result = gpu.run(gpu.load(module), 1, 1, 0, in, out);
  if (result == CUDA_SUCCESS)
    EXPECT_EQ(gpu.download<int>(out, 1)[0], 7);
  return {result, Gpu::report()};
}

struct Fault {
  const char *name;
  Seen (*run)(const std::string &, const std::string &);
  const char *module, *part, *other;
  std::vector<std::string> says;
};

const Fault faults[] = {
    {"NoWaitForWhatIsFull",
     runRing,
     ring,
     "br i1 %cok, label %rows, label %cwait",
     "br label %rows",
     {": kernel \"kernel\"", "load: 4 bytes at shared \"stages\"+"}},
    {"WaitForTheOtherPhase",
     runRing,
     ring,
     "ptr addrspace(3) %cf, i32 %cphase)",
     "ptr addrspace(3) %cf, i32 1)",
     {": kernel \"kernel\"", "shared \"stages\"+"}},
    {"RefillTooEarly",
     runRing,
     ring,
     "br i1 %pok, label %fill, label %pwait",
     "br label %fill",
     {": kernel \"kernel\"", "thread (0,0,0): "}},
    {"NothingIsFreed",
     runRing,
     ring,
     "%used = call i64 @llvm.nvvm.mbarrier.arrive.shared(ptr addrspace(3) %ce)",
     "",
     {"deadlock: kernel \"kernel\"", "the mbarrier at shared \"empty\"+0 lacks 32 arrivals"}},
    {"TooManyArrivalsWanted",
     runRing,
     ring,
     "@empty, i32 32)",
     "@empty, i32 33)",
     {"deadlock: kernel \"kernel\"", "the mbarrier at shared \"empty\"+0 lacks 1 arrivals"}},
    {"TooManyBytesExpected",
     runRing,
     ring,
     "%pf, i32 512)",
     "%pf, i32 1024)",
     {"deadlock: kernel \"kernel\"",
      "the mbarrier at shared \"full\"+0 lacks 0 arrivals and 512 bytes"}},
    {"TooFewBytesExpected",
     runRing,
     ring,
     "%pf, i32 512)",
     "%pf, i32 256)",
     {"expectation: kernel \"kernel\"", "gets 256 bytes more than it expects"}},
    {"NoBytesExpected",
     runRing,
     ring,
     "arrive.expect.tx.scope.cta.space.cta(ptr addrspace(3) %pf, "
     "i32 512)",
     "arrive.shared(ptr addrspace(3) %pf)",
     {"expectation: kernel \"kernel\"", "the mbarrier at shared \"full\"+"}},
    {"NoFenceOfBarriers",
     runRing,
     ring,
     "call void @llvm.nvvm.fence.mbarrier_init.release.cluster()",
     "",
     {"proxy: kernel \"kernel\"", "the mbarrier at shared \"full\"+0 was made with no fence"}},
    {"NoBarrierAfterInit",
     runRing,
     ring,
     "call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)",
     "",
     {": kernel \"kernel\"", "mbarrier at shared "}},
    {"BoxOutsideOfSharedMemory",
     runRing,
     ring,
     "getelementptr [512 x i8], ptr addrspace(3) "
     "@stages, i32 %s",
     "getelementptr [1024 x i8], ptr addrspace(3) @stages, i32 %s",
     {"out of bounds: kernel \"kernel\"", "cp.async.bulk.tensor.g2s.cta.tile.2d"}},
    {"BoxMisaligned",
     runRing,
     ring,
     "getelementptr [512 x i8], ptr addrspace(3) @stages, i32 %s",
     "getelementptr [48 x i8], ptr addrspace(3) @stages, i32 %s",
     {"misaligned: kernel \"kernel\"", "multiple of 128 bytes"}},
    {"MapThatIsACopy",
     runRing,
     ring,
     "\"nvvm.grid_constant\"",
     "",
     {"out of bounds: kernel \"kernel\"", "there is no map of a tensor with 2 dimensions"}},
    {"NoFenceBeforeCopy",
     runStore,
     store,
     "call void @llvm.nvvm.fence.proxy.async.shared_cta()",
     "",
     {"proxy: kernel \"kernel\"", "shared \"tile\"+", "with no fence.proxy.async between"}},
    {"NoSyncBeforeCopy",
     runStore,
     store,
     "call void @llvm.nvvm.bar.warp.sync(i32 -1)",
     "",
     {"race: kernel \"kernel\"", "shared \"tile\"+"}},
    {"NoWaitForCopies",
     runStore,
     store,
     "call void @llvm.nvvm.cp.async.bulk.wait.group.read(i32 0)",
     "",
     {"unfinished: kernel \"kernel\"", "cp.async.bulk.shared.cta.to.global"}},
    {"SourceWrittenTooEarly",
     runStore,
     store,
     "call void @llvm.nvvm.cp.async.bulk.wait.group.read(i32 0)",
     "store i32 1, ptr addrspace(3) @tile, align 4\n"
     "call void @llvm.nvvm.cp.async.bulk.wait.group.read(i32 0)",
     {"race: kernel \"kernel\"",
      "store: 4 bytes at shared \"tile\"+0, which a copy out of shared"}},
    {"NoWaitAtAll",
     runPlain,
     plain,
     "br label %wait\nwait:",
     "ret void\nwait:",
     {"unfinished: kernel \"kernel\"", "the mbarrier at shared \"barrier\"+0"}},
    {"BarrierMadeTwice",
     runPlain,
     plain,
     "call void @llvm.nvvm.fence.proxy.async()",
     "call void @llvm.nvvm.fence.proxy.async()\n"
     "call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @barrier, i32 2)",
     {"uninitialised: kernel \"kernel\"", "is there and was not invalidated"}},
    {"BarrierThatIsNot",
     runPlain,
     plain,
     "call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @barrier, i32 2)",
     "",
     {"uninitialised: kernel \"kernel\"", "there is no mbarrier at shared \"barrier\"+0"}},
    {"BytesThatAreNoMultiple",
     runPlain,
     plain,
     "%in, i32 64,",
     "%in, i32 60,",
     {"misaligned: kernel \"kernel\"", "60 bytes have to be multiples of 16"}},
};

} // namespace

TEST(SimtBulk, RightKernelsAreRight) {
  for (std::string schedule : {"greedy", "shuffled:1", "shuffled:2", "shuffled:3", "shuffled:4"}) {
    SCOPED_TRACE(schedule);
    EXPECT_EQ(runRing(ring, schedule).report, "");
    EXPECT_EQ(runStore(store, schedule).report, "");
    EXPECT_EQ(runPlain(plain, schedule).report, "");
  }
}

TEST(SimtBulk, FaultsAreToldInEverySchedule) {
  for (const Fault &fault : faults)
    for (const char *schedule : schedules) {
      SCOPED_TRACE(std::string(fault.name) + ", " + schedule);
      Seen seen = fault.run(changed(fault.module, fault.part, fault.other), schedule);
      EXPECT_NE(seen.result, CUDA_SUCCESS);
      for (const std::string &part : fault.says)
        expectSays(seen.report, part);
    }
}

TEST(SimtBulk, KernelsAreThoseOfAGpu) {
  for (const char *module : {ring, store, plain})
    EXPECT_EQ(assembled(module), "");
}

TEST(SimtBulk, MapsAreCheckedAsByCuda) {
  Gpu gpu;
  CUdeviceptr tensor = gpu.allocate(4096);
  CUtensorMap result;
  auto encode = [&](auto change) {
    Map map = ringMap;
    change(map);
    return map.encode(result, tensor);
  };
  EXPECT_EQ(encode([](Map &) {}), CUDA_SUCCESS);
  EXPECT_EQ(encode([](Map &map) { map.strides[0] = 136; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode([](Map &map) { map.box[1] = 257; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode([](Map &map) { map.box[0] = 0; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode([](Map &map) { map.box[0] = 36; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode([](Map &map) { map.box[0] = 6; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(encode([](Map &map) { map.sizes[1] = 0; }), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(ringMap.encode(result, tensor + 8), CUDA_ERROR_INVALID_VALUE);
  // It could be, and is not known here.
  EXPECT_EQ(encode([](Map &map) { map.box[0] = 16; }), CUDA_ERROR_NOT_SUPPORTED);
}
