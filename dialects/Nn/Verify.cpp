//===- Verify.cpp - what must hold of nn ops, by constraint number --------===//
//
// Constraints that decide the result type are checked where it is inferred.
//
//===----------------------------------------------------------------------===//

#include "Nn/Nn.h"

using namespace mlir;
using namespace cleave::nn;

static bool isDim(int64_t dim, Value value) {
  return dim >= 0 && dim < static_cast<int64_t>(shapeOf(value).size());
}

static bool broadcastsTo(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  FailureOr<SmallVector<int64_t>> joint = broadcastShapes({from, to});
  return succeeded(joint) && ArrayRef<int64_t>(*joint) == to;
}

static LogicalResult requireDim(Operation *op, int64_t dim, Value value) {
  if (isDim(dim, value))
    return success();
  return op->emitOpError("names a dimension that its operand of rank ")
         << shapeOf(value).size() << " does not have, got: " << dim;
}

LogicalResult CastOp::verify() {
  // C1
  if (shapeOf(getInput()) != shapeOf(getResult()))
    return emitOpError("changes the shape, got: ") << getInput().getType() << " to " << getType();
  // C2
  Type to = elementOf(getResult());
  if (getSaturate() && (!isa<FloatType>(to) || to.getIntOrFloatBitWidth() != 8))
    return emitOpError("saturates only as an 8-bit float, got: ") << to;
  return success();
}

LogicalResult ReshapeOp::verify() {
  auto from = cast<RankedTensorType>(getInput().getType());
  auto to = cast<RankedTensorType>(getType());
  // C1
  if (from.getNumElements() != to.getNumElements() || from.getElementType() != to.getElementType())
    return emitOpError("changes the number or the type of elements, got: ") << from << " to " << to;
  return success();
}

LogicalResult TransposeOp::verify() { return success(); }

LogicalResult BroadcastOp::verify() {
  // C1
  if (!broadcastsTo(shapeOf(getInput()), shapeOf(getResult())) ||
      elementOf(getInput()) != elementOf(getResult()))
    return emitOpError("does not broadcast, got: ") << getInput().getType() << " to " << getType();
  return success();
}

LogicalResult SliceOp::verify() {
  ArrayRef<int64_t> shape = shapeOf(getInput());
  // C1
  if (getStarts().size() != shape.size() || getSizes().size() != shape.size() ||
      getSteps().size() != shape.size())
    return emitOpError("wants one entry for each of ") << shape.size() << " dimensions";
  // C2
  for (auto [dim, start, size, step] : llvm::enumerate(getStarts(), getSizes(), getSteps())) {
    if (step == 0)
      return emitOpError("has a step of 0 at dimension ") << dim;
    int64_t reach, last;
    if (size == 0)
      continue;
    if (llvm::MulOverflow(size - 1, step, reach) || llvm::AddOverflow(start, reach, last) ||
        start < 0 || start >= shape[dim] || last < 0 || last >= shape[dim])
      return emitOpError("leaves dimension ") << dim << " of size " << shape[dim] << ", got: start "
                                              << start << ", size " << size << ", step " << step;
  }
  return success();
}

LogicalResult ConcatOp::verify() { return success(); }

LogicalResult PadOp::verify() {
  // C2
  if (!shapeOf(getValue()).empty() || elementOf(getValue()) != elementOf(getInput()))
    return emitOpError("pads with something else than a scalar of its type, got: ")
           << getValue().getType();
  return success();
}

/// Of an axis of `size`; what is no constant is checked when it is read.
static LogicalResult requireIndices(Operation *op, Value indices, int64_t size,
                                    bool absolute = false) {
  auto constant = indices.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : nullptr;
  if (!dense)
    return success();
  bool isUnsigned = dense.getElementType().isUnsignedInteger();
  int64_t low = absolute ? 0 : -size;
  for (const APInt &element : dense.getValues<APInt>())
    if (int64_t index = isUnsigned ? element.getZExtValue() : element.getSExtValue();
        index < low || index >= size)
      return op->emitOpError("takes indices from ")
             << low << " to " << size - 1 << ", got: " << index;
  return success();
}

LogicalResult GatherOp::verify() {
  // C2
  return requireIndices(*this, getIndices(), shapeOf(getData())[getAxis()], getAbsolute());
}

LogicalResult GatherElementsOp::verify() {
  ArrayRef<int64_t> data = shapeOf(getData()), indices = shapeOf(getIndices());
  // C1
  if (failed(requireDim(*this, getAxis(), getData())))
    return failure();
  bool fits = data.size() == indices.size();
  for (size_t dim = 0; fits && dim < data.size(); ++dim)
    fits =
        static_cast<int64_t>(dim) == static_cast<int64_t>(getAxis()) || indices[dim] <= data[dim];
  if (!fits)
    return emitOpError("indices do not fit the operand, got: ")
           << getData().getType() << " and " << getIndices().getType();
  // C2
  return requireIndices(*this, getIndices(), data[getAxis()]);
}

LogicalResult GatherNdOp::verify() {
  ArrayRef<int64_t> data = shapeOf(getData()), indices = shapeOf(getIndices());
  // C1
  if (data.take_front(getBatchDims()) != indices.take_front(getBatchDims()))
    return emitOpError("batch dimensions differ, got: ")
           << getData().getType() << " and " << getIndices().getType();
  return success();
}

LogicalResult ScatterNdOp::verify() {
  ArrayRef<int64_t> data = shapeOf(getData()), indices = shapeOf(getIndices());
  // C1
  if (indices.empty() || indices.back() > static_cast<int64_t>(data.size()) ||
      elementOf(getUpdates()) != elementOf(getData()))
    return emitOpError("tuples do not fit the operand, got: ")
           << getData().getType() << " and " << getIndices().getType();
  SmallVector<int64_t> expected(indices.drop_back());
  llvm::append_range(expected, data.drop_front(indices.back()));
  if (shapeOf(getUpdates()) != ArrayRef<int64_t>(expected))
    return emitOpError("updates want the shape [")
           << expected << "], got: " << getUpdates().getType();
  return success();
}

LogicalResult CacheUpdateOp::verify() {
  ArrayRef<int64_t> cache = shapeOf(getCache()), update = shapeOf(getUpdate());
  int64_t axis = getAxis();
  // C1
  if (failed(requireDim(*this, axis, getCache())))
    return failure();
  bool fits =
      axis > 0 && update.size() == cache.size() && elementOf(getUpdate()) == elementOf(getCache());
  for (size_t dim = 0; fits && dim < cache.size(); ++dim)
    fits =
        static_cast<int64_t>(dim) == axis ? update[dim] <= cache[dim] : update[dim] == cache[dim];
  if (!fits)
    return emitOpError("update does not fit the cache, got: ")
           << getUpdate().getType() << " into " << getCache().getType();
  // C2
  if (shapeOf(getPositions()) != cache.take_front(1))
    return emitOpError("wants a position for each of ")
           << cache.front() << " batches, got: " << getPositions().getType();
  return success();
}

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  int64_t bytes = bytesOf(type);
  // C1
  if (static_cast<int64_t>(getLength()) != bytes)
    return emitOpError("of ") << bytes
                              << " bytes has a length of another size, got: " << getLength();
  // C2
  if (static_cast<int64_t>(getOffset()) < 0)
    return emitOpError("lies before its file, got: ") << static_cast<int64_t>(getOffset());
  return success();
}

LogicalResult MatmulOp::verify() { return success(); }

LogicalResult ConvOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput()), filter = shapeOf(getFilter());
  int64_t groups = getGroups();
  // C2
  if (groups < 1 || input[1] % groups != 0 || input[1] / groups != filter[1] ||
      filter[0] % groups != 0)
    return emitOpError("channels do not fall into ")
           << groups << " groups, got: " << getInput().getType() << " and "
           << getFilter().getType();
  return success();
}

LogicalResult ReduceOp::verify() { return success(); }

LogicalResult ArgReduceOp::verify() {
  // C1
  if (shapeOf(getInput())[getDim()] == 0)
    return emitOpError("looks for an element of an empty dimension, got: ") << getInput().getType();
  return success();
}

LogicalResult TopKOp::verify() { return success(); }

LogicalResult CumSumOp::verify() { return requireDim(*this, getDim(), getInput()); } // C1

LogicalResult SoftmaxOp::verify() { return requireDim(*this, getDim(), getInput()); } // C1

/// Whether `vector` is a vector of the last dimension of `input`.
static LogicalResult requireRowVector(Operation *op, Value input, Value vector) {
  if (!shapeOf(input).empty() && shapeOf(vector) == shapeOf(input).take_back(1))
    return success();
  return op->emitOpError("wants a vector of the last dimension of ")
         << input.getType() << ", got: " << vector.getType();
}

LogicalResult LayerNormOp::verify() {
  // C1
  if (failed(requireRowVector(*this, getInput(), getScale())))
    return failure();
  return getBias() ? requireRowVector(*this, getInput(), getBias()) : success();
}

LogicalResult RmsNormOp::verify() {
  return requireRowVector(*this, getInput(), getScale()); // C1
}

LogicalResult RopeOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput()), table = shapeOf(getCos());
  // C1
  if (table != shapeOf(getSin()) || table.empty() || input.empty() ||
      !broadcastsTo(table.drop_back(), input.drop_back()))
    return emitOpError("tables do not broadcast to ")
           << getInput().getType() << ", got: " << getCos().getType() << " and "
           << getSin().getType();
  // C2
  if (2 * table.back() > input.back())
    return emitOpError("turns ") << 2 * table.back() << " lanes of " << input.back();
  return success();
}

LogicalResult AttentionOp::verify() {
  ArrayRef<int64_t> q = shapeOf(getQuery()), k = shapeOf(getKey()), v = shapeOf(getValue());
  // C1
  if (k.size() != 4 || q[0] != k[0] || k.take_front(3) != v.take_front(3) || q[3] != k[3])
    return emitOpError("operands do not agree, got: ")
           << getQuery().getType() << ", " << getKey().getType() << " and " << getValue().getType();
  // C2
  if (k[1] == 0 ? q[1] != 0 : q[1] % k[1] != 0)
    return emitOpError("shares ") << k[1] << " key heads among " << q[1] << " query heads";
  // C3
  if (getMask() && !broadcastsTo(shapeOf(getMask()), {q[0], q[1], q[2], k[2]}))
    return emitOpError("mask does not broadcast to the scores, got: ") << getMask().getType();
  if (getLengths() && shapeOf(getLengths()) != q.take_front(1))
    return emitOpError("wants a length for each of ")
           << q[0] << " batches, got: " << getLengths().getType();
  // C4
  if (getOffset() != 0 && !getCausal())
    return emitOpError("has an offset without being causal, got: ")
           << static_cast<int64_t>(getOffset());
  return success();
}
