//===- Elementwise.cpp - arithmetic, comparisons, activations -------------===//

#include "Node.h"

using namespace mlir;
using namespace cleave;

template <typename Op> static LogicalResult unary(Node &n) { return n.give(n.make<Op>(n.in(0))); }

/// Operands in order, folded from the left: ONNX's Sum, Max, Min take any number.
template <typename Op> static Value chain(Node &n) {
  Value result = n.in(0);
  for (size_t i = 1; i < n.numInputs(); ++i)
    result = n.make<Op>({result, n.in(i)});
  return result;
}

// Until opset 6 operands were aligned at an `axis`, if `broadcast` said so.
template <typename Op> static LogicalResult binary(Node &n) {
  if (n.intAttr("broadcast") != 0)
    return n.unsupported("the attribute \"broadcast\" of opset 6");
  if (n.numInputs() != 2)
    return n.error() << "has " << n.numInputs() << " inputs, want: 2";
  return n.give(n.make<Op>({n.in(0), n.in(1)}));
}

template <typename Op> static LogicalResult variadic(Node &n) { return n.give(chain<Op>(n)); }

static LogicalResult mean(Node &n) {
  Value sum = chain<nn::AddOp>(n);
  if (!sum)
    return failure();
  return n.give(n.make<nn::DivOp>({sum, n.scalar(elementOf(sum), n.numInputs())}));
}

template <nn::CompareKind kind> static LogicalResult compare(Node &n) {
  return n.give(n.make<nn::CompareOp>(
      {n.in(0), n.in(1)}, {{"kind", nn::CompareKindAttr::get(n.b.getContext(), kind)}}));
}

static LogicalResult mod(Node &n) {
  return n.intAttr("fmod") ? binary<nn::RemOp>(n) : binary<nn::ModOp>(n);
}

// Small whole exponents are products: exact, and far cheaper than a power.
static LogicalResult pow(Node &n) {
  Value base = n.in(0), exponent = n.in(1);
  if (!base || !exponent)
    return failure();
  std::optional<HostTensor> known = n.constant(exponent);
  if (known && known->size() == 1 && rankOf(exponent) <= rankOf(base)) {
    double value = known->isFloat() ? known->floats[0] : known->ints[0];
    if (value == 1)
      return n.give(base);
    if (value == 2 || value == 3) {
      Value square = n.make<nn::MulOp>({base, base});
      return n.give(value == 2 ? square : n.make<nn::MulOp>({square, base}));
    }
    if (value == 0.5 && isa<FloatType>(elementOf(base)))
      return n.give(n.make<nn::SqrtOp>(base));
  }
  return n.give(n.make<nn::PowOp>({base, n.cast(exponent, elementOf(base))}));
}

static LogicalResult where(Node &n) {
  return n.give(n.make<nn::SelectOp>({n.in(0), n.in(1), n.in(2)}));
}

Type cleave::elementOfNumber(Builder &b, int64_t number) {
  switch (number) {
  case 1: return b.getF32Type();
  case 2: return b.getIntegerType(8, false);
  case 3: return b.getIntegerType(8);
  case 4: return b.getIntegerType(16, false);
  case 5: return b.getIntegerType(16);
  case 6: return b.getI32Type();
  case 7: return b.getI64Type();
  case 9: return b.getI1Type();
  case 10: return b.getF16Type();
  case 11: return b.getF64Type();
  case 12: return b.getIntegerType(32, false);
  case 13: return b.getIntegerType(64, false);
  case 16: return b.getBF16Type();
  case 17: return Float8E4M3FNType::get(b.getContext());
  case 19: return Float8E5M2Type::get(b.getContext());
  default: return nullptr;
  }
}

/// 8-bit floats saturate unless a node says otherwise; nothing else does.
static Value castTo(Node &n, Type target) {
  return n.cast(n.in(0), target, isByteFloat(target) && n.intAttr("saturate", 1) != 0);
}

static LogicalResult cast(Node &n) {
  Type target = elementOfNumber(n.b, n.intAttr("to"));
  if (!target)
    return n.unsupported("the target type " + Twine(n.intAttr("to")));
  return n.give(castTo(n, target));
}

static LogicalResult castLike(Node &n) {
  Value like = n.in(1);
  return like ? n.give(castTo(n, elementOf(like))) : failure();
}

static LogicalResult identity(Node &n) { return n.give(n.in(0)); }

// Inference keeps everything.
static LogicalResult dropout(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  if (n.has(2)) {
    std::optional<HostTensor> training = n.constant(n.in(2));
    if (!training || training->isFloat() || training->size() != 1 || training->ints[0] != 0)
      return n.unsupported("training mode");
  }
  return n.give({input, n.broadcast(n.scalar(n.b.getI1Type(), 1), sizesOf(input))});
}

static LogicalResult clip(Node &n) {
  Value result = n.in(0);
  if (!result)
    return failure();
  auto bound = [&](StringRef name, size_t i) -> Value {
    if (n.has(i))
      return n.in(i);
    return n.attr(name) ? n.scalar(elementOf(result), n.floatAttr(name)) : Value();
  };
  Value low = bound("min", 1), high = bound("max", 2);
  if (low)
    result = n.make<nn::MaxOp>({result, low});
  if (high)
    result = n.make<nn::MinOp>({result, high});
  return n.give(result);
}

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

static Value scale(Node &n, Value x, double factor) {
  return x ? n.make<nn::MulOp>({x, n.scalar(elementOf(x), factor)}) : x;
}

static Value shift(Node &n, Value x, double addend) {
  return x ? n.make<nn::AddOp>({x, n.scalar(elementOf(x), addend)}) : x;
}

static Value isNegative(Node &n, Value x) {
  auto kind = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Lt);
  return x ? n.make<nn::CompareOp>({x, n.scalar(elementOf(x), 0)}, {{"kind", kind}}) : x;
}

static LogicalResult relu(Node &n) {
  Value x = n.in(0);
  return x ? n.give(n.make<nn::MaxOp>({x, n.scalar(elementOf(x), 0)})) : failure();
}

static LogicalResult leakyRelu(Node &n) {
  Value x = n.in(0);
  return n.give(n.make<nn::SelectOp>({isNegative(n, x), scale(n, x, n.floatAttr("alpha")), x}));
}

static LogicalResult prelu(Node &n) {
  Value x = n.in(0);
  return n.give(n.make<nn::SelectOp>({isNegative(n, x), n.make<nn::MulOp>({x, n.in(1)}), x}));
}

static LogicalResult elu(Node &n) {
  Value x = n.in(0);
  Value below = scale(n, shift(n, n.make<nn::ExpOp>(x), -1), n.floatAttr("alpha"));
  return n.give(n.make<nn::SelectOp>({isNegative(n, x), below, x}));
}

static Value clamp01(Node &n, Value x) {
  if (!x)
    return x;
  Value above = n.make<nn::MaxOp>({x, n.scalar(elementOf(x), 0)});
  return n.make<nn::MinOp>({above, n.scalar(elementOf(x), 1)});
}

static LogicalResult hardSigmoid(Node &n) {
  Value line = shift(n, scale(n, n.in(0), n.floatAttr("alpha")), n.floatAttr("beta"));
  return n.give(clamp01(n, line));
}

static LogicalResult hardSwish(Node &n) {
  Value x = n.in(0);
  return n.give(n.make<nn::MulOp>({x, clamp01(n, shift(n, scale(n, x, 1.0 / 6), 0.5))}));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), which does not overflow.
static LogicalResult softplus(Node &n) {
  Value x = n.in(0);
  if (!x)
    return failure();
  Value small = n.make<nn::ExpOp>(n.make<nn::NegOp>(n.make<nn::AbsOp>(x)));
  Value positive = n.make<nn::MaxOp>({x, n.scalar(elementOf(x), 0)});
  return n.give(n.make<nn::AddOp>({positive, n.make<nn::LogOp>(shift(n, small, 1))}));
}

static LogicalResult gelu(Node &n) {
  nn::GeluKind kind =
      n.stringAttr("approximate") == "tanh" ? nn::GeluKind::Tanh : nn::GeluKind::Erf;
  return n.give(
      n.make<nn::GeluOp>(n.in(0), {{"kind", nn::GeluKindAttr::get(n.b.getContext(), kind)}}));
}

static LogicalResult swish(Node &n) {
  double alpha = n.floatAttr("alpha", 1);
  Value x = n.in(0);
  if (alpha == 1)
    return n.give(n.make<nn::SiluOp>(x));
  return n.give(n.make<nn::MulOp>({x, n.make<nn::SigmoidOp>(scale(n, x, alpha))}));
}

void cleave::addElementwise(ConvertTable &table) {
  table["Abs"] = unary<nn::AbsOp>;
  table["Add"] = binary<nn::AddOp>;
  table["And"] = binary<nn::AndOp>;
  table["Cast"] = cast;
  table["CastLike"] = castLike;
  table["Ceil"] = unary<nn::CeilOp>;
  table["Clip"] = clip;
  table["Cos"] = unary<nn::CosOp>;
  table["Div"] = binary<nn::DivOp>;
  table["Dropout"] = dropout;
  table["Elu"] = elu;
  table["Equal"] = compare<nn::CompareKind::Eq>;
  table["Erf"] = unary<nn::ErfOp>;
  table["Exp"] = unary<nn::ExpOp>;
  table["Floor"] = unary<nn::FloorOp>;
  table["Gelu"] = gelu;
  table["Greater"] = compare<nn::CompareKind::Gt>;
  table["GreaterOrEqual"] = compare<nn::CompareKind::Ge>;
  table["HardSigmoid"] = hardSigmoid;
  table["HardSwish"] = hardSwish;
  table["Identity"] = identity;
  table["IsNaN"] = unary<nn::IsNanOp>;
  table["LeakyRelu"] = leakyRelu;
  table["Less"] = compare<nn::CompareKind::Lt>;
  table["LessOrEqual"] = compare<nn::CompareKind::Le>;
  table["Log"] = unary<nn::LogOp>;
  table["Max"] = variadic<nn::MaxOp>;
  table["Mean"] = mean;
  table["Min"] = variadic<nn::MinOp>;
  table["Mod"] = mod;
  table["Mul"] = binary<nn::MulOp>;
  table["Neg"] = unary<nn::NegOp>;
  table["Not"] = unary<nn::NotOp>;
  table["Or"] = binary<nn::OrOp>;
  table["PRelu"] = prelu;
  table["Pow"] = pow;
  table["Reciprocal"] = unary<nn::ReciprocalOp>;
  table["Relu"] = relu;
  table["Round"] = unary<nn::RoundOp>;
  table["Sigmoid"] = unary<nn::SigmoidOp>;
  table["Sign"] = unary<nn::SignOp>;
  table["Sin"] = unary<nn::SinOp>;
  table["Softplus"] = softplus;
  table["Sqrt"] = unary<nn::SqrtOp>;
  table["Sub"] = binary<nn::SubOp>;
  table["Sum"] = variadic<nn::AddOp>;
  table["Swish"] = swish;
  table["Tanh"] = unary<nn::TanhOp>;
  table["Where"] = where;
  table["Xor"] = binary<nn::XorOp>;
}
