//===- MultiplyBytes.cpp - products of dequantised operands ---------------===//
//
// Where both operands of a product are 8-bit integers, or both 8-bit floats, that stand for
// numbers of a scale, and no scale varies along what is summed, these are multiplied:
//
//   %a = nn.mul (nn.sub (nn.cast %p), za), sa
//   %b = nn.mul (nn.cast %q), sb               =>   %i = nn.matmul %p, %q : i32
//   %y = nn.matmul %a, %b                           %y = nn.mul (nn.cast (%i - za Σ%q)), sa sb
//
// So do convolutions. The sum of integers is then exact, and rounded once where f32 rounded
// each term. Floats have no zero points; each of their products is exact in f32, and their
// sums are rounded as those of f32 are.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

#include "cleave/Analysis/Evaluate.h"

#include "Nn/Nn.h"

#include <cmath>

namespace cleave {
#define GEN_PASS_DEF_MULTIPLYBYTES
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

namespace {

/// (bytes - zero) * scale, rounded to f16 or bf16 and permuted where a cast and a transpose
/// follow. `zero`, null for 0, holds whole numbers, as f32 or as bytes.
struct Dequantised {
  Value bytes, zero, scale;
  ArrayRef<int64_t> permutation;
};

} // namespace

/// Whether all elements of a constant are whole numbers that bytes hold.
static bool isWhole(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return false;
  return llvm::all_of(HostTensor::fromAttr(constant.getValue()).floats,
                      [](double x) { return x == std::trunc(x) && std::abs(x) <= 255; });
}

static Value bytesBehind(Value x) {
  auto cast = x.getDefiningOp<CastOp>();
  if (!cast || !elementOf(cast.getResult()).isF32())
    return nullptr;
  Type element = elementOf(cast.getInput());
  return element.isInteger(8) || isByteFloat(element) ? cast.getInput() : Value();
}

static std::optional<Dequantised> read(Value x) {
  Dequantised found;
  if (auto transpose = x.getDefiningOp<TransposeOp>()) {
    found.permutation = transpose.getPermutation();
    x = transpose.getInput();
  }
  if (auto rounded = x.getDefiningOp<CastOp>();
      rounded && (elementOf(x).isF16() || elementOf(x).isBF16()))
    x = rounded.getInput();
  auto scaled = x.getDefiningOp<MulOp>();
  if (!scaled || !elementOf(x).isF32() || scaled.getLhs().getType() != x.getType())
    return std::nullopt;
  found.scale = scaled.getRhs();
  Value numbers = scaled.getLhs();
  if (auto moved = numbers.getDefiningOp<SubOp>(); moved && !bytesBehind(numbers)) {
    if (moved.getLhs().getType() != numbers.getType())
      return std::nullopt;
    numbers = moved.getLhs();
    found.zero = bytesBehind(moved.getRhs());
    if (!found.zero && isWhole(moved.getRhs()))
      found.zero = moved.getRhs();
    if (!found.zero)
      return std::nullopt;
  }
  found.bytes = bytesBehind(numbers);
  if (!found.bytes || (found.zero && isByteFloat(elementOf(found.bytes))))
    return std::nullopt;
  return found;
}

/// Both operands of a product, where they are of one kind.
static std::optional<std::pair<Dequantised, Dequantised>> read(Value lhs, Value rhs) {
  std::optional<Dequantised> left = read(lhs), right = read(rhs);
  if (!left || !right ||
      isByteFloat(elementOf(left->bytes)) != isByteFloat(elementOf(right->bytes)))
    return std::nullopt;
  return std::pair(*left, *right);
}

namespace {

/// Rewrites one product.
struct Rewriter {
  Rewriter(Operation *product) : product(product), b(product), loc(product->getLoc()) {}

  Type i32() { return b.getI32Type(); }
  Value cast(Value x, Type element) {
    return elementOf(x) == element
               ? x
               : CastOp::create(b, loc, typeOf(x).clone(element), x).getResult();
  }
  /// As the operand of the product has its dimensions, leading ones added.
  Value turned(Value x, const Dequantised &of) {
    size_t rank = of.permutation.size();
    if (rank == 0 || shapeOf(x).empty())
      return x;
    SmallVector<int64_t> shape(rank - shapeOf(x).size(), 1);
    llvm::append_range(shape, shapeOf(x));
    x = ReshapeOp::create(b, loc, typeOf(x).clone(shape), x);
    return TransposeOp::create(b, loc, x, of.permutation);
  }
  Value sum(Value bytes, ArrayRef<int64_t> dims) {
    return ReduceOp::create(b, loc, ReduceKind::Sum, cast(bytes, i32()), dims);
  }
  Value times(Value zero, Value sums) { return MulOp::create(b, loc, cast(zero, i32()), sums); }
  Value integer(int64_t value) {
    auto type = RankedTensorType::get({}, i32());
    return ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, int32_t(value)));
  }
  void give(Value sums, Value scaleA, Value scaleB) {
    Value scale = MulOp::create(b, loc, scaleA, scaleB);
    Value result = MulOp::create(b, loc, cast(sums, b.getF32Type()), scale);
    result = cast(result, elementOf(product->getResult(0)));
    product->getResult(0).replaceAllUsesWith(result);
    product->erase();
  }

  Operation *product;
  OpBuilder b;
  Location loc;
};

} // namespace

/// Whether what broadcasts to the operand, as the product reads it, is one along `dims`.
static bool isOneAlong(Value x, const Dequantised &of, int64_t rank, ArrayRef<int64_t> dims) {
  if (!x)
    return true;
  ArrayRef<int64_t> shape = shapeOf(x);
  for (int64_t dim : dims) {
    int64_t source = of.permutation.empty() ? dim : of.permutation[dim];
    int64_t at = source - rank + static_cast<int64_t>(shape.size());
    if (at >= 0 && shape[at] != 1)
      return false;
  }
  return true;
}

static bool multiply(MatmulOp product) {
  auto operands = read(product.getLhs(), product.getRhs());
  if (!operands)
    return false;
  const auto &[left, right] = *operands;
  int64_t m = shapeOf(product.getLhs()).size(), n = shapeOf(product.getRhs()).size();
  for (Value x : {left.scale, left.zero})
    if (!isOneAlong(x, left, m, m - 1))
      return false;
  for (Value x : {right.scale, right.zero})
    if (!isOneAlong(x, right, n, n - 2))
      return false;
  Rewriter w(product);
  Value a = w.turned(left.bytes, left), c = w.turned(right.bytes, right);
  Value sums = MatmulOp::create(w.b, w.loc, a, c);
  Value zeroA = left.zero ? w.turned(left.zero, left) : Value();
  Value zeroC = right.zero ? w.turned(right.zero, right) : Value();
  if (zeroC)
    sums = SubOp::create(w.b, w.loc, sums, w.times(zeroC, w.sum(a, m - 1)));
  if (zeroA) {
    Value columns = w.sum(c, n - 2);
    if (zeroC)
      columns = SubOp::create(w.b, w.loc, columns, w.times(zeroC, w.integer(shapeOf(a).back())));
    sums = SubOp::create(w.b, w.loc, sums, w.times(zeroA, columns));
  }
  w.give(sums, w.turned(left.scale, left), w.turned(right.scale, right));
  return true;
}

/// One scale and zero point for the image, which is framed with the zero point; filters that
/// stand for numbers without one, in a scale each.
static bool multiply(ConvOp product) {
  auto operands = read(product.getInput(), product.getFilter());
  if (!operands)
    return false;
  const auto &[image, filter] = *operands;
  int64_t rank = shapeOf(product.getInput()).size();
  auto within = llvm::to_vector(llvm::seq<int64_t>(1, rank));
  if (filter.zero || !image.permutation.empty() || !filter.permutation.empty() ||
      typeOf(image.scale).getNumElements() != 1 ||
      (image.zero && typeOf(image.zero).getNumElements() != 1) ||
      !isOneAlong(filter.scale, filter, rank, within))
    return false;
  Rewriter w(product);
  auto scalar = [&](Value x) -> Value {
    return ReshapeOp::create(w.b, w.loc, typeOf(x).clone(ArrayRef<int64_t>()), x);
  };
  SmallVector<int64_t> channel(rank, 1);
  channel[1] = shapeOf(filter.bytes)[0];
  Value bytes = image.bytes;
  SmallVector<int64_t> low(product.getLow()), high(product.getHigh());
  if (image.zero) {
    SmallVector<int64_t> before(2, 0), behind(2, 0);
    before.append(low), behind.append(high);
    Value frame = w.cast(scalar(image.zero), elementOf(bytes));
    bytes = PadOp::create(w.b, w.loc, bytes, frame, before, behind);
    low.assign(low.size(), 0), high.assign(high.size(), 0);
  }
  Value sums = ConvOp::create(w.b, w.loc, bytes, filter.bytes, product.getStrides(),
                              product.getDilations(), low, high, product.getGroups());
  auto ofChannels = [&](Value x) -> Value {
    return ReshapeOp::create(w.b, w.loc, typeOf(x).clone(channel), x);
  };
  if (image.zero)
    sums = SubOp::create(w.b, w.loc, sums,
                         w.times(scalar(image.zero), ofChannels(w.sum(filter.bytes, within))));
  Value scale = filter.scale;
  if (typeOf(scale).getNumElements() != 1)
    scale = ofChannels(scale);
  w.give(sums, scalar(image.scale), typeOf(scale).getNumElements() == 1 ? scalar(scale) : scale);
  return true;
}

namespace {

struct MultiplyBytes : cleave::impl::MultiplyBytesBase<MultiplyBytes> {
  void runOnOperation() override {
    for (auto product : llvm::to_vector(getOperation().getOps<MatmulOp>()))
      numMultiplied += multiply(product);
    for (auto product : llvm::to_vector(getOperation().getOps<ConvOp>()))
      numMultiplied += multiply(product);
  }
};

} // namespace
