//===- Inspect.cpp - cleave inspect: what a file holds --------------------===//

#include "Common.h"

#include "cleave/Conversion/OnnxToNn.h"

#include "Onnx/Onnx.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <set>

using namespace mlir;
using namespace cleave;

/// As in `f32 [batch, 64]`; what is no tensor as the dialect writes it.
static std::string typeText(Type type) {
  std::string text;
  llvm::raw_string_ostream out(text);
  auto tensor = dyn_cast<TensorType>(type);
  if (!tensor) {
    out << type;
    return text;
  }
  out << tensor.getElementType();
  if (!tensor.hasRank())
    return text + " of any rank";
  auto names = dyn_cast_or_null<onnx::DimsAttr>(cast<RankedTensorType>(type).getEncoding());
  out << " [";
  for (auto [i, size] : llvm::enumerate(tensor.getShape())) {
    StringRef name = names ? cast<StringAttr>(names.getNames()[i]).getValue() : "";
    out << (i ? ", " : "");
    if (!ShapedType::isDynamic(size))
      out << size;
    else
      out << (name.empty() ? "?" : name);
  }
  out << "]";
  return text;
}

namespace {

/// What the nodes and tensors of a model add up to.
struct Contents {
  std::map<std::pair<std::string, int64_t>, int64_t> ops, unsupported;
  uint64_t weights = 0, bytes = 0, largestBytes = 0;
  onnx::TensorAttr largest;

  void addTensor(onnx::TensorAttr tensor) {
    uint64_t size = 0;
    if (auto data = dyn_cast<onnx::DataAttr>(tensor.getContent()))
      size = data.getLength();
    else if (auto elements = dyn_cast<DenseElementsAttr>(tensor.getContent()))
      size = elements.getNumElements() *
             llvm::divideCeil(elements.getElementType().getIntOrFloatBitWidth(), 8);
    else if (auto packed = dyn_cast<StringAttr>(tensor.getContent()))
      size = packed.size();
    ++weights;
    bytes += size;
    if (!largest || size > largestBytes) {
      largest = tensor;
      largestBytes = size;
    }
  }
};

} // namespace

static std::string opName(StringRef domain, StringRef opType) {
  return (domain.empty() ? "" : domain + ".").str() + opType.str();
}

/// Adds what `op` holds: its nodes, those of their graphs, and of the functions that
/// they call and that are not taken as ops of their own.
static void collect(Operation *op, llvm::StringMap<onnx::FunctionOp> &functions,
                    std::set<Operation *> &called, Contents &contents) {
  op->walk([&](Operation *inner) {
    if (auto initializer = dyn_cast<onnx::InitializerOp>(inner))
      contents.addTensor(initializer.getTensor());
    auto node = dyn_cast<onnx::NodeOp>(inner);
    if (!node)
      return;
    // Some exporters write their weights as constants.
    if (auto tensor = dyn_cast_or_null<onnx::TensorAttr>(node.getNodeAttributes().get("value")))
      contents.addTensor(tensor);
    std::pair<std::string, int64_t> key(opName(node.getDomain(), node.getOpType()),
                                        node.getSinceVersion());
    ++contents.ops[key];
    if (convertsOp(node.getDomain(), node.getOpType()))
      return;
    auto function = functions.find((key.first + "." + node.getOverload().value_or("")).str());
    if (function == functions.end())
      ++contents.unsupported[key];
    else if (called.insert(function->second).second)
      collect(function->second, functions, called, contents);
  });
}

static void printOps(llvm::raw_ostream &out,
                     const std::map<std::pair<std::string, int64_t>, int64_t> &ops) {
  for (const auto &[key, count] : ops) {
    out << llvm::format("  %6lld ", static_cast<long long>(count)) << key.first;
    if (key.second)
      out << " " << key.second;
    out << "\n";
  }
}

static void print(llvm::raw_ostream &out, ModuleOp module, const Contents &contents) {
  out << "opsets:";
  for (NamedAttribute entry : module->getAttrOfType<DictionaryAttr>("onnx.opset"))
    out << " " << entry.getName().getValue() << " "
        << cast<IntegerAttr>(entry.getValue()).getInt();
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  out << "\ninputs:\n";
  for (auto [argument, name] : llvm::zip(graph.getBody().front().getArguments(),
                                         graph.getInputs().getAsValueRange<StringAttr>()))
    out << "  " << name << ": " << typeText(argument.getType()) << "\n";
  out << "outputs:\n";
  for (auto [type, name] : llvm::zip(graph.getOutputTypes().getAsValueRange<TypeAttr>(),
                                     graph.getOutputs().getAsValueRange<StringAttr>()))
    out << "  " << name << ": " << typeText(type) << "\n";
  out << "weights: " << contents.weights << ", " << contents.bytes << " bytes\n";
  if (contents.largest)
    out << "  largest: " << contents.largest.getName().getValue() << ": "
        << typeText(contents.largest.getType()) << ", " << contents.largestBytes << " bytes\n";
  out << "ops, with the opset that made them what they are:\n";
  printOps(out, contents.ops);
}

/// The sizes that dimensions get where nobody says any.
static void printDims(llvm::raw_ostream &out, ArrayRef<ModelInput> inputs,
                      const std::map<std::string, int64_t> &sizes) {
  std::set<std::string> open;
  for (const ModelInput &input : inputs)
    for (const ModelDim &dim : input.dims)
      if (dim.size < 0)
        open.insert(dim.name);
  if (!open.empty())
    out << "dimensions, and what they are without --dim and --inputs:\n";
  for (const std::string &name : open)
    out << "  " << name << ": " << sizes.at(name) << "\n";
}

static int inspect(const std::string &path) {
  Compilation compilation;
  llvm::Expected<OwningOpRef<ModuleOp>> module = compilation.import(path);
  if (!module)
    return fail(inFile(path, module.takeError()));

  llvm::StringMap<onnx::FunctionOp> functions;
  for (auto function : (*module)->getOps<onnx::FunctionOp>())
    functions[opName(function.getDomain(), function.getFunctionName()) + "." +
              function.getOverload().str()] = function;
  Contents contents;
  std::set<Operation *> called;
  collect(*(*module)->getOps<onnx::GraphOp>().begin(), functions, called, contents);

  llvm::raw_ostream &out = llvm::outs();
  print(out, **module, contents);
  std::string reason;
  if (llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(**module)) {
    std::map<std::string, int64_t> sizes = bindDims(*inputs, {});
    printDims(out, *inputs, sizes);
    // Ops that are known may have forms that are not: the conversion is the judge.
    if (llvm::Error error = compilation.graph(**module, {}, sizes))
      reason = llvm::toString(std::move(error));
  } else {
    reason = llvm::toString(inputs.takeError());
  }
  if (contents.unsupported.empty() && reason.empty())
    return 0;
  out << "unsupported:\n";
  printOps(out, contents.unsupported);
  out << "  first: " << reason << "\n";
  return 0;
}

void cleave::addInspect(CLI::App &app, int &status) {
  auto path = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("inspect", "says what an ONNX file holds");
  command->add_option("model", *path, "an ONNX file")->required();
  command->callback([=, &status] { status = inspect(*path); });
}
