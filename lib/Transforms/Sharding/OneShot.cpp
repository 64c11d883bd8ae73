//===- OneShot.cpp - small all-reduces gather partials --------------------===//
//
// Why: a small collective costs its steps, and a gather has half of those of an
// all-reduce. The kernel that reads the sum, a residual and a norm, adds in passing.
//
//   %s = dist.all_reduce sum %p      =>   %g = dist.all_gather (reshape %p) dim 0
//   %y = nn.add %s, %x                    %s = nn.add (part 0 of %g), (part 1 of %g)
//                                         %y = nn.add %s, %x
//
//===----------------------------------------------------------------------===//

#include "Cost.h"
#include "Reshard.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

namespace cleave {
#define GEN_PASS_DEF_ONESHOT
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using cleave::nn::typeOf;

/// Beyond, a kernel would read too much at once.
static constexpr int64_t kMostMembers = 8;

/// What a small all-reduce takes longer than a gather that brings as many bytes: on
/// eight H100 NCCL takes 16.0 µs for 8 KB, and 13.1 to gather the 64 KB of all.
static constexpr double kReduceSeconds = 3e-6;

static bool isGatherFaster(double bytes, int64_t members) {
  Machine machine;
  double reduce = kReduceSeconds + collectiveSeconds(machine, MoveKind::AllReduce, bytes, members);
  // The kernel reads all that came, and not what it would have had to.
  double gather = collectiveSeconds(machine, MoveKind::AllGather, members * bytes, members) +
                  (members - 1) * bytes / machine.memory;
  return gather < reduce;
}

/// Whether the sum has one reader, which reads each element once.
static bool isReadOnce(Value sum) {
  while (sum.hasOneUse() && isa<nn::ReshapeOp>(*sum.user_begin()))
    sum = sum.user_begin()->getResult(0);
  return sum.hasOneUse() &&
         isa<nn::ElementwiseOpInterface, nn::LayerNormOp, nn::RmsNormOp>(*sum.user_begin());
}

static Value cast(OpBuilder &b, Location loc, Value value, Type element) {
  RankedTensorType type = typeOf(value);
  if (type.getElementType() == element)
    return value;
  return nn::CastOp::create(b, loc, type.clone(element), value);
}

/// Members in order; 16-bit floats add in f32 and round once, as an all-reduce does.
static void replace(dist::AllReduceOp op, int64_t members) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  RankedTensorType type = typeOf(op.getInput());
  Type sums = type.getElementTypeBitWidth() < 32 ? b.getF32Type() : type.getElementType();
  SmallVector<int64_t> shape = {1}, starts(type.getRank() + 1, 0), steps(type.getRank() + 1, 1);
  llvm::append_range(shape, type.getShape());
  Value block = nn::ReshapeOp::create(b, loc, type.clone(shape), op.getInput());
  SmallVector<int64_t> all = shape, counts(members, 1);
  all.front() = members;
  auto gather = dist::AllGatherOp::create(b, loc, type.clone(all), block, 0, op.getAxes(), counts);
  gather->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  gather->setAttr(kBound, b.getI64IntegerAttr(op.getBytesSent(members, /*member=*/0)));
  if (auto reason = op->getAttrOfType<StringAttr>(kReason))
    gather->setAttr(kReason, b.getStringAttr(reason.getValue() +
                                             "; so few bytes are gathered, and added where read"));
  Value sum;
  for (int64_t member = 0; member < members; ++member) {
    starts.front() = member;
    Value part = nn::SliceOp::create(b, loc, gather.getResult(), starts, shape, steps);
    part = cast(b, loc, nn::ReshapeOp::create(b, loc, type, part), sums);
    sum = sum ? nn::AddOp::create(b, loc, sum, part).getResult() : part;
  }
  op.replaceAllUsesWith(cast(b, loc, sum, type.getElementType()));
  op.erase();
}

namespace {

struct OneShot : cleave::impl::OneShotBase<OneShot> {
  void runOnOperation() override {
    auto mesh = getOperation()->getAttrOfType<dist::MeshAttr>(dist::kMesh);
    if (!mesh)
      return;
    getOperation().walk([&](dist::AllReduceOp op) {
      RankedTensorType type = typeOf(op.getInput());
      int64_t members = *mesh.getGroupSize(op.getGroupAxes());
      double bytes = nn::bytesOf(type);
      if (op.getKind() == dist::ReductionKind::Sum && isa<FloatType>(type.getElementType()) &&
          bytes > 0 && members > 1 && members <= kMostMembers && isReadOnce(op.getResult()) &&
          isGatherFaster(bytes, members))
        replace(op, members);
    });
  }
};

} // namespace
