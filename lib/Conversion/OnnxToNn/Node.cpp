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

std::optional<HostTensor> cleave::readTensor(RankedTensorType type, StringRef file, uint64_t offset,
                                             uint64_t length) {
  auto bytes = llvm::MemoryBuffer::getFileSlice(file, length, offset);
  if (!bytes || (*bytes)->getBufferSize() != length)
    return std::nullopt;
  return HostTensor::fromBytes(type, (*bytes)->getBuffer());
}

Node::Node(onnx::NodeOp op, OpBuilder &builder, Conversion &conversion, DictionaryAttr bindings)
    : op(op), b(builder), conversion(conversion), bindings(bindings), location(op.getLoc()) {}

InFlightDiagnostic Node::error() const { return emitError(location); }

LogicalResult Node::unsupported(const Twine &what) const {
  return error() << onnx::NodeOp(op).getOpType() << " with " << what << " is not supported";
}

//===----------------------------------------------------------------------===//
// Inputs and attributes
//===----------------------------------------------------------------------===//

bool Node::has(size_t i) { return i < numInputs() && !isa<NoneType>(op.getInputs()[i].getType()); }

Value Node::in(size_t i) {
  Value value = quantized(i);
  if (!value || !narrowType(i))
    return value;
  return error() << op.getOpType() << " reads " << narrowType(i) << " as input " << i
                 << ", which only ops of quantised tensors do; insert a DequantizeLinear",
         nullptr;
}

IntegerType Node::narrowType(size_t i) {
  return has(i) ? conversion.narrow.lookup(op.getInputs()[i]) : IntegerType();
}

void Node::setNarrow(size_t i, IntegerType type) { conversion.narrow[op.getResult(i)] = type; }

Value Node::quantized(size_t i) {
  if (!has(i))
    return error() << op.getOpType() << " lacks input " << i, nullptr;
  Value value = conversion.values.lookupOrNull(op.getInputs()[i]);
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

FailureOr<Sizes> Node::sizes(size_t i) {
  Value value = in(i);
  if (!value)
    return failure();
  std::optional<HostTensor> tensor = constant(value);
  if (!tensor || tensor->isFloat())
    return error() << op.getOpType() << " wants integers that are known while compiling as input "
                   << i << "; sizes that depend on the data are not supported";
  return value.getDefiningOp<nn::ConstantOp>() ? contentOf(value)
                                               : Sizes(tensor->ints.begin(), tensor->ints.end());
}

FailureOr<Size> Node::size(size_t i) {
  FailureOr<Sizes> list = sizes(i);
  if (failed(list))
    return failure();
  if (list->size() != 1)
    return error() << op.getOpType() << " wants one integer as input " << i
                   << ", got: " << list->size();
  return list->front();
}

FailureOr<Sizes> Node::sizesWanted(StringRef name, size_t i) {
  FailureOr<std::optional<Sizes>> list = sizesFrom(name, i);
  if (failed(list))
    return failure();
  if (!*list)
    return error() << op.getOpType() << " lacks \"" << name << "\"";
  return **list;
}

FailureOr<std::optional<Sizes>> Node::sizesFrom(StringRef name, size_t i) {
  if (std::optional<Ints> list = intsAttr(name))
    return std::optional<Sizes>(std::in_place, list->begin(), list->end());
  if (!has(i))
    return std::optional<Sizes>();
  FailureOr<Sizes> list = sizes(i);
  if (failed(list))
    return failure();
  return std::optional<Sizes>(*list);
}

FailureOr<std::optional<Ints>> Node::intsFrom(StringRef name, size_t i) {
  FailureOr<std::optional<Sizes>> list = sizesFrom(name, i);
  if (failed(list))
    return failure();
  return *list ? std::optional<Ints>(nn::numbersOf(**list)) : std::nullopt;
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
  if (const Schema *schema = findSchema(node.getDomain(), node.getOpType(), node.getSinceVersion()))
    if (const SchemaAttribute *attribute = schema->find(name))
      return defaultValue(*attribute, b);
  return nullptr;
}

template <typename Kind> Kind Node::typed(StringRef name) const {
  Attribute value = attr(name);
  auto result = dyn_cast_or_null<Kind>(value);
  if (value && !result && !std::exchange(hasWrongType, true))
    error() << "has attribute \"" << name << "\" of another type than "
            << onnx::NodeOp(op).getOpType() << " takes, got: " << value;
  return result;
}

int64_t Node::intAttr(StringRef name, int64_t otherwise) const {
  auto value = typed<IntegerAttr>(name);
  return value ? value.getInt() : otherwise;
}

double Node::floatAttr(StringRef name, double otherwise) const {
  auto value = typed<FloatAttr>(name);
  return value ? value.getValueAsDouble() : otherwise;
}

StringRef Node::stringAttr(StringRef name) const {
  auto value = typed<StringAttr>(name);
  return value ? value.getValue() : StringRef();
}

std::optional<Ints> Node::intsAttr(StringRef name) const {
  auto value = typed<DenseI64ArrayAttr>(name);
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
                               Attributes attributes, std::optional<Sizes> shape) {
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
        b.getContext(), loc(), operands, state.attributes.getDictionary(b.getContext()), properties,
        {}, state.types);
    if (!storage.empty())
      state.name.destroyOpProperties(properties);
    if (failed(inferred)) {
      noteConflict(opName, operands, state.attributes.getDictionary(b.getContext()));
      return {};
    }
  }
  for (Type type : state.types)
    if (!isPossible(cast<RankedTensorType>(type).getShape()))
      return error() << op.getOpType() << " has a result of an impossible size, got: " << type,
             SmallVector<Value>();
  Operation *built = b.create(state);
  if (failed(built->getName().verifyInvariants(built))) {
    noteConflict(opName, operands, built->getAttrDictionary());
    built->erase();
    return {};
  }
  if (shape)
    built->getResult(0).setType(nn::tensorOf(*shape, elementOf(built->getResult(0))));
  return fold(built);
}

void Node::noteConflict(StringRef opName, ValueRange operands, DictionaryAttr attributes) {
  auto compare = [&](Size one, Size other) {
    // What is empty at all sizes is no hint at what others should be.
    auto isHint = [](const Size &size) { return size.isOpen() || size.value != 0; };
    if (one.value != other.value && (one.isOpen() || other.isOpen()) && isHint(one) &&
        isHint(other))
      conversion.conflict = Conflict{one, other};
  };
  SmallVector<Sizes> shapes;
  for (Value operand : operands)
    shapes.push_back(sizesOf(operand));
  if (opName == nn::AttentionOp::getOperationName()) {
    // A mask [b, h, s, t] reaches as far as the keys.
    if (shapes.size() > 3 && !shapes[3].empty() && shapes[1].size() == 4)
      compare(shapes[3].back(), shapes[1][2]);
    return;
  }
  if (opName == nn::ConvOp::getOperationName()) {
    auto groups = dyn_cast_or_null<IntegerAttr>(attributes.get("groups"));
    if (groups && shapes[0].size() > 2 && shapes[1].size() > 2)
      compare(shapes[0][1], shapes[1][1] * groups.getInt());
    return;
  }
  auto axis = dyn_cast_or_null<IntegerAttr>(attributes.get("axis"));
  bool joins = opName == nn::ConcatOp::getOperationName() && axis;
  for (const Sizes &shape : llvm::drop_begin(shapes))
    for (size_t back = 1; back <= std::min(shape.size(), shapes[0].size()); ++back) {
      Size one = shapes[0][shapes[0].size() - back], other = shape[shape.size() - back];
      if (joins ? static_cast<int64_t>(shape.size() - back) != axis.getInt()
                : one.value != 1 && other.value != 1)
        compare(one, other);
    }
}

// Movement that moves nothing goes, and so does what constants determine: all
// arithmetic on shapes.
SmallVector<Value> Node::fold(Operation *built) {
  SmallVector<OpFoldResult> folded;
  if (succeeded(built->fold(folded)) && folded.size() == built->getNumResults()) {
    Value value = dyn_cast<Value>(folded.front());
    // Of equal numbers that stand for different things both are kept for now.
    if (value && value != built->getResult(0) && value.getType() == built->getResult(0).getType()) {
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
  SmallVector<Value> constants;
  if (succeeded(results))
    for (const HostTensor &result : *results) {
      constants.push_back(constant(result));
      carryContent(built, constants.back());
    }
  built->erase();
  return constants;
}

Value Node::reshape(Value value, ArrayRef<Size> shape) {
  if (!value)
    return nullptr;
  return makeTyped<nn::ReshapeOp>(nn::tensorOf(shape, elementOf(value)), value);
}

Value Node::transpose(Value value, ArrayRef<int64_t> permutation) {
  return make<nn::TransposeOp>(value, {{"permutation", b.getDenseI64ArrayAttr(permutation)}});
}

Value Node::broadcast(Value value, ArrayRef<Size> shape) {
  if (!value)
    return nullptr;
  return makeTyped<nn::BroadcastOp>(nn::tensorOf(shape, elementOf(value)), value);
}

Value Node::cast(Value value, Type elementType, bool saturates) {
  if (!value || elementOf(value) == elementType)
    return value;
  RankedTensorType type = typeOf(value).clone(elementType);
  return saturates ? makeTyped<nn::CastOp>(type, value, {{"saturate", b.getUnitAttr()}})
                   : makeTyped<nn::CastOp>(type, value);
}

Value Node::slice(Value value, ArrayRef<Size> starts, ArrayRef<Size> sizes,
                  ArrayRef<int64_t> steps) {
  Value result = first(build(nn::SliceOp::getOperationName(), {}, value,
                             {{"starts", b.getDenseI64ArrayAttr(nn::numbersOf(starts))},
                              {"sizes", b.getDenseI64ArrayAttr(nn::numbersOf(sizes))},
                              {"steps", b.getDenseI64ArrayAttr(steps)}},
                             Sizes(sizes)));
  // Which elements these are depends on where they start.
  bool isMoved = llvm::any_of(starts, [](const Size &start) { return start.isOpen(); });
  if (result && isMoved && result.getDefiningOp<nn::ConstantOp>())
    setContent(result, Size::unknown(0, b.getContext()));
  return result;
}

Value Node::slice(Value value, int64_t dim, Size start, Size size) {
  if (!value || failed(wrapAxis(dim, rankOf(value))))
    return nullptr;
  Sizes starts(rankOf(value), 0), sizes = sizesOf(value);
  starts[dim] = start;
  sizes[dim] = size;
  return slice(value, starts, sizes, Ints(rankOf(value), 1));
}

Value Node::concat(ValueRange parts, int64_t axis) {
  return make<nn::ConcatOp>(parts, {{"axis", b.getI64IntegerAttr(axis)}});
}

Value Node::pad(Value value, Value frame, ArrayRef<Size> low, ArrayRef<Size> high) {
  if (!value)
    return nullptr;
  Sizes shape = sizesOf(value);
  for (size_t dim = 0; dim < shape.size(); ++dim)
    shape[dim] = low[dim] + shape[dim] + high[dim];
  return first(build(nn::PadOp::getOperationName(), {}, {value, frame},
                     {{"low", b.getDenseI64ArrayAttr(nn::numbersOf(low))},
                      {"high", b.getDenseI64ArrayAttr(nn::numbersOf(high))}},
                     shape));
}

Value Node::constant(const HostTensor &tensor) {
  return nn::ConstantOp::create(b, loc(), tensor.type, tensor.toAttr());
}

Value Node::intConstant(ArrayRef<Size> elements) {
  HostTensor tensor(RankedTensorType::get(elements.size(), b.getI64Type()));
  llvm::copy(nn::numbersOf(elements), tensor.ints.begin());
  Value value = constant(tensor);
  setContent(value, elements);
  return value;
}

Value Node::iota(Size count) {
  if (count.value < 0 || count.value > kListedElements)
    return error() << op.getOpType()
                   << " wants a list of up to 2^24 elements, got: " << count.value,
           nullptr;
  HostTensor counted(nn::tensorOf(count, b.getI64Type()));
  std::iota(counted.ints.begin(), counted.ints.end(), 0);
  return constant(counted);
}

Value Node::scalar(Type elementType, double value) {
  HostTensor tensor(RankedTensorType::get({}, elementType));
  if (tensor.isFloat())
    tensor.floats[0] = value;
  else
    // A bound of floats on integers may be any float.
    tensor.ints[0] = value >= 0x1p63   ? INT64_MAX
                     : value > -0x1p63 ? static_cast<int64_t>(value)
                                       : INT64_MIN;
  tensor.round();
  return constant(tensor);
}

LogicalResult Node::give(ValueRange results) {
  if (hasWrongType || llvm::is_contained(results, Value()))
    return failure();
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    if (i < results.size())
      conversion.values.map(result, results[i]);
    else if (!result.use_empty())
      return unsupported("its output " + Twine(i) + " in use");
  }
  return success();
}
