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
// Between a gather of rows and a scatter of them each row goes its own way, so all of it
// is computed in parts, each some rows of every rank: one is computed, while the next is
// gathered and the one before scattered.
//
//   %g = dist.all_gather %x dim 1   =>   %g0 = dist.all_gather (the first rows of %x) dim 1
//   %h = nn.matmul %g, %w                %g1 = dist.all_gather (the other rows of %x) dim 1
//   %p = nn.matmul %h, %v                %p0 = nn.matmul (nn.matmul %g0, %w), %v
//   %s = dist.reduce_scatter sum %p      %s0 = dist.reduce_scatter sum %p0 dim 1
//        dim 1                           %p1 = nn.matmul (nn.matmul %g1, %w), %v
//                                        %s1 = dist.reduce_scatter sum %p1 dim 1
//                                        %s = nn.concat %s0, %s1
//
//===----------------------------------------------------------------------===//

#include "Cost.h"
#include "Reshard.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/IR/IRMapping.h"

namespace cleave {
#define GEN_PASS_DEF_OVERLAP
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using cleave::nn::bytesOf;
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

static double computeSeconds(const Machine &machine, nn::MatmulOp product) {
  double elements = typeOf(product.getResult()).getNumElements();
  return 2 * elements * columnsOf(product.getLhs()) / machine.flops;
}

/// Whether a part of a product, `size` along the dimension that is cut, fills the machine.
static bool isFull(nn::MatmulOp product, int64_t size, int64_t parts) {
  double elements = typeOf(product.getResult()).getNumElements();
  return size % (parts * kTile) == 0 && elements / parts >= double(kTile) * kTile * kFullMachine;
}

/// The parts that take least by the times of the machine: the first is computed, then
/// the slower of the two goes on without a pause, and the last travels.
static int64_t bestParts(const Machine &machine, Summed summed, int64_t members,
                         double *least = nullptr) {
  nn::MatmulOp product = summed.product;
  double compute = computeSeconds(machine, product), bytes = bytesOf(product.getResult());
  auto seconds = [&](int64_t parts) {
    double travel = collectiveSeconds(machine, summed.kind, bytes / parts, members);
    return compute / parts + (parts - 1) * std::max(compute / parts, travel) + travel;
  };
  int64_t best = 1;
  for (int64_t parts : {2, 4, 8})
    if (isFull(product, columnsOf(product.getResult()), parts) &&
        seconds(parts) < kGain * seconds(best))
      best = parts;
  if (least)
    *least = seconds(best);
  return best;
}

static RankedTensorType withSize(RankedTensorType type, unsigned dim, int64_t size) {
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return type.clone(shape);
}

static Value slicePart(OpBuilder &b, Value value, unsigned dim, int64_t part, int64_t parts) {
  SmallVector<int64_t> starts(typeOf(value).getRank(), 0), steps(starts.size(), 1);
  SmallVector<int64_t> sizes(typeOf(value).getShape());
  sizes[dim] /= parts;
  starts[dim] = part * sizes[dim];
  return nn::SliceOp::create(b, value.getLoc(), value, starts, sizes, steps);
}

/// Says of a collective that it is one of `parts`.
static void addReason(Operation *op, int64_t parts) {
  if (auto reason = op->getAttrOfType<StringAttr>(kReason))
    op->setAttr(kReason,
                StringAttr::get(op->getContext(), reason.getValue() + "; in " + Twine(parts) +
                                                      " parts, beside the product"));
}

static void split(Summed summed, int64_t parts) {
  Operation *sum = summed.sum;
  Value result = sum->getResult(0), weights = summed.product.getRhs();
  OpBuilder b(sum);
  unsigned dim = typeOf(result).getRank() - 1;
  int64_t columns = columnsOf(result) / parts;
  SmallVector<Value> sums;
  for (int64_t part = 0; part < parts; ++part) {
    IRMapping mapping;
    mapping.map(weights, slicePart(b, weights, typeOf(weights).getRank() - 1, part, parts));
    for (Operation *op : {summed.product.getOperation(), sum}) {
      Value its = b.clone(*op, mapping)->getResult(0);
      its.setType(withSize(typeOf(its), dim, columns));
    }
    sums.push_back(mapping.lookup(result));
    addReason(sums.back().getDefiningOp(), parts);
  }
  result.replaceAllUsesWith(nn::ConcatOp::create(b, sum->getLoc(), sums, dim));
  sum->erase();
  summed.product->erase();
}

namespace {

/// Rows from where they are gathered to where they are scattered.
struct Stretch {
  dist::AllGatherOp gather;
  SmallVector<Operation *> ops; ///< in order; each result has a row for each of the gather
  dist::ReduceScatterOp scatter;

  unsigned dim() { return gather.getDim(); } ///< of the rows, in all of these
  int64_t rows() { return typeOf(gather.getResult()).getDimSize(dim()); }
};

} // namespace

/// Whether each row of the result comes from the same one of the operands with rows, and
/// from what is the same for all rows.
static bool keepsRows(Operation *op, const DenseSet<Value> &withRows, unsigned dim) {
  if (!isa<nn::MatmulOp, nn::ElementwiseOpInterface>(op))
    return false;
  int64_t rank = typeOf(op->getResult(0)).getRank();
  auto product = dyn_cast<nn::MatmulOp>(op);
  if (product)
    return int64_t(dim) + 2 == rank && typeOf(product.getLhs()).getRank() == rank &&
           typeOf(product.getRhs()).getRank() == 2 && withRows.contains(product.getLhs()) &&
           !withRows.contains(product.getRhs());
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    int64_t missing = rank - typeOf(operand).getRank();
    if (withRows.contains(operand))
      return missing == 0;
    return int64_t(dim) < missing || typeOf(operand).getDimSize(dim - missing) == 1;
  });
}

/// From a gather to the one scatter of all that reads it.
static std::optional<Stretch> matchStretch(dist::AllGatherOp gather) {
  Stretch stretch{gather, {}, nullptr};
  DenseSet<Value> withRows{gather.getResult()};
  for (Operation *op = gather->getNextNode(); op; op = op->getNextNode()) {
    if (llvm::none_of(op->getOperands(), [&](Value v) { return withRows.contains(v); }))
      continue;
    if (auto scatter = dyn_cast<dist::ReduceScatterOp>(op)) {
      if (stretch.scatter || scatter.getKind() != dist::ReductionKind::Sum ||
          scatter.getDim() != gather.getDim() || scatter.getAxes() != gather.getAxes() ||
          scatter.getCounts() != gather.getCounts())
        return std::nullopt;
      stretch.scatter = scatter;
    } else if (keepsRows(op, withRows, stretch.dim())) {
      stretch.ops.push_back(op);
      withRows.insert(op->getResult(0));
    } else {
      return std::nullopt;
    }
  }
  if (!stretch.scatter || !llvm::all_equal(gather.getCounts()))
    return std::nullopt;
  return stretch;
}

static int64_t bestParts(const Machine &machine, Stretch &stretch, int64_t members) {
  auto travel = [&](MoveKind kind, Value whole, int64_t parts) {
    return collectiveSeconds(machine, kind, double(bytesOf(whole)) / parts, members);
  };
  double compute = 0;
  for (Operation *op : stretch.ops)
    if (auto product = dyn_cast<nn::MatmulOp>(op))
      compute += computeSeconds(machine, product);
  auto seconds = [&](int64_t parts) {
    double in = travel(MoveKind::AllGather, stretch.gather.getResult(), parts);
    double out = travel(MoveKind::ReduceScatter, stretch.scatter.getInput(), parts);
    return in + (parts - 1) * std::max(compute / parts, in + out) + compute / parts + out;
  };
  double least = seconds(1);
  if (std::optional<Summed> summed = matchSum(stretch.scatter)) {
    double last = 0;
    bestParts(machine, *summed, members, &last);
    least = travel(MoveKind::AllGather, stretch.gather.getResult(), 1) + compute -
            computeSeconds(machine, summed->product) + last;
  }
  int64_t best = 1;
  for (int64_t parts : {2, 4, 8}) {
    bool areFull = llvm::all_of(stretch.ops, [&](Operation *op) {
      auto product = dyn_cast<nn::MatmulOp>(op);
      return !product || isFull(product, stretch.rows(), parts);
    });
    if (areFull && seconds(parts) < kGain * least) {
      best = parts;
      least = seconds(parts);
    }
  }
  return best;
}

/// The sums of the parts.
static SmallVector<Value> split(Stretch &stretch, int64_t parts) {
  OpBuilder b(stretch.scatter);
  unsigned dim = stretch.dim();
  SmallVector<int64_t> counts(stretch.gather.getCounts());
  for (int64_t &count : counts)
    count /= parts;
  int64_t rows = stretch.rows() / parts;
  SmallVector<IRMapping> mappings(parts);
  auto gather = [&](int64_t part) {
    Value own = stretch.gather.getInput();
    mappings[part].map(own, slicePart(b, own, dim, part, parts));
    auto its = cast<dist::AllGatherOp>(b.clone(*stretch.gather, mappings[part]));
    its.setCounts(counts);
    its.getResult().setType(withSize(typeOf(its.getResult()), dim, rows));
    addReason(its, parts);
  };
  SmallVector<Value> sums;
  gather(0);
  for (int64_t part = 0; part < parts; ++part) {
    // All that travels goes in the order of the program.
    if (part + 1 < parts)
      gather(part + 1);
    for (Operation *op : stretch.ops) {
      Value its = b.clone(*op, mappings[part])->getResult(0);
      its.setType(withSize(typeOf(its), dim, rows));
    }
    auto its = cast<dist::ReduceScatterOp>(b.clone(*stretch.scatter, mappings[part]));
    its.setCounts(counts);
    its.getResult().setType(withSize(typeOf(its.getResult()), dim, counts.front()));
    addReason(its, parts);
    sums.push_back(its.getResult());
  }
  auto whole = nn::ConcatOp::create(b, stretch.scatter.getLoc(), sums, dim);
  stretch.scatter.getResult().replaceAllUsesWith(whole);
  stretch.scatter.erase();
  for (Operation *op : llvm::reverse(stretch.ops))
    op->erase();
  stretch.gather.erase();
  return sums;
}

namespace {

struct Overlap : cleave::impl::OverlapBase<Overlap> {
  using OverlapBase::OverlapBase;

  void runOnOperation() override {
    auto mesh = getOperation()->getAttrOfType<dist::MeshAttr>(dist::kMesh);
    if (!mesh)
      return;
    Machine machine;
    SmallVector<dist::AllGatherOp> gathers;
    getOperation().walk([&](dist::AllGatherOp op) { gathers.push_back(op); });
    DenseSet<Value> inParts;
    for (dist::AllGatherOp gather : gathers) {
      std::optional<Stretch> stretch = matchStretch(gather);
      if (!stretch)
        continue;
      int64_t members = *mesh.getGroupSize(gather.getGroupAxes());
      int64_t most = parts ? parts : bestParts(machine, *stretch, members);
      if (most > 1 && gather.getCounts().front() % most == 0)
        inParts.insert_range(split(*stretch, most));
    }
    SmallVector<Summed> found;
    getOperation().walk([&](Operation *op) {
      std::optional<Summed> summed = matchSum(op);
      if (summed && !inParts.contains(op->getResult(0)))
        found.push_back(*summed);
    });
    for (Summed summed : found) {
      int64_t members = *mesh.getGroupSize(summed.sum.getGroupAxes());
      int64_t most = parts ? parts : bestParts(machine, summed, members);
      if (most > 1 && columnsOf(summed.product.getResult()) % most == 0)
        split(summed, most);
    }
  }
};

} // namespace
