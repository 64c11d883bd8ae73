//===- Elementwise.cpp - the scalar meaning of elementwise ops ------------===//
//
// One function an op. Values are scalars or vectors of one length; integers
// arrive signless, so signedness is read from the op's own tensors.
//
//===----------------------------------------------------------------------===//

#include "Nn/Functions.h"
#include "Nn/Nn.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"

#include <limits>
#include <numbers>

using namespace mlir;
using namespace cleave::nn;

static Type laneTypeOf(Value x) { return getElementTypeOrSelf(x.getType()); }
static bool isFloat(Value x) { return isa<FloatType>(laneTypeOf(x)); }
static bool isUnsigned(Value tensor) { return laneTypeOf(tensor).isUnsignedInteger(); }
static bool isBool(Value x) { return laneTypeOf(x).isInteger(1); }

static Type like(Value shape, Type element) {
  if (auto vector = dyn_cast<VectorType>(shape.getType()))
    return vector.clone(element);
  return element;
}

static Value constant(OpBuilder &b, Location loc, Value x, double value) {
  Type element = laneTypeOf(x);
  Attribute attr;
  if (isa<FloatType>(element))
    attr = b.getFloatAttr(element, value);
  else
    attr = b.getIntegerAttr(element, static_cast<int64_t>(value));
  if (auto vector = dyn_cast<VectorType>(x.getType()))
    attr = DenseElementsAttr::get(vector, attr);
  return arith::ConstantOp::create(b, loc, x.getType(), cast<TypedAttr>(attr));
}

/// The float op or the integer op, by the type of the operands.
template <typename FloatOp, typename IntOp>
static Value numeric(OpBuilder &b, Location loc, ValueRange x) {
  if (isFloat(x[0]))
    return FloatOp::create(b, loc, x[0], x[1]);
  return IntOp::create(b, loc, x[0], x[1]);
}

static Value select(OpBuilder &b, Location loc, Value c, Value x, Value y) {
  return arith::SelectOp::create(b, loc, c, x, y);
}

Value NegOp::buildScalar(OpBuilder &b, ValueRange x) {
  if (isFloat(x[0]))
    return arith::NegFOp::create(b, getLoc(), x[0]);
  return arith::SubIOp::create(b, getLoc(), constant(b, getLoc(), x[0], 0), x[0]);
}

Value AbsOp::buildScalar(OpBuilder &b, ValueRange x) {
  if (isFloat(x[0]))
    return math::AbsFOp::create(b, getLoc(), x[0]);
  if (isUnsigned(getInput()) || isBool(x[0]))
    return x[0];
  return math::AbsIOp::create(b, getLoc(), x[0]);
}

Value SignOp::buildScalar(OpBuilder &b, ValueRange x) {
  Value zero = constant(b, getLoc(), x[0], 0), one = constant(b, getLoc(), x[0], 1);
  Value minus = constant(b, getLoc(), x[0], -1);
  if (isFloat(x[0])) {
    auto test = [&](arith::CmpFPredicate p) {
      return arith::CmpFOp::create(b, getLoc(), p, x[0], zero);
    };
    // x itself where it is neither: a zero, or NaN.
    Value low = select(b, getLoc(), test(arith::CmpFPredicate::OLT), minus, x[0]);
    return select(b, getLoc(), test(arith::CmpFPredicate::OGT), one, low);
  }
  Value present = arith::CmpIOp::create(b, getLoc(), arith::CmpIPredicate::ne, x[0], zero);
  Value positive = select(b, getLoc(), present, one, zero);
  if (isUnsigned(getInput()) || isBool(x[0]))
    return positive;
  Value below = arith::CmpIOp::create(b, getLoc(), arith::CmpIPredicate::slt, x[0], zero);
  return select(b, getLoc(), below, minus, positive);
}

Value ExpOp::buildScalar(OpBuilder &b, ValueRange x) { return buildExp(b, getLoc(), x[0]); }
Value LogOp::buildScalar(OpBuilder &b, ValueRange x) { return buildLog(b, getLoc(), x[0]); }
Value TanhOp::buildScalar(OpBuilder &b, ValueRange x) { return buildTanh(b, getLoc(), x[0]); }
Value ErfOp::buildScalar(OpBuilder &b, ValueRange x) { return buildErf(b, getLoc(), x[0]); }
Value SinOp::buildScalar(OpBuilder &b, ValueRange x) { return buildSin(b, getLoc(), x[0]); }
Value CosOp::buildScalar(OpBuilder &b, ValueRange x) { return buildCos(b, getLoc(), x[0]); }

Value SigmoidOp::buildScalar(OpBuilder &b, ValueRange x) { return buildSigmoid(b, getLoc(), x[0]); }

Value SiluOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::MulFOp::create(b, getLoc(), x[0], buildSigmoid(b, getLoc(), x[0]));
}

Value SqrtOp::buildScalar(OpBuilder &b, ValueRange x) {
  return math::SqrtOp::create(b, getLoc(), x[0]);
}

Value RsqrtOp::buildScalar(OpBuilder &b, ValueRange x) {
  Value root = math::SqrtOp::create(b, getLoc(), x[0]);
  return arith::DivFOp::create(b, getLoc(), constant(b, getLoc(), x[0], 1), root);
}

Value ReciprocalOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::DivFOp::create(b, getLoc(), constant(b, getLoc(), x[0], 1), x[0]);
}

Value FloorOp::buildScalar(OpBuilder &b, ValueRange x) {
  return math::FloorOp::create(b, getLoc(), x[0]);
}

Value CeilOp::buildScalar(OpBuilder &b, ValueRange x) {
  return math::CeilOp::create(b, getLoc(), x[0]);
}

Value RoundOp::buildScalar(OpBuilder &b, ValueRange x) {
  return math::RoundEvenOp::create(b, getLoc(), x[0]);
}

Value NotOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::XOrIOp::create(b, getLoc(), x[0], constant(b, getLoc(), x[0], 1));
}

Value IsNanOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::CmpFOp::create(b, getLoc(), arith::CmpFPredicate::UNO, x[0], x[0]);
}

Value GeluOp::buildScalar(OpBuilder &b, ValueRange operands) {
  Location loc = getLoc();
  Value x = operands[0];
  auto num = [&](double v) { return constant(b, loc, x, v); };
  auto mul = [&](Value l, Value r) -> Value { return arith::MulFOp::create(b, loc, l, r); };
  if (getKind() == GeluKind::Quick)
    return mul(x, buildSigmoid(b, loc, mul(x, num(1.702))));
  Value half = mul(x, num(0.5));
  Value inner;
  if (getKind() == GeluKind::Erf) {
    inner = buildErf(b, loc, mul(x, num(1 / std::numbers::sqrt2)));
  } else {
    Value cubic = math::FmaOp::create(b, loc, mul(x, x), num(0.044715), num(1.0));
    inner = buildTanh(b, loc, mul(mul(x, num(std::sqrt(2 / std::numbers::pi))), cubic));
  }
  return math::FmaOp::create(b, loc, half, inner, half);
}

Value AddOp::buildScalar(OpBuilder &b, ValueRange x) {
  return numeric<arith::AddFOp, arith::AddIOp>(b, getLoc(), x);
}

Value SubOp::buildScalar(OpBuilder &b, ValueRange x) {
  return numeric<arith::SubFOp, arith::SubIOp>(b, getLoc(), x);
}

Value MulOp::buildScalar(OpBuilder &b, ValueRange x) {
  return numeric<arith::MulFOp, arith::MulIOp>(b, getLoc(), x);
}

/// A divisor that no hardware faults on: 0 and the overflowing -1 become 1;
/// what such a division gives is not defined by any model.
static Value safeDivisor(OpBuilder &b, Location loc, Value dividend, Value divisor, bool isSigned) {
  Value one = constant(b, loc, divisor, 1);
  auto equal = [&](Value v, Value w) -> Value {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, v, w);
  };
  Value wild = equal(divisor, constant(b, loc, divisor, 0));
  if (isSigned) {
    unsigned width = laneTypeOf(divisor).getIntOrFloatBitWidth();
    auto least = b.getIntegerAttr(laneTypeOf(divisor), APInt::getSignedMinValue(width));
    Attribute attr = least;
    if (auto vector = dyn_cast<VectorType>(divisor.getType()))
      attr = DenseElementsAttr::get(vector, attr);
    Value leastValue = arith::ConstantOp::create(b, loc, divisor.getType(), cast<TypedAttr>(attr));
    Value overflows = arith::AndIOp::create(b, loc, equal(divisor, constant(b, loc, divisor, -1)),
                                            equal(dividend, leastValue));
    wild = arith::OrIOp::create(b, loc, wild, overflows);
  }
  return select(b, loc, wild, one, divisor);
}

Value DivOp::buildScalar(OpBuilder &b, ValueRange x) {
  if (isFloat(x[0]))
    return arith::DivFOp::create(b, getLoc(), x[0], x[1]);
  bool isSigned = !isUnsigned(getLhs());
  Value divisor = safeDivisor(b, getLoc(), x[0], x[1], isSigned);
  if (isSigned)
    return arith::DivSIOp::create(b, getLoc(), x[0], divisor);
  return arith::DivUIOp::create(b, getLoc(), x[0], divisor);
}

/// The exponent, if it is one constant.
static std::optional<double> constantExponent(Value tensor) {
  auto op = tensor.getDefiningOp<ConstantOp>();
  auto dense = op ? dyn_cast<DenseElementsAttr>(op.getValue()) : nullptr;
  if (!dense || !dense.isSplat() || !isa<FloatType>(dense.getElementType()))
    return std::nullopt;
  return dense.getSplatValue<APFloat>().convertToDouble();
}

Value PowOp::buildScalar(OpBuilder &b, ValueRange x) {
  Location loc = getLoc();
  if (isFloat(x[0])) {
    std::optional<double> exponent = constantExponent(getRhs());
    if (exponent == 1.0)
      return x[0];
    if (exponent == 2.0 || exponent == 3.0) {
      Value square = arith::MulFOp::create(b, loc, x[0], x[0]);
      return *exponent == 2.0 ? square : arith::MulFOp::create(b, loc, square, x[0]).getResult();
    }
    return buildPow(b, loc, x[0], x[1]);
  }
  // Square and multiply over the bits of the exponent.
  Value zero = constant(b, loc, x[0], 0), one = constant(b, loc, x[0], 1);
  Value power = one, base = x[0], exponent = x[1];
  unsigned bits = laneTypeOf(x[0]).getIntOrFloatBitWidth();
  for (unsigned bit = 0; bit < std::min(bits, 6u); ++bit) {
    Value set = arith::AndIOp::create(b, loc, exponent, one);
    Value isSet = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, set, zero);
    Value product = arith::MulIOp::create(b, loc, power, base);
    power = select(b, loc, isSet, product, power);
    base = arith::MulIOp::create(b, loc, base, base);
    exponent = arith::ShRUIOp::create(b, loc, exponent, one);
  }
  if (isUnsigned(getLhs()))
    return power;
  // Of a negative exponent only the powers of 1 and -1 are integers.
  Value negative = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x[1], zero);
  Value minus = constant(b, loc, x[0], -1);
  Value oddBit = arith::AndIOp::create(b, loc, x[1], one);
  Value odd = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, oddBit, zero);
  auto equals = [&](Value v) -> Value {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x[0], v);
  };
  Value inverse = select(b, loc, equals(one), one, zero);
  inverse = select(b, loc, equals(minus), select(b, loc, odd, minus, one), inverse);
  return select(b, loc, negative, inverse, power);
}

Value MaxOp::buildScalar(OpBuilder &b, ValueRange x) {
  if (isFloat(x[0]))
    return arith::MaximumFOp::create(b, getLoc(), x[0], x[1]);
  if (isUnsigned(getLhs()) || isBool(x[0]))
    return arith::MaxUIOp::create(b, getLoc(), x[0], x[1]);
  return arith::MaxSIOp::create(b, getLoc(), x[0], x[1]);
}

Value MinOp::buildScalar(OpBuilder &b, ValueRange x) {
  if (isFloat(x[0]))
    return arith::MinimumFOp::create(b, getLoc(), x[0], x[1]);
  if (isUnsigned(getLhs()) || isBool(x[0]))
    return arith::MinUIOp::create(b, getLoc(), x[0], x[1]);
  return arith::MinSIOp::create(b, getLoc(), x[0], x[1]);
}

/// The remainder with the sign of the dividend.
static Value truncatedRemainder(OpBuilder &b, Location loc, ValueRange x, bool isSigned) {
  if (isFloat(x[0]))
    return arith::RemFOp::create(b, loc, x[0], x[1]);
  Value divisor = safeDivisor(b, loc, x[0], x[1], isSigned);
  if (isSigned)
    return arith::RemSIOp::create(b, loc, x[0], divisor);
  return arith::RemUIOp::create(b, loc, x[0], divisor);
}

Value RemOp::buildScalar(OpBuilder &b, ValueRange x) {
  return truncatedRemainder(b, getLoc(), x, !isUnsigned(getLhs()));
}

Value ModOp::buildScalar(OpBuilder &b, ValueRange x) {
  Location loc = getLoc();
  bool isSigned = !isUnsigned(getLhs());
  Value rem = truncatedRemainder(b, loc, x, isSigned);
  if (!isSigned)
    return rem;
  // One divisor is added where the signs differ and something remains.
  Value zero = constant(b, loc, x[0], 0);
  Value remains, differs, sum;
  if (isFloat(x[0])) {
    auto below = [&](Value v) -> Value {
      return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, v, zero);
    };
    remains = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, rem, zero);
    differs = arith::XOrIOp::create(b, loc, below(rem), below(x[1]));
    sum = arith::AddFOp::create(b, loc, rem, x[1]);
  } else {
    auto below = [&](Value v) -> Value {
      return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, v, zero);
    };
    remains = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, rem, zero);
    differs = arith::XOrIOp::create(b, loc, below(rem), below(x[1]));
    sum = arith::AddIOp::create(b, loc, rem, x[1]);
  }
  Value adjust = arith::AndIOp::create(b, loc, remains, differs);
  return select(b, loc, adjust, sum, rem);
}

Value AndOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::AndIOp::create(b, getLoc(), x[0], x[1]);
}

Value OrOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::OrIOp::create(b, getLoc(), x[0], x[1]);
}

Value XorOp::buildScalar(OpBuilder &b, ValueRange x) {
  return arith::XOrIOp::create(b, getLoc(), x[0], x[1]);
}

Value CompareOp::buildScalar(OpBuilder &b, ValueRange x) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  constexpr F floats[] = {F::OEQ, F::UNE, F::OLT, F::OLE, F::OGT, F::OGE};
  constexpr I integers[] = {I::eq, I::ne, I::slt, I::sle, I::sgt, I::sge};
  constexpr I naturals[] = {I::eq, I::ne, I::ult, I::ule, I::ugt, I::uge};
  auto kind = static_cast<size_t>(getKind());
  if (isFloat(x[0]))
    return arith::CmpFOp::create(b, getLoc(), floats[kind], x[0], x[1]);
  bool isNatural = isUnsigned(getLhs()) || isBool(x[0]);
  return arith::CmpIOp::create(b, getLoc(), isNatural ? naturals[kind] : integers[kind], x[0],
                               x[1]);
}

Value SelectOp::buildScalar(OpBuilder &b, ValueRange x) {
  return select(b, getLoc(), x[0], x[1], x[2]);
}

/// Float to integer; beyond the integer's range its bound, of NaN zero, so that
/// scalars and vectors agree.
static Value toInteger(OpBuilder &b, Location loc, Value x, Type element, bool isSigned) {
  unsigned width = element.getIntOrFloatBitWidth();
  double low = isSigned ? -std::ldexp(1.0, width - 1) : 0.0;
  double high = std::ldexp(1.0, isSigned ? width - 1 : width);
  auto bound = [&](const APInt &value) -> Value {
    Attribute attr = b.getIntegerAttr(element, value);
    Type type = like(x, element);
    if (auto vector = dyn_cast<VectorType>(type))
      attr = DenseElementsAttr::get(vector, attr);
    return arith::ConstantOp::create(b, loc, type, cast<TypedAttr>(attr));
  };
  auto test = [&](arith::CmpFPredicate p, Value v) -> Value {
    return arith::CmpFOp::create(b, loc, p, x, v);
  };
  Value inside = test(arith::CmpFPredicate::OLT, constant(b, loc, x, high));
  Value above = test(arith::CmpFPredicate::OGE, constant(b, loc, x, low));
  Value valid = arith::AndIOp::create(b, loc, inside, above);
  Value safe = select(b, loc, valid, x, constant(b, loc, x, 0.0));
  Value number = isSigned ? arith::FPToSIOp::create(b, loc, like(x, element), safe).getResult()
                          : arith::FPToUIOp::create(b, loc, like(x, element), safe).getResult();
  APInt least = isSigned ? APInt::getSignedMinValue(width) : APInt::getZero(width);
  APInt most = isSigned ? APInt::getSignedMaxValue(width) : APInt::getMaxValue(width);
  number = select(b, loc, test(arith::CmpFPredicate::OLT, constant(b, loc, x, low)), bound(least),
                  number);
  return select(b, loc, test(arith::CmpFPredicate::OGE, constant(b, loc, x, high)), bound(most),
                number);
}

/// The float that holds results of `element` while computing: f32 or f64.
static Type computeType(OpBuilder &b, Type element) {
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32)
    return b.getF32Type();
  return element;
}

Value CastOp::buildScalar(OpBuilder &b, ValueRange operands) {
  Location loc = getLoc();
  Value x = operands[0];
  Type from = laneTypeOf(getInput()), to = laneTypeOf(getResult());
  bool fromUnsigned = from.isUnsignedInteger() || from.isInteger(1);

  if (to.isInteger(1)) {
    Value zero = constant(b, loc, x, 0);
    if (isFloat(x))
      return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, x, zero);
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, x, zero);
  }

  if (isa<FloatType>(to)) {
    Type compute = computeType(b, to);
    Type type = like(x, compute);
    if (!isFloat(x))
      x = fromUnsigned ? arith::UIToFPOp::create(b, loc, type, x).getResult()
                       : arith::SIToFPOp::create(b, loc, type, x).getResult();
    unsigned width = laneTypeOf(x).getIntOrFloatBitWidth();
    unsigned target = to.getIntOrFloatBitWidth();
    if (to.isBF16()) {
      if (width > 32)
        x = arith::TruncFOp::create(b, loc, like(x, compute), x);
      Type i32 = like(x, b.getI32Type());
      Value sixteen = constant(b, loc, arith::BitcastOp::create(b, loc, i32, x), 16);
      Value high = arith::ShLIOp::create(b, loc, buildBf16Bits(b, loc, x), sixteen);
      return arith::BitcastOp::create(b, loc, type, high);
    }
    if (target == 8) {
      if (width > 32)
        x = arith::TruncFOp::create(b, loc, like(x, compute), x);
      return buildOfF8Bits(b, loc, buildF8Bits(b, loc, x, to, getSaturate()), to);
    }
    if (target < width)
      x = arith::TruncFOp::create(b, loc, like(x, to), x);
    if (laneTypeOf(x) != compute)
      x = arith::ExtFOp::create(b, loc, type, x);
    return x;
  }

  auto integer = b.getIntegerType(to.getIntOrFloatBitWidth());
  if (isFloat(x))
    return toInteger(b, loc, x, integer, !to.isUnsignedInteger());
  unsigned width = laneTypeOf(x).getIntOrFloatBitWidth();
  if (width > integer.getWidth())
    return arith::TruncIOp::create(b, loc, like(x, integer), x);
  if (width == integer.getWidth())
    return x;
  return fromUnsigned ? arith::ExtUIOp::create(b, loc, like(x, integer), x).getResult()
                      : arith::ExtSIOp::create(b, loc, like(x, integer), x).getResult();
}
