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

/// Appends tensor<shape x element>.
static LogicalResult give(SmallVectorImpl<Type> &types, ArrayRef<Size> shape, Type element) {
  types.push_back(tensorOf(shape, element));
  return success();
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// The broadcast of `values` with element type `element`; all of `values` from
/// `firstTyped` on have to agree in element type.
static LogicalResult inferBroadcast(std::optional<Location> loc, ValueRange values,
                                    size_t firstTyped, Type element, SmallVectorImpl<Type> &types) {
  SmallVector<Sizes> shapes;
  for (Value value : values)
    shapes.push_back(sizesOf(value));
  for (Value value : values.drop_front(firstTyped))
    if (elementOf(value) != elementOf(values[firstTyped]))
      return emitOptionalError(loc, "element types differ, got: ", elementOf(values[firstTyped]),
                               " and ", elementOf(value));
  FailureOr<Sizes> shape = broadcastSizes(shapes);
  if (failed(shape))
    return emitOptionalError(loc, "shapes do not broadcast, got: ", TypeRange(values));
  return give(types, *shape, element);
}

#define INFER(Op)                                                                                  \
  LogicalResult Op::inferReturnTypes(MLIRContext *context, std::optional<Location> loc,            \
                                     Adaptor op, SmallVectorImpl<Type> &types)

#define INFER_ELEMENTWISE(Op)                                                                      \
  INFER(Op) {                                                                                      \
    return inferBroadcast(loc, op.getOperands(), 0, elementOf(op.getOperands()[0]), types);        \
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

INFER(IsNanOp) { return inferBroadcast(loc, op.getOperands(), 0, boolType(context), types); }

INFER(CompareOp) { return inferBroadcast(loc, op.getOperands(), 0, boolType(context), types); }

INFER(SelectOp) { return inferBroadcast(loc, op.getOperands(), 1, elementOf(op.getLhs()), types); }

//===----------------------------------------------------------------------===//
// Movement
//===----------------------------------------------------------------------===//

INFER(TransposeOp) {
  Sizes shape = sizesOf(op.getInput());
  ArrayRef<int64_t> permutation = op.getPermutation();
  if (!isPermutationVector(permutation) || permutation.size() != shape.size())
    return emitOptionalError(loc, "does not permute the ", shape.size(),
                             " dimensions of its operand, got: [", permutation,
                             "]"); // C1
  Sizes result;
  for (int64_t dim : permutation)
    result.push_back(shape[dim]);
  return give(types, result, elementOf(op.getInput()));
}

INFER(SliceOp) {
  for (int64_t size : op.getSizes())
    if (size < 0)
      return emitOptionalError(loc, "has a negative size, got: ", size);
  return give(types, Sizes(op.getSizes().begin(), op.getSizes().end()), elementOf(op.getInput()));
}

/// Whether `axis` is a dimension of a tensor of this rank.
static LogicalResult requireDim(std::optional<Location> loc, int64_t axis, ArrayRef<Size> shape) {
  if (axis >= 0 && axis < static_cast<int64_t>(shape.size()))
    return success();
  return emitOptionalError(loc, "names a dimension that its operand of rank ", shape.size(),
                           " does not have, got: ", axis);
}

INFER(ConcatOp) {
  if (op.getInputs().empty())
    return emitOptionalError(loc, "joins no operand"); // C1
  Value first = op.getInputs().front();
  int64_t axis = op.getAxis();
  Sizes result = sizesOf(first);
  if (failed(requireDim(loc, axis, result)))
    return failure(); // C1
  for (Value input : op.getInputs().drop_front()) {
    Sizes shape = sizesOf(input);
    if (shape.size() != result.size())
      return emitOptionalError(loc, "joins operands of different ranks, got: ", result.size(),
                               " and ", shape.size()); // C2
    result[axis] = result[axis] + shape[axis];
    shape[axis] = result[axis];
    if (numbersOf(shape) != numbersOf(result) || elementOf(input) != elementOf(first))
      return emitOptionalError(loc,
                               "joins operands that differ beside the axis, got: ", first.getType(),
                               " and ", input.getType()); // C2
  }
  return give(types, result, elementOf(first));
}

INFER(PadOp) {
  Sizes result = sizesOf(op.getInput());
  if (op.getLow().size() != result.size() || op.getHigh().size() != result.size())
    return emitOptionalError(loc, "wants one entry for each of ", result.size(),
                             " dimensions"); // C1
  for (size_t dim = 0; dim < result.size(); ++dim) {
    if (op.getLow()[dim] < 0 || op.getHigh()[dim] < 0)
      return emitOptionalError(loc, "has a negative frame at dimension ", dim); // C1
    result[dim] = result[dim] + op.getLow()[dim] + op.getHigh()[dim];
  }
  return give(types, result, elementOf(op.getInput()));
}

INFER(GatherOp) {
  Sizes data = sizesOf(op.getData());
  if (failed(requireDim(loc, op.getAxis(), data)))
    return failure(); // C1
  Sizes result(data.begin(), data.begin() + op.getAxis());
  llvm::append_range(result, sizesOf(op.getIndices()));
  result.append(data.begin() + op.getAxis() + 1, data.end());
  return give(types, result, elementOf(op.getData()));
}

INFER(GatherElementsOp) { return give(types, sizesOf(op.getIndices()), elementOf(op.getData())); }

INFER(GatherNdOp) {
  Sizes data = sizesOf(op.getData()), indices = sizesOf(op.getIndices());
  int64_t batchDims = op.getBatchDims();
  if (indices.empty() || batchDims < 0 || batchDims >= static_cast<int64_t>(indices.size()) ||
      batchDims + indices.back().value > static_cast<int64_t>(data.size()))
    return emitOptionalError(loc, "tuples do not fit the operand, got: ", op.getData().getType(),
                             " and ",
                             op.getIndices().getType()); // C1
  Sizes result(indices.begin(), indices.end() - 1);
  result.append(data.begin() + batchDims + indices.back().value, data.end());
  return give(types, result, elementOf(op.getData()));
}

INFER(ScatterNdOp) { return give(types, sizesOf(op.getData()), elementOf(op.getData())); }

INFER(CacheUpdateOp) { return give(types, sizesOf(op.getCache()), elementOf(op.getCache())); }

//===----------------------------------------------------------------------===//
// Contractions, rows, attention
//===----------------------------------------------------------------------===//

/// What a product of these is; null where they do not multiply.
static Type productElement(Type lhs, Type rhs) {
  auto areBoth = [&](auto is) { return is(lhs) && is(rhs); };
  if (areBoth([](Type type) { return type.isInteger(8); }))
    return IntegerType::get(lhs.getContext(), 32);
  if (areBoth([](Type type) { return isByteFloat(type); }))
    return Float32Type::get(lhs.getContext());
  return lhs == rhs ? lhs : nullptr;
}

INFER(MatmulOp) {
  Sizes lhs = sizesOf(op.getLhs()), rhs = sizesOf(op.getRhs());
  Type element = productElement(elementOf(op.getLhs()), elementOf(op.getRhs()));
  if (lhs.size() < 2 || rhs.size() < 2 || !element)
    return emitOptionalError(loc,
                             "wants two matrices of one element type, or of two of 8 bits, got: ",
                             TypeRange(op.getOperands())); // C1
  Size rows = lhs[lhs.size() - 2], columns = rhs.back();
  bool multiplies = lhs.back().value == rhs[rhs.size() - 2].value;
  lhs.pop_back_n(2);
  rhs.pop_back_n(2);
  FailureOr<Sizes> result = broadcastSizes({lhs, rhs});
  if (failed(result) || !multiplies)
    return emitOptionalError(loc, "shapes do not multiply, got: ",
                             TypeRange(op.getOperands())); // C2
  result->append({rows, columns});
  return give(types, *result, element);
}

INFER(ConvOp) {
  Sizes input = sizesOf(op.getInput()), filter = sizesOf(op.getFilter());
  size_t spatial = input.size() < 2 ? 0 : input.size() - 2;
  if (spatial == 0 || filter.size() != input.size() || op.getStrides().size() != spatial ||
      op.getDilations().size() != spatial || op.getLow().size() != spatial ||
      op.getHigh().size() != spatial)
    return emitOptionalError(loc, "wants one entry for each of ", spatial,
                             " spatial dimensions of input and filter"); // C1
  Type element = productElement(elementOf(op.getInput()), elementOf(op.getFilter()));
  if (!element)
    return emitOptionalError(loc,
                             "wants input and filter of one element type, or of two of 8 bits, "
                             "got: ",
                             TypeRange(op.getOperands())); // C1
  Sizes result = {input[0], filter[0]};
  for (size_t i = 0; i < spatial; ++i) {
    Size window = (filter[i + 2] - 1) * op.getDilations()[i] + 1;
    Size padded = input[i + 2] + op.getLow()[i] + op.getHigh()[i];
    if (op.getStrides()[i] < 1 || op.getDilations()[i] < 1 || window.value < 1 ||
        padded.value < window.value)
      return emitOptionalError(loc, "window of ", window.value,
                               " does not fit into the padded input, got: ",
                               padded.value); // C3
    result.push_back(floorDiv(padded - window, op.getStrides()[i]) + 1);
  }
  return give(types, result, element);
}

INFER(ReduceOp) {
  Sizes result = sizesOf(op.getInput());
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
  Sizes result = sizesOf(op.getInput());
  if (failed(requireDim(loc, op.getDim(), result)))
    return failure(); // C1
  result[op.getDim()] = 1;
  return give(types, result, IntegerType::get(context, 64));
}

INFER(TopKOp) {
  Sizes result = sizesOf(op.getInput());
  if (failed(requireDim(loc, op.getDim(), result)))
    return failure(); // C1
  int64_t k = op.getK();
  if (k < 0 || k > result[op.getDim()].value)
    return emitOptionalError(loc, "takes more elements than there are, got: ", k, " of ",
                             result[op.getDim()].value); // C1
  result[op.getDim()] = k;
  (void)give(types, result, elementOf(op.getInput()));
  return give(types, result, IntegerType::get(context, 64));
}

#define INFER_SAME(Op)                                                                             \
  INFER(Op) {                                                                                      \
    types.push_back(op.getInput().getType());                                                      \
    return success();                                                                              \
  }
INFER_SAME(CumSumOp)
INFER_SAME(SoftmaxOp)
INFER_SAME(LayerNormOp)
INFER_SAME(RmsNormOp)
INFER_SAME(RopeOp)
#undef INFER_SAME

INFER(AttentionOp) {
  Sizes query = sizesOf(op.getQuery()), value = sizesOf(op.getValue());
  if (query.size() != 4 || value.size() != 4)
    return emitOptionalError(loc, "wants operands of rank 4, got: ",
                             TypeRange(op.getOperands())); // C1
  return give(types, {query[0], query[1], query[2], value[3]}, elementOf(op.getQuery()));
}
