//===- WarpGroups.cpp - products of four warps ----------------------------===//

#include "Gpu.h"

#include <sstream>

using namespace cleave::test;

namespace {

constexpr unsigned rows = 64, columns = 32, depthBytes = 128;

/// An operand: how it lies in shared memory.
struct Operand {
  unsigned rows;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  bool byColumns = false; ///< k goes over lines, not along them
  bool inRegisters = false;

  unsigned span() const { return 16u << swizzle; }
};

/// left[64, k] * right[32, k], where 128 bytes of k are four steps.
struct Product {
  const char *type = "f16";
  CUtensorMapDataType mapType = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  unsigned bytes = 2;
  Operand left{rows}, right{columns};

  unsigned depth() const { return depthBytes / bytes; }
  bool isInteger() const { return type[0] == 's'; }
  const char *sum() const { return isInteger() ? "i32" : "float"; }
  Map mapOf(const Operand &operand) const {
    unsigned inner = operand.byColumns ? operand.rows : depth();
    unsigned lines = operand.byColumns ? depth() : operand.rows;
    return {
        mapType, {inner, lines}, {inner * bytes}, {operand.span() / bytes, lines}, operand.swizzle};
  }
};

/// Instructions of a kernel for one product.
class Text {
public:
  explicit Text(const Product &product) : product(product) {}

  std::string kernel() {
    const Operand &left = product.left, &right = product.right;
    unsigned expected = (left.inRegisters ? 0 : rows * depthBytes) + columns * depthBytes;
    out << R"(
@barrier = internal addrspace(3) global i64 undef, align 8
@left = internal addrspace(3) global [8192 x i8] undef, align 1024
@right = internal addrspace(3) global [4096 x i8] undef, align 1024
define ptx_kernel void @kernel(ptr byval([128 x i8]) align 64 "nvvm.grid_constant" %leftMap,
                               ptr byval([128 x i8]) align 64 "nvvm.grid_constant" %rightMap,
                               ptr addrspace(1) %in, ptr addrspace(1) %out) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %first = icmp eq i32 %t, 0
  %g = lshr i32 %t, 2
  %g7 = and i32 %g, 7
  %w = lshr i32 %t, 5
  %w16 = shl i32 %w, 4
  %row = or i32 %w16, %g7
  %q = and i32 %t, 3
  %q2 = shl i32 %q, 1
  br i1 %first, label %bring, label %start
bring:
  call void @llvm.nvvm.mbarrier.init.shared(ptr addrspace(3) @barrier, i32 1)
  call void @llvm.nvvm.fence.proxy.async.shared_cta()
  %token = call i64 @llvm.nvvm.mbarrier.arrive.expect.tx.scope.cta.space.cta(ptr addrspace(3) @barrier, i32 )"
        << expected << ")\n";
    if (!left.inRegisters)
      load("left", left);
    load("right", right);
    out << R"(  br label %start
start:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  br label %wait
wait:
  %ok = call i1 @llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta(ptr addrspace(3) @barrier, i32 0)
  br i1 %ok, label %multiply, label %wait
multiply:
  %la = ptrtoint ptr addrspace(3) @left to i64
  %lm = and i64 %la, 262143
  %ls = lshr i64 %lm, 4
  %ra = ptrtoint ptr addrspace(3) @right to i64
  %rm = and i64 %ra, 262143
  %rs = lshr i64 %rm, 4
)";
    if (left.inRegisters)
      for (unsigned step = 0; step < 4; ++step)
        loadRegisters(step);
    out << "  call void @llvm.nvvm.wgmma.fence.sync.aligned()\n";
    for (unsigned step = 0; step < 4; ++step)
      multiply(step);
    out << R"(  call void @llvm.nvvm.wgmma.commit_group.sync.aligned()
  call void @llvm.nvvm.wgmma.wait_group.sync.aligned(i64 0)
)";
    for (unsigned i = 0; i < columns / 2; ++i)
      store(i);
    out << "  ret void\n}\n";
    return out.str();
  }

private:
  void load(const std::string &name, const Operand &operand) {
    unsigned lines = operand.byColumns ? product.depth() : operand.rows;
    unsigned boxes = operand.rows * depthBytes / (lines * operand.span());
    for (unsigned box = 0; box < boxes; ++box)
      out << "  %" << name << "Box" << box << " = getelementptr i8, ptr addrspace(3) @" << name
          << ", i32 " << box * lines * operand.span()
          << "\n  call void @llvm.nvvm.cp.async.bulk.tensor.g2s.cta.tile.2d(ptr addrspace(3) %"
          << name << "Box" << box << ", ptr addrspace(3) @barrier, ptr %" << name << "Map, i32 "
          << box * operand.span() / product.bytes << ", i32 0, i64 0, i1 false)\n";
  }

  /// What a descriptor says beside its begin, and that, in units of 16 bytes.
  uint64_t describe(const Operand &operand, unsigned step) {
    uint64_t span = operand.span(), swizzle = uint64_t(operand.swizzle), leading, stride, start;
    if (operand.byColumns) {
      uint64_t aside = product.depth() * span;
      leading = swizzle ? aside : 8 * span;
      stride = swizzle ? 8 * span : aside;
      start = step * 16 * span;
    } else {
      leading = operand.rows * 16;
      stride = 8 * span;
      start = step * 32 / span * (operand.rows * span) + step * 32 % span;
    }
    uint64_t code = swizzle ? 4 - swizzle : 0;
    return code << 62 | stride / 16 << 32 | leading / 16 << 16 | start / 16;
  }

  void loadRegisters(unsigned step) {
    for (unsigned r = 0; r < 4; ++r) {
      std::string id = std::to_string(step) + "_" + std::to_string(r);
      unsigned pair = 4 / product.bytes;
      out << "  %lr" << id << " = add i32 %row, " << r % 2 * 8 << "\n  %ll" << id
          << " = mul i32 %lr" << id << ", " << product.depth() << "\n  %lq" << id
          << " = mul i32 %q, " << pair << "\n  %lk" << id << " = add i32 %lq" << id << ", "
          << step * 8 * pair + r / 2 * 4 * pair << "\n  %lx" << id << " = add i32 %ll" << id
          << ", %lk" << id << "\n  %lb" << id << " = mul i32 %lx" << id << ", " << product.bytes
          << "\n  %lp" << id << " = getelementptr i8, ptr addrspace(1) %in, i32 %lb" << id
          << "\n  %a" << id << " = load i32, ptr addrspace(1) %lp" << id << ", align 4\n";
    }
  }

  static std::string list(const std::string &part, unsigned from, unsigned count) {
    std::string text;
    for (unsigned i = 0; i < count; ++i)
      text += (i ? ", " : "") + part + std::to_string(from + i);
    return text;
  }

  /// As NVVM spells it.
  void multiply(unsigned step) {
    const unsigned count = columns / 2;
    bool inRegisters = product.left.inRegisters, isFloat = !product.isInteger();
    bool isHalf = product.bytes == 2;
    std::string type = product.sum(), letter = isFloat ? "f" : "r", suffix = std::to_string(step);
    out << "  %ld" << step << " = add i64 %ls, " << int64_t(describe(product.left, step))
        << "\n  %rd" << step << " = add i64 %rs, " << int64_t(describe(product.right, step))
        << "\n  %d" << step << " = call {" << list(type, 0, 0);
    for (unsigned i = 0; i < count; ++i)
      out << (i ? ", " : "") << type;
    unsigned at = 2 * count, adds = at + (inRegisters ? 5 : 2);
    out << "} asm sideeffect \"{\\0A.reg .pred p;\\0Asetp.ne.b32 p, $" << adds
        << ", 0;\\0Awgmma.mma_async.sync.aligned.m64n" << columns << "k" << 32 / product.bytes
        << (isFloat ? ".f32." : ".s32.") << product.type << "." << product.type << " {"
        << list("$", 0, count) << "}, ";
    if (inRegisters)
      out << "{" << list("$", at, 4) << "}";
    else
      out << "$" << at;
    out << ", $" << adds - 1 << ", p";
    unsigned numbers = !isFloat ? 0 : !isHalf ? 2 : inRegisters ? 3 : 4;
    for (unsigned i = 0; i < numbers; ++i)
      out << ", $" << adds + 1 + i;
    out << ";\\0A}\\0A\", \"";
    for (unsigned i = 0; i < count; ++i)
      out << "=" << letter << ",";
    for (unsigned i = 0; i < count; ++i)
      out << i << ",";
    out << (inRegisters ? "r,r,r,r,l,n" : "l,l,n");
    for (unsigned i = 0; i < numbers; ++i)
      out << ",n";
    out << "\"(";
    for (unsigned i = 0; i < count; ++i)
      if (step)
        out << type << " %d" << step - 1 << "_" << i << ", ";
      else
        out << type << (isFloat ? " 5.0, " : " 5, ");
    if (inRegisters)
      for (unsigned r = 0; r < 4; ++r)
        out << "i32 %a" << step << "_" << r << ", ";
    else
      out << "i64 %ld" << step << ", ";
    out << "i64 %rd" << step << ", i32 " << (step ? 1 : 0);
    unsigned values[] = {1, 1, product.left.byColumns, product.right.byColumns};
    if (inRegisters)
      values[2] = values[3];
    for (unsigned i = 0; i < numbers; ++i)
      out << ", i32 " << values[i];
    out << ")\n";
    for (unsigned i = 0; i < count; ++i) {
      out << "  %d" << step << "_" << i << " = extractvalue {";
      for (unsigned j = 0; j < count; ++j)
        out << (j ? ", " : "") << type;
      out << "} %d" << step << ", " << i << "\n";
    }
  }

  void store(unsigned i) {
    out << "  %sr" << i << " = add i32 %row, " << i / 2 % 2 * 8 << "\n  %sl" << i
        << " = mul i32 %sr" << i << ", " << columns << "\n  %sc" << i << " = add i32 %q2, "
        << i / 4 * 8 + i % 2 << "\n  %sx" << i << " = add i32 %sl" << i << ", %sc" << i << "\n  %sp"
        << i << " = getelementptr i32, ptr addrspace(1) %out, i32 %sx" << i << "\n  store "
        << product.sum() << " %d3_" << i << ", ptr addrspace(1) %sp" << i << ", align 4\n";
  }

  const Product &product;
  std::ostringstream out;
};

/// A small whole number in the type.
void put(std::vector<char> &bytes, const Product &product, size_t at, int value) {
  char *to = bytes.data() + at * product.bytes;
  std::string type = product.type;
  if (type == "f16") {
    _Float16 half = _Float16(value);
    memcpy(to, &half, 2);
  } else if (type == "s8") {
    *to = char(value);
  } else if (type == "e4m3") {
    // 0, 1, 2 and 3 with exponents of 7 and 8.
    static const unsigned char codes[] = {0x00, 0x38, 0x40, 0x44};
    *to = char(codes[std::abs(value)] | (value < 0 ? 0x80 : 0));
  } else {
    float single = float(value);
    memcpy(to,
           product.bytes == 2 ? reinterpret_cast<char *>(&single) + 2
                              : reinterpret_cast<char *>(&single),
           product.bytes);
  }
}

int leftAt(unsigned row, unsigned k) { return int((row * 5 + k * 3) % 7) - 3; }
int rightAt(unsigned column, unsigned k) { return int((column * 3 + k * 5) % 5) - 2; }

CUresult run(const Product &product, const std::string &module, const std::string &schedule,
             std::string &report) {
  Gpu gpu(schedule);
  std::vector<char> left(rows * depthBytes), right(columns * depthBytes);
  auto fill = [&](std::vector<char> &bytes, const Operand &operand, auto value) {
    for (unsigned row = 0; row < operand.rows; ++row)
      for (unsigned k = 0; k < product.depth(); ++k)
        put(bytes, product, operand.byColumns ? k * operand.rows + row : row * product.depth() + k,
            value(row, k));
  };
  fill(left, product.left, leftAt);
  fill(right, product.right, rightAt);
  CUdeviceptr a = gpu.upload(left), b = gpu.upload(right), out = gpu.allocate(rows * columns * 4);
  CUresult result = gpu.run(gpu.load(module), 1, 128, 0, product.mapOf(product.left).of(a),
                            product.mapOf(product.right).of(b), a, out);
  if (result == CUDA_SUCCESS) {
    std::vector<float> sums = gpu.download<float>(out, rows * columns);
    for (unsigned i = 0; i < rows; ++i)
      for (unsigned j = 0; j < columns; ++j) {
        int sum = 0;
        for (unsigned k = 0; k < product.depth(); ++k)
          sum += leftAt(i, k) * rightAt(j, k);
        int seen;
        memcpy(&seen, &sums[i * columns + j], 4);
        EXPECT_EQ(product.isInteger() ? float(seen) : sums[i * columns + j], float(sum))
            << i << ", " << j;
      }
  }
  report = Gpu::report();
  return result;
}

std::vector<Product> products() {
  std::vector<Product> all;
  for (CUtensorMapSwizzle swizzle : {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                     CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B})
    for (bool byColumns : {false, true}) {
      Product product;
      product.left.swizzle = swizzle;
      product.left.byColumns = byColumns;
      // 32 columns are 64 bytes, which is all that a line of them fills.
      product.right.swizzle = byColumns ? std::min(swizzle, CU_TENSOR_MAP_SWIZZLE_64B) : swizzle;
      product.right.byColumns = byColumns;
      all.push_back(product);
    }
  Product other;
  other.left.inRegisters = true;
  all.push_back(other);
  other.right.byColumns = true;
  other.right.swizzle = CU_TENSOR_MAP_SWIZZLE_64B;
  all.push_back(other);
  all.push_back({"bf16", CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2});
  all.push_back({"tf32", CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4});
  all.push_back({"s8", CU_TENSOR_MAP_DATA_TYPE_UINT8, 1});
  all.push_back({"e4m3", CU_TENSOR_MAP_DATA_TYPE_UINT8, 1});
  return all;
}

struct Fault {
  const char *name, *part, *other;
  std::vector<std::string> says;
};

const char *const commit = "call void @llvm.nvvm.wgmma.commit_group.sync.aligned()\n";
const char *const waitForAll = "call void @llvm.nvvm.wgmma.wait_group.sync.aligned(i64 0)";

const Fault faults[] = {
    {"NoWaitForOperands",
     "call i1 @llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta(ptr addrspace(3) @barrier, "
     "i32 0)",
     "icmp eq i32 0, 0",
     {"race: kernel \"kernel\"", "which a copy to the mbarrier at shared \"barrier\"+0 has"}},
    {"NoFence",
     "call void @llvm.nvvm.wgmma.fence.sync.aligned()",
     "",
     {"order: kernel \"kernel\"", "no wgmma.fence between"}},
    {"NoWaitForSums",
     waitForAll,
     "",
     {"order: kernel \"kernel\"", "store: it uses sums of a product that is not waited for"}},
    {"WaitForAllButTheLast",
     "wait_group.sync.aligned(i64 0)",
     "wait_group.sync.aligned(i64 1)",
     {"order: kernel \"kernel\"", "[store float %"}},
    {"NoCommit", commit, "", {"order: kernel \"kernel\"", "not waited for"}},
    {"RefillTooEarly",
     commit,
     "call void @llvm.nvvm.wgmma.commit_group.sync.aligned()\n"
     "br i1 %first, label %refill, label %after\n"
     "refill:\n"
     "%again = call i64 @llvm.nvvm.mbarrier.arrive.expect.tx.scope.cta.space.cta(ptr "
     "addrspace(3) @barrier, i32 8192)\n"
     "call void @llvm.nvvm.cp.async.bulk.tensor.g2s.cta.tile.2d(ptr addrspace(3) @left, ptr "
     "addrspace(3) @barrier, ptr %leftMap, i32 0, i32 0, i64 0, i1 false)\n"
     "br label %after\n"
     "after:\n",
     {"race: kernel \"kernel\"", "shared \"left\"+", "which a product of warp"}},
    {"PlainStoreTooEarly",
     commit,
     "call void @llvm.nvvm.wgmma.commit_group.sync.aligned()\n"
     "%spot = getelementptr i32, ptr addrspace(3) @left, i32 %t\n"
     "store i32 0, ptr addrspace(3) %spot, align 4\n",
     {"race: kernel \"kernel\"", "which a product of warp"}},
    {"PlainStoreWithoutFence",
     "call void @llvm.nvvm.wgmma.fence.sync.aligned()",
     "%spot = getelementptr i32, ptr addrspace(3) @left, i32 %t\n"
     "%was = load i32, ptr addrspace(3) %spot, align 4\n"
     "store i32 %was, ptr addrspace(3) %spot, align 4\n"
     "call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)\n"
     "call void @llvm.nvvm.wgmma.fence.sync.aligned()",
     {"proxy: kernel \"kernel\"", "which a thread has written, with no fence.proxy.async"}},
    {"DescriptorOffItsSwizzle",
     "%ls = lshr i64 %lm, 4",
     "%lo = add i64 %lm, 256\n%ls = lshr i64 %lo, 4",
     {"divergence: kernel \"kernel\"", "where its swizzle of 128 bytes does not"}},
    {"DescriptorOutside",
     "%rs = lshr i64 %rm, 4",
     "%ro = add i64 %rm, 4096\n%rs = lshr i64 %ro, 4",
     {"out of bounds: kernel \"kernel\""}},
    {"WarpsWithOtherDescriptors",
     "%ls = lshr i64 %lm, 4",
     "%odd = and i32 %w, 1\n%wz = zext i32 %odd to i64\n%wo = shl i64 %wz, 10\n%lo = sub i64 %lm, "
     "%wo\n"
     "%ls = lshr i64 %lo, 4",
     {"divergence: kernel \"kernel\"", "with other descriptors"}},
    {"OneWarpGoesAway",
     "br i1 %ok, label %multiply, label %wait",
     "%last = icmp eq i32 %w, 3\n%go = select i1 %last, i1 false, i1 %ok\n"
     "br i1 %go, label %multiply, label %away\naway:\nbr i1 %last, label %leave, label %wait\n"
     "leave:\nret void",
     {"divergence: kernel \"kernel\"", "have ended without it"}},
};

} // namespace

TEST(SimtWarpGroups, MultiplyAsAPlainProduct) {
  for (const Product &product : products())
    for (const char *schedule : schedules) {
      SCOPED_TRACE(std::string(product.type) + ", swizzle " + std::to_string(product.left.swizzle) +
                   (product.left.byColumns ? ", by columns, " : ", by rows, ") + schedule);
      std::string report;
      EXPECT_EQ(run(product, Text(product).kernel(), schedule, report), CUDA_SUCCESS);
      EXPECT_EQ(report, "");
    }
}

TEST(SimtWarpGroups, KernelsAreThoseOfAGpu) {
  for (const Product &product : products())
    EXPECT_EQ(assembled(Text(product).kernel()), "");
}

TEST(SimtWarpGroups, FaultsAreToldInEverySchedule) {
  Product product;
  for (const Fault &fault : faults)
    for (const char *schedule : schedules) {
      SCOPED_TRACE(std::string(fault.name) + ", " + schedule);
      std::string report, module = changed(Text(product).kernel(), fault.part, fault.other);
      EXPECT_NE(run(product, module, schedule, report), CUDA_SUCCESS);
      for (const std::string &part : fault.says)
        expectSays(report, part);
    }
}
