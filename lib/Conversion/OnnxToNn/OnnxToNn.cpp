//===- OnnxToNn.cpp - each node becomes the nn ops that say what it means -===//
//
// Nodes are converted in the order of the graph; what is constant folds on the
// way, so the shape arithmetic of an export is gone when the last node is done.
//
//   %s = onnx.node "Shape"(%x)
//   %y = onnx.node "Reshape"(%z, %s)     =>   %y = nn.reshape %z : … to tensor<2x8xf32>
//
// Sizes that were only guessed are corrected where two have to be equal and are not,
// and the graph is begun again (OpenDims.cpp).
//
//===----------------------------------------------------------------------===//

#include "cleave/Conversion/OnnxToNn.h"
#include "cleave/Conversion/Passes.h"

#include "Node.h"
#include "OpenDims.h"

namespace cleave {
#define GEN_PASS_DEF_ONNXTONN
#include "cleave/Conversion/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;

static const ConvertTable &convertTable() {
  static const ConvertTable instance = [] {
    ConvertTable table;
    addAttention(table);
    addContractions(table);
    addContrib(table);
    addElementwise(table);
    addMovement(table);
    addQuantized(table);
    addQuantizedContrib(table);
    addQuantizedWindows(table);
    addRows(table);
    addShapes(table);
    addWindows(table);
    return table;
  }();
  return instance;
}

static std::string tableKey(StringRef domain, StringRef opType) {
  return (domain.empty() ? "" : domain + ".").str() + opType.str();
}

bool cleave::convertsOp(StringRef domain, StringRef opType) {
  // The graph takes the branch of an If itself.
  std::string key = tableKey(domain, opType);
  return key == "If" || convertTable().contains(key);
}

/// Integers up to this many elements are constants: shapes, positions, masks.
static constexpr int64_t kConstantIntegers = 1 << 13;
/// Floats up to this many are: ε, scales, bounds; and bytes, which are quantised weights.
static constexpr int64_t kConstantNumbers = 8;

/// Functions that call one another twice reach any number of nodes.
static constexpr int64_t kMostNodes = 1 << 18;

static bool isComputable(Type element) {
  return element.isF32() || element.isF64() || element.isF16() || element.isBF16() ||
         isByteFloat(element) ||
         (isa<IntegerType>(element) &&
          (element.isInteger(1) || element.isInteger(8) || element.isInteger(16) ||
           element.isInteger(32) || element.isInteger(64)));
}

IntegerType cleave::narrowOf(Type element) {
  return element.isInteger(2) || element.isInteger(4) ? cast<IntegerType>(element) : IntegerType();
}

/// A tensor of elements of less than a byte, as bytes that are unpacked. Where rows are whole
/// bytes its dimensions stay what they are, so that they can be cut.
static Value materializeNarrow(onnx::TensorAttr tensor, OpBuilder &b, Location loc) {
  RankedTensorType type = tensor.getType();
  auto element = cast<IntegerType>(type.getElementType());
  int64_t each = 8 / element.getWidth(), count = type.getNumElements();
  SmallVector<int64_t> packed(type.getShape());
  bool isWhole = !packed.empty() && packed.back() % each == 0;
  if (isWhole)
    packed.back() /= each;
  else
    packed = {(count + each - 1) / each};
  auto bytes = RankedTensorType::get(packed, b.getIntegerType(8, /*isSigned=*/false));
  Value value;
  if (auto data = dyn_cast<onnx::DataAttr>(tensor.getContent()))
    value = nn::WeightOp::create(b, loc, bytes, tensor.getName().getValue(),
                                 data.getFile().getValue(), data.getOffset(), data.getLength());
  else
    value = nn::ConstantOp::create(
        b, loc, bytes,
        DenseElementsAttr::getFromRawBuffer(
            bytes, ArrayRef(cast<StringAttr>(tensor.getContent()).getValue().data(),
                            cast<StringAttr>(tensor.getContent()).getValue().size())));
  value = unpack(b, loc, value, element.getWidth(), !element.isUnsigned());
  if (isWhole)
    return value;
  if (packed[0] * each != count) {
    const int64_t zero = 0, one = 1;
    value = nn::SliceOp::create(b, loc, value, ArrayRef(zero), ArrayRef(count), ArrayRef(one));
  }
  return nn::ReshapeOp::create(b, loc, type.clone(elementOf(value)), value);
}

Value cleave::materialize(onnx::TensorAttr tensor, OpBuilder &b, Location loc) {
  RankedTensorType type = tensor.getType();
  if (narrowOf(type.getElementType()) && isPossible(type.getShape()))
    return materializeNarrow(tensor, b, loc);
  if (!isComputable(type.getElementType()))
    return emitError(loc, "has an element type that is not supported, got: ")
               << type.getElementType(),
           nullptr;
  if (!isPossible(type.getShape()))
    return emitError(loc, "has an impossible size, got: ") << type, nullptr;
  if (auto elements = dyn_cast<DenseElementsAttr>(tensor.getContent()))
    return nn::ConstantOp::create(b, loc, type, elements);
  // Of 8-bit floats.
  if (auto bytes = dyn_cast<StringAttr>(tensor.getContent()))
    return nn::ConstantOp::create(
        b, loc, type,
        DenseElementsAttr::getFromRawBuffer(type, ArrayRef(bytes.data(), bytes.size())));
  auto data = cast<onnx::DataAttr>(tensor.getContent());
  bool isByte = type.getElementType().isInteger(8);
  int64_t limit =
      isa<IntegerType>(type.getElementType()) && !isByte ? kConstantIntegers : kConstantNumbers;
  if (type.getNumElements() > limit)
    return nn::WeightOp::create(b, loc, type, tensor.getName().getValue(),
                                data.getFile().getValue(), data.getOffset(), data.getLength());
  std::optional<HostTensor> host =
      readTensor(type, data.getFile(), data.getOffset(), data.getLength());
  if (!host)
    return emitError(loc, "cannot be read from ") << data.getFile(), nullptr;
  return nn::ConstantOp::create(b, loc, type, host->toAttr());
}

namespace {

class GraphConverter {
public:
  GraphConverter(ModuleOp module, OpenDims &dims)
      : module(module), b(module.getContext()), dims(dims) {
    for (auto function : module.getOps<onnx::FunctionOp>())
      functions[(function.getDomain() + "." + function.getFunctionName() + "." +
                 function.getOverload())
                    .str()] = function;
  }

  LogicalResult convert(onnx::GraphOp graph);
  /// After a failure: what other sizes might mend.
  std::optional<Conflict> conflict() const { return conversion.conflict; }

private:
  FailureOr<RankedTensorType> bind(Type type, StringRef name);
  LogicalResult convertBlock(Block &block, DictionaryAttr bindings, int depth);
  LogicalResult convertNode(onnx::NodeOp node, DictionaryAttr bindings, int depth);
  LogicalResult inlineBlock(onnx::NodeOp node, Block &body, DictionaryAttr bindings, int depth);
  LogicalResult inlineFunction(onnx::NodeOp node, onnx::FunctionOp function,
                               DictionaryAttr bindings, int depth);
  LogicalResult inlineBranch(onnx::NodeOp node, DictionaryAttr bindings, int depth);

  ModuleOp module;
  OpBuilder b;
  OpenDims &dims;
  llvm::StringMap<onnx::FunctionOp> functions;
  Conversion conversion;
  int64_t converted = 0;
};

} // namespace

FailureOr<RankedTensorType> GraphConverter::bind(Type type, StringRef name) {
  Location loc = NameLoc::get(b.getStringAttr(name));
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked)
    return emitError(loc, "input is no tensor of known rank, got: ") << type;
  if (!isComputable(ranked.getElementType()))
    return emitError(loc, "input has an element type that is not supported, got: ")
           << ranked.getElementType();
  auto names = dyn_cast_or_null<onnx::DimsAttr>(ranked.getEncoding());
  Sizes shape;
  for (auto [i, declared] : llvm::enumerate(ranked.getShape())) {
    if (!ShapedType::isDynamic(declared)) {
      shape.push_back(declared);
      continue;
    }
    StringRef dim = names ? cast<StringAttr>(names.getNames()[i]).getValue() : "";
    // A dimension without a name goes by the input's and its number.
    std::string key = dim.empty() ? (name + "." + Twine(i)).str() : dim.str();
    std::optional<Size> size = dims.lookup(key, b.getContext());
    if (!size)
      return emitError(loc, "input has a dimension without a size; give it with --dim \"")
             << key << "=N\"";
    shape.push_back(*size);
  }
  if (!isPossible(nn::numbersOf(shape)))
    return emitError(loc, "input has an impossible size, got: [") << nn::numbersOf(shape) << "]";
  return nn::tensorOf(shape, ranked.getElementType());
}

/// Converts `body`, whose outputs become those of `node`.
LogicalResult GraphConverter::inlineBlock(onnx::NodeOp node, Block &body, DictionaryAttr bindings,
                                          int depth) {
  if (failed(convertBlock(body, bindings, depth + 1)))
    return failure();
  for (auto [result, value] : llvm::zip(node.getResults(), body.back().getOperands()))
    if (Value converted = conversion.values.lookupOrNull(value)) {
      conversion.values.map(result, converted);
      if (IntegerType narrow = conversion.narrow.lookup(value))
        conversion.narrow[result] = narrow;
    }
  return success();
}

LogicalResult GraphConverter::inlineFunction(onnx::NodeOp node, onnx::FunctionOp function,
                                             DictionaryAttr bindings, int depth) {
  Block &body = function.getBody().front();
  if (node.getInputs().size() > body.getNumArguments() ||
      node.getNumResults() > body.back().getNumOperands())
    return emitError(node.getLoc(), "calls ")
           << function.getFunctionName() << " with more inputs or outputs than it has";

  NamedAttrList inner(function.getDefaults());
  Node caller(node, b, conversion, bindings);
  for (NamedAttribute attribute : node.getNodeAttributes())
    if (Attribute value = caller.attr(attribute.getName()))
      inner.set(attribute.getName(), value);

  // A function may be called again, so its values mean something else each time.
  for (auto [i, argument] : llvm::enumerate(body.getArguments())) {
    bool given = i < node.getInputs().size() && !isa<NoneType>(node.getInputs()[i].getType());
    conversion.values.map(argument,
                          given ? conversion.values.lookupOrNull(node.getInputs()[i]) : Value());
    conversion.narrow[argument] =
        given ? conversion.narrow.lookup(node.getInputs()[i]) : IntegerType();
  }
  return inlineBlock(node, body, inner.getDictionary(b.getContext()), depth);
}

LogicalResult GraphConverter::inlineBranch(onnx::NodeOp node, DictionaryAttr bindings, int depth) {
  Node n(node, b, conversion, bindings);
  if (failed(checkSchema(n)))
    return failure();
  std::optional<HostTensor> condition = n.constant(n.in(0));
  if (!condition || condition->isFloat() || condition->size() != 1)
    return n.unsupported("a condition that depends on the data");
  auto graph =
      dyn_cast_or_null<onnx::GraphAttr>(n.attr(condition->ints[0] ? "then_branch" : "else_branch"));
  if (!graph || graph.getRegion() >= node->getNumRegions())
    return n.error() << "lacks a branch";
  return inlineBlock(node, node->getRegion(graph.getRegion()).front(), bindings, depth);
}

LogicalResult GraphConverter::convertNode(onnx::NodeOp node, DictionaryAttr bindings, int depth) {
  if (depth > 64)
    return emitError(node.getLoc(), "calls functions or takes branches deeper than 64");
  if (++converted > kMostNodes)
    return emitError(node.getLoc(), "is one of more than ")
           << kMostNodes << " nodes, functions inlined";
  StringRef domain = node.getDomain();
  std::string key = tableKey(domain, node.getOpType());
  if (auto convert = convertTable().find(key); convert != convertTable().end()) {
    Node n(node, b, conversion, bindings);
    return failed(checkSchema(n)) ? failure() : convert->second(n);
  }
  auto function = functions.find(
      (domain + "." + node.getOpType() + "." + node.getOverload().value_or("")).str());
  if (function != functions.end())
    return inlineFunction(node, function->second, bindings, depth);
  if (key == "If")
    return inlineBranch(node, bindings, depth);
  InFlightDiagnostic error = emitError(node.getLoc(), "op ") << node.getOpType();
  if (!domain.empty())
    error << " of domain \"" << domain << "\"";
  return error << (node.getSinceVersion() ? " is not supported"
                                          : " is not known to the ONNX standard and not "
                                            "supported")
               << "; export or rewrite the model without it (cleave inspect lists all such nodes)";
}

LogicalResult GraphConverter::convertBlock(Block &block, DictionaryAttr bindings, int depth) {
  for (Operation &op : block.without_terminator()) {
    if (auto initializer = dyn_cast<onnx::InitializerOp>(op)) {
      // A tensor that is used only where it is not read as numbers may be of any type.
      if (initializer.getResult().use_empty())
        continue;
      Value value = materialize(initializer.getTensor(), b, op.getLoc());
      if (!value)
        return failure();
      conversion.values.map(initializer.getResult(), value);
      if (IntegerType narrow = narrowOf(initializer.getTensor().getType().getElementType()))
        conversion.narrow[initializer.getResult()] = narrow;
    } else if (auto node = dyn_cast<onnx::NodeOp>(op)) {
      if (failed(convertNode(node, bindings, depth)))
        return failure();
    }
  }
  return success();
}

LogicalResult GraphConverter::convert(onnx::GraphOp graph) {
  Block &body = graph.getBody().front();
  SmallVector<Type> inputTypes, outputTypes;
  for (auto [argument, name] :
       llvm::zip(body.getArguments(), graph.getInputs().getAsValueRange<StringAttr>())) {
    FailureOr<RankedTensorType> type = bind(argument.getType(), name);
    if (failed(type))
      return failure();
    inputTypes.push_back(*type);
  }

  b.setInsertionPointToEnd(module.getBody());
  auto main = func::FuncOp::create(b, graph.getLoc(), "main", b.getFunctionType(inputTypes, {}));
  Block *entry = main.addEntryBlock();
  b.setInsertionPointToEnd(entry);
  for (auto [i, argument] : llvm::enumerate(body.getArguments())) {
    conversion.values.map(argument, entry->getArgument(i));
    entry->getArgument(i).setLoc(argument.getLoc());
    main.setArgAttr(i, "onnx.name", graph.getInputs()[i]);
  }
  if (failed(convertBlock(body, {}, 0)))
    return failure();

  SmallVector<Value> outputs;
  for (auto [value, name, declared] :
       llvm::zip(body.back().getOperands(), graph.getOutputs().getAsRange<StringAttr>(),
                 graph.getOutputTypes().getAsValueRange<TypeAttr>())) {
    Value converted = conversion.values.lookupOrNull(value);
    if (!converted)
      return emitError(NameLoc::get(name), "output is no tensor");
    if (IntegerType narrow = conversion.narrow.lookup(value))
      return emitError(NameLoc::get(name), "output has elements of less than a byte; cast or "
                                           "dequantise it in the model, got: ")
             << narrow;
    if (failed(checkOutput(declared, typeOf(converted), NameLoc::get(name), conversion)))
      return failure();
    outputs.push_back(converted);
    outputTypes.push_back(converted.getType());
  }
  func::ReturnOp::create(b, graph.getLoc(), outputs);
  main.setType(b.getFunctionType(inputTypes, outputTypes));
  for (auto [i, name] : llvm::enumerate(graph.getOutputs()))
    main.setResultAttr(i, "onnx.name", name);
  return success();
}

/// Erases ops whose results nobody reads, from the end.
static void eraseDead(func::FuncOp function) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.front())))
    if (isOpTriviallyDead(&op))
      op.erase();
}

/// Shows a person shapes without what their sizes stand for.
static void simplify(Diagnostic &diagnostic) {
  for (DiagnosticArgument &argument : diagnostic.getArguments())
    if (argument.getKind() == DiagnosticArgument::DiagnosticArgumentKind::Type)
      if (auto type = dyn_cast<RankedTensorType>(argument.getAsType()))
        argument =
            DiagnosticArgument(RankedTensorType::get(type.getShape(), type.getElementType()));
}

/// Says which sizes differ, and what helps. A table of positions that is cut off at its end
/// looks like any other size.
static void addRemedy(Diagnostic &diagnostic, const Conflict &conflict, const OpenDims &dims) {
  auto [open, other] = std::pair(conflict.one, conflict.other);
  if (!open.isOpen())
    std::swap(open, other);
  diagnostic << "; " << dims.textOf(open) << " and " << dims.textOf(other) << " have to be equal";
  if (!other.isOpen() && other.value < open.value)
    diagnostic << ", or the first at most " << other.value
               << " if that is the length of a table of positions";
  diagnostic << "; give other sizes with --dim";
}

/// Converts `graph` at the sizes of `dims`, corrected until what has to be equal is.
static LogicalResult convertAtSizes(ModuleOp module, onnx::GraphOp graph, OpenDims &dims) {
  DiagnosticEngine &engine = module.getContext()->getDiagEngine();
  for (;;) {
    std::vector<Diagnostic> said;
    LogicalResult converted = failure();
    std::optional<Conflict> conflict;
    {
      ScopedDiagnosticHandler keep(module.getContext(), [&](Diagnostic &diagnostic) {
        said.push_back(std::move(diagnostic));
      });
      GraphConverter converter(module, dims);
      converted = converter.convert(graph);
      conflict = converter.conflict();
    }
    if (failed(converted))
      if (auto half = module.lookupSymbol<func::FuncOp>("main"))
        half.erase();
    if (failed(converted) && conflict && dims.settle(*conflict))
      continue;
    if (failed(converted) && conflict && !said.empty() &&
        (conflict->one.isOpen() || conflict->other.isOpen()))
      addRemedy(said.back(), *conflict, dims);
    for (Diagnostic &diagnostic : said) {
      simplify(diagnostic);
      engine.emit(std::move(diagnostic));
    }
    return converted;
  }
}

namespace {

struct OnnxToNn : cleave::impl::OnnxToNnBase<OnnxToNn> {
  using OnnxToNnBase::OnnxToNnBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpenDims open;
    for (StringRef entry : guesses)
      if (failed(open.give(entry, /*guessed=*/true)))
        return fail("guesses", entry);
    for (StringRef entry : dims)
      if (failed(open.give(entry, /*guessed=*/false)))
        return fail("dims", entry);
    auto graphs = llvm::to_vector(module.getOps<onnx::GraphOp>());
    if (graphs.size() != 1) {
      module.emitError("holds another number of ONNX graphs than one, got: ") << graphs.size();
      return signalPassFailure();
    }
    if (failed(convertAtSizes(module, graphs.front(), open)))
      return signalPassFailure();
    for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
      if (isa<onnx::GraphOp, onnx::FunctionOp>(op))
        op.erase();
    auto main = *module.getOps<func::FuncOp>().begin();
    eraseDead(main);
    open.record(main);
  }

  void fail(StringRef option, StringRef entry) {
    getOperation().emitError("option ") << option << " wants name=size, got: \"" << entry << "\"";
    signalPassFailure();
  }
};

} // namespace
