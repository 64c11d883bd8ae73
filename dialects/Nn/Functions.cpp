//===- Functions.cpp - f32 functions without a library --------------------===//
//
// exp, erf and tanh are what models spend time in: f32 throughout. log, sin,
// cos and pow are rare: they go through f64 with series that end far behind
// f32's last place, which spares all care about cancellation.
//
//===----------------------------------------------------------------------===//

#include "Nn/Functions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/TypeUtilities.h"

#include "llvm/ADT/APFloat.h"

#include <cmath>
#include <limits>
#include <numbers>

using namespace mlir;

namespace {

/// Arithmetic on values of one shape, spelt as a formula.
struct Formula {
  Formula(OpBuilder &builder, Location loc, Type like) : builder(builder), loc(loc), like(like) {}

  Type with(Type element) const {
    if (auto vector = dyn_cast<VectorType>(like))
      return vector.clone(element);
    return element;
  }
  Value constant(Type element, double value) const {
    if (isa<FloatType>(element))
      return splat(builder.getFloatAttr(element, value), element);
    return integer(element, static_cast<int64_t>(value));
  }
  /// Any of 64 bits, which a double does not hold.
  Value integer(Type element, int64_t value) const {
    return splat(builder.getIntegerAttr(element, value), element);
  }
  Value splat(Attribute attr, Type element) const {
    Type type = with(element);
    if (auto vector = dyn_cast<VectorType>(type))
      attr = DenseElementsAttr::get(vector, attr);
    return arith::ConstantOp::create(builder, loc, type, cast<TypedAttr>(attr));
  }
  Value num(Value x, double value) const {
    return constant(getElementTypeOrSelf(x.getType()), value);
  }
  Value add(Value a, Value b) const { return arith::AddFOp::create(builder, loc, a, b); }
  Value sub(Value a, Value b) const { return arith::SubFOp::create(builder, loc, a, b); }
  Value mul(Value a, Value b) const { return arith::MulFOp::create(builder, loc, a, b); }
  Value div(Value a, Value b) const { return arith::DivFOp::create(builder, loc, a, b); }
  Value fma(Value a, Value b, Value c) const { return math::FmaOp::create(builder, loc, a, b, c); }
  Value addi(Value a, Value b) const { return arith::AddIOp::create(builder, loc, a, b); }
  Value subi(Value a, Value b) const { return arith::SubIOp::create(builder, loc, a, b); }
  Value andi(Value a, Value b) const { return arith::AndIOp::create(builder, loc, a, b); }
  Value shl(Value a, Value b) const { return arith::ShLIOp::create(builder, loc, a, b); }
  Value shr(Value a, Value b) const { return arith::ShRSIOp::create(builder, loc, a, b); }
  Value shru(Value a, Value b) const { return arith::ShRUIOp::create(builder, loc, a, b); }
  Value ori(Value a, Value b) const { return arith::OrIOp::create(builder, loc, a, b); }
  Value muli(Value a, Value b) const { return arith::MulIOp::create(builder, loc, a, b); }
  Value cmp(arith::CmpFPredicate p, Value a, Value b) const {
    return arith::CmpFOp::create(builder, loc, p, a, b);
  }
  Value cmpi(arith::CmpIPredicate p, Value a, Value b) const {
    return arith::CmpIOp::create(builder, loc, p, a, b);
  }
  Value select(Value c, Value a, Value b) const {
    return arith::SelectOp::create(builder, loc, c, a, b);
  }
  Value bitcast(Value x, Type element) const {
    return arith::BitcastOp::create(builder, loc, with(element), x);
  }
  Value round(Value x) const { return math::RoundEvenOp::create(builder, loc, x); }
  Value toInt(Value x, Type element) const {
    return arith::FPToSIOp::create(builder, loc, with(element), x);
  }
  Value toFloat(Value x, Type element) const {
    return arith::SIToFPOp::create(builder, loc, with(element), x);
  }
  Value widen(Value x) const {
    return arith::ExtFOp::create(builder, loc, with(builder.getF64Type()), x);
  }
  Value narrow(Value x) const {
    return arith::TruncFOp::create(builder, loc, with(builder.getF32Type()), x);
  }
  Value abs(Value x) const { return math::AbsFOp::create(builder, loc, x); }

  /// One instruction each; a NaN in `x` stays.
  Value atLeast(Value x, double low) const {
    Value bound = num(x, low);
    return select(cmp(arith::CmpFPredicate::OGT, bound, x), bound, x);
  }
  Value atMost(Value x, double high) const {
    Value bound = num(x, high);
    return select(cmp(arith::CmpFPredicate::OLT, bound, x), bound, x);
  }

  /// Coefficients from the constant upwards.
  Value polynomial(Value x, ArrayRef<double> coefficients) const {
    Value sum = num(x, coefficients.back());
    for (double c : llvm::reverse(coefficients.drop_back()))
      sum = fma(sum, x, num(x, c));
    return sum;
  }

  OpBuilder &builder;
  Location loc;
  Type like;
};

} // namespace

static bool isF32(Value x) { return getElementTypeOrSelf(x.getType()).isF32(); }

Value cleave::nn::buildExp(OpBuilder &builder, Location loc, Value x) {
  if (!isF32(x))
    return math::ExpOp::create(builder, loc, x);
  Formula f(builder, loc, x.getType());
  Type i32 = builder.getI32Type();

  // e^x = 2^n e^r, |r| <= ln 2 / 2; beyond the bounds lie infinity and zero.
  x = f.atMost(f.atLeast(x, -104.0), 89.0);
  Value n = f.round(f.mul(x, f.num(x, std::numbers::log2e)));
  Value r = f.fma(n, f.num(x, -0.693359375), x);
  r = f.fma(n, f.num(x, 0.693359375 - std::numbers::ln2), r);
  Value p =
      f.polynomial(r, {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040});

  // Two factors, since 2^n alone may be infinite or denormal where the product
  // is not.
  Value exponent = f.toInt(n, i32);
  Value first = f.shr(exponent, f.constant(i32, 1));
  Value second = f.subi(exponent, first);
  auto power = [&](Value k) {
    Value biased = f.addi(k, f.constant(i32, 127));
    return f.bitcast(f.shl(biased, f.constant(i32, 23)), builder.getF32Type());
  };
  return f.mul(f.mul(p, power(first)), power(second));
}

Value cleave::nn::buildErf(OpBuilder &builder, Location loc, Value x) {
  if (!isF32(x))
    return math::ErfOp::create(builder, loc, x);
  // x P(x²) / Q(x²) of least relative error on [0, 3.92], where erf becomes 1.
  Formula f(builder, loc, x.getType());
  Value clamped = f.atMost(f.atLeast(x, -3.92), 3.92);
  Value t = f.mul(clamped, clamped);
  Value p = f.polynomial(t, {1.1283791065216064, 0.19040298461914062, 0.052748262882232666,
                             0.0037654659245163202, 0.0002848791191354394, 2.0501124708971474e-06});
  Value q = f.polynomial(t, {1.0, 0.5020729899406433, 0.11410766839981079, 0.014968916773796082,
                             0.0011624983744695783, 3.809178451774642e-05});
  return f.atMost(f.atLeast(f.div(f.mul(p, clamped), q), -1.0), 1.0);
}

Value cleave::nn::buildTanh(OpBuilder &builder, Location loc, Value x) {
  if (!isF32(x))
    return math::TanhOp::create(builder, loc, x);
  // As erf, on [0, 9.01].
  Formula f(builder, loc, x.getType());
  Value clamped = f.atMost(f.atLeast(x, -9.01), 9.01);
  Value t = f.mul(clamped, clamped);
  Value p = f.polynomial(t, {1.0, 0.13380379974842072, 0.003494820324704051, 2.0596411559381522e-05,
                             1.3337015936087937e-08});
  Value q = f.polynomial(
      t, {1.0, 0.467136949300766, 0.025874063372612, 0.0003284377744421363, 7.769356784592674e-07});
  return f.atMost(f.atLeast(f.div(f.mul(p, clamped), q), -1.0), 1.0);
}

/// ln x of positive finite f64, which no f32 makes denormal.
static Value logOfPositive(const Formula &f, Value x) {
  Type i64 = f.builder.getI64Type();
  Type f64 = f.builder.getF64Type();
  // x = 2^n m with m in [√½, √2): the offset moves the cut from 1 to √½.
  Value bits = f.bitcast(x, i64);
  Value offset = f.constant(i64, 0x3fe6a09e00000000);
  Value n = f.shr(f.subi(bits, offset), f.constant(i64, 52));
  Value m = f.bitcast(f.subi(bits, f.shl(n, f.constant(i64, 52))), f64);
  // ln m = 2 atanh s, |s| < 0.172
  Value s = f.div(f.sub(m, f.num(m, 1.0)), f.add(m, f.num(m, 1.0)));
  Value series = f.polynomial(
      f.mul(s, s), {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15});
  return f.fma(f.toFloat(n, f64), f.num(s, std::numbers::ln2), f.mul(s, series));
}

Value cleave::nn::buildLog(OpBuilder &builder, Location loc, Value x) {
  if (!isF32(x))
    return math::LogOp::create(builder, loc, x);
  Formula f(builder, loc, x.getType());
  constexpr double inf = std::numeric_limits<double>::infinity();
  Value result = f.narrow(logOfPositive(f, f.widen(x)));
  result = f.select(f.cmp(arith::CmpFPredicate::OEQ, x, f.num(x, inf)), x, result);
  result = f.select(f.cmp(arith::CmpFPredicate::OEQ, x, f.num(x, 0.0)), f.num(x, -inf), result);
  Value nan = f.num(x, std::numeric_limits<double>::quiet_NaN());
  return f.select(f.cmp(arith::CmpFPredicate::UGE, x, f.num(x, 0.0)),
                  f.select(f.cmp(arith::CmpFPredicate::UNO, x, x), nan, result), nan);
}

namespace {

/// x = n π/2 + r, |r| hardly above π/4: n in i64, of which the last two bits count,
/// and r in f64.
struct Quarters {
  Value n, r;
};

} // namespace

/// Of f32 below this in magnitude; beyond it, r loses too many places.
static constexpr double kNear = 0x1p30;

static Quarters quartersOfNear(const Formula &f, Value x) {
  Value wide = f.widen(x);
  Value n = f.round(f.mul(wide, f.num(wide, 2.0 / std::numbers::pi)));
  Value r = f.fma(n, f.num(wide, -1.5707963267948966), wide);
  r = f.fma(n, f.num(wide, -6.123233995736766e-17), r);
  // What is not near must not overflow either.
  Value inRange =
      f.select(f.cmp(arith::CmpFPredicate::OLT, f.abs(wide), f.num(wide, kNear)), n, f.num(n, 0.0));
  return {f.toInt(inRange, f.builder.getI64Type()), r};
}

// Source: Payne and Hanek, Radian reduction for trigonometric functions, 1983. With
// x = m 2^k, the bits of 2/π that stand for whole turns of m 2^k drop out, and the 96
// behind them leave an error of 2^-62 in quarters, where f32 comes no closer to a
// multiple of π/2 than 2^-30.
static Quarters quartersOfFar(const Formula &f, Value x) {
  Type i64 = f.builder.getI64Type(), f64 = f.builder.getF64Type();
  auto number = [&](int64_t value) { return f.integer(i64, value); };
  Value bits = f.bitcast(x, f.builder.getI32Type());
  bits = arith::ExtSIOp::create(f.builder, f.loc, f.with(i64), bits);
  Value mantissa = f.ori(f.andi(bits, number(0x7fffff)), number(0x800000));
  Value exponent = f.andi(f.shru(bits, number(23)), number(255));

  // The bits of 2/π from where x has quarters on; lanes that are near may find any.
  Value offset = f.subi(exponent, number(151));
  offset = f.select(f.cmpi(arith::CmpIPredicate::sgt, offset, number(0)), offset, number(0));
  Value isLater = f.cmpi(arith::CmpIPredicate::sge, offset, number(64));
  Value shift = f.andi(offset, number(63)), rest = f.subi(number(63), shift);
  const uint64_t words[] = {0x517cc1b727220a94, 0xfe13abe8fa9a6ee0, 0x6db14acc9e21c820,
                            0xff28b1d5ef5de2b0};
  auto word = [&](int i) {
    return f.select(isLater, number(static_cast<int64_t>(words[i + 1])),
                    number(static_cast<int64_t>(words[i])));
  };
  auto shifted = [&](int i) {
    return f.ori(f.shl(word(i), shift), f.shru(f.shru(word(i + 1), number(1)), rest));
  };
  Value low = f.shru(f.muli(mantissa, f.shru(shifted(1), number(32))), number(32));
  Value turns = f.addi(f.muli(mantissa, shifted(0)), low);

  // The top two bits are the quarter, rounded to the nearest.
  Value n = f.shru(f.addi(turns, number(int64_t(1) << 61)), number(62));
  Value r = f.toFloat(f.subi(turns, f.shl(n, number(62))), f64);
  r = f.mul(r, f.num(r, std::numbers::pi / 2 * 0x1p-62));
  Value isNegative = f.cmpi(arith::CmpIPredicate::slt, bits, number(0));
  return {f.select(isNegative, f.subi(number(0), n), n),
          f.select(isNegative, f.sub(f.num(r, -0.0), r), r)};
}

/// The far way is long, and taken where a lane wants it.
static Quarters quartersOf(const Formula &f, Value x) {
  Quarters near = quartersOfNear(f, x);
  constexpr double inf = std::numeric_limits<double>::infinity();
  Value magnitude = f.abs(x);
  Value isFar = f.andi(f.cmp(arith::CmpFPredicate::OGE, magnitude, f.num(x, kNear)),
                       f.cmp(arith::CmpFPredicate::OLT, magnitude, f.num(x, inf)));
  Value any = isFar;
  if (isa<VectorType>(any.getType()))
    any = vector::ReductionOp::create(f.builder, f.loc, vector::CombiningKind::OR, any);
  auto branch = scf::IfOp::create(
      f.builder, f.loc, any,
      [&](OpBuilder &builder, Location loc) {
        Formula inside(builder, loc, f.like);
        Quarters far = quartersOfFar(inside, x);
        scf::YieldOp::create(
            builder, loc,
            ValueRange{inside.select(isFar, far.n, near.n), inside.select(isFar, far.r, near.r)});
      },
      [&](OpBuilder &builder, Location loc) {
        scf::YieldOp::create(builder, loc, ValueRange{near.n, near.r});
      });
  return {branch.getResult(0), branch.getResult(1)};
}

/// sin(x + shift π/2)
static Value sineOfQuarter(OpBuilder &builder, Location loc, Value x, int64_t shift) {
  Formula f(builder, loc, x.getType());
  Type i64 = builder.getI64Type();
  auto [n, r] = quartersOf(f, x);
  Value t = f.mul(r, r);
  Value sine = f.mul(
      r, f.polynomial(t, {1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800}));
  Value cosine =
      f.polynomial(t, {1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800});
  // The quarter decides which of the two it is, and the sign.
  Value quarter = f.addi(n, f.constant(i64, shift));
  Value zero = f.constant(i64, 0);
  Value odd = f.cmpi(arith::CmpIPredicate::ne, f.andi(quarter, f.constant(i64, 1)), zero);
  Value negative = f.cmpi(arith::CmpIPredicate::ne, f.andi(quarter, f.constant(i64, 2)), zero);
  Value result = f.select(odd, cosine, sine);
  return f.narrow(f.select(negative, f.sub(f.num(result, -0.0), result), result));
}

Value cleave::nn::buildSin(OpBuilder &builder, Location loc, Value x) {
  return isF32(x) ? sineOfQuarter(builder, loc, x, 0)
                  : math::SinOp::create(builder, loc, x).getResult();
}

Value cleave::nn::buildCos(OpBuilder &builder, Location loc, Value x) {
  return isF32(x) ? sineOfQuarter(builder, loc, x, 1)
                  : math::CosOp::create(builder, loc, x).getResult();
}

/// e^x in f64 for |x| beyond which f32 is infinite or zero.
static Value wideExp(const Formula &f, Value x) {
  Type i64 = f.builder.getI64Type();
  x = f.atMost(f.atLeast(x, -120.0), 120.0);
  Value n = f.round(f.mul(x, f.num(x, std::numbers::log2e)));
  Value r = f.fma(n, f.num(x, -std::numbers::ln2), x);
  Value p = f.polynomial(r, {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                             1.0 / 40320, 1.0 / 362880});
  Value biased = f.addi(f.toInt(n, i64), f.constant(i64, 1023));
  return f.mul(p, f.bitcast(f.shl(biased, f.constant(i64, 52)), f.builder.getF64Type()));
}

Value cleave::nn::buildPow(OpBuilder &builder, Location loc, Value x, Value y) {
  if (!isF32(x))
    return math::PowFOp::create(builder, loc, x, y);
  Formula f(builder, loc, x.getType());
  using Cmp = arith::CmpFPredicate;
  constexpr double inf = std::numeric_limits<double>::infinity();
  Value zero = f.num(x, 0.0), one = f.num(x, 1.0), infinity = f.num(x, inf);
  Value nan = f.num(x, std::numeric_limits<double>::quiet_NaN());
  Value magnitude = f.abs(x);
  Value log = logOfPositive(f, f.widen(magnitude));
  Value result = f.narrow(wideExp(f, f.mul(log, f.widen(y))));

  // |x| of 0 or infinity: one of the same two, by the sign of y.
  Value vanishes = f.cmp(Cmp::OEQ, magnitude, zero);
  Value diverges = f.cmp(Cmp::OEQ, magnitude, infinity);
  Value rising = f.cmp(Cmp::OGT, y, zero);
  result = f.select(vanishes, f.select(rising, zero, infinity), result);
  result = f.select(diverges, f.select(rising, infinity, zero), result);

  // A negative x has a power only where y is an integer; an odd one keeps the
  // sign.
  Value half = f.mul(y, f.num(y, 0.5));
  auto isInteger = [&](Value v) { return f.cmp(Cmp::OEQ, f.round(v), v); };
  Value integer = isInteger(y);
  Value odd = f.andi(integer, f.cmp(Cmp::UNE, f.round(half), half));
  Value bits = f.bitcast(x, builder.getI32Type());
  Value signBit = f.cmpi(arith::CmpIPredicate::slt, bits, f.constant(builder.getI32Type(), 0));
  result = f.select(f.andi(signBit, odd), f.sub(f.num(x, -0.0), result), result);
  Value undefined = f.andi(f.cmp(Cmp::OLT, x, zero), f.andi(f.cmp(Cmp::ONE, magnitude, infinity),
                                                            f.cmp(Cmp::UNE, f.round(y), y)));
  result = f.select(undefined, nan, result);
  Value unordered = f.cmp(Cmp::UNO, x, y);
  result = f.select(unordered, nan, result);
  result = f.select(f.cmp(Cmp::OEQ, y, zero), one, result);
  return f.select(f.cmp(Cmp::OEQ, x, one), one, result);
}

Value cleave::nn::buildSigmoid(OpBuilder &builder, Location loc, Value x) {
  Formula f(builder, loc, x.getType());
  Value one = f.num(x, 1.0);
  Value e = buildExp(builder, loc, f.sub(f.num(x, -0.0), x));
  return f.div(one, f.add(one, e));
}

Value cleave::nn::buildBf16Bits(OpBuilder &builder, Location loc, Value x) {
  Formula f(builder, loc, x.getType());
  Type i32 = builder.getI32Type();
  Value bits = f.bitcast(x, i32), sixteen = f.constant(i32, 16);
  Value high = arith::ShRUIOp::create(builder, loc, bits, sixteen);
  Value odd = f.andi(high, f.constant(i32, 1));
  Value rounded = f.addi(bits, f.addi(odd, f.constant(i32, 0x7fff)));
  // Rounding could carry a NaN into infinity.
  Value isNan = f.cmp(arith::CmpFPredicate::UNO, x, x);
  Value quiet = arith::OrIOp::create(builder, loc, high, f.constant(i32, 0x40));
  return f.select(isNan, quiet, arith::ShRUIOp::create(builder, loc, rounded, sixteen));
}

namespace {

/// What an 8-bit float is made of.
struct ByteFloat {
  explicit ByteFloat(Type type) {
    const llvm::fltSemantics &semantics = cast<FloatType>(type).getFloatSemantics();
    fraction = int64_t(llvm::APFloat::semanticsPrecision(semantics)) - 1;
    least = llvm::APFloat::semanticsMinExponent(semantics);
    largest = bitsOf(llvm::APFloat::getLargest(semantics));
    nan = bitsOf(llvm::APFloat::getNaN(semantics));
    infinity =
        llvm::APFloat::semanticsHasInf(semantics) ? bitsOf(llvm::APFloat::getInf(semantics)) : nan;
  }
  static int64_t bitsOf(const llvm::APFloat &value) {
    return int64_t(value.bitcastToAPInt().getZExtValue());
  }
  int64_t fraction; ///< bits of it
  int64_t least;    ///< exponent of a normal number
  int64_t largest, infinity, nan;
};

constexpr int64_t kFraction = 23, kBias = 127, kMagnitude = 0x7fffffff, kSignByte = 0x80;

} // namespace

Value cleave::nn::buildF8Bits(OpBuilder &builder, Location loc, Value x, Type type,
                              bool saturates) {
  Formula f(builder, loc, x.getType());
  ByteFloat format(type);
  Type i32 = builder.getI32Type();
  auto number = [&](int64_t value) { return f.integer(i32, value); };
  Value bits = f.bitcast(x, i32), sign = f.andi(f.shru(bits, number(24)), number(kSignByte));
  Value magnitude = f.andi(bits, number(kMagnitude));

  int64_t dropped = kFraction - format.fraction;
  Value odd = f.andi(f.shru(magnitude, number(dropped)), number(1));
  Value rounded = f.addi(magnitude, f.addi(odd, number((int64_t(1) << (dropped - 1)) - 1)));
  Value normal = f.subi(f.shru(rounded, number(dropped)),
                        number((kBias + format.least - 1) << format.fraction));
  // A number whose last place is that of the smallest ones rounds what is added to it.
  int64_t exponent = format.least - format.fraction + kFraction;
  Value anchor = number((kBias + exponent) << kFraction);
  Value sum =
      f.add(f.bitcast(magnitude, builder.getF32Type()), f.bitcast(anchor, builder.getF32Type()));
  Value small = f.subi(f.bitcast(sum, i32), anchor);

  Value isSmall =
      f.cmpi(arith::CmpIPredicate::ult, magnitude, number((kBias + format.least) << kFraction));
  Value result = f.select(isSmall, small, normal);
  Value isBeyond = f.cmpi(arith::CmpIPredicate::sgt, result, number(format.largest));
  result = f.select(isBeyond, number(saturates ? format.largest : format.infinity), result);
  Value isNan = f.cmp(arith::CmpFPredicate::UNO, x, x);
  return f.ori(f.select(isNan, number(format.nan & ~kSignByte), result), sign);
}

Value cleave::nn::buildOfF8Bits(OpBuilder &builder, Location loc, Value bits, Type type) {
  Formula f(builder, loc, bits.getType());
  ByteFloat format(type);
  Type i32 = builder.getI32Type();
  auto number = [&](int64_t value) { return f.integer(i32, value); };
  if (!getElementTypeOrSelf(bits.getType()).isInteger(32))
    bits = arith::ExtUIOp::create(builder, loc, f.with(i32), bits);
  Value sign = f.shl(f.andi(bits, number(kSignByte)), number(24));
  Value own = f.andi(bits, number(kSignByte - 1));
  // With the exponent counted from another start; a factor moves it, of small numbers too.
  Value moved = f.bitcast(f.shl(own, number(kFraction - format.fraction)), builder.getF32Type());
  Value value = f.mul(moved, f.num(moved, std::ldexp(1.0, int(kBias + format.least - 1))));
  Value result = f.bitcast(value, i32);
  // Behind the largest number come infinity, if there is one, and NaN.
  Value isBeyond = f.cmpi(arith::CmpIPredicate::sgt, own, number(format.largest));
  Value beyond = number(0x7fc00000);
  if (format.infinity != format.nan)
    beyond = f.select(f.cmpi(arith::CmpIPredicate::eq, own, number(format.infinity)),
                      number(0x7f800000), beyond);
  result = f.ori(f.select(isBeyond, beyond, result), sign);
  return f.bitcast(result, builder.getF32Type());
}
