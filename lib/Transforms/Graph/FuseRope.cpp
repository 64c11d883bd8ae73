//===- FuseRope.cpp - rotary embedding by what it computes ----------------===//
//
// Why: in one op it joins the kernel that reads it, and has a sharding rule.
//
//   %l = nn.slice %x  lanes [0, d/2)
//   %h = nn.slice %x  lanes [d/2, d)
//   %n = nn.neg %h                       =>   %y = nn.rope %x, %cos', %sin'
//   %r = nn.concat %n, %l
//   %y = nn.add (nn.mul %x, %cos), (nn.mul %r, %sin)
//
// and every other spelling: each lane of a value that is linear in x is read as a sum
// of lanes of x times lanes of tables (Lanes.h). It is a rotation if the lanes go in
// pairs, a cos - b sin and b cos + a sin, and the rest passes. cos' and sin' hold the
// first lane of each pair; that the second would read equal elements is proven.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

#include "Lanes.h"

namespace cleave {
#define GEN_PASS_DEF_FUSEROPE
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

namespace {

/// Lane i of the tables turns lanes `first(i)` and `second(i)`.
struct Rotation {
  int64_t pairs = 0;
  bool interleaved = false;
  bool inverse = false; ///< the other way round: sin has the other sign
  SmallVector<TableLane> cos, sin;

  int64_t first(int64_t pair) const { return interleaved ? 2 * pair : pair; }
  int64_t second(int64_t pair) const { return first(pair) + (interleaved ? 1 : pairs); }
};

} // namespace

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static bool passes(const LaneForm &form, int64_t lane) {
  return form.size() == 1 && form[0].lane == lane && form[0].factor == 1 && !form[0].coefficient;
}

/// The term of `form` that reads `lane`, with a coefficient and a factor of 1 or -1.
static const LaneTerm *termOf(const LaneForm &form, int64_t lane) {
  for (const LaneTerm &term : form)
    if (term.lane == lane && term.coefficient && std::abs(term.factor) == 1)
      return &term;
  return nullptr;
}

/// Reads pair `number` of `rotation` out of the forms of its two lanes.
static bool readPair(ArrayRef<LaneForm> forms, int64_t number, Rotation &rotation) {
  int64_t a = rotation.first(number), b = rotation.second(number);
  if (forms[a].size() != 2 || forms[b].size() != 2)
    return false;
  const LaneTerm *aa = termOf(forms[a], a), *ab = termOf(forms[a], b);
  const LaneTerm *ba = termOf(forms[b], a), *bb = termOf(forms[b], b);
  if (!aa || !ab || !ba || !bb || aa->factor != 1 || bb->factor != 1 || ab->factor != -ba->factor ||
      !areSameLanes(*aa->coefficient, *bb->coefficient) ||
      !areSameLanes(*ab->coefficient, *ba->coefficient))
    return false;
  if (number == 0)
    rotation.inverse = ba->factor < 0;
  else if (rotation.inverse != (ba->factor < 0))
    return false;
  rotation.cos.push_back(*aa->coefficient);
  rotation.sin.push_back(*ab->coefficient);
  return true;
}

/// What turns the root into a value with these forms.
static std::optional<Rotation> readRotation(ArrayRef<LaneForm> forms) {
  int64_t turned = forms.size();
  while (turned > 0 && passes(forms[turned - 1], turned - 1))
    --turned;
  if (turned == 0 || turned % 2 != 0)
    return std::nullopt;
  for (bool interleaved : {false, true}) {
    Rotation rotation{turned / 2, interleaved, false, {}, {}};
    if (llvm::all_of(llvm::seq(rotation.pairs),
                     [&](int64_t pair) { return readPair(forms, pair, rotation); }))
      return rotation;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

/// The distance of lanes that are read out of one table in equal steps; nothing if
/// they are not.
static std::optional<int64_t> stepOf(ArrayRef<TableLane> lanes) {
  int64_t step = lanes.size() < 2 ? 1 : lanes[1].lane - lanes[0].lane;
  for (auto [i, lane] : llvm::enumerate(lanes))
    if (!(lane ==
          TableLane{lanes[0].table, lanes[0].dims, lanes[0].lane + static_cast<int64_t>(i) * step}))
      return std::nullopt;
  return step > 0 ? std::optional(step) : std::nullopt;
}

/// Whether a table with these dimensions before its rows turns `input`.
static bool fits(Value input, TableLane table) {
  ArrayRef<int64_t> outer = shapeOf(table.table).drop_back(table.dims);
  ArrayRef<int64_t> full = shapeOf(input).drop_back();
  FailureOr<SmallVector<int64_t>> joint = broadcastShapes({full, outer});
  return table.dims > 0 && succeeded(joint) && ArrayRef<int64_t>(*joint) == full &&
         elementOf(table.table) == elementOf(input);
}

/// A table of just `lanes`, which lie `step` apart.
static Value takeLanes(OpBuilder &b, Location loc, ArrayRef<TableLane> lanes, int64_t step) {
  Value table = lanes[0].table;
  SmallVector<int64_t> sizes(shapeOf(table).drop_back(lanes[0].dims));
  int64_t rows = ShapedType::getNumElements(sizes);
  sizes.push_back(typeOf(table).getNumElements() / std::max<int64_t>(rows, 1));
  table = b.createOrFold<ReshapeOp>(loc, RankedTensorType::get(sizes, elementOf(table)), table);

  SmallVector<int64_t> starts(sizes.size(), 0), steps(sizes.size(), 1);
  starts.back() = lanes[0].lane;
  sizes.back() = lanes.size();
  steps.back() = step;
  return b.createOrFold<SliceOp>(loc, table, starts, sizes, steps);
}

static bool fuse(Value input, OpBuilder &b) {
  LinearLanes lanes(input);
  for (Value candidate : lanes.candidates()) {
    std::optional<Rotation> rotation = readRotation(lanes.forms(candidate));
    if (!rotation || candidate.use_empty())
      continue;
    std::optional<int64_t> cosStep = stepOf(rotation->cos), sinStep = stepOf(rotation->sin);
    if (!cosStep || !sinStep || !fits(input, rotation->cos[0]) || !fits(input, rotation->sin[0]))
      continue;
    b.setInsertionPoint(candidate.getDefiningOp());
    Location loc = candidate.getLoc();
    Value cos = takeLanes(b, loc, rotation->cos, *cosStep);
    Value sin = takeLanes(b, loc, rotation->sin, *sinStep);
    if (cos.getType() != sin.getType())
      continue;
    if (rotation->inverse)
      sin = NegOp::create(b, loc, sin);
    candidate.replaceAllUsesWith(
        RopeOp::create(b, loc, input, cos, sin, rotation->interleaved).getResult());
    return true;
  }
  return false;
}

/// What may be turned: its lanes are taken apart, or multiplied by a tensor.
static SmallVector<Value> possibleInputs(func::FuncOp function) {
  llvm::SetVector<Value> inputs;
  for (Operation &op : function.front()) {
    if (auto slice = dyn_cast<SliceOp>(op);
        slice && slice.getSizes().back() < shapeOf(slice.getInput()).back())
      inputs.insert(slice.getInput());
    else if (isa<MulOp, ReshapeOp>(op))
      inputs.insert(op.operand_begin(), op.operand_end());
  }
  inputs.remove_if([](Value value) { return !isa<FloatType>(elementOf(value)); });
  return inputs.takeVector();
}

namespace {

struct FuseRope : cleave::impl::FuseRopeBase<FuseRope> {
  void runOnOperation() override {
    OpBuilder b(&getContext());
    for (Value input : possibleInputs(getOperation()))
      numFused += fuse(input, b);
  }
};

} // namespace
