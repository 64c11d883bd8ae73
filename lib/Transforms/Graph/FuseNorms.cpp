//===- FuseNorms.cpp - norms by what they compute -------------------------===//
//
// Why: a norm in one op is one kernel, reads its input once and has one sharding
// rule, and recognising it breaks the long elementwise chains that hide the rest.
//
//   %s = nn.mul %x, %x
//   %m = nn.reduce mean %s dims [2]
//   %e = nn.add %m, %epsilon           =>   %y = nn.rms_norm %x, %w epsilon 1e-5
//   %r = nn.rsqrt %e
//   %n = nn.mul %x, %r
//   %y = nn.mul %n, %w
//
// The order of summation changes, and what an f16 graph rounds between its ops
// is rounded once.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

#include "Probe.h"

#include <cmath>

namespace cleave {
#define GEN_PASS_DEF_FUSENORMS
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

/// The longest row that is probed; a longer one is cut, which a mean written as a
/// sum times 1/n does not survive: such a norm stays as it is.
static constexpr int64_t kProbedRow = 4096;

namespace {
struct Norm {
  Value input, result;
  bool centred;
  double epsilon;
};
} // namespace

static std::vector<double> normalised(ArrayRef<double> row, bool centred, double epsilon) {
  double mean = 0, square = 0;
  for (double x : row)
    mean += centred ? x / row.size() : 0;
  for (double x : row)
    square += (x - mean) * (x - mean) / row.size();
  std::vector<double> result;
  for (double x : row)
    result.push_back((x - mean) / std::sqrt(square + epsilon));
  return result;
}

/// A row of deterministic numbers around `scale`, with a mean that is not 0.
static std::vector<double> rowOf(int64_t size, double scale) {
  std::vector<double> row;
  for (int64_t i = 0; i < size; ++i)
    row.push_back(scale * (std::sin(1.7 * i + 0.3) + 0.25));
  return row;
}

static std::optional<Norm> matchNorm(ReduceOp anchor) {
  int64_t size = std::min(typeOf(anchor.getInput()).getShape().back(), kProbedRow);
  if (size < 2 || !isa<FloatType>(typeOf(anchor.getInput()).getElementType()))
    return std::nullopt;
  // From the farthest: a cast in front of the norm belongs to it.
  SmallVector<Value> roots = possibleRoots(anchor.getInput());
  for (Value root : llvm::reverse(roots)) {
    Probe probe(root, /*reductions=*/true);
    if (!llvm::is_contained(probe.ops(), anchor.getOperation()))
      continue;
    SmallVector<double> epsilons;
    for (Operation *op : probe.ops())
      for (Value operand : op->getOperands())
        if (std::optional<double> value = scalarOf(operand))
          if (*value > 0 && *value < 1e-2)
            epsilons.push_back(*value);
    for (double epsilon : epsilons) {
      // Small data, so that ε shows; then ordinary data.
      std::vector<double> small = rowOf(size, std::sqrt(epsilon)), plain = rowOf(size, 1);
      auto smallValues = probe.run(small), plainValues = probe.run(plain);
      if (smallValues.empty() || plainValues.empty())
        continue;
      const std::vector<double> &seenSmall = smallValues[root].floats;
      const std::vector<double> &seenPlain = plainValues[root].floats;
      for (Value candidate : probe.candidates())
        for (bool centred : {false, true}) {
          double tolerance = toleranceOf(typeOf(root).getElementType());
          tolerance = std::max(tolerance, toleranceOf(typeOf(candidate).getElementType()));
          if (areClose(plainValues[candidate].floats, normalised(seenPlain, centred, epsilon),
                       tolerance) &&
              areClose(smallValues[candidate].floats, normalised(seenSmall, centred, epsilon),
                       tolerance))
            return Norm{root, candidate, centred, epsilon};
        }
    }
  }
  return std::nullopt;
}

/// The operand of the sole user of `value`, an `Op`, that is a vector of its last
/// dimension; `value` becomes the user's result then.
template <typename Op> static Value takeVector(Value &value) {
  if (!value.hasOneUse())
    return nullptr;
  auto user = dyn_cast<Op>(*value.user_begin());
  if (!user || user.getType() != value.getType())
    return nullptr;
  Value other = user.getLhs() == value ? user.getRhs() : user.getLhs();
  ArrayRef<int64_t> shape = typeOf(other).getShape();
  if (shape.empty() || shape.back() != typeOf(value).getShape().back() ||
      typeOf(other).getNumElements() != shape.back())
    return nullptr;
  value = user.getResult();
  return other;
}

/// Steps over a cast back to the input's type that is the sole user of `value`.
static void takeCast(Value &value, Type elementType) {
  if (!value.hasOneUse())
    return;
  auto user = dyn_cast<CastOp>(*value.user_begin());
  if (user && typeOf(user.getResult()).getElementType() == elementType)
    value = user.getResult();
}

static void rewrite(Norm norm, OpBuilder &b) {
  Type element = typeOf(norm.input).getElementType();
  Value result = norm.result;
  if (typeOf(result).getElementType() != element)
    takeCast(result, element);
  Value scale = takeVector<MulOp>(result);
  if (typeOf(result).getElementType() != element)
    takeCast(result, element);
  Value bias = scale && norm.centred ? takeVector<AddOp>(result) : Value();

  b.setInsertionPointAfter(result.getDefiningOp());
  Location loc = result.getLoc();
  int64_t size = typeOf(norm.input).getShape().back();
  auto vectorType = RankedTensorType::get({size}, element);
  auto vector = [&](Value value) -> Value {
    value = ReshapeOp::create(b, loc, RankedTensorType::get({size}, typeOf(value).getElementType()),
                              value);
    return CastOp::create(b, loc, vectorType, value);
  };
  if (!scale)
    scale = ConstantOp::create(b, loc, vectorType,
                               DenseElementsAttr::get(vectorType, b.getFloatAttr(element, 1)));
  else
    scale = vector(scale);
  Value fused;
  llvm::APFloat epsilon(norm.epsilon);
  if (norm.centred)
    fused = LayerNormOp::create(b, loc, norm.input, scale, bias ? vector(bias) : Value(), epsilon);
  else
    fused = RmsNormOp::create(b, loc, norm.input, scale, epsilon);
  if (fused.getType() != result.getType())
    fused = CastOp::create(b, loc, result.getType(), fused);
  result.replaceAllUsesWith(fused);
}

namespace {

struct FuseNorms : cleave::impl::FuseNormsBase<FuseNorms> {
  void runOnOperation() override {
    SmallVector<ReduceOp> anchors;
    getOperation().walk([&](ReduceOp op) {
      bool sums = op.getKind() == ReduceKind::Sum || op.getKind() == ReduceKind::Mean;
      if (sums && op.getDims().size() == 1 &&
          op.getDims()[0] == typeOf(op.getInput()).getRank() - 1)
        anchors.push_back(op);
    });
    OpBuilder b(&getContext());
    for (ReduceOp anchor : anchors) {
      std::optional<Norm> norm = matchNorm(anchor);
      // The second reduction of a norm that is fused already leads to the same value,
      // which nobody reads any more.
      if (norm && !norm->result.use_empty()) {
        rewrite(*norm, b);
        ++numFused;
      }
    }
  }
};

} // namespace
