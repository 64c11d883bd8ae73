//===- Overlap.cpp - products in parts, beside their collectives ----------===//
//
// Why: links are idle while a product is computed, and cores while its partial sums
// travel. Of two parts, one travels while the other is computed.
//
//   %p = nn.matmul %x, %w           =>   %p0 = nn.matmul %x, (the first columns of %w)
//   %s = dist.all_reduce sum %p          %s0 = dist.all_reduce sum %p0
//                                        %p1 = nn.matmul %x, (the other columns of %w)
//                                        %s1 = dist.all_reduce sum %p1
//                                        %s = nn.concat %s0, %s1
//
//===----------------------------------------------------------------------===//

#include "Cost.h"
#include "Reshard.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

namespace cleave {
#define GEN_PASS_DEF_OVERLAP
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using cleave::nn::typeOf;

/// Rows and columns of a tile of a large product, and how many tiles fill a machine.
static constexpr int64_t kTile = 128, kFullMachine = 132;

/// What a product in parts has to take less to be worth the launches.
static constexpr double kGain = 0.9;

/// A product whose only reader adds it up over the ranks.
struct Summed {
  nn::MatmulOp product;
  dist::CollectiveOpInterface sum;
  MoveKind kind;
};

static std::optional<Summed> matchSum(Operation *op) {
  MoveKind kind = MoveKind::AllReduce;
  if (auto scatter = dyn_cast<dist::ReduceScatterOp>(op)) {
    // Columns are what a part has fewer of.
    if (int64_t(scatter.getDim()) + 1 == typeOf(scatter.getInput()).getRank())
      return std::nullopt;
    kind = MoveKind::ReduceScatter;
  } else if (!isa<dist::AllReduceOp>(op)) {
    return std::nullopt;
  }
  auto product = op->getOperand(0).getDefiningOp<nn::MatmulOp>();
  if (!product || !product.getResult().hasOneUse())
    return std::nullopt;
  return Summed{product, cast<dist::CollectiveOpInterface>(op), kind};
}

static int64_t columnsOf(Value value) { return typeOf(value).getShape().back(); }

/// The parts that take least by the times of the machine: the first is computed, then
/// the slower of the two goes on without a pause, and the last travels.
static int64_t bestParts(Summed summed, int64_t members) {
  Machine machine;
  RankedTensorType type = typeOf(summed.product.getResult());
  double elements = type.getNumElements();
  double compute = 2 * elements * columnsOf(summed.product.getLhs()) / machine.flops;
  double bytes = elements * nn::elementBytes(type.getElementType());
  auto seconds = [&](int64_t parts) {
    double travel = collectiveSeconds(machine, summed.kind, bytes / parts, members);
    return compute / parts + (parts - 1) * std::max(compute / parts, travel) + travel;
  };
  int64_t best = 1;
  for (int64_t parts : {2, 4, 8}) {
    bool isFull = columnsOf(summed.product.getResult()) % (parts * kTile) == 0 &&
                  elements / parts >= double(kTile) * kTile * kFullMachine;
    if (isFull && seconds(parts) < kGain * seconds(best))
      best = parts;
  }
  return best;
}

static RankedTensorType withColumns(RankedTensorType type, int64_t columns) {
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = columns;
  return type.clone(shape);
}

static void split(Summed summed, int64_t parts) {
  Operation *sum = summed.sum;
  Value result = sum->getResult(0), weights = summed.product.getRhs();
  OpBuilder b(sum);
  Location loc = sum->getLoc();
  int64_t columns = columnsOf(result) / parts;
  SmallVector<int64_t> starts(typeOf(weights).getRank(), 0);
  SmallVector<int64_t> sizes(typeOf(weights).getShape()), steps(starts.size(), 1);
  sizes.back() = columns;
  SmallVector<Value> sums;
  for (int64_t part = 0; part < parts; ++part) {
    starts.back() = part * columns;
    auto product = cast<nn::MatmulOp>(b.clone(*summed.product));
    product.getRhsMutable().assign(
        nn::SliceOp::create(b, summed.product.getLoc(), weights, starts, sizes, steps));
    product->moveAfter(product.getRhs().getDefiningOp());
    product.getResult().setType(withColumns(typeOf(product.getResult()), columns));
    b.setInsertionPointAfter(product);
    Operation *its = b.clone(*sum);
    its->setOperand(0, product.getResult());
    its->getResult(0).setType(withColumns(typeOf(result), columns));
    if (auto reason = sum->getAttrOfType<StringAttr>(kReason))
      its->setAttr(kReason, b.getStringAttr(reason.getValue() + "; in " + Twine(parts) +
                                            " parts, beside the product"));
    b.setInsertionPointAfter(its);
    sums.push_back(its->getResult(0));
  }
  result.replaceAllUsesWith(nn::ConcatOp::create(b, loc, sums, typeOf(result).getRank() - 1));
  sum->erase();
  summed.product->erase();
}

namespace {

struct Overlap : cleave::impl::OverlapBase<Overlap> {
  using OverlapBase::OverlapBase;

  void runOnOperation() override {
    auto mesh = getOperation()->getAttrOfType<dist::MeshAttr>(dist::kMesh);
    if (!mesh)
      return;
    SmallVector<Summed> found;
    getOperation().walk([&](Operation *op) {
      if (std::optional<Summed> summed = matchSum(op))
        found.push_back(*summed);
    });
    for (Summed summed : found) {
      int64_t members = *mesh.getGroupSize(summed.sum.getGroupAxes());
      int64_t most = parts ? parts : bestParts(summed, members);
      if (most > 1 && columnsOf(summed.product.getResult()) % most == 0)
        split(summed, most);
    }
  }
};

} // namespace
