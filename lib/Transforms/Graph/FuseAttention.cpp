//===- FuseAttention.cpp - softmax(scale q kᵀ + mask) v -------------------===//
//
// Why: one kernel never holds the scores, and shared key heads are read once
// instead of being repeated in memory.
//
//   %t = nn.transpose %k [0, 1, 3, 2]
//   %s = nn.matmul %q, %t
//   %m = nn.add (nn.mul %s, %scale), %mask    =>   %y = nn.attention %q, %k, %v mask %mask
//   %p = nn.softmax %m dim 3
//   %y = nn.matmul %p, %v
//
// The order of additions changes, and nothing is rounded between the steps.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

#include "Probe.h"

#include <cmath>
#include <limits>

namespace cleave {
#define GEN_PASS_DEF_FUSEATTENTION
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

namespace {
/// Scores where `condition` is not `visible` are replaced by `fill`.
struct Hidden {
  Value condition;
  bool visible;
  double fill;
};

struct Match {
  MatmulOp scores, output;
  double scale = 1;
  double softcap = 0;         ///< 0 for none
  SmallVector<Value> terms;   ///< added to the scaled and capped scores
  SmallVector<Hidden> hidden; ///< as terms of 0 and `fill`
  bool guarded = false;       ///< a row of NaN, which saw no key, becomes 0
};
} // namespace

/// A fill that hides a score whether it replaces it or is added to it: rounding leaves
/// nothing of the score.
static constexpr double kHides = -1e30;

//===----------------------------------------------------------------------===//
// Matching
//===----------------------------------------------------------------------===//

/// What `op` multiplies one of its operands by, and that operand.
static std::optional<std::pair<Value, double>> scaledOperand(Operation *op) {
  if (auto mul = dyn_cast<MulOp>(op))
    for (auto [value, factor] :
         {std::pair(mul.getLhs(), mul.getRhs()), std::pair(mul.getRhs(), mul.getLhs())})
      if (std::optional<double> number = scalarOf(factor);
          number && value.getType() == mul.getType())
        return std::pair(value, *number);
  if (auto div = dyn_cast<DivOp>(op))
    if (std::optional<double> number = scalarOf(div.getRhs());
        number && *number != 0 && div.getLhs().getType() == div.getType())
      return std::pair(div.getLhs(), 1 / *number);
  return std::nullopt;
}

/// The scores that `op` adds to or hides in part, which `match` notes; null if it does
/// neither. What is scaled or capped afterwards would be another term.
static Value climbMask(Operation *op, Match &match) {
  if (match.scale != 1 || match.softcap != 0)
    return nullptr;
  if (auto add = dyn_cast<AddOp>(op)) {
    // The scores are the side that has their shape and leads to a product.
    bool left =
        add.getLhs().getType() == add.getType() &&
        isa_and_nonnull<MatmulOp, MulOp, DivOp, AddOp, SelectOp>(add.getLhs().getDefiningOp());
    match.terms.push_back(left ? add.getRhs() : add.getLhs());
    return left ? add.getLhs() : add.getRhs();
  }
  auto select = dyn_cast<SelectOp>(op);
  if (!select)
    return nullptr;
  std::optional<double> onTrue = scalarOf(select.getLhs()), onFalse = scalarOf(select.getRhs());
  bool visible = onFalse.has_value();
  double fill = visible ? *onFalse : onTrue.value_or(0);
  Value scores = visible ? select.getLhs() : select.getRhs();
  if (!(fill <= kHides) || scores.getType() != select.getType())
    return nullptr;
  match.hidden.push_back({select.getCondition(), visible, fill});
  return scores;
}

/// Climbs from the softmax to the product of q and k.
static bool climb(Value value, Match &match) {
  for (int depth = 0; depth < 12; ++depth) {
    Operation *op = value.getDefiningOp();
    if (!op || !value.hasOneUse())
      return false;
    if (auto scores = dyn_cast<MatmulOp>(op)) {
      match.scores = scores;
      return true;
    }
    if (auto scaled = scaledOperand(op)) {
      match.scale *= scaled->second;
      value = scaled->first;
    } else if (isa<TanhOp>(op)) {
      // c tanh(x / c)
      if (match.softcap != 0 || match.scale <= 0)
        return false;
      match.softcap = match.scale;
      value = op->getOperand(0);
    } else if (isa<CastOp>(op)) {
      value = op->getOperand(0);
    } else if (Value scores = climbMask(op, match)) {
      value = scores;
    } else {
      return false;
    }
  }
  return false;
}

/// The product that reads `value` as its left operand, if nobody else reads it.
static MatmulOp onlyProduct(Value value) {
  if (!value.hasOneUse())
    return {};
  auto product = dyn_cast<MatmulOp>(*value.getUsers().begin());
  return product && product.getLhs() == value ? product : MatmulOp();
}

/// Finds the product of the probabilities and v. What stands between may be casts,
/// and anything that leaves them alone but for a row of NaN, which becomes 0.
static bool descend(Value probabilities, Match &match) {
  Probe probe(probabilities, /*reductions=*/false);
  SmallVector<Value> values = probe.candidates();
  values.push_back(probabilities);
  Value last;
  for (Value value : values)
    if (onlyProduct(value))
      last = value;
  if (!last)
    return false;
  match.output = onlyProduct(last);
  for (Value value : values)
    for (Operation *user : value.getUsers())
      if (user != match.output && !llvm::is_contained(probe.ops(), user))
        return false;

  const double nan = std::numeric_limits<double>::quiet_NaN();
  HostValues some = probe.run({0.25, 0.75}), none = probe.run({nan, nan});
  if (!some.count(last) || !none.count(last))
    return false;
  const std::vector<double> &row = none[last].floats;
  match.guarded = llvm::all_of(row, [](double x) { return x == 0.0; });
  return areClose(some[last].floats, {0.25, 0.75}, toleranceOf(typeOf(last).getElementType())) &&
         (match.guarded || llvm::all_of(row, [](double x) { return std::isnan(x); }));
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

/// `value` without the scalars that multiply it, here or in front of movement;
/// `scale` takes them.
static Value unscaled(Value value, double &scale) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return value;
  if (isa<TransposeOp, ReshapeOp, BroadcastOp>(op)) {
    Value source = unscaled(op->getOperand(0), scale);
    if (source == op->getOperand(0))
      return value;
    Operation *clone = OpBuilder(op).clone(*op);
    clone->setOperand(0, source);
    return clone->getResult(0);
  }
  std::optional<std::pair<Value, double>> scaled = scaledOperand(op);
  if (!scaled)
    return value;
  scale *= scaled->second;
  return unscaled(scaled->first, scale);
}

/// [.., t, d] of which `value` is the transpose [.., d, t].
static Value transposed(Value value, OpBuilder &b) {
  auto lastSwapped = [](int64_t rank) {
    SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    std::swap(permutation.end()[-1], permutation.end()[-2]);
    return permutation;
  };
  // Batch and heads may have been one dimension while it was transposed.
  auto regrouped = value.getDefiningOp<ReshapeOp>();
  auto inner = regrouped ? regrouped.getInput().getDefiningOp<TransposeOp>() : TransposeOp();
  if (inner && shapeOf(inner.getResult()).take_back(2) == shapeOf(value).take_back(2) &&
      inner.getPermutation() == ArrayRef<int64_t>(lastSwapped(inner.getPermutation().size()))) {
    SmallVector<int64_t> shape(shapeOf(value));
    std::swap(shape.end()[-1], shape.end()[-2]);
    return b.createOrFold<ReshapeOp>(value.getLoc(), RankedTensorType::get(shape, elementOf(value)),
                                     inner.getInput());
  }
  return b.createOrFold<TransposeOp>(value.getLoc(), value, lastSwapped(typeOf(value).getRank()));
}

/// Of [b, (g r), t, d] made by repeating each of g heads r times: [b, g, t, d].
static Value unrepeated(Value value) {
  auto merge = value.getDefiningOp<ReshapeOp>();
  auto repeat = merge ? merge.getInput().getDefiningOp<BroadcastOp>() : BroadcastOp();
  if (!repeat || typeOf(repeat).getRank() != 5)
    return value;
  ArrayRef<int64_t> wide = shapeOf(repeat.getResult()), full = shapeOf(value);
  ArrayRef<int64_t> narrow = shapeOf(repeat.getInput());
  if (narrow.size() != 5 || narrow[2] != 1 || narrow[0] != wide[0] || narrow[1] != wide[1] ||
      narrow[3] != wide[3] || narrow[4] != wide[4] || full[0] != wide[0] ||
      full[1] != wide[1] * wide[2] || full[2] != wide[3] || full[3] != wide[4])
    return value;
  SmallVector<int64_t> heads = {wide[0], wide[1], wide[3], wide[4]};
  Value source = repeat.getInput();
  if (auto split = source.getDefiningOp<ReshapeOp>();
      split && shapeOf(split.getInput()) == ArrayRef<int64_t>(heads))
    return split.getInput();
  OpBuilder b(repeat);
  return ReshapeOp::create(b, repeat.getLoc(),
                           RankedTensorType::get(heads, typeOf(value).getElementType()), source);
}

/// As four dimensions: [n, s, d] is [1, n, s, d].
static Value fourDims(Value value, OpBuilder &b) {
  if (typeOf(value).getRank() == 4)
    return value;
  SmallVector<int64_t> shape(4 - typeOf(value).getRank(), 1);
  llvm::append_range(shape, shapeOf(value));
  return ReshapeOp::create(b, value.getLoc(),
                           RankedTensorType::get(shape, typeOf(value).getElementType()), value);
}

namespace {
struct Causal {
  int64_t offset; ///< j - i up to which keys are seen
  bool isExact;   ///< hidden by -inf, which nothing added to it changes
};
} // namespace

/// What a constant mask of 0 and large negative numbers says, if it is a causal one.
static std::optional<Causal> causalMask(Value mask) {
  auto constant = mask.getDefiningOp<ConstantOp>();
  if (!constant || typeOf(mask).getRank() < 2)
    return std::nullopt;
  int64_t rows = shapeOf(mask).end()[-2], keys = shapeOf(mask).back();
  if (typeOf(mask).getNumElements() != rows * keys || rows == 0 || keys == 0)
    return std::nullopt;
  HostTensor tensor = HostTensor::fromAttr(constant.getValue());
  Causal causal{-1, true};
  while (causal.offset + 1 < keys && tensor.floats[causal.offset + 1] == 0)
    ++causal.offset;
  // A row without a key would be told apart from a hidden one by nothing.
  if (causal.offset < 0)
    return std::nullopt;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < keys; ++j) {
      double value = tensor.floats[i * keys + j];
      if (j <= i + causal.offset ? value != 0 : value > -3000)
        return std::nullopt;
      causal.isExact &= value == 0 || std::isinf(value);
    }
  return causal;
}

//===----------------------------------------------------------------------===//
// Rewriting
//===----------------------------------------------------------------------===//

/// All that is added to the scores, what hides some of them as terms of 0 and the fill.
static SmallVector<Value> termsOf(Match &match, OpBuilder &b) {
  SmallVector<Value> terms;
  for (Value term : match.terms)
    if (scalarOf(term) != 0.0)
      terms.push_back(term);
  Location loc = match.output.getLoc();
  Type element = elementOf(match.scores.getResult());
  auto number = [&](double value) -> Value {
    auto type = RankedTensorType::get({}, element);
    return ConstantOp::create(b, loc, type,
                              DenseElementsAttr::get(type, b.getFloatAttr(element, value)));
  };
  for (const Hidden &hidden : match.hidden) {
    Value seen = number(0), unseen = number(hidden.fill);
    terms.push_back(SelectOp::create(b, loc, hidden.condition, hidden.visible ? seen : unseen,
                                     hidden.visible ? unseen : seen));
  }
  return terms;
}

static bool rewrite(Match match, OpBuilder &b) {
  Value q = unscaled(match.scores.getLhs(), match.scale), v = match.output.getRhs();
  Value k = unscaled(match.scores.getRhs(), match.scale);
  int64_t rank = typeOf(match.scores.getResult()).getRank();
  // What an attention computes is as exact as f32.
  if (elementOf(match.scores.getResult()).isF64())
    return false;
  if (rank < 3 || rank > 4 || typeOf(q).getRank() != rank || typeOf(k).getRank() != rank ||
      typeOf(v).getRank() != rank)
    return false;
  b.setInsertionPoint(match.output);
  SmallVector<Value> terms = termsOf(match, b);
  for (Value term : terms)
    if (typeOf(term).getRank() > rank)
      return false;

  Location loc = match.output.getLoc();
  Type element = typeOf(q).getElementType();
  Value query = fourDims(q, b), value = unrepeated(fourDims(v, b));
  Value key = unrepeated(fourDims(transposed(k, b), b));
  if (typeOf(value).getElementType() != element ||
      shapeOf(key).take_front(3) != shapeOf(value).take_front(3) ||
      shapeOf(query)[0] != shapeOf(key)[0] || shapeOf(key)[1] == 0 ||
      shapeOf(query)[1] % shapeOf(key)[1] != 0)
    return false;

  std::optional<Causal> causal;
  Value mask;
  for (Value term : terms) {
    // Where a finite mask meets another, a key hidden by both weighs less than one
    // hidden once, which a row that sees no key shows: the sum says so.
    std::optional<Causal> seen = causalMask(term);
    if (seen && !causal && (seen->isExact || terms.size() == 1)) {
      causal = seen;
      continue;
    }
    term = fourDims(term, b);
    term = CastOp::create(b, loc, RankedTensorType::get(shapeOf(term), element), term);
    mask = mask ? AddOp::create(b, loc, mask, term).getResult() : term;
  }
  auto rows = match.guarded || !mask ? EmptyRows::Zero : EmptyRows::Nan;
  Value fused = AttentionOp::create(b, loc, query, key, value, mask, /*lengths=*/Value(),
                                    llvm::APFloat(match.scale), llvm::APFloat(match.softcap),
                                    causal.has_value(), causal ? causal->offset : 0, rows);
  fused = ReshapeOp::create(
      b, loc, RankedTensorType::get(shapeOf(match.output.getResult()), element), fused);
  if (fused.getType() != match.output.getType())
    fused = CastOp::create(b, loc, match.output.getType(), fused);
  match.output.replaceAllUsesWith(fused);
  return true;
}

namespace {

struct FuseAttention : cleave::impl::FuseAttentionBase<FuseAttention> {
  void runOnOperation() override {
    SmallVector<SoftmaxOp> anchors;
    getOperation().walk([&](SoftmaxOp op) {
      if (static_cast<int64_t>(op.getDim()) == typeOf(op.getInput()).getRank() - 1)
        anchors.push_back(op);
    });
    OpBuilder b(&getContext());
    for (SoftmaxOp anchor : anchors) {
      Match match;
      if (climb(anchor.getInput(), match) && descend(anchor.getResult(), match))
        numFused += rewrite(match, b);
    }
  }
};

} // namespace
