//===- Inspect.cpp - cleave inspect: what a file holds --------------------===//

#include "Common.h"

#include "cleave/Conversion/OnnxToNn.h"
#include "cleave/Driver/Messages.h"
#include "cleave/Runtime/ArtifactFormat.h"
#include "cleave/Runtime/Load.h"
#include "cleave/Support/NodeName.h"

#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/IR/IntegerSet.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <nlohmann/json.hpp>

#include <set>

using namespace mlir;
using namespace cleave;
using Json = nlohmann::ordered_json;

namespace {

/// An op and the opset that made it what it is; 0 where no standard knows it.
using OpKey = std::pair<std::string, int64_t>;

/// What the nodes and tensors of a model add up to.
struct Contents {
  std::map<OpKey, int64_t> ops;
  std::map<OpKey, std::vector<std::string>> unsupported; ///< names of the nodes
  std::map<std::string, int64_t> dims;                   ///< sizes where nobody says any
  std::vector<std::string> equal; ///< what has to hold of sizes, as in `past + 1 = total`
  std::vector<Type> outputs;      ///< as computed; as declared, if it cannot be compiled
  std::string reason;             ///< why it cannot be compiled, if it cannot
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
    OpKey key(opName(node.getDomain(), node.getOpType()), node.getSinceVersion());
    ++contents.ops[key];
    if (convertsOp(node.getDomain(), node.getOpType()))
      return;
    auto function = functions.find((key.first + "." + node.getOverload().value_or("")).str());
    if (function == functions.end())
      contents.unsupported[key].push_back(nodeName(node.getLoc()).str());
    else if (called.insert(function->second).second)
      collect(function->second, functions, called, contents);
  });
}

static void printOp(llvm::raw_ostream &out, const OpKey &key, int64_t count) {
  out << llvm::format("  %6lld ", static_cast<long long>(count)) << key.first;
  if (key.second)
    out << " " << key.second;
}

/// Each op with the first of its nodes.
static void printUnsupported(llvm::raw_ostream &out, const Contents &contents) {
  constexpr size_t kNodes = 3;
  out << "unsupported:\n";
  for (const auto &[key, nodes] : contents.unsupported) {
    printOp(out, key, nodes.size());
    for (auto [i, name] : llvm::enumerate(ArrayRef(nodes).take_front(kNodes)))
      out << (i ? ", \"" : ": \"") << name << "\"";
    out << (nodes.size() > kNodes ? ", …\n" : "\n");
  }
  if (!contents.reason.empty())
    out << "  first: " << contents.reason << "\n";
}

static void print(llvm::raw_ostream &out, ModuleOp module, const Contents &contents) {
  out << "opsets:";
  for (NamedAttribute entry : module->getAttrOfType<DictionaryAttr>("onnx.opset"))
    out << " " << entry.getName().getValue() << " " << cast<IntegerAttr>(entry.getValue()).getInt();
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  out << "\ninputs:\n";
  for (auto [argument, name] : llvm::zip(graph.getBody().front().getArguments(),
                                         graph.getInputs().getAsValueRange<StringAttr>()))
    out << "  " << name << ": " << typeText(argument.getType()) << "\n";
  out << "outputs:\n";
  for (auto [type, name] :
       llvm::zip(contents.outputs, graph.getOutputs().getAsValueRange<StringAttr>()))
    out << "  " << name << ": " << typeText(type) << "\n";
  out << "weights: " << contents.weights << ", " << contents.bytes << " bytes\n";
  if (contents.largest)
    out << "  largest: " << contents.largest.getName().getValue() << ": "
        << typeText(contents.largest.getType()) << ", " << contents.largestBytes << " bytes\n";
  out << "ops, with the opset that made them what they are:\n";
  for (const auto &[key, count] : contents.ops) {
    printOp(out, key, count);
    out << "\n";
  }
  if (!contents.dims.empty())
    out << "dimensions, and what they are without --dim and --inputs:\n";
  for (const auto &[name, size] : contents.dims)
    out << "  " << name << ": " << size << "\n";
  if (!contents.equal.empty())
    out << "sizes that have to be equal:\n";
  for (const std::string &equation : contents.equal)
    out << "  " << equation << "\n";
  if (!contents.unsupported.empty() || !contents.reason.empty())
    printUnsupported(out, contents);
}

//===----------------------------------------------------------------------===//
// As JSON
//===----------------------------------------------------------------------===//

/// Name, element type and shape, in which an open dimension is a name; no shape
/// where the rank is open.
static Json tensorJson(StringRef name, Type type) {
  Json out = {{"name", name.str()}, {"type", typeText(type)}};
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return out;
  out["type"] = typeText(tensor.getElementType());
  auto names = dyn_cast_or_null<onnx::DimsAttr>(tensor.getEncoding());
  out["shape"] = Json::array();
  for (auto [i, size] : llvm::enumerate(tensor.getShape()))
    if (ShapedType::isDynamic(size))
      out["shape"].push_back(names ? cast<StringAttr>(names.getNames()[i]).str() : "");
    else
      out["shape"].push_back(size);
  return out;
}

static Json toJson(ModuleOp module, const Contents &contents) {
  Json out;
  out["opsets"] = Json::object();
  for (NamedAttribute entry : module->getAttrOfType<DictionaryAttr>("onnx.opset"))
    out["opsets"][entry.getName().str()] = cast<IntegerAttr>(entry.getValue()).getInt();
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  for (const char *list : {"inputs", "outputs"})
    out[list] = Json::array();
  for (auto [argument, name] : llvm::zip(graph.getBody().front().getArguments(),
                                         graph.getInputs().getAsValueRange<StringAttr>()))
    out["inputs"].push_back(tensorJson(name, argument.getType()));
  for (auto [type, name] :
       llvm::zip(contents.outputs, graph.getOutputs().getAsValueRange<StringAttr>()))
    out["outputs"].push_back(tensorJson(name, type));
  out["dims"] = contents.dims;
  out["equal"] = contents.equal;
  out["weights"] = {{"count", contents.weights}, {"bytes", contents.bytes}};
  if (contents.largest) {
    out["weights"]["largest"] =
        tensorJson(contents.largest.getName().getValue(), contents.largest.getType());
    out["weights"]["largest"]["bytes"] = contents.largestBytes;
  }
  for (const char *list : {"ops", "unsupported"})
    out[list] = Json::array();
  for (const auto &[key, count] : contents.ops)
    out["ops"].push_back({{"name", key.first}, {"opset", key.second}, {"count", count}});
  for (const auto &[key, nodes] : contents.unsupported)
    out["unsupported"].push_back(
        {{"name", key.first}, {"opset", key.second}, {"count", nodes.size()}, {"nodes", nodes}});
  out["reason"] = contents.reason;
  return out;
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

/// `type` with what its dimensions are called by `shape`, an nn::kShape.
static Type withNames(RankedTensorType type, Attribute shape, Attribute symbols) {
  Builder b(type.getContext());
  SmallVector<int64_t> sizes(type.getShape());
  SmallVector<Attribute> names;
  for (auto [size, name] : llvm::zip(sizes, nn::dimNames(shape, symbols, type.getRank()))) {
    if (!name.empty())
      size = ShapedType::kDynamic;
    names.push_back(b.getStringAttr(name));
  }
  return RankedTensorType::get(sizes, type.getElementType(),
                               onnx::DimsAttr::get(b.getContext(), b.getArrayAttr(names)));
}

/// Takes what the conversion has found out about sizes.
static void addSizes(func::FuncOp main, Contents &contents) {
  std::vector<std::string> names;
  auto symbols = main->getAttrOfType<ArrayAttr>(nn::kSymbols);
  if (symbols)
    for (StringRef name : symbols.getAsValueRange<StringAttr>())
      names.push_back(name.str());
  for (auto [i, type] : llvm::enumerate(main.getResultTypes()))
    contents.outputs[i] =
        withNames(cast<RankedTensorType>(type), main.getResultAttr(i, nn::kShape), symbols);
  for (BlockArgument argument : main.getArguments()) {
    ArrayRef<int64_t> shape = nn::shapeOf(argument);
    Attribute sizes = main.getArgAttr(argument.getArgNumber(), nn::kShape);
    for (auto [name, size] : llvm::zip(nn::dimNames(sizes, symbols, shape.size()), shape))
      if (!name.empty())
        contents.dims[name] = size;
  }
  if (auto equal = main->getAttrOfType<IntegerSetAttr>(nn::kEqual))
    for (AffineExpr difference : equal.getValue().getConstraints())
      contents.equal.push_back(nn::equationText(difference, names));
}

/// The sizes that dimensions get where nobody says any, and whether the model
/// compiles with them.
static void judge(Compilation &compilation, ModuleOp module, Contents &contents) {
  llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(module);
  if (!inputs) {
    contents.reason = llvm::toString(inputs.takeError());
    return;
  }
  std::map<std::string, int64_t> sizes = bindDims(*inputs, {});
  for (const ModelInput &input : *inputs)
    for (const ModelDim &dim : input.dims)
      if (dim.size < 0)
        contents.dims[dim.name] = sizes.at(dim.name);
  // Ops that are known may have forms that are not: the conversion is the judge.
  OwningOpRef<ModuleOp> copy = module.clone();
  if (llvm::Error error = compilation.graph(*copy, {}, sizes))
    contents.reason = llvm::toString(std::move(error));
  else
    addSizes(copy->lookupSymbol<func::FuncOp>("main"), contents);
}

/// The manifest of an artifact, of which every byte has been checked.
static int inspectArtifact(const std::string &path, bool json) {
  llvm::Expected<std::unique_ptr<ArtifactProgram>> opened =
      openArtifact(path, /*verifyWeights=*/true);
  if (!opened)
    return fail(opened.takeError());
  auto file = llvm::MemoryBuffer::getFile(path + "/" + runtime::kManifest);
  runtime::Manifest manifest;
  if (!file || !runtime::parseManifest((*file)->getBuffer(), manifest).empty())
    return fail(llvm::createStringError("\"" + path + "\" changes while it is read"));
  llvm::raw_ostream &out = llvm::outs();
  if (json) {
    out << (*file)->getBuffer();
    return 0;
  }
  out << "target: " << manifest.target;
  if (!manifest.architecture.empty())
    out << ", " << manifest.architecture << " with " << llvm::join(manifest.features, ", ");
  if (!manifest.driver.empty())
    out << "\nimages: " << llvm::join(manifest.chips, ", ") << ", for drivers of CUDA "
        << manifest.driver << " or newer";
  out << "\nmesh: " << manifest.mesh << "\n";
  for (auto [title, values] :
       {std::pair("inputs", &manifest.inputs), std::pair("outputs", &manifest.outputs)}) {
    out << title << ":\n";
    for (const runtime::Manifest::Value &value : *values)
      out << "  " << value.name << ": " << value.type << " " << shapeText(value.shape) << "\n";
  }
  const cleave_program &program = *(*opened)->program();
  out << "ranks:\n";
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
    out << "  " << rank << ": " << own.num_main << " commands, "
        << cleave_weight_bytes(&program, rank) << " bytes of weights, " << own.arena_bytes
        << " of activations\n";
  }
  out << "files:\n";
  for (const runtime::Manifest::File &entry : manifest.files)
    out << "  " << entry.name << ": " << entry.bytes << " bytes\n";
  for (const std::string &reference : manifest.references)
    out << "  weights are read from \"" << reference << "\"\n";
  return 0;
}

static int inspect(const std::string &path, bool json) {
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
  auto graph = *(*module)->getOps<onnx::GraphOp>().begin();
  llvm::append_range(contents.outputs, graph.getOutputTypes().getAsValueRange<TypeAttr>());
  judge(compilation, **module, contents);
  if (json)
    llvm::outs() << toJson(**module, contents).dump(2, ' ', false, Json::error_handler_t::replace)
                 << "\n";
  else
    print(llvm::outs(), **module, contents);
  return 0;
}

void cleave::addInspect(CLI::App &app, int &status) {
  auto path = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("inspect", "says what an ONNX file or an artifact holds");
  auto json = std::make_shared<bool>(false);
  command->add_option("model", *path, "an ONNX file, or an artifact")->required();
  command->add_flag("--json", *json, "one JSON object");
  command->callback([=, &status] {
    status = isArtifact(*path) ? inspectArtifact(*path, *json) : inspect(*path, *json);
  });
}
