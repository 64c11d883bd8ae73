//===- Quantized.cpp - integers that stand for numbers of a scale ---------===//
//
// Each op becomes the arithmetic that it means, so that rules and kernels need
// to know nothing of quantisation. Products stay products of bytes: zero points
// are corrections by sums of rows and columns, exact in i32 that wraps,
//
//   Σ (a - za)(b - zb) = Σ ab - zb Σa - za (Σb - k zb)
//
// and what of them depends on weights alone is computed at load.
//
//===----------------------------------------------------------------------===//

#include "Quantized.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

Value cleave::unpack(OpBuilder &b, Location loc, Value packed, unsigned bits, bool isSigned) {
  if (bits == 8)
    return isSigned
               ? nn::CastOp::create(b, loc, typeOf(packed).clone(b.getI8Type()), packed).getResult()
               : packed;
  Type byte = elementOf(packed);
  int64_t each = 8 / bits;
  SmallVector<int64_t> shape(shapeOf(packed));
  shape.push_back(1);
  Value x = nn::ReshapeOp::create(b, loc, RankedTensorType::get(shape, byte), packed);
  auto constant = [&](ArrayRef<uint8_t> values, ArrayRef<int64_t> of) -> Value {
    auto type = RankedTensorType::get(of, byte);
    return nn::ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, values));
  };
  SmallVector<uint8_t> places;
  for (int64_t i = 0; i < each; ++i)
    places.push_back(1 << (i * bits));
  x = nn::DivOp::create(b, loc, x, constant(places, each));
  // Two's complement: half the range further, all are counted from the least.
  uint8_t half = 1 << (bits - 1);
  if (isSigned)
    x = nn::AddOp::create(b, loc, x, constant(half, {}));
  x = nn::RemOp::create(b, loc, x, constant(uint8_t(1 << bits), {}));
  if (isSigned) {
    auto least = RankedTensorType::get({}, b.getI8Type());
    x = nn::CastOp::create(b, loc, typeOf(x).clone(b.getI8Type()), x);
    x = nn::SubOp::create(
        b, loc, x,
        nn::ConstantOp::create(b, loc, least, DenseElementsAttr::get(least, int8_t(half))));
  }
  shape.pop_back();
  shape.back() *= each;
  return nn::ReshapeOp::create(b, loc, RankedTensorType::get(shape, elementOf(x)), x);
}

//===----------------------------------------------------------------------===//
// Between integers and numbers
//===----------------------------------------------------------------------===//

bool cleave::isZero(Node &n, Value zero) {
  if (!zero)
    return true;
  std::optional<HostTensor> known = n.constant(zero);
  auto isNone = [](auto z) { return z == 0; };
  return known && llvm::all_of(known->ints, isNone) && llvm::all_of(known->floats, isNone);
}

IntegerType cleave::integerType(Node &n, size_t i) {
  Value value = n.quantized(i);
  if (!value)
    return nullptr;
  if (IntegerType narrow = n.narrowType(i))
    return narrow;
  auto type = dyn_cast<IntegerType>(elementOf(value));
  if (!type || type.getWidth() == 1)
    return n.error() << n.op.getOpType() << " wants quantised integers as input " << i
                     << ", got: " << elementOf(value),
           nullptr;
  return type;
}

Type cleave::quantizedType(Node &n, size_t i) {
  Value value = n.quantized(i);
  if (!value)
    return nullptr;
  Type element = elementOf(value);
  if (isByteFloat(element) || (isa<IntegerType>(element) && !element.isInteger(1)))
    return isByteFloat(element) ? element : integerType(n, i);
  return n.error() << n.op.getOpType() << " wants quantised integers or 8-bit floats as input " << i
                   << ", got: " << element,
         nullptr;
}

/// Failure with a message if input `zero` holds 8-bit floats that are known not to be 0. They
/// have no zero point: ONNX has one for its type alone, and those who compute with it differ in
/// what another number would mean.
static LogicalResult requireNoZero(Node &n, size_t zero) {
  Value value = n.quantized(zero);
  if (!value || !isByteFloat(elementOf(value)) || !n.constant(value) || isZero(n, value))
    return success();
  return n.error() << n.op.getOpType() << " with a zero point of " << elementOf(value)
                   << " other than 0 is not supported";
}

LogicalResult cleave::requireTypeOf(Node &n, size_t zero, size_t of) {
  if (!n.has(zero))
    return success();
  Type type = quantizedType(n, of);
  if (!type)
    return failure();
  Type moved = isByteFloat(type) ? quantizedType(n, zero) : integerType(n, zero);
  if (!moved)
    return failure();
  if (moved == type)
    return requireNoZero(n, zero);
  return n.error() << n.op.getOpType() << " wants a zero point of the type of what it moves, "
                   << type << ", got: " << moved << " as input " << zero;
}

Value cleave::biased(Node &n, Value x, size_t bias) {
  if (!x || !n.has(bias))
    return x;
  Value added = n.in(bias), sum = n.make<nn::AddOp>({x, added});
  if (sum && shapeOf(sum) != shapeOf(x))
    return n.error() << n.op.getOpType() << " wants a bias that broadcasts to " << x.getType()
                     << ", got: " << added.getType(),
           nullptr;
  return sum;
}

LogicalResult cleave::requireBytes(Node &n, Value value) {
  if (!value)
    return failure();
  if (elementOf(value).isInteger(8))
    return success();
  return n.error() << n.op.getOpType() << " wants integers of 8 bits, got: " << value.getType();
}

Value cleave::dequantize(Node &n, Value q, Scaling by, Type element) {
  Type f32 = n.b.getF32Type();
  if (!q || !by.scale)
    return nullptr;
  if (!isa<IntegerType>(elementOf(q)) && !isByteFloat(elementOf(q)))
    return n.error() << n.op.getOpType()
                     << " wants quantised integers or 8-bit floats, got: " << q.getType(),
           nullptr;
  bool isZeroed = !isZero(n, by.zero);
  // Integers of 32 bits are sums, whose difference f32 would not hold.
  bool isWide = elementOf(q).getIntOrFloatBitWidth() > 16;
  if (isZeroed && isWide)
    q = n.make<nn::SubOp>({q, n.cast(by.zero, elementOf(q))});
  Value x = n.cast(q, f32);
  if (isZeroed && !isWide)
    x = n.make<nn::SubOp>({x, n.cast(by.zero, f32)});
  return n.cast(n.make<nn::MulOp>({x, n.cast(by.scale, f32)}), element);
}

/// x rounded, moved by `zero` and held within `element`.
static Value saturate(Node &n, Value x, Value zero, IntegerType element) {
  Type f32 = n.b.getF32Type();
  x = n.make<nn::RoundOp>(x);
  if (!isZero(n, zero))
    x = n.make<nn::AddOp>({x, n.cast(zero, f32)});
  unsigned width = element.getWidth();
  bool isUnsigned = element.isUnsigned();
  double low = isUnsigned ? 0 : -double(int64_t(1) << (width - 1));
  double high = double(int64_t(1) << (isUnsigned ? width : width - 1)) - 1;
  x = n.make<nn::MaxOp>({x, n.scalar(f32, low)});
  x = n.make<nn::MinOp>({x, n.scalar(f32, high)});
  Type byte = isUnsigned ? n.b.getIntegerType(8, /*isSigned=*/false) : n.b.getI8Type();
  return n.cast(x, width < 8 ? byte : element);
}

Value cleave::quantize(Node &n, Value x, Scaling by, IntegerType element) {
  Type f32 = n.b.getF32Type();
  Value ratio = n.make<nn::DivOp>({n.cast(x, f32), n.cast(by.scale, f32)});
  return saturate(n, ratio, by.zero, element);
}

Value cleave::quantizeToFloat(Node &n, Value x, Scaling by, Type element, bool saturates) {
  Type f32 = n.b.getF32Type();
  x = n.make<nn::DivOp>({n.cast(x, f32), n.cast(by.scale, f32)});
  if (!isZero(n, by.zero))
    x = n.make<nn::AddOp>({x, n.cast(by.zero, f32)});
  return n.cast(x, element, saturates);
}

Value cleave::requantize(Node &n, Value sums, Scaling by, IntegerType element) {
  Type f32 = n.b.getF32Type();
  Value x = n.make<nn::MulOp>({n.cast(sums, f32), n.cast(by.scale, f32)});
  return saturate(n, x, by.zero, element);
}

Value cleave::reduced(Node &n, nn::ReduceKind kind, Value x, ArrayRef<int64_t> dims) {
  return n.make<nn::ReduceOp>(x, {{"kind", nn::ReduceKindAttr::get(n.b.getContext(), kind)},
                                  {"dims", n.b.getDenseI64ArrayAttr(dims)}});
}

/// The least or largest element, row by row and then of all rows: one row of everything
/// would be the work of one thread.
static Value extreme(Node &n, nn::ReduceKind kind, Value x) {
  if (!x || rankOf(x) == 0)
    return x;
  int64_t last = rankOf(x) - 1;
  Value rows = reduced(n, kind, x, last);
  if (last > 0)
    rows = reduced(n, kind, rows, llvm::to_vector(llvm::seq<int64_t>(0, last)));
  return n.reshape(rows, {});
}

Scaling cleave::scalingOf(Node &n, Value x, IntegerType element) {
  Type f32 = n.b.getF32Type();
  Value none = n.scalar(f32, 0);
  Value low = n.make<nn::MinOp>({extreme(n, nn::ReduceKind::Min, x), none});
  Value high = n.make<nn::MaxOp>({extreme(n, nn::ReduceKind::Max, x), none});
  Value range = n.make<nn::SubOp>({high, low});
  // A tensor of zeros has any scale; ONNX Runtime takes 1, and the standard divides by 0.
  Value isEmpty = n.make<nn::CompareOp>(
      {range, none}, {{"kind", nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Eq)}});
  Value step = n.make<nn::DivOp>({range, n.scalar(f32, 255)});
  Scaling by;
  by.scale = n.make<nn::SelectOp>({isEmpty, n.scalar(f32, 1), step});
  by.zero =
      saturate(n, n.make<nn::DivOp>({n.make<nn::SubOp>({none, low}), by.scale}), nullptr, element);
  return by;
}

//===----------------------------------------------------------------------===//
// Scales and zero points
//===----------------------------------------------------------------------===//

Value cleave::along(Node &n, Value value, Value tensor, int64_t axis) {
  if (!value)
    return nullptr;
  if (typeOf(value).getNumElements() == 1)
    return n.reshape(value, {});
  if (rankOf(value) != 1 || axis >= rankOf(tensor) || shapeOf(value)[0] != shapeOf(tensor)[axis])
    return n.error() << n.op.getOpType() << " wants a scale and a zero point for the whole of "
                     << tensor.getType() << ", or one for each place along dimension " << axis
                     << ", got: " << value.getType(),
           nullptr;
  Sizes shape(rankOf(tensor), 1);
  shape[axis] = sizesOf(value)[0];
  return n.reshape(value, shape);
}

Scaling cleave::scalingAlong(Node &n, size_t scale, size_t zero, Value tensor, int64_t axis) {
  if (!tensor)
    return {};
  Scaling by;
  if (n.has(zero) && !(by.zero = along(n, n.quantized(zero), tensor, axis)))
    return {};
  by.scale = along(n, n.in(scale), tensor, axis);
  if (by.scale && !isa<FloatType>(elementOf(by.scale)))
    return n.error() << n.op.getOpType() << " wants a scale of floats, got: " << by.scale.getType(),
           Scaling();
  return by;
}

Value cleave::ofMatrix(Node &n, Value value, Value matrix, bool ofRows) {
  if (!value || !matrix)
    return nullptr;
  int64_t rank = rankOf(matrix), dim = rank - (ofRows ? 2 : 1);
  if (rank > 1) {
    Ints each(shapeOf(matrix));
    each[rank - (ofRows ? 1 : 2)] = 1;
    if (shapeOf(value) == ArrayRef(each))
      return value;
  }
  return along(n, value, matrix, dim < 0 ? rank : dim);
}

Value cleave::spread(Node &n, Value value, Value x, int64_t axis, int64_t block) {
  if (!value)
    return nullptr;
  Sizes whole = sizesOf(x), shape = sizesOf(value), blocks;
  bool fits = rankOf(value) == rankOf(x);
  for (int64_t dim = 0; fits && dim < rankOf(x); ++dim)
    fits = shapeOf(value)[dim] ==
           (dim == axis ? (shapeOf(x)[dim] + block - 1) / block : shapeOf(x)[dim]);
  if (!fits)
    return n.error() << n.op.getOpType() << " wants one scale and zero point for each " << block
                     << " places along dimension " << axis << " of " << x.getType()
                     << ", got: " << value.getType(),
           nullptr;
  blocks = shape;
  blocks.insert(blocks.begin() + axis + 1, 1);
  value = n.reshape(value, blocks);
  blocks[axis + 1] = block;
  shape[axis] = shape[axis] * block;
  value = n.reshape(n.broadcast(value, blocks), shape);
  return n.slice(value, axis, 0, whole[axis]);
}

namespace {
/// A tensor and its scaling; in blocks, where they fill it, as [.., blocks, block, ..].
struct Scaled {
  Value tensor;
  Scaling by;
};
} // namespace

/// Input 0, which `n` reads as `x`, with the scaling of inputs 1 and 2.
static Scaled scaledInput(Node &n, Value x) {
  int64_t block = n.intAttr("block_size");
  if (!x)
    return {};
  // Of a scalar, or with one scale for all, the axis means nothing and may be anything.
  Value scale = n.in(1);
  if (!scale)
    return {};
  int64_t axis = n.intAttr("axis", 1);
  if (typeOf(scale).getNumElements() != 1 || block != 0) {
    FailureOr<int64_t> wrapped = n.wrapAxis(axis, rankOf(x));
    if (failed(wrapped))
      return {};
    axis = *wrapped;
  }
  if (block == 0)
    return {x, scalingAlong(n, 1, 2, x, axis)};
  if (block < 0 || block > INT32_MAX)
    return n.error() << n.op.getOpType() << " has an impossible block size, got: " << block,
           Scaled();
  if (!isa<FloatType>(elementOf(scale)))
    return n.error() << n.op.getOpType() << " wants a scale of floats, got: " << scale.getType(),
           Scaled();
  Value zero = n.has(2) ? n.quantized(2) : Value();
  if (n.has(2) && !zero)
    return {};
  if (shapeOf(x)[axis] % block != 0)
    return {x, {spread(n, scale, x, axis, block), zero ? spread(n, zero, x, axis, block) : zero}};
  Sizes blocks = sizesOf(x);
  blocks[axis] = Size(shapeOf(x)[axis] / block);
  Sizes shape = blocks;
  shape.insert(shape.begin() + axis + 1, block);
  auto blocked = [&](Value value) -> Value {
    if (!value)
      return value;
    if (nn::numbersOf(sizesOf(value)) != nn::numbersOf(blocks))
      return spread(n, value, x, axis, block);
    Sizes each = sizesOf(value);
    each.insert(each.begin() + axis + 1, 1);
    return n.reshape(value, each);
  };
  Value blockedZero = blocked(zero);
  if (zero && !blockedZero)
    return {};
  return {n.reshape(x, shape), {blocked(scale), blockedZero}};
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

static LogicalResult dequantizeLinear(Node &n) {
  if (!quantizedType(n, 0) || failed(requireTypeOf(n, 2, 0)))
    return failure();
  Value q = n.quantized(0);
  Scaled input = scaledInput(n, q);
  if (!input.tensor || !input.by.scale)
    return failure();
  Type element = elementOf(input.by.scale);
  if (int64_t number = n.intAttr("output_dtype"))
    element = elementOfNumber(n.b, number);
  if (!element || !isa<FloatType>(element))
    return n.unsupported("the output type " + Twine(n.intAttr("output_dtype")));
  Value x = dequantize(n, input.tensor, input.by, element);
  return n.give(n.reshape(x, sizesOf(q)));
}

/// The type that a QuantizeLinear gives: its zero point's, else what it says, else ui8.
static Type resultType(Node &n) {
  int64_t number = n.intAttr("output_dtype");
  // int4, uint4, uint2, int2 have no elements of their own in nn.
  Type said = number == 22   ? n.b.getIntegerType(4)
              : number == 21 ? n.b.getIntegerType(4, /*isSigned=*/false)
              : number == 26 ? n.b.getIntegerType(2)
              : number == 25 ? n.b.getIntegerType(2, /*isSigned=*/false)
              : number != 0  ? elementOfNumber(n.b, number)
                             : n.b.getIntegerType(8, /*isSigned=*/false);
  if (n.has(2)) {
    Type zero = quantizedType(n, 2);
    if (zero && number != 0 && said != zero)
      return n.error() << n.op.getOpType() << " says two types of its output, got: " << zero
                       << " by the zero point and " << number << " by \"output_dtype\"",
             nullptr;
    said = zero;
    if (!said || failed(requireNoZero(n, 2)))
      return nullptr;
  }
  auto type = dyn_cast_or_null<IntegerType>(said);
  if (said && (isByteFloat(said) || (type && type.getWidth() <= 16 && type.getWidth() > 1)))
    return said;
  return (void)n.unsupported("an output of other types than integers of 16 bits and less, "
                             "f8E4M3FN and f8E5M2"),
         nullptr;
}

static LogicalResult quantizeLinear(Node &n) {
  Value x = n.in(0);
  if (!x)
    return failure();
  // The division is done in f32: what ONNX Runtime does for all types, and exact where the
  // scale is a power of two.
  Type element = resultType(n);
  Scaled input = element ? scaledInput(n, x) : Scaled();
  if (!input.tensor || !input.by.scale)
    return failure();
  auto integer = dyn_cast<IntegerType>(element);
  Value q = integer ? quantize(n, input.tensor, input.by, integer)
                    : quantizeToFloat(n, input.tensor, input.by, element, n.intAttr("saturate", 1));
  if (integer && integer.getWidth() < 8)
    n.setNarrow(0, integer);
  return n.give(n.reshape(q, sizesOf(x)));
}

static LogicalResult dynamicQuantizeLinear(Node &n) {
  Value x = n.in(0);
  auto element = n.b.getIntegerType(8, /*isSigned=*/false);
  if (!x || !elementOf(x).isF32())
    return n.error() << n.op.getOpType() << " wants floats of 32 bits";
  Scaling by = scalingOf(n, x, element);
  return n.give({quantize(n, x, by, element), by.scale, by.zero});
}

Value cleave::multiplyIntegers(Node &n, Value a, Value b, Value zeroA, Value zeroB) {
  if (failed(requireBytes(n, a)) || failed(requireBytes(n, b)))
    return nullptr;
  if (rankOf(a) == 0 || rankOf(b) == 0)
    return n.error() << "multiplies a scalar, got: " << a.getType() << " and " << b.getType(),
           nullptr;
  Type i32 = n.b.getI32Type();
  bool isRow = rankOf(a) == 1, isColumn = rankOf(b) == 1;
  if (isRow)
    a = n.reshape(a, {1, sizesOf(a)[0]});
  if (isColumn)
    b = n.reshape(b, {sizesOf(b)[0], 1});
  Value result = n.make<nn::MatmulOp>({a, b});
  int64_t k = shapeOf(a).back();
  auto scaled = [&](Value zero, Value sums) {
    return n.make<nn::MulOp>({n.cast(zero, i32), sums});
  };
  if (!isZero(n, zeroB)) {
    Value rows = reduced(n, nn::ReduceKind::Sum, n.cast(a, i32), rankOf(a) - 1);
    result = n.make<nn::SubOp>({result, scaled(zeroB, rows)});
  }
  if (!isZero(n, zeroA)) {
    Value columns = reduced(n, nn::ReduceKind::Sum, n.cast(b, i32), rankOf(b) - 2);
    if (!isZero(n, zeroB))
      columns = n.make<nn::SubOp>({columns, scaled(zeroB, n.scalar(i32, k))});
    result = n.make<nn::SubOp>({result, scaled(zeroA, columns)});
  }
  if (!result || (!isRow && !isColumn))
    return result;
  Sizes shape = sizesOf(result);
  if (isColumn)
    shape.pop_back();
  if (isRow)
    shape.erase(shape.end() - (isColumn ? 1 : 2));
  return n.reshape(result, shape);
}

/// Input `i` as the zero point of `matrix`; success without one.
static FailureOr<Value> zeroOf(Node &n, size_t i, Value matrix, bool ofRows) {
  if (!n.has(i))
    return Value();
  Value zero = ofMatrix(n, n.in(i), matrix, ofRows);
  if (!zero)
    return failure();
  return zero;
}

static LogicalResult matmulInteger(Node &n) {
  Value a = n.in(0), b = n.in(1);
  FailureOr<Value> zeroA = zeroOf(n, 2, a, /*ofRows=*/true);
  FailureOr<Value> zeroB = zeroOf(n, 3, b, /*ofRows=*/false);
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 3, 1)) || failed(zeroA) ||
      failed(zeroB))
    return failure();
  return n.give(multiplyIntegers(n, a, b, *zeroA, *zeroB));
}

static LogicalResult qlinearMatmul(Node &n) {
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 5, 3)))
    return failure();
  Value a = n.in(0), b = n.in(3);
  Value scaleA = ofMatrix(n, n.in(1), a, true), zeroA = ofMatrix(n, n.in(2), a, true);
  Value scaleB = ofMatrix(n, n.in(4), b, false), zeroB = ofMatrix(n, n.in(5), b, false);
  IntegerType element = integerType(n, 7);
  if (!scaleA || !zeroA || !scaleB || !zeroB || !element)
    return failure();
  Value sums = multiplyIntegers(n, a, b, zeroA, zeroB);
  Scaling by = scalingAlong(n, 6, 7, sums, sums ? rankOf(sums) - 1 : 0);
  Type f32 = n.b.getF32Type();
  Value both = n.make<nn::MulOp>({n.cast(scaleA, f32), n.cast(scaleB, f32)});
  by.scale = n.make<nn::DivOp>({both, by.scale ? n.cast(by.scale, f32) : by.scale});
  return n.give(requantize(n, sums, by, element));
}

void cleave::addQuantized(ConvertTable &table) {
  table["DequantizeLinear"] = dequantizeLinear;
  table["DynamicQuantizeLinear"] = dynamicQuantizeLinear;
  table["MatMulInteger"] = matmulInteger;
  table["QLinearMatMul"] = qlinearMatmul;
  table["QuantizeLinear"] = quantizeLinear;
  table["com.microsoft.DequantizeLinear"] = dequantizeLinear;
  table["com.microsoft.QuantizeLinear"] = quantizeLinear;
}
