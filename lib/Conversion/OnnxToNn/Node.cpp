//===- Node.cpp - inputs, attributes, checked and folded ops --------------===//

#include "Node.h"

#include "cleave/Frontend/Onnx.h"
#include "cleave/Frontend/Schemas.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

/// Elements above which a constant is left to be computed at load or run time.
static constexpr int64_t kFoldedElements = 1 << 18;
/// Products above which a contraction of constants is.
static constexpr int64_t kFoldedProducts = 1 << 24;
/// Elements that are listed one by one.
static constexpr int64_t kListedElements = 1 << 24;

bool cleave::isPossible(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    if (size < 0 || llvm::MulOverflow(count, std::max<int64_t>(size, 1), count) ||
        count > kLargestTensor)
      return false;
  return true;
}

std::optional<HostTensor> cleave::readTensor(RankedTensorType type, StringRef file,
                                             uint64_t offset, uint64_t length) {
  auto bytes = llvm::MemoryBuffer::getFileSlice(file, length, offset);
  if (!bytes || (*bytes)->getBufferSize() != length)
    return std::nullopt;
  return HostTensor::fromBytes(type, (*bytes)->getBuffer());
}

Node::Node(onnx::NodeOp op, OpBuilder &builder, IRMapping &values, DictionaryAttr bindings)
    : op(op), b(builder), values(values), bindings(bindings), location(op.getLoc()) {}

InFlightDiagnostic Node::error() const { return emitError(location); }

LogicalResult Node::unsupported(const Twine &what) const {
  return error() << onnx::NodeOp(op).getOpType() << " with " << what << " is not supported";
}

//===----------------------------------------------------------------------===//
// Inputs and attributes
//===----------------------------------------------------------------------===//

bool Node::has(size_t i) {
  return i < numInputs() && !isa<NoneType>(op.getInputs()[i].getType());
}

Value Node::in(size_t i) {
  if (!has(i))
    return error() << op.getOpType() << " lacks input " << i, nullptr;
  Value value = values.lookupOrNull(op.getInputs()[i]);
  if (!value)
    return error() << op.getOpType() << " reads something else than a tensor as input " << i,
           nullptr;
  return value;
}

std::optional<HostTensor> Node::constant(Value value) const {
  if (!value)
    return std::nullopt;
  if (auto constantOp = value.getDefiningOp<nn::ConstantOp>())
    return HostTensor::fromAttr(constantOp.getValue());
  auto weight = value.getDefiningOp<nn::WeightOp>();
  if (!weight || typeOf(value).getNumElements() > kFoldedElements)
    return std::nullopt;
  return readTensor(typeOf(value), weight.getFile(), weight.getOffset(), weight.getLength());
}

FailureOr<Ints> Node::ints(size_t i) {
  Value value = in(i);
  if (!value)
    return failure();
  std::optional<HostTensor> tensor = constant(value);
  if (!tensor || tensor->isFloat())
    return error() << op.getOpType() << " wants integers that are known while compiling as input "
                   << i << "; sizes that depend on the data are not supported";
  return Ints(tensor->ints.begin(), tensor->ints.end());
}

FailureOr<int64_t> Node::integer(size_t i) {
  FailureOr<Ints> list = ints(i);
  if (failed(list))
    return failure();
  if (list->size() != 1)
    return error() << op.getOpType() << " wants one integer as input " << i << ", got: "
                   << list->size();
  return list->front();
}

FailureOr<Ints> Node::intsWanted(StringRef name, size_t i) {
  FailureOr<std::optional<Ints>> list = intsFrom(name, i);
  if (failed(list))
    return failure();
  if (!*list)
    return error() << op.getOpType() << " lacks \"" << name << "\"";
  return **list;
}

FailureOr<std::optional<Ints>> Node::intsFrom(StringRef name, size_t i) {
  if (std::optional<Ints> list = intsAttr(name))
    return list;
  if (!has(i))
    return std::optional<Ints>();
  FailureOr<Ints> list = ints(i);
  if (failed(list))
    return failure();
  return std::optional<Ints>(*list);
}

Attribute Node::attr(StringRef name) const {
  Attribute value = onnx::NodeOp(op).getNodeAttributes().get(name);
  auto ref = dyn_cast_or_null<onnx::RefAttr>(value);
  if (!ref)
    return value;
  if (Attribute bound = bindings ? bindings.get(ref.getName()) : Attribute())
    return bound;
  // What the caller leaves out is left out here, and means its default.
  onnx::NodeOp node(op);
  if (const Schema *schema =
          findSchema(node.getDomain(), node.getOpType(), node.getSinceVersion()))
    for (const AttributeDefault &entry : schema->defaults)
      if (entry.name == name)
        return defaultValue(entry, b);
  return nullptr;
}

int64_t Node::intAttr(StringRef name, int64_t otherwise) const {
  auto value = dyn_cast_or_null<IntegerAttr>(attr(name));
  return value ? value.getInt() : otherwise;
}

double Node::floatAttr(StringRef name, double otherwise) const {
  auto value = dyn_cast_or_null<FloatAttr>(attr(name));
  return value ? value.getValueAsDouble() : otherwise;
}

StringRef Node::stringAttr(StringRef name) const {
  auto value = dyn_cast_or_null<StringAttr>(attr(name));
  return value ? value.getValue() : StringRef();
}

std::optional<Ints> Node::intsAttr(StringRef name) const {
  auto value = dyn_cast_or_null<DenseI64ArrayAttr>(attr(name));
  if (!value)
    return std::nullopt;
  return Ints(value.asArrayRef());
}

FailureOr<int64_t> Node::wrapAxis(int64_t axis, int64_t rank, bool end) const {
  int64_t wrapped = axis < 0 ? axis + rank + end : axis;
  if (wrapped >= 0 && wrapped < rank + end)
    return wrapped;
  return error() << "axis is no dimension of a tensor of rank " << rank << ", got: " << axis;
}

FailureOr<int64_t> Node::axisAttr(StringRef name, int64_t rank, int64_t otherwise, bool end) {
  return wrapAxis(intAttr(name, otherwise), rank, end);
}

FailureOr<Ints> Node::wrapAxes(ArrayRef<int64_t> axes, int64_t rank) const {
  Ints wrapped;
  for (int64_t axis : axes) {
    FailureOr<int64_t> dim = wrapAxis(axis, rank);
    if (failed(dim))
      return failure();
    if (llvm::is_contained(wrapped, *dim))
      return error() << "axis appears twice, got: " << axis;
    wrapped.push_back(*dim);
  }
  return wrapped;
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

SmallVector<Value> Node::build(StringRef opName, TypeRange types, ValueRange operands,
                               Attributes attributes) {
  if (llvm::is_contained(operands, Value()))
    return {};
  OperationState state(loc(), opName, operands, types);
  for (auto [name, value] : attributes)
    if (value)
      state.addAttribute(name, value);

  if (types.empty()) {
    // Properties have to be set before types can be inferred from them.
    auto inference = state.name.getInterface<InferTypeOpInterface>();
    OpaqueProperties properties(nullptr);
    std::vector<char> storage(state.name.getOpPropertyByteSize(), 0);
    if (!storage.empty()) {
      properties = OpaqueProperties(storage.data());
      state.name.initOpProperties(properties, nullptr);
      if (failed(state.name.setOpPropertiesFromAttribute(
              state.name, properties, state.attributes.getDictionary(b.getContext()),
              [&] { return error(); })))
        return {};
    }
    LogicalResult inferred = inference->inferReturnTypes(
        b.getContext(), loc(), operands, state.attributes.getDictionary(b.getContext()),
        properties, {}, state.types);
    if (!storage.empty())
      state.name.destroyOpProperties(properties);
    if (failed(inferred))
      return {};
  }
  for (Type type : state.types)
    if (!isPossible(cast<RankedTensorType>(type).getShape()))
      return error() << op.getOpType() << " has a result of an impossible size, got: " << type,
             SmallVector<Value>();
  Operation *built = b.create(state);
  if (failed(built->getName().verifyInvariants(built))) {
    built->erase();
    return {};
  }
  return fold(built);
}

// Movement that moves nothing goes, and so does what constants determine: all
// arithmetic on shapes.
SmallVector<Value> Node::fold(Operation *built) {
  SmallVector<OpFoldResult> folded;
  if (succeeded(built->fold(folded)) && folded.size() == built->getNumResults()) {
    Value value = dyn_cast<Value>(folded.front());
    if (value && value != built->getResult(0)) {
      built->erase();
      return {value};
    }
  }

  bool small = built->getNumOperands() > 0;
  for (Value result : built->getResults())
    small &= typeOf(result).getNumElements() <= kFoldedElements;
  if (isa<nn::MatmulOp, nn::ConvOp, nn::AttentionOp>(built))
    small &= typeOf(built->getOperand(1)).getNumElements() <=
             kFoldedProducts / std::max<int64_t>(typeOf(built->getResult(0)).getNumElements(), 1);
  SmallVector<HostTensor> tensors;
  for (Value operand : built->getOperands()) {
    if (!small || !operand.getDefiningOp<nn::ConstantOp>())
      return SmallVector<Value>(built->getResults());
    tensors.push_back(*constant(operand));
  }
  if (!small)
    return SmallVector<Value>(built->getResults());

  SmallVector<const HostTensor *> operands;
  for (const HostTensor &tensor : tensors)
    operands.push_back(&tensor);
  FailureOr<std::vector<HostTensor>> results = evaluate(built, operands);
  built->erase();
  if (failed(results))
    return {};
  SmallVector<Value> constants;
  for (const HostTensor &result : *results)
    constants.push_back(constant(result));
  return constants;
}

Value Node::reshape(Value value, ArrayRef<int64_t> shape) {
  if (!value)
    return nullptr;
  return makeTyped<nn::ReshapeOp>(RankedTensorType::get(shape, elementOf(value)), value);
}

Value Node::transpose(Value value, ArrayRef<int64_t> permutation) {
  return make<nn::TransposeOp>(value, {{"permutation", b.getDenseI64ArrayAttr(permutation)}});
}

Value Node::broadcast(Value value, ArrayRef<int64_t> shape) {
  if (!value)
    return nullptr;
  return makeTyped<nn::BroadcastOp>(RankedTensorType::get(shape, elementOf(value)), value);
}

Value Node::cast(Value value, Type elementType) {
  if (!value || elementOf(value) == elementType)
    return value;
  return makeTyped<nn::CastOp>(RankedTensorType::get(shapeOf(value), elementType), value);
}

Value Node::slice(Value value, int64_t dim, int64_t start, int64_t size) {
  if (!value || failed(wrapAxis(dim, rankOf(value))))
    return nullptr;
  Ints starts(rankOf(value), 0), sizes(shapeOf(value)), steps(rankOf(value), 1);
  starts[dim] = start;
  sizes[dim] = size;
  return make<nn::SliceOp>(value, {{"starts", b.getDenseI64ArrayAttr(starts)},
                                   {"sizes", b.getDenseI64ArrayAttr(sizes)},
                                   {"steps", b.getDenseI64ArrayAttr(steps)}});
}

Value Node::concat(ValueRange parts, int64_t axis) {
  return make<nn::ConcatOp>(parts, {{"axis", b.getI64IntegerAttr(axis)}});
}

Value Node::constant(const HostTensor &tensor) {
  return nn::ConstantOp::create(b, loc(), tensor.type, tensor.toAttr());
}

Value Node::intConstant(ArrayRef<int64_t> elements) {
  HostTensor tensor(RankedTensorType::get(elements.size(), b.getI64Type()));
  tensor.ints.assign(elements.begin(), elements.end());
  return constant(tensor);
}

Value Node::iota(int64_t count) {
  if (count < 0 || count > kListedElements)
    return error() << op.getOpType() << " wants a list of up to 2^24 elements, got: " << count,
           nullptr;
  Ints counted(count);
  std::iota(counted.begin(), counted.end(), 0);
  return intConstant(counted);
}

Value Node::scalar(Type elementType, double value) {
  HostTensor tensor(RankedTensorType::get({}, elementType));
  if (tensor.isFloat())
    tensor.floats[0] = value;
  else
    // A bound of floats on integers may be any float.
    tensor.ints[0] = value >= 0x1p63  ? INT64_MAX
                     : value > -0x1p63 ? static_cast<int64_t>(value)
                                       : INT64_MIN;
  tensor.round();
  return constant(tensor);
}

LogicalResult Node::give(ValueRange results) {
  if (llvm::is_contained(results, Value()))
    return failure();
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    if (i < results.size())
      values.map(result, results[i]);
    else if (!result.use_empty())
      return unsupported("its output " + Twine(i) + " in use");
  }
  return success();
}
