//===- Movement.cpp - elements change place -------------------------------===//

#include "Evaluate.h"
#include "Index.h"

#include "Nn/Nn.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

/// `value` counted from the end if negative; failure at `op` if out of range.
static FailureOr<int64_t> wrapIndex(Operation *op, int64_t value, int64_t size,
                                    bool absolute = false) {
  int64_t wrapped = value < 0 && !absolute ? value + size : value;
  if (wrapped >= 0 && wrapped < size)
    return wrapped;
  op->emitError("index is out of range [0, ") << size << "), got: " << value;
  return failure();
}

static LogicalResult move(ReshapeOp, Operands operands, HostTensor &result) {
  result.floats = operands[0]->floats;
  result.ints = operands[0]->ints;
  return success();
}

static LogicalResult move(TransposeOp op, Operands operands, HostTensor &result) {
  Index strides = stridesOf(operands[0]->shape());
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    int64_t from = 0;
    for (auto [dim, source] : llvm::enumerate(op.getPermutation()))
      from += index[dim] * strides[source];
    copyElement(*operands[0], from, result, out);
  });
  return success();
}

static LogicalResult move(BroadcastOp, Operands operands, HostTensor &result) {
  Index strides = stridesOf(operands[0]->shape());
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    copyElement(*operands[0], broadcastOffset(index, operands[0]->shape(), strides), result, out);
  });
  return success();
}

static LogicalResult move(SliceOp op, Operands operands, HostTensor &result) {
  Index strides = stridesOf(operands[0]->shape());
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    int64_t from = 0;
    for (size_t dim = 0; dim < index.size(); ++dim)
      from += (op.getStarts()[dim] + index[dim] * op.getSteps()[dim]) * strides[dim];
    copyElement(*operands[0], from, result, out);
  });
  return success();
}

/// Copies all of `source` into `result` at `origin`.
static void paste(const HostTensor &source, HostTensor &result, ArrayRef<int64_t> origin) {
  Index strides = stridesOf(result.shape());
  forEachIndex(source.shape(), [&](ArrayRef<int64_t> index, int64_t from) {
    int64_t to = 0;
    for (size_t dim = 0; dim < index.size(); ++dim)
      to += (origin[dim] + index[dim]) * strides[dim];
    copyElement(source, from, result, to);
  });
}

static LogicalResult move(ConcatOp op, Operands operands, HostTensor &result) {
  Index origin(result.shape().size(), 0);
  for (const HostTensor *operand : operands) {
    paste(*operand, result, origin);
    origin[op.getAxis()] += operand->shape()[op.getAxis()];
  }
  return success();
}

static LogicalResult move(PadOp op, Operands operands, HostTensor &result) {
  for (int64_t i = 0; i < result.size(); ++i)
    copyElement(*operands[1], 0, result, i);
  paste(*operands[0], result, op.getLow());
  return success();
}

static LogicalResult move(GatherOp op, Operands operands, HostTensor &result) {
  const HostTensor &data = *operands[0], &indices = *operands[1];
  int64_t axis = op.getAxis(), size = data.shape()[axis];
  size_t indexRank = indices.shape().size();
  Index strides = stridesOf(data.shape()), indexStrides = stridesOf(indices.shape());
  LogicalResult status = success();
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    int64_t chosen = 0, from = 0;
    for (size_t dim = 0; dim < indexRank; ++dim)
      chosen += index[axis + dim] * indexStrides[dim];
    FailureOr<int64_t> row = wrapIndex(op, indices.ints[chosen], size, op.getAbsolute());
    if (failed(status) || failed(row))
      return void(status = failure());
    for (size_t dim = 0; dim < data.shape().size(); ++dim) {
      int64_t at = static_cast<int64_t>(dim);
      from += (at < axis    ? index[dim]
               : at == axis ? *row
                            : index[dim + indexRank - 1]) *
              strides[dim];
    }
    copyElement(data, from, result, out);
  });
  return status;
}

static LogicalResult move(GatherElementsOp op, Operands operands, HostTensor &result) {
  const HostTensor &data = *operands[0], &indices = *operands[1];
  Index strides = stridesOf(data.shape());
  LogicalResult status = success();
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    FailureOr<int64_t> row = wrapIndex(op, indices.ints[out], data.shape()[op.getAxis()]);
    if (failed(status) || failed(row))
      return void(status = failure());
    int64_t from = 0;
    for (size_t dim = 0; dim < index.size(); ++dim)
      from += (dim == op.getAxis() ? *row : index[dim]) * strides[dim];
    copyElement(data, from, result, out);
  });
  return status;
}

/// The offset that tuple number `tuple` of `indices` means in dimensions
/// `firstDim`… of `data`.
static FailureOr<int64_t> tupleOffset(Operation *op, const HostTensor &indices, int64_t tuple,
                                      const HostTensor &data, int64_t firstDim) {
  Index strides = stridesOf(data.shape());
  int64_t length = indices.shape().back(), offset = 0;
  for (int64_t i = 0; i < length; ++i) {
    FailureOr<int64_t> at =
        wrapIndex(op, indices.ints[tuple * length + i], data.shape()[firstDim + i]);
    if (failed(at))
      return failure();
    offset += *at * strides[firstDim + i];
  }
  return offset;
}

static int64_t product(ArrayRef<int64_t> sizes) {
  int64_t result = 1;
  for (int64_t size : sizes)
    result *= size;
  return result;
}

static LogicalResult move(GatherNdOp op, Operands operands, HostTensor &result) {
  const HostTensor &data = *operands[0], &indices = *operands[1];
  int64_t batchDims = op.getBatchDims(), length = indices.shape().back();
  int64_t block = product(data.shape().drop_front(batchDims + length));
  int64_t batchStride = product(data.shape().drop_front(batchDims));
  int64_t tuples = product(indices.shape().drop_back());
  int64_t batches = product(indices.shape().take_front(batchDims));
  for (int64_t tuple = 0; tuple < tuples; ++tuple) {
    FailureOr<int64_t> at = tupleOffset(op, indices, tuple, data, batchDims);
    if (failed(at))
      return failure();
    int64_t from = tuple / (tuples / batches) * batchStride + *at;
    for (int64_t i = 0; i < block; ++i)
      copyElement(data, from + i, result, tuple * block + i);
  }
  return success();
}

static LogicalResult move(ScatterNdOp op, Operands operands, HostTensor &result) {
  const HostTensor &data = *operands[0], &indices = *operands[1], &updates = *operands[2];
  result = data;
  int64_t block = product(data.shape().drop_front(indices.shape().back()));
  for (int64_t tuple = 0; tuple < product(indices.shape().drop_back()); ++tuple) {
    FailureOr<int64_t> at = tupleOffset(op, indices, tuple, data, 0);
    if (failed(at))
      return failure();
    for (int64_t i = 0; i < block; ++i)
      copyElement(updates, tuple * block + i, result, *at + i);
  }
  return success();
}

static LogicalResult move(CacheUpdateOp op, Operands operands, HostTensor &result) {
  const HostTensor &cache = *operands[0], &update = *operands[1], &positions = *operands[2];
  result = cache;
  int64_t axis = op.getAxis(), room = cache.shape()[axis] - update.shape()[axis];
  for (int64_t position : positions.ints)
    if (position < 0 || position > room)
      return op->emitError("position leaves the cache, got: ") << position;
  Index strides = stridesOf(cache.shape());
  forEachIndex(update.shape(), [&](ArrayRef<int64_t> index, int64_t from) {
    int64_t to = positions.ints[index[0]] * strides[axis];
    for (size_t dim = 0; dim < index.size(); ++dim)
      to += index[dim] * strides[dim];
    copyElement(update, from, result, to);
  });
  return success();
}

std::optional<LogicalResult> cleave::evaluateMovement(Operation *op, Operands operands,
                                                      Results &results) {
  return llvm::TypeSwitch<Operation *, std::optional<LogicalResult>>(op)
      .Case<ReshapeOp, TransposeOp, BroadcastOp, SliceOp, ConcatOp, PadOp, GatherOp,
            GatherElementsOp, GatherNdOp, ScatterNdOp, CacheUpdateOp>(
          [&](auto movement) { return move(movement, operands, results[0]); })
      .Default([](Operation *) { return std::nullopt; });
}
