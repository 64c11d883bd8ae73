//===- FuseRope.cpp - rotary embedding in its two usual forms -------------===//
//
//   %l = nn.slice %x  lanes [0, d/2)
//   %h = nn.slice %x  lanes [d/2, d)
//   %n = nn.neg %h                       =>   %y = nn.rope %x, %cos', %sin'
//   %r = nn.concat %n, %l
//   %y = nn.add (nn.mul %x, %cos), (nn.mul %r, %sin)
//
// cos' and sin' are the first halves of tables that hold everything twice.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

namespace cleave {
#define GEN_PASS_DEF_FUSEROPE
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

static int64_t lanesOf(Value value) { return typeOf(value).getShape().back(); }

/// Whether `value` is lanes [start, start + size) of `of`, all else whole.
static bool isLanes(Value value, Value of, int64_t start, int64_t size) {
  auto slice = value.getDefiningOp<SliceOp>();
  if (!slice || slice.getInput() != of)
    return false;
  SmallVector<int64_t> starts(typeOf(of).getRank(), 0), sizes(typeOf(of).getShape());
  starts.back() = start;
  sizes.back() = size;
  return slice.getStarts() == ArrayRef<int64_t>(starts) &&
         slice.getSizes() == ArrayRef<int64_t>(sizes) &&
         llvm::all_of(slice.getSteps(), [](int64_t step) { return step == 1; });
}

/// What `value` was before its halves were turned: concat(-high, low).
static Value unturned(Value value) {
  auto concat = value.getDefiningOp<ConcatOp>();
  if (!concat || concat.getInputs().size() != 2 ||
      static_cast<int64_t>(concat.getAxis()) != typeOf(value).getRank() - 1)
    return nullptr;
  auto negated = concat.getInputs()[0].getDefiningOp<NegOp>();
  auto low = concat.getInputs()[1].getDefiningOp<SliceOp>();
  if (!negated || !low)
    return nullptr;
  Value source = low.getInput();
  int64_t half = lanesOf(source) / 2;
  if (2 * half != lanesOf(source) || source.getType() != value.getType() ||
      !isLanes(concat.getInputs()[1], source, 0, half) ||
      !isLanes(negated.getInput(), source, half, half))
    return nullptr;
  return source;
}

/// Whether the upper half of the lanes of `table` equals the lower one, because
/// it was made by elementwise ops and views of lanes that were doubled.
static bool isDoubled(Value table) {
  for (int depth = 0; depth < 16; ++depth) {
    Operation *op = table.getDefiningOp();
    if (!op)
      return false;
    if (auto concat = dyn_cast<ConcatOp>(op))
      return concat.getInputs().size() == 2 && concat.getInputs()[0] == concat.getInputs()[1] &&
             static_cast<int64_t>(concat.getAxis()) == typeOf(table).getRank() - 1;
    if (auto constant = dyn_cast<ConstantOp>(op)) {
      auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
      return elements && elements.isSplat();
    }
    if (isa<MulOp>(op) && typeOf(op->getOperand(1)).getNumElements() == 1) {
      table = op->getOperand(0);
      continue;
    }
    bool keepsLanes = isa<CosOp, SinOp, CastOp, GatherOp, ReshapeOp>(op) &&
                      typeOf(op->getOperand(0)).getRank() > 0 &&
                      lanesOf(op->getOperand(0)) == lanesOf(table);
    if (auto gather = dyn_cast<GatherOp>(op))
      keepsLanes &= static_cast<int64_t>(gather.getAxis()) <
                    typeOf(gather.getData()).getRank() - 1;
    if (!keepsLanes)
      return false;
    table = op->getOperand(0);
  }
  return false;
}

static Value firstHalf(OpBuilder &b, Location loc, Value table) {
  SmallVector<int64_t> starts(typeOf(table).getRank(), 0), steps(typeOf(table).getRank(), 1);
  SmallVector<int64_t> sizes(typeOf(table).getShape());
  sizes.back() /= 2;
  return SliceOp::create(b, loc, table, starts, sizes, steps);
}

/// Whether tables of this shape turn `input`.
static bool fits(Value input, Value table) {
  ArrayRef<int64_t> shape = typeOf(table).getShape(), full = typeOf(input).getShape();
  if (shape.empty() || shape.size() > full.size())
    return false;
  FailureOr<SmallVector<int64_t>> joint =
      broadcastShapes({full.drop_back(), shape.drop_back()});
  return succeeded(joint) && ArrayRef<int64_t>(*joint) == full.drop_back();
}

// x * cos + turned(x) * sin
static bool fuseTurned(AddOp add, OpBuilder &b) {
  auto straight = add.getLhs().getDefiningOp<MulOp>();
  auto crossed = add.getRhs().getDefiningOp<MulOp>();
  if (!straight || !crossed)
    return false;
  for (bool swap : {false, true}) {
    if (swap)
      std::swap(straight, crossed);
    for (unsigned side : {0u, 1u}) {
      Value input = unturned(crossed->getOperand(side));
      if (!input || (straight.getLhs() != input && straight.getRhs() != input))
        continue;
      Value sin = crossed->getOperand(1 - side);
      Value cos = straight.getLhs() == input ? straight.getRhs() : straight.getLhs();
      if (cos.getType() != sin.getType() || !fits(input, cos) || lanesOf(cos) != lanesOf(input) ||
          add.getType() != input.getType() || !isDoubled(cos) || !isDoubled(sin))
        continue;
      b.setInsertionPoint(add);
      Location loc = add.getLoc();
      add.replaceAllUsesWith(RopeOp::create(b, loc, input, firstHalf(b, loc, cos),
                                            firstHalf(b, loc, sin), false)
                                 .getResult());
      return true;
    }
  }
  return false;
}

/// The operand of `product` other than lanes [start, start + half) of `input`.
static Value coefficient(Value product, Value input, int64_t start, int64_t half) {
  auto mul = product.getDefiningOp<MulOp>();
  if (!mul)
    return nullptr;
  if (isLanes(mul.getLhs(), input, start, half))
    return mul.getRhs();
  return isLanes(mul.getRhs(), input, start, half) ? mul.getLhs() : Value();
}

// concat(x1 * cos - x2 * sin, x2 * cos + x1 * sin)
static bool fuseHalves(ConcatOp concat, OpBuilder &b) {
  if (concat.getInputs().size() != 2 ||
      static_cast<int64_t>(concat.getAxis()) != typeOf(concat.getResult()).getRank() - 1)
    return false;
  auto real = concat.getInputs()[0].getDefiningOp<SubOp>();
  auto imaginary = concat.getInputs()[1].getDefiningOp<AddOp>();
  auto first = real ? real.getLhs().getDefiningOp<MulOp>() : MulOp();
  if (!real || !imaginary || !first)
    return false;
  for (Value part : first->getOperands()) {
    auto slice = part.getDefiningOp<SliceOp>();
    if (!slice || slice.getInput().getType() != concat.getType())
      continue;
    Value input = slice.getInput();
    int64_t half = lanesOf(input) / 2;
    Value cos = coefficient(real.getLhs(), input, 0, half);
    Value sin = coefficient(real.getRhs(), input, half, half);
    Value a = imaginary.getLhs(), c = imaginary.getRhs();
    if (!cos || !sin || cos.getType() != sin.getType() || lanesOf(cos) != half ||
        !fits(input, cos))
      continue;
    bool forward = coefficient(a, input, half, half) == cos && coefficient(c, input, 0, half) == sin;
    bool backward = coefficient(c, input, half, half) == cos && coefficient(a, input, 0, half) == sin;
    if (!forward && !backward)
      continue;
    b.setInsertionPoint(concat);
    concat.replaceAllUsesWith(
        RopeOp::create(b, concat.getLoc(), input, cos, sin, false).getResult());
    return true;
  }
  return false;
}

namespace {

struct FuseRope : cleave::impl::FuseRopeBase<FuseRope> {
  void runOnOperation() override {
    OpBuilder b(&getContext());
    for (Operation &op : llvm::make_early_inc_range(getOperation().front())) {
      if (auto add = dyn_cast<AddOp>(op))
        numFused += fuseTurned(add, b);
      else if (auto concat = dyn_cast<ConcatOp>(op))
        numFused += fuseHalves(concat, b);
    }
  }
};

} // namespace
