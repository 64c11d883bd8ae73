//===- Boxes.cpp - products whose operands come in boxes, in the simulator -===//

#include "Hopper.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <random>

using namespace mlir;
using namespace cleave::test;

namespace {

/// A product, in batches or with many rows, whose tiles are enough for groups.
struct Product {
  int64_t batches, m, n, k;
  const char *type;
  bool turnsLeft = false, turnsRight = false; ///< whether they lie as [k, m], as [n, k]
  bool sharesLeft = false;                    ///< whether all batches have one A
  bool isPart = false;                        ///< whether B is a part of a larger tensor
  bool hasMore = false;                       ///< whether something follows

  std::string tensor(std::initializer_list<int64_t> sizes) const {
    std::string text = "tensor<";
    for (int64_t size : sizes)
      text += std::to_string(size) + "x";
    return text + type + ">";
  }

  std::string text() const {
    int64_t outer = sharesLeft ? 1 : batches, more = isPart ? 8 : 0;
    std::string a = tensor({outer, m, k}), b = tensor({batches, k, n}), c = tensor({batches, m, n}),
                bias = tensor({n});
    std::string x = turnsLeft ? tensor({outer, k, m}) : a;
    int64_t rows = turnsRight ? n : k, columns = turnsRight ? k : n;
    std::string part = tensor({batches, rows, columns});
    std::string w = tensor({batches, rows + more, columns + more});
    std::string text = "func.func @main(%x: " + x + ", %w: " + w + ", %s: " + bias + ") -> " + c +
                       " {\n",
                left = "%x", right = "%w", result = "%c";
    auto add = [&](std::string &value, const char *name, const std::string &what,
                   const std::string &types) {
      text += std::string("  ") + name + " = nn." + what + " : " + types + "\n";
      value = name;
    };
    if (turnsLeft)
      add(left, "%a", "transpose " + left + " [0, 2, 1]", x);
    if (isPart)
      add(right, "%p",
          "slice " + right + " starts [0, 8, 8] sizes [" + std::to_string(batches) + ", " +
              std::to_string(rows) + ", " + std::to_string(columns) + "] steps [1, 1, 1]",
          w);
    if (turnsRight)
      add(right, "%b", "transpose " + right + " [0, 2, 1]", part);
    add(result, "%c", "matmul " + left + ", " + right, a + ", " + b);
    if (hasMore) {
      add(result, "%d", "add %c, %s", c + ", " + bias);
      add(result, "%e", "tanh %d", c);
    }
    return text + "  return " + result + " : " + c + "\n}";
  }
};

/// Whether a kernel has its operands brought, and none by its threads.
bool isBulk(ModuleOp module) {
  int boxes = 0, copies = 0;
  module.walk([&](Operation *op) {
    boxes += isa<NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp>(op);
    copies += isa<NVVM::CpAsyncOp>(op);
  });
  return boxes > 1 && copies == 0;
}

std::string differsInBoxes(const Product &product, const Check &check) {
  bool isExpected = false;
  auto look = [&](ModuleOp module) { isExpected |= isBulk(module); };
  std::string wrong = differsOn(hopper(look), product.text(), check);
  return isExpected ? wrong : "no boxes: " + wrong;
}

/// One tile of 128 columns a batch, and one of 256.
const Product narrow{88, 66, 72, 72, "f16"};
const Product wide{.batches = 88,
                   .m = 72,
                   .n = 136,
                   .k = 24,
                   .type = "bf16",
                   .turnsLeft = true,
                   .turnsRight = true,
                   .hasMore = true};

} // namespace

TEST(Boxes, AnySize) {
  for (uint32_t seed = 0; seed < 4; ++seed) {
    std::mt19937 random(seed);
    auto drawn = [&](int64_t least, int64_t most) {
      return std::uniform_int_distribution<int64_t>(least, most)(random);
    };
    auto flag = [&] { return drawn(0, 1) == 1; };
    Product product;
    product.batches = 88;
    // All ways that operands lie come up; what lies along a row has whole chunks.
    product.turnsLeft = seed & 1, product.turnsRight = seed & 2;
    product.sharesLeft = flag(), product.isPart = flag(), product.hasMore = flag();
    product.type = flag() ? "f16" : "bf16";
    int64_t m = 8 * drawn(9, 15), n = 8 * drawn(9, 17), k = 8 * drawn(1, 12);
    product.m = product.turnsLeft ? m : m + drawn(0, 7);
    product.n = product.turnsRight ? n + drawn(0, 7) : n;
    product.k = product.turnsLeft && !product.turnsRight ? k + drawn(0, 7) : k;
    const char *schedule = seed % 3 == 0 ? "greedy" : seed % 3 == 1 ? "shuffled:1" : "shuffled:2";
    EXPECT_EQ(differsInBoxes(product, checkFor(schedule)), "") << product.text();
  }
}

/// In two bands of 16 rows of tiles and less.
TEST(Boxes, ManyTiles) {
  EXPECT_EQ(differsInBoxes({1, 2146, 712, 24, "f16"}, checkFor("greedy")), "");
}

TEST(Boxes, WithoutConflicts) {
  for (const Product &product : {narrow, wide})
    EXPECT_EQ(conflictsOnHopper(product.text(), checkFor("greedy")), 0u) << product.text();
}

/// What no GPU copies by itself is brought as before, with the same result.
TEST(Boxes, AreNotTakenWhereNothingLiesStraight) {
  const char *const products[] = {
      // Rows of 18 bytes.
      R"(func.func @main(%x: tensor<88x66x9xf16>, %w: tensor<88x9x72xf16>) -> tensor<88x66x72xf16> {
        %c = nn.matmul %x, %w : tensor<88x66x9xf16>, tensor<88x9x72xf16>
        return %c : tensor<88x66x72xf16> })",
      // One that is turned about.
      R"(func.func @main(%x: tensor<88x66x8xf16>, %w: tensor<88x8x72xf16>) -> tensor<88x66x72xf16> {
        %a = nn.slice %x starts [0, 65, 0] sizes [88, 66, 8] steps [1, -1, 1] : tensor<88x66x8xf16>
        %c = nn.matmul %a, %w : tensor<88x66x8xf16>, tensor<88x8x72xf16>
        return %c : tensor<88x66x72xf16> })",
      // One whose rows begin in the middle of a chunk.
      R"(func.func @main(%x: tensor<88x66x16xf16>, %w: tensor<88x8x72xf16>) -> tensor<88x66x72xf16> {
        %a = nn.slice %x starts [0, 0, 4] sizes [88, 66, 8] steps [1, 1, 1] : tensor<88x66x16xf16>
        %c = nn.matmul %a, %w : tensor<88x66x8xf16>, tensor<88x8x72xf16>
        return %c : tensor<88x66x72xf16> })"};
  for (const char *product : products) {
    bool isTaken = true;
    auto look = [&](ModuleOp module) { isTaken = isBulk(module); };
    EXPECT_EQ(differsOn(hopper(look), product, checkFor("greedy")), "") << product;
    EXPECT_FALSE(isTaken) << product;
  }
}

namespace {

using Copy = NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp;
using Expect = NVVM::MBarrierArriveExpectTxOp;
using Wait = NVVM::MBarrierTryWaitParityOp;

bool isProducers(Operation *op) {
  return !op->getParentOfType<scf::ForOp>().getOps<Expect>().empty();
}

void expectMore(Operation *op, OpBuilder &b) {
  Value bytes = cast<Expect>(op).getTxcount();
  op->setOperand(1, arith::AddIOp::create(b, op->getLoc(), bytes, bytes));
}

void expectLess(Operation *op, OpBuilder &b) {
  Value two = arith::ConstantIntOp::create(b, op->getLoc(), 2, 32);
  op->setOperand(1, arith::DivUIOp::create(b, op->getLoc(), op->getOperand(1), two));
}

void waitForTheOther(Operation *op, OpBuilder &b) {
  Value one = arith::ConstantIntOp::create(b, op->getLoc(), 1, 32);
  op->setOperand(1, arith::XOrIOp::create(b, op->getLoc(), op->getOperand(1), one));
}

void copyFurther(Operation *op, OpBuilder &b) {
  auto copy = cast<Copy>(op);
  Value to = LLVM::GEPOp::create(b, op->getLoc(), copy.getDstMem().getType(), b.getI8Type(),
                                 copy.getDstMem(), ArrayRef<LLVM::GEPArg>{1024});
  op->setOperand(0, to);
}

const Bug bugs[] = {
    {"no fence behind the barriers", "proxy", isA<NVVM::FenceMbarrierInitOp>},
    {"no meeting behind the barriers", "kernel", isA<gpu::BarrierOp>},
    {"more bytes expected", "deadlock", isA<Expect>, expectMore},
    {"fewer bytes expected", "kernel", isA<Expect>, expectLess},
    {"no bytes expected", "kernel", isA<Expect>},
    // Copies of A come first.
    {.name = "no box of A", .says = "deadlock", .fits = isA<Copy>, .isFirst = true},
    {"a box at a wrong place", "kernel", isA<Copy>, copyFurther, /*isFirst=*/true},
    {"no wait for an empty stage", "kernel",
     [](Operation *op) { return isa<Wait>(op) && isProducers(op); }},
    {"no wait for a full stage", "kernel",
     [](Operation *op) { return isa<Wait>(op) && !isProducers(op); }},
    {"the wrong phase of an empty stage", "kernel",
     [](Operation *op) { return isa<Wait>(op) && isProducers(op); }, waitForTheOther},
    {"the wrong phase of a full stage", "kernel",
     [](Operation *op) { return isa<Wait>(op) && !isProducers(op); }, waitForTheOther},
    {"no stage is released", "deadlock", isA<NVVM::MBarrierArriveOp>},
    {"no wait for products", "kernel", isA<NVVM::WgmmaWaitGroupSyncOp>},
    {"no meeting of a warp", "kernel", isA<NVVM::SyncWarpOp>},
};

} // namespace

/// What keeps those who bring and those who multiply apart.
TEST(Boxes, PlantedBugsAreTold) { expectTold(bugs, narrow.text()); }
