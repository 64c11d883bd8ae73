//===- QuantizedContrib.cpp - com.microsoft's ops of quantised tensors ----===//
//
// Their meaning is in ONNX Runtime's ContribOperators.md. No schema describes
// them, so what they read is checked here.
//
//===----------------------------------------------------------------------===//

#include "Quantized.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

static Type byteType(Node &n) { return n.b.getIntegerType(8, /*isSigned=*/false); }

/// `value` with `shape`, in which it may also come flat. Null, with a message, otherwise.
static Value shaped(Node &n, Value value, ArrayRef<int64_t> shape, StringRef what) {
  if (!value)
    return nullptr;
  int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
  if (shapeOf(value) != shape && shapeOf(value) != ArrayRef<int64_t>(count))
    return n.error() << n.op.getOpType() << " wants " << what << " of shape [" << shape
                     << "], got: " << value.getType(),
           nullptr;
  return n.reshape(value, Sizes(shape.begin(), shape.end()));
}

//===----------------------------------------------------------------------===//
// Weights of few bits
//===----------------------------------------------------------------------===//

/// Reads an attribute that has to be there, from `least` to `most`.
static FailureOr<int64_t> sizeAttr(Node &n, StringRef name, int64_t least, int64_t most) {
  int64_t value = n.intAttr(name, least - 1);
  if (value >= least && value <= most)
    return value;
  InFlightDiagnostic error = n.error() << n.op.getOpType() << " wants attribute \"" << name
                                       << "\" from " << least << " to " << most;
  if (n.attr(name))
    error << ", got: " << value;
  return error;
}

static FailureOr<int64_t> bitsOf(Node &n) {
  int64_t bits = n.intAttr("bits", 4);
  if (bits == 2 || bits == 4 || bits == 8)
    return bits;
  return n.unsupported("\"bits\" other than 2, 4 and 8, got: " + Twine(bits));
}

/// `packed` [.., bytes], of `places` elements along the last dimension, as bytes.
static Value unpacked(Node &n, Value packed, int64_t bits, int64_t places) {
  Value bytes = unpack(n.b, n.loc(), packed, bits, /*isSigned=*/false);
  return n.slice(bytes, rankOf(bytes) - 1, 0, places);
}

// B [N, blocks, bytes of a block] holds the columns of the right operand, a block of K after
// the other. `accuracy_level` says how far the arithmetic may be lowered to gain speed; that
// of the scales, which 0 and 1 ask for, is right for all of them.
static LogicalResult matmulNBits(Node &n) {
  Value a = n.in(0), b = n.in(1), scales = n.in(2);
  FailureOr<int64_t> bits = bitsOf(n), k = sizeAttr(n, "K", 1, INT32_MAX),
                     columns = sizeAttr(n, "N", 1, INT32_MAX),
                     block = sizeAttr(n, "block_size", 16, INT32_MAX);
  if (!a || !b || !scales || failed(bits) || failed(k) || failed(columns) || failed(block))
    return failure();
  if (*block & (*block - 1))
    return n.error() << n.op.getOpType()
                     << " wants \"block_size\" as a power of two, got: " << *block;
  if (rankOf(a) == 0 || shapeOf(a).back() != *k || !isa<FloatType>(elementOf(a)) ||
      !isa<FloatType>(elementOf(scales)) || elementOf(b) != byteType(n))
    return n.error() << n.op.getOpType() << " wants floats with a last dimension of " << *k
                     << ", packed bytes and float scales, got: " << a.getType() << ", "
                     << b.getType() << " and " << scales.getType();
  int64_t blocks = llvm::divideCeil(*k, *block), blockBytes = llvm::divideCeil(*block * *bits, 8);
  b = shaped(n, b, {*columns, blocks, blockBytes}, "weights");
  scales = shaped(n, scales, {*columns, blocks}, "scales");
  if (n.has(4)) {
    std::optional<HostTensor> groups = n.constant(n.in(4));
    bool isIdentity = groups && !groups->isFloat() && groups->size() >= *k;
    for (int64_t i = 0; isIdentity && i < *k; ++i)
      isIdentity = groups->ints[i] == i / *block;
    if (!isIdentity)
      return n.unsupported("groups that are not the blocks of K in their order");
  }
  Type f32 = n.b.getF32Type();
  Value zero = n.scalar(byteType(n), double(int64_t(1) << (*bits - 1)));
  if (n.has(3)) {
    zero = n.in(3);
    if (zero && isa<FloatType>(elementOf(zero))) {
      zero = shaped(n, zero, {*columns, blocks}, "zero points");
    } else {
      int64_t bytes = llvm::divideCeil(blocks * *bits, 8);
      zero = shaped(n, zero, {*columns, bytes}, "packed zero points");
      if (zero && elementOf(zero) != byteType(n))
        return n.error() << n.op.getOpType()
                         << " wants zero points as bytes or floats, got: " << zero.getType();
      zero = zero ? unpacked(n, zero, *bits, blocks) : zero;
    }
    zero = zero ? n.reshape(zero, {*columns, blocks, 1}) : zero;
  }
  if (!b || !scales || !zero)
    return failure();
  // [N, K, 1 a block]: differences first, then the scale, each once an element.
  Value q = unpacked(n, n.reshape(b, {*columns, blocks * blockBytes}), *bits, blocks * *block);
  Value x = n.cast(n.reshape(q, {*columns, blocks, *block}), f32);
  x = n.make<nn::SubOp>({x, n.cast(zero, f32)});
  x = n.make<nn::MulOp>({x, n.cast(n.reshape(scales, {*columns, blocks, 1}), f32)});
  x = n.cast(n.reshape(x, {*columns, blocks * *block}), elementOf(a));
  Value weight = n.transpose(n.slice(x, 1, 0, *k), {1, 0});
  bool isRow = rankOf(a) == 1;
  if (isRow)
    a = n.reshape(a, {1, *k});
  Value result = n.make<nn::MatmulOp>({a, weight});
  if (isRow)
    result = n.reshape(result, Size(*columns));
  return n.give(biased(n, result, 5));
}

// Rows are gathered as they lie and only then made numbers.
static LogicalResult gatherBlockQuantized(Node &n) {
  Value data = n.quantized(0), indices = n.in(1), scales = n.in(2);
  if (!data || !indices || !scales || !integerType(n, 0))
    return failure();
  IntegerType narrow = n.narrowType(0);
  FailureOr<int64_t> bits = bitsOf(n), block = sizeAttr(n, "block_size", 16, INT32_MAX);
  FailureOr<int64_t> gatherAxis = n.axisAttr("gather_axis", rankOf(data)),
                     axis = n.axisAttr("quantize_axis", rankOf(data), 1);
  if (failed(bits) || failed(block) || failed(gatherAxis) || failed(axis))
    return failure();
  if (!isa<FloatType>(elementOf(scales)) || (!narrow && elementOf(data) != byteType(n)))
    return n.error() << n.op.getOpType() << " wants float scales and unsigned bytes or integers "
                     << "of 4 bits, got: " << scales.getType() << " and " << data.getType();
  int64_t last = rankOf(data) - 1;
  bool isPacked = !narrow && *bits < 8;
  if (*gatherAxis == *axis || (!narrow && (*axis != last || *gatherAxis == last)))
    return n.unsupported("blocks along the dimension that is gathered, or of packed bytes along "
                         "another than the last");
  Ints whole(shapeOf(data)), blocked(shapeOf(data));
  if (isPacked)
    whole[last] *= 8 / *bits;
  blocked = whole;
  blocked[*axis] = llvm::divideCeil(whole[*axis], *block);
  if (shapeOf(scales) != ArrayRef(blocked))
    return n.error() << n.op.getOpType() << " wants scales of shape [" << blocked
                     << "], got: " << scales.getType();
  auto gather = [&](Value from) {
    return n.make<nn::GatherOp>({from, indices}, {{"axis", n.b.getI64IntegerAttr(*gatherAxis)}});
  };
  Value zero;
  if (n.has(3)) {
    zero = n.quantized(3);
    Ints packed = blocked;
    if (isPacked)
      packed[last] = llvm::divideCeil(blocked[last] * *bits, 8);
    if (!zero || elementOf(zero) != elementOf(data) || shapeOf(zero) != ArrayRef(packed))
      return n.error() << n.op.getOpType() << " wants zero points of the type of its data, of "
                       << "shape [" << packed << "]";
    zero = gather(zero);
    zero = zero && isPacked ? unpacked(n, zero, *bits, blocked[last]) : zero;
  } else if (!narrow) {
    zero = n.scalar(byteType(n), double(int64_t(1) << (*bits - 1)));
  }
  Value q = gather(data), scale = gather(scales);
  if (q && isPacked)
    q = unpacked(n, q, *bits, whole[last]);
  if (!q || !scale || (n.has(3) && !zero))
    return failure();
  // The gathered dimension became those of the indices.
  int64_t at = *axis + (*axis > *gatherAxis ? rankOf(indices) - 1 : 0);
  Type element = elementOf(scale);
  Value spreadScale = spread(n, scale, q, at, *block);
  if (n.has(3))
    zero = spread(n, zero, q, at, *block);
  return n.give(dequantize(n, q, {spreadScale, zero}, element));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// `sums` times the scales of both operands, plus input `bias` where there is one.
static Value scaledSums(Node &n, Value sums, Value scaleA, Value scaleB, size_t bias) {
  Value both = n.make<nn::MulOp>({scaleA, scaleB});
  Value result = sums ? n.make<nn::MulOp>({n.cast(sums, n.b.getF32Type()), both}) : sums;
  return biased(n, result, bias);
}

static LogicalResult dynamicQuantizeMatmul(Node &n) {
  Value a = n.in(0), b = n.in(1);
  if (!a || !b || !elementOf(a).isF32())
    return n.error() << n.op.getOpType() << " wants floats of 32 bits and a quantised matrix";
  if (failed(requireTypeOf(n, 3, 1)))
    return failure();
  Value scaleB = ofMatrix(n, n.in(2), b, /*ofRows=*/false);
  Value zeroB = n.has(3) ? ofMatrix(n, n.in(3), b, /*ofRows=*/false) : Value();
  if (n.has(3) && !zeroB)
    return failure();
  auto byte = n.b.getIntegerType(8, /*isSigned=*/false);
  Scaling by = scalingOf(n, a, byte);
  Value sums = multiplyIntegers(n, quantize(n, a, by, byte), b, by.zero, zeroB);
  return n.give(scaledSums(n, sums, by.scale, scaleB, 4));
}

static LogicalResult matmulIntegerToFloat(Node &n) {
  if (failed(requireTypeOf(n, 4, 0)) || failed(requireTypeOf(n, 5, 1)))
    return failure();
  Value a = n.in(0), b = n.in(1);
  Value scaleA = ofMatrix(n, n.in(2), a, true), scaleB = ofMatrix(n, n.in(3), b, false);
  Value zeroA = n.has(4) ? ofMatrix(n, n.in(4), a, true) : Value();
  Value zeroB = n.has(5) ? ofMatrix(n, n.in(5), b, false) : Value();
  if ((n.has(4) && !zeroA) || (n.has(5) && !zeroB))
    return failure();
  return n.give(scaledSums(n, multiplyIntegers(n, a, b, zeroA, zeroB), scaleA, scaleB, 6));
}

// The bias counts in steps of alpha, the scale of A and the scale of B.
static LogicalResult qgemm(Node &n) {
  Value a = n.in(0), b = n.in(3);
  if (!a || !b || rankOf(a) != 2 || rankOf(b) != 2)
    return n.error() << n.op.getOpType() << " wants two matrices";
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 5, 3)))
    return failure();
  if (n.intAttr("transA"))
    a = n.transpose(a, {1, 0});
  if (n.intAttr("transB"))
    b = n.transpose(b, {1, 0});
  Value scaleA = ofMatrix(n, n.in(1), a, true), zeroA = ofMatrix(n, n.in(2), a, true);
  Value scaleB = ofMatrix(n, n.in(4), b, false), zeroB = ofMatrix(n, n.in(5), b, false);
  if (!scaleA || !scaleB || !zeroA || !zeroB)
    return failure();
  Value sums = biased(n, multiplyIntegers(n, a, b, zeroA, zeroB), 6);
  Value scale = n.make<nn::MulOp>({scaleA, scaleB});
  if (double alpha = n.floatAttr("alpha", 1); alpha != 1 && scale)
    scale = n.make<nn::MulOp>({scale, n.scalar(elementOf(scale), alpha)});
  if (!sums || !scale)
    return failure();
  if (!n.has(7))
    return n.give(n.make<nn::MulOp>({n.cast(sums, n.b.getF32Type()), scale}));
  IntegerType element = integerType(n, 8);
  Scaling by = scalingAlong(n, 7, 8, sums, 1);
  by.scale = n.make<nn::DivOp>({scale, by.scale});
  return element ? n.give(requantize(n, sums, by, element)) : failure();
}

//===----------------------------------------------------------------------===//
// One element at a time
//===----------------------------------------------------------------------===//

/// Input `i` as numbers, with its scale and zero point behind it.
static Value numbersIn(Node &n, size_t i) {
  Value q = n.in(i);
  if (!q || failed(requireTypeOf(n, i + 2, i)))
    return nullptr;
  return dequantize(n, q, scalingAlong(n, i + 1, i + 2, q, 0), n.b.getF32Type());
}

/// Gives `x` in the scale of inputs `i` and `i + 1`, of the type of input `like`.
static LogicalResult giveQuantized(Node &n, Value x, size_t i, size_t like) {
  if (!x || failed(requireTypeOf(n, i + 1, like)))
    return failure();
  IntegerType element = integerType(n, like);
  Scaling by = element ? scalingAlong(n, i, i + 1, x, 0) : Scaling();
  return by.scale ? n.give(quantize(n, x, by, element)) : failure();
}

static LogicalResult qlinearAdd(Node &n) {
  return giveQuantized(n, n.make<nn::AddOp>({numbersIn(n, 0), numbersIn(n, 3)}), 6, 0);
}

// The product of the integers is exact, and scaled once, as ONNX Runtime does: where it is
// near a tie each rounding counts.
static LogicalResult qlinearMul(Node &n) {
  Type f32 = n.b.getF32Type();
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 5, 3)) ||
      failed(requireTypeOf(n, 7, 0)))
    return failure();
  Value a = n.in(0), b = n.in(3);
  Scaling byA = scalingAlong(n, 1, 2, a, 0), byB = scalingAlong(n, 4, 5, b, 0);
  IntegerType element = integerType(n, 0);
  if (!byA.scale || !byB.scale || !element)
    return failure();
  Value one = n.scalar(f32, 1);
  Value product = n.make<nn::MulOp>(
      {dequantize(n, a, {one, byA.zero}, f32), dequantize(n, b, {one, byB.zero}, f32)});
  Scaling by = scalingAlong(n, 6, 7, product, 0);
  by.scale = n.make<nn::DivOp>({n.make<nn::MulOp>({byA.scale, byB.scale}), by.scale});
  return n.give(requantize(n, product, by, element));
}

static LogicalResult qlinearSigmoid(Node &n) {
  return giveQuantized(n, n.make<nn::SigmoidOp>(numbersIn(n, 0)), 3, 0);
}

static LogicalResult qlinearLeakyRelu(Node &n) {
  Value x = numbersIn(n, 0), none = n.scalar(n.b.getF32Type(), 0);
  auto below = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Lt);
  Value small = n.make<nn::MulOp>({x, n.scalar(n.b.getF32Type(), n.floatAttr("alpha", 0.01))});
  Value isBelow = n.make<nn::CompareOp>({x, none}, {{"kind", below}});
  return giveQuantized(n, n.make<nn::SelectOp>({isBelow, small, x}), 3, 0);
}

static LogicalResult qlinearGlobalAveragePool(Node &n) {
  Value x = numbersIn(n, 0);
  if (!x || rankOf(x) < 3)
    return n.error() << n.op.getOpType() << " wants a tensor of rank 3 or more";
  int64_t first = n.intAttr("channels_last") ? 1 : 2;
  Ints dims(rankOf(x) - 2);
  std::iota(dims.begin(), dims.end(), first);
  auto kind = nn::ReduceKindAttr::get(n.b.getContext(), nn::ReduceKind::Mean);
  Value mean = n.make<nn::ReduceOp>(x, {{"kind", kind}, {"dims", n.b.getDenseI64ArrayAttr(dims)}});
  return giveQuantized(n, mean, 3, 0);
}

// The scale and zero point of the result come first, then triples.
static LogicalResult qlinearConcat(Node &n) {
  SmallVector<Value> parts;
  for (size_t i = 2; i + 2 < n.numInputs(); i += 3)
    parts.push_back(numbersIn(n, i));
  if (parts.empty() || n.numInputs() % 3 != 2 || !parts[0])
    return n.error() << n.op.getOpType() << " wants a scale and a zero point, then three inputs "
                     << "for each part";
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(parts[0]));
  return failed(axis) ? failure() : giveQuantized(n, n.concat(parts, *axis), 0, 2);
}

void cleave::addQuantizedContrib(ConvertTable &table) {
  table["com.microsoft.DynamicQuantizeMatMul"] = dynamicQuantizeMatmul;
  table["com.microsoft.GatherBlockQuantized"] = gatherBlockQuantized;
  table["com.microsoft.MatMulIntegerToFloat"] = matmulIntegerToFloat;
  table["com.microsoft.MatMulNBits"] = matmulNBits;
  table["com.microsoft.QGemm"] = qgemm;
  table["com.microsoft.QLinearAdd"] = qlinearAdd;
  table["com.microsoft.QLinearConcat"] = qlinearConcat;
  table["com.microsoft.QLinearGlobalAveragePool"] = qlinearGlobalAveragePool;
  table["com.microsoft.QLinearLeakyRelu"] = qlinearLeakyRelu;
  table["com.microsoft.QLinearMul"] = qlinearMul;
  table["com.microsoft.QLinearSigmoid"] = qlinearSigmoid;
}
