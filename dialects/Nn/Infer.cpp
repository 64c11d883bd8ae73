//===- Infer.cpp - the result types of nn ops -----------------------------===//
//
// Inference runs before verification, so it meets invalid operands: it answers
// failure for them and leaves the message to the verifier wherever that can say
// it better.
//
//===----------------------------------------------------------------------===//

#include "Nn/Nn.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"

using namespace mlir;
using namespace cleave::nn;

FailureOr<SmallVector<int64_t>>
cleave::nn::broadcastShapes(ArrayRef<ArrayRef<int64_t>> shapes) {
  size_t rank = 0;
  for (ArrayRef<int64_t> shape : shapes)
    rank = std::max(rank, shape.size());

  SmallVector<int64_t> result(rank, 1);
  for (ArrayRef<int64_t> shape : shapes)
    for (auto [dim, size] : llvm::enumerate(shape)) {
      int64_t &known = result[rank - shape.size() + dim];
      if (known != size && known != 1 && size != 1)
        return failure();
      if (size != 1)
        known = size;
    }
  return result;
}

/// Appends tensor<shape x element>.
static LogicalResult give(SmallVectorImpl<Type> &types, ArrayRef<int64_t> shape,
                          Type element) {
  types.push_back(RankedTensorType::get(shape, element));
  return success();
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// The broadcast of `values` with element type `element`; all of `values` from
/// `firstTyped` on have to agree in element type.
static LogicalResult inferBroadcast(std::optional<Location> loc, ValueRange values,
                                    size_t firstTyped, Type element,
                                    SmallVectorImpl<Type> &types) {
  SmallVector<ArrayRef<int64_t>> shapes;
  for (Value value : values)
    shapes.push_back(shapeOf(value));
  for (Value value : values.drop_front(firstTyped))
    if (elementOf(value) != elementOf(values[firstTyped]))
      return emitOptionalError(loc, "element types differ, got: ",
                               elementOf(values[firstTyped]), " and ",
                               elementOf(value));
  FailureOr<SmallVector<int64_t>> shape = broadcastShapes(shapes);
  if (failed(shape))
    return emitOptionalError(loc, "shapes do not broadcast, got: ",
                             TypeRange(values));
  return give(types, *shape, element);
}

#define INFER(Op)                                                              \
  LogicalResult Op::inferReturnTypes(MLIRContext *context,                     \
                                     std::optional<Location> loc, Adaptor op,  \
                                     SmallVectorImpl<Type> &types)

#define INFER_ELEMENTWISE(Op)                                                  \
  INFER(Op) {                                                                  \
    return inferBroadcast(loc, op.getOperands(), 0,                            \
                          elementOf(op.getOperands()[0]), types);              \
  }

INFER_ELEMENTWISE(NegOp)
INFER_ELEMENTWISE(AbsOp)
INFER_ELEMENTWISE(SignOp)
INFER_ELEMENTWISE(ExpOp)
INFER_ELEMENTWISE(LogOp)
INFER_ELEMENTWISE(SqrtOp)
INFER_ELEMENTWISE(RsqrtOp)
INFER_ELEMENTWISE(ReciprocalOp)
INFER_ELEMENTWISE(TanhOp)
INFER_ELEMENTWISE(ErfOp)
INFER_ELEMENTWISE(SigmoidOp)
INFER_ELEMENTWISE(SiluOp)
INFER_ELEMENTWISE(SinOp)
INFER_ELEMENTWISE(CosOp)
INFER_ELEMENTWISE(FloorOp)
INFER_ELEMENTWISE(CeilOp)
INFER_ELEMENTWISE(RoundOp)
INFER_ELEMENTWISE(NotOp)
INFER_ELEMENTWISE(GeluOp)
INFER_ELEMENTWISE(AddOp)
INFER_ELEMENTWISE(SubOp)
INFER_ELEMENTWISE(MulOp)
INFER_ELEMENTWISE(DivOp)
INFER_ELEMENTWISE(PowOp)
INFER_ELEMENTWISE(MaxOp)
INFER_ELEMENTWISE(MinOp)
INFER_ELEMENTWISE(ModOp)
INFER_ELEMENTWISE(RemOp)
INFER_ELEMENTWISE(AndOp)
INFER_ELEMENTWISE(OrOp)
INFER_ELEMENTWISE(XorOp)
#undef INFER_ELEMENTWISE

static Type boolType(MLIRContext *context) { return IntegerType::get(context, 1); }

INFER(IsNanOp) {
  return inferBroadcast(loc, op.getOperands(), 0, boolType(context), types);
}

INFER(CompareOp) {
  return inferBroadcast(loc, op.getOperands(), 0, boolType(context), types);
}

INFER(SelectOp) {
  return inferBroadcast(loc, op.getOperands(), 1, elementOf(op.getLhs()), types);
}

//===----------------------------------------------------------------------===//
// Movement
//===----------------------------------------------------------------------===//

INFER(TransposeOp) {
  ArrayRef<int64_t> shape = shapeOf(op.getInput());
  ArrayRef<int64_t> permutation = op.getPermutation();
  if (!isPermutationVector(permutation) || permutation.size() != shape.size())
    return emitOptionalError(loc, "does not permute the ", shape.size(),
                             " dimensions of its operand, got: [", permutation,
                             "]"); // C1
  SmallVector<int64_t> result;
  for (int64_t dim : permutation)
    result.push_back(shape[dim]);
  return give(types, result, elementOf(op.getInput()));
}

INFER(SliceOp) {
  for (int64_t size : op.getSizes())
    if (size < 0)
      return emitOptionalError(loc, "has a negative size, got: ", size);
  return give(types, op.getSizes(), elementOf(op.getInput()));
}

/// Whether `axis` is a dimension of a tensor of this rank.
static LogicalResult requireDim(std::optional<Location> loc, int64_t axis,
                                ArrayRef<int64_t> shape) {
  if (axis >= 0 && axis < static_cast<int64_t>(shape.size()))
    return success();
  return emitOptionalError(loc, "names a dimension that its operand of rank ",
                           shape.size(), " does not have, got: ", axis);
}

INFER(ConcatOp) {
  if (op.getInputs().empty())
    return emitOptionalError(loc, "joins no operand"); // C1
  SmallVector<int64_t> result(shapeOf(op.getInputs().front()));
  if (failed(requireDim(loc, op.getAxis(), result)))
    return failure(); // C1
  for (Value input : op.getInputs().drop_front()) {
    SmallVector<int64_t> expected(result), shape(shapeOf(input));
    if (shape.size() != result.size())
      return emitOptionalError(loc, "joins operands of different ranks, got: ",
                               result.size(), " and ", shape.size()); // C2
    result[op.getAxis()] += shape[op.getAxis()];
    expected[op.getAxis()] = shape[op.getAxis()] = 0;
    if (shape != expected || elementOf(input) != elementOf(op.getInputs().front()))
      return emitOptionalError(loc, "joins operands that differ beside the axis, got: ",
                               op.getInputs().front().getType(), " and ",
                               input.getType()); // C2
  }
  return give(types, result, elementOf(op.getInputs().front()));
}

INFER(PadOp) {
  SmallVector<int64_t> result(shapeOf(op.getInput()));
  if (op.getLow().size() != result.size() || op.getHigh().size() != result.size())
    return emitOptionalError(loc, "wants one entry for each of ", result.size(),
                             " dimensions"); // C1
  for (size_t dim = 0; dim < result.size(); ++dim) {
    if (op.getLow()[dim] < 0 || op.getHigh()[dim] < 0)
      return emitOptionalError(loc, "has a negative frame at dimension ", dim); // C1
    result[dim] += op.getLow()[dim] + op.getHigh()[dim];
  }
  return give(types, result, elementOf(op.getInput()));
}

INFER(GatherOp) {
  ArrayRef<int64_t> data = shapeOf(op.getData());
  if (failed(requireDim(loc, op.getAxis(), data)))
    return failure(); // C1
  SmallVector<int64_t> result(data.take_front(op.getAxis()));
  llvm::append_range(result, shapeOf(op.getIndices()));
  llvm::append_range(result, data.drop_front(op.getAxis() + 1));
  return give(types, result, elementOf(op.getData()));
}

INFER(GatherElementsOp) {
  return give(types, shapeOf(op.getIndices()), elementOf(op.getData()));
}

INFER(GatherNdOp) {
  ArrayRef<int64_t> data = shapeOf(op.getData()), indices = shapeOf(op.getIndices());
  int64_t batchDims = op.getBatchDims();
  if (indices.empty() || batchDims < 0 ||
      batchDims >= static_cast<int64_t>(indices.size()) ||
      batchDims + indices.back() > static_cast<int64_t>(data.size()))
    return emitOptionalError(loc, "tuples do not fit the operand, got: ",
                             op.getData().getType(), " and ",
                             op.getIndices().getType()); // C1
  SmallVector<int64_t> result(indices.drop_back());
  llvm::append_range(result, data.drop_front(batchDims + indices.back()));
  return give(types, result, elementOf(op.getData()));
}

INFER(ScatterNdOp) {
  return give(types, shapeOf(op.getData()), elementOf(op.getData()));
}

INFER(CacheUpdateOp) {
  return give(types, shapeOf(op.getCache()), elementOf(op.getCache()));
}

//===----------------------------------------------------------------------===//
// Contractions, rows, attention
//===----------------------------------------------------------------------===//

INFER(MatmulOp) {
  ArrayRef<int64_t> lhs = shapeOf(op.getLhs()), rhs = shapeOf(op.getRhs());
  if (lhs.size() < 2 || rhs.size() < 2 ||
      elementOf(op.getLhs()) != elementOf(op.getRhs()))
    return emitOptionalError(loc, "wants two matrices of one element type, got: ",
                             TypeRange(op.getOperands())); // C1
  FailureOr<SmallVector<int64_t>> batch =
      broadcastShapes({lhs.drop_back(2), rhs.drop_back(2)});
  if (failed(batch) || lhs.back() != rhs[rhs.size() - 2])
    return emitOptionalError(loc, "shapes do not multiply, got: ",
                             TypeRange(op.getOperands())); // C2
  batch->push_back(lhs[lhs.size() - 2]);
  batch->push_back(rhs.back());
  return give(types, *batch, elementOf(op.getLhs()));
}

INFER(ConvOp) {
  ArrayRef<int64_t> input = shapeOf(op.getInput()), filter = shapeOf(op.getFilter());
  size_t spatial = input.size() < 2 ? 0 : input.size() - 2;
  if (spatial == 0 || filter.size() != input.size() ||
      op.getStrides().size() != spatial || op.getDilations().size() != spatial ||
      op.getLow().size() != spatial || op.getHigh().size() != spatial)
    return emitOptionalError(loc, "wants one entry for each of ", spatial,
                             " spatial dimensions of input and filter"); // C1
  SmallVector<int64_t> result = {input[0], filter[0]};
  for (size_t i = 0; i < spatial; ++i) {
    int64_t window = (filter[i + 2] - 1) * op.getDilations()[i] + 1;
    int64_t padded = input[i + 2] + op.getLow()[i] + op.getHigh()[i];
    if (op.getStrides()[i] < 1 || op.getDilations()[i] < 1 || window < 1 ||
        padded < window)
      return emitOptionalError(loc, "window of ", window,
                               " does not fit into the padded input, got: ", padded); // C3
    result.push_back((padded - window) / op.getStrides()[i] + 1);
  }
  return give(types, result, elementOf(op.getInput()));
}

INFER(ReduceOp) {
  SmallVector<int64_t> result(shapeOf(op.getInput()));
  int64_t previous = -1;
  for (int64_t dim : op.getDims()) {
    if (failed(requireDim(loc, dim, result)))
      return failure(); // C1
    if (dim <= previous)
      return emitOptionalError(loc, "dimensions do not rise, got: [", op.getDims(), "]"); // C1
    previous = dim;
    result[dim] = 1;
  }
  return give(types, result, elementOf(op.getInput()));
}

INFER(ArgReduceOp) {
  SmallVector<int64_t> result(shapeOf(op.getInput()));
  if (failed(requireDim(loc, op.getDim(), result)))
    return failure(); // C1
  result[op.getDim()] = 1;
  return give(types, result, IntegerType::get(context, 64));
}

INFER(TopKOp) {
  SmallVector<int64_t> result(shapeOf(op.getInput()));
  if (failed(requireDim(loc, op.getDim(), result)))
    return failure(); // C1
  if (static_cast<int64_t>(op.getK()) < 0 ||
      static_cast<int64_t>(op.getK()) > result[op.getDim()])
    return emitOptionalError(loc, "takes more elements than there are, got: ",
                             op.getK(), " of ", result[op.getDim()]); // C1
  result[op.getDim()] = op.getK();
  (void)give(types, result, elementOf(op.getInput()));
  return give(types, result, IntegerType::get(context, 64));
}

#define INFER_SAME(Op)                                                         \
  INFER(Op) {                                                                  \
    types.push_back(op.getInput().getType());                                  \
    return success();                                                          \
  }
INFER_SAME(CumSumOp)
INFER_SAME(SoftmaxOp)
INFER_SAME(LayerNormOp)
INFER_SAME(RmsNormOp)
INFER_SAME(RopeOp)
#undef INFER_SAME

INFER(AttentionOp) {
  ArrayRef<int64_t> query = shapeOf(op.getQuery()), value = shapeOf(op.getValue());
  if (query.size() != 4 || value.size() != 4)
    return emitOptionalError(loc, "wants operands of rank 4, got: ",
                             TypeRange(op.getOperands())); // C1
  return give(types, {query[0], query[1], query[2], value[3]}, elementOf(op.getQuery()));
}
