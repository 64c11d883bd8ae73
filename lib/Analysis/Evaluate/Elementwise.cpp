//===- Elementwise.cpp - one element in, one element out ------------------===//

#include "Evaluate.h"
#include "Index.h"

#include "Nn/Nn.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <functional>

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

using FloatUnary = double (*)(double);
using FloatBinary = double (*)(double, double);
using IntBinary = int64_t (*)(int64_t, int64_t);

static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

static FloatUnary floatUnary(Operation *op) {
  return llvm::TypeSwitch<Operation *, FloatUnary>(op)
      .Case([](NegOp) { return [](double x) { return -x; }; })
      .Case([](AbsOp) { return [](double x) { return std::abs(x); }; })
      .Case([](SignOp) { return [](double x) {
                           return x > 0 ? 1.0 : x < 0 ? -1.0 : x;
                         }; })
      .Case([](ExpOp) { return [](double x) { return std::exp(x); }; })
      .Case([](LogOp) { return [](double x) { return std::log(x); }; })
      .Case([](SqrtOp) { return [](double x) { return std::sqrt(x); }; })
      .Case([](RsqrtOp) { return [](double x) { return 1 / std::sqrt(x); }; })
      .Case([](ReciprocalOp) { return [](double x) { return 1 / x; }; })
      .Case([](TanhOp) { return [](double x) { return std::tanh(x); }; })
      .Case([](ErfOp) { return [](double x) { return std::erf(x); }; })
      .Case([](SigmoidOp) { return sigmoid; })
      .Case([](SiluOp) { return [](double x) { return x * sigmoid(x); }; })
      .Case([](SinOp) { return [](double x) { return std::sin(x); }; })
      .Case([](CosOp) { return [](double x) { return std::cos(x); }; })
      .Case([](FloorOp) { return [](double x) { return std::floor(x); }; })
      .Case([](CeilOp) { return [](double x) { return std::ceil(x); }; })
      .Case([](RoundOp) { return [](double x) { return std::nearbyint(x); }; })
      .Case([](GeluOp gelu) -> FloatUnary {
        switch (gelu.getKind()) {
        case GeluKind::Erf:
          return [](double x) { return x / 2 * (1 + std::erf(x * std::sqrt(0.5))); };
        case GeluKind::Tanh:
          return [](double x) {
            return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
          };
        case GeluKind::Quick: return [](double x) { return x * sigmoid(1.702 * x); };
        }
        llvm_unreachable("all kinds are listed");
      })
      .Default([](Operation *) { return nullptr; });
}

static FloatBinary floatBinary(Operation *op) {
  return llvm::TypeSwitch<Operation *, FloatBinary>(op)
      .Case([](AddOp) { return [](double a, double b) { return a + b; }; })
      .Case([](SubOp) { return [](double a, double b) { return a - b; }; })
      .Case([](MulOp) { return [](double a, double b) { return a * b; }; })
      .Case([](DivOp) { return [](double a, double b) { return a / b; }; })
      .Case([](PowOp) { return [](double a, double b) { return std::pow(a, b); }; })
      .Case([](MaxOp) { return [](double a, double b) { return std::isnan(a) || a > b ? a : b; }; })
      .Case([](MinOp) { return [](double a, double b) { return std::isnan(a) || a < b ? a : b; }; })
      .Case([](ModOp) { return [](double a, double b) { return a - b * std::floor(a / b); }; })
      .Case([](RemOp) { return [](double a, double b) { return std::fmod(a, b); }; })
      .Default([](Operation *) { return nullptr; });
}

static int64_t floorMod(int64_t a, int64_t b) {
  int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static int64_t intPow(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, factor = base;
  for (; exponent; exponent >>= 1, factor *= factor)
    if (exponent & 1)
      result *= factor;
  return static_cast<int64_t>(result);
}

// Sums and products wrap, which signed arithmetic of C++ does not promise.
static int64_t wrapped(uint64_t value) { return static_cast<int64_t>(value); }

static IntBinary intBinary(Operation *op) {
  using I = int64_t;
  using U = uint64_t;
  return llvm::TypeSwitch<Operation *, IntBinary>(op)
      .Case([](AddOp) { return [](I a, I b) { return wrapped(U(a) + U(b)); }; })
      .Case([](SubOp) { return [](I a, I b) { return wrapped(U(a) - U(b)); }; })
      .Case([](MulOp) { return [](I a, I b) { return wrapped(U(a) * U(b)); }; })
      .Case([](DivOp) { return [](I a, I b) { return b == -1 ? wrapped(-U(a)) : a / b; }; })
      .Case([](PowOp) { return intPow; })
      .Case([](MaxOp) { return [](I a, I b) { return std::max(a, b); }; })
      .Case([](MinOp) { return [](I a, I b) { return std::min(a, b); }; })
      .Case([](ModOp) { return [](I a, I b) { return b == -1 ? I(0) : floorMod(a, b); }; })
      .Case([](RemOp) { return [](I a, I b) { return b == -1 ? I(0) : a % b; }; })
      .Case([](AndOp) { return [](I a, I b) { return a & b; }; })
      .Case([](OrOp) { return [](I a, I b) { return a | b; }; })
      .Case([](XorOp) { return [](I a, I b) { return a ^ b; }; })
      .Default([](Operation *) { return nullptr; });
}

template <typename T> static bool compare(CompareKind kind, T a, T b) {
  switch (kind) {
  case CompareKind::Eq: return a == b;
  case CompareKind::Ne: return a != b;
  case CompareKind::Lt: return a < b;
  case CompareKind::Le: return a <= b;
  case CompareKind::Gt: return a > b;
  case CompareKind::Ge: return a >= b;
  }
  llvm_unreachable("all kinds are listed");
}

static int64_t toInteger(double value) {
  if (std::isnan(value))
    return 0;
  if (value >= 0x1p63)
    return INT64_MAX;
  return value <= -0x1p63 ? INT64_MIN : static_cast<int64_t>(value);
}

static void castElement(CastOp op, const HostTensor &from, int64_t i, HostTensor &to, int64_t o) {
  bool toBool = to.type.getElementType().isInteger(1);
  if (to.isFloat()) {
    double value = from.isFloat() ? from.floats[i] : static_cast<double>(from.ints[i]);
    if (op.getSaturate()) {
      auto type = cast<FloatType>(to.type.getElementType());
      APFloat most = APFloat::getLargest(type.getFloatSemantics());
      double bound = most.convertToDouble();
      // A NaN is neither.
      value = value > bound ? bound : value < -bound ? -bound : value;
    }
    to.floats[o] = value;
  } else if (toBool)
    to.ints[o] = from.isFloat() ? from.floats[i] != 0 : from.ints[i] != 0;
  else
    to.ints[o] = from.isFloat() ? toInteger(from.floats[i]) : from.ints[i];
}

static LogicalResult evaluateElement(Operation *op, Operands operands, ArrayRef<int64_t> at,
                                     HostTensor &result, int64_t out) {
  const HostTensor &lhs = *operands[0];
  if (auto cast = dyn_cast<CastOp>(op))
    return castElement(cast, lhs, at[0], result, out), success();
  if (isa<IsNanOp>(op))
    return result.ints[out] = std::isnan(lhs.floats[at[0]]), success();
  if (isa<SelectOp>(op)) {
    int side = lhs.ints[at[0]] ? 1 : 2;
    return copyElement(*operands[side], at[side], result, out), success();
  }
  if (auto order = dyn_cast<CompareOp>(op)) {
    const HostTensor &rhs = *operands[1];
    result.ints[out] = lhs.isFloat()
                           ? compare(order.getKind(), lhs.floats[at[0]], rhs.floats[at[1]])
                           : compare(order.getKind(), lhs.ints[at[0]], rhs.ints[at[1]]);
    return success();
  }
  if (lhs.isFloat()) {
    result.floats[out] = operands.size() == 1
                             ? floatUnary(op)(lhs.floats[at[0]])
                             : floatBinary(op)(lhs.floats[at[0]], operands[1]->floats[at[1]]);
    return success();
  }
  if (operands.size() == 1) {
    int64_t x = lhs.ints[at[0]];
    result.ints[out] = isa<NotOp>(op)   ? !x
                       : isa<NegOp>(op) ? wrapped(-uint64_t(x))
                       : isa<AbsOp>(op) ? (x < 0 ? wrapped(-uint64_t(x)) : x)
                                        : (x > 0) - (x < 0);
    return success();
  }
  int64_t rhs = operands[1]->ints[at[1]];
  if (rhs == 0 && isa<DivOp, ModOp, RemOp>(op))
    return op->emitError("divides an integer by zero");
  result.ints[out] = intBinary(op)(lhs.ints[at[0]], rhs);
  return success();
}

std::optional<LogicalResult> cleave::evaluateElementwise(Operation *op, Operands operands,
                                                         Results &results) {
  bool known = isa<CastOp, IsNanOp, SelectOp, CompareOp, NotOp>(op) || floatUnary(op) ||
               floatBinary(op) || intBinary(op);
  if (!known)
    return std::nullopt;

  SmallVector<Index> strides;
  for (const HostTensor *operand : operands)
    strides.push_back(stridesOf(operand->shape()));

  LogicalResult status = success();
  Index at(operands.size());
  forEachIndex(results[0].shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    for (size_t i = 0; i < operands.size(); ++i)
      at[i] = broadcastOffset(index, operands[i]->shape(), strides[i]);
    if (succeeded(status))
      status = evaluateElement(op, operands, at, results[0], out);
  });
  return status;
}
