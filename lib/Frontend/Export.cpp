//===- Export.cpp - the onnx dialect to a file ----------------------------===//

#include "cleave/Frontend/Onnx.h"
#include "cleave/Support/PendingFile.h"

#include "Externalize.h"
#include "Types.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace cleave;
namespace ir = cleave::onnx;
using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

/// Where tensors begin in a data file, so that a reader may map them.
static constexpr uint64_t kDataAlignment = 64;

namespace {

class Exporter {
public:
  Exporter(ModuleOp module, StringRef path)
      : module(module), data((path + ".data").str()),
        dataName(llvm::sys::path::filename(path).str() + ".data") {}

  LogicalResult exportModel(::onnx::ModelProto &model);
  llvm::Error keepData() { return data.isOpen() ? data.keep() : llvm::Error::success(); }

private:
  LogicalResult exportFunction(ir::FunctionOp function, ::onnx::FunctionProto &proto);
  LogicalResult exportBody(Block &block, google::protobuf::RepeatedPtrField<NodeProto> *nodes,
                           GraphProto *graph);
  LogicalResult exportNode(ir::NodeOp node, NodeProto &proto);
  LogicalResult exportAttribute(Attribute attribute, Operation *op, AttributeProto &proto);
  LogicalResult exportGraph(ir::GraphAttr attribute, Operation *op, GraphProto &proto);
  template <typename Interface>
  LogicalResult exportGraphBody(StringAttr name, Block &body, Interface interface,
                                GraphProto &proto);
  LogicalResult exportTensor(ir::TensorAttr tensor, Location loc, TensorProto &proto);
  LogicalResult exportData(ir::DataAttr reference, Location loc, TensorProto &proto);
  template <typename Into> void exportOpset(DictionaryAttr opset, Into &proto);

  ModuleOp module;
  PendingFile data;
  std::string dataName;
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> sources;
  DenseMap<Value, std::string> names;
};

} // namespace

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

LogicalResult Exporter::exportData(ir::DataAttr reference, Location loc, TensorProto &proto) {
  std::unique_ptr<llvm::MemoryBuffer> &source = sources[reference.getFile().getValue()];
  if (!source) {
    auto file = llvm::MemoryBuffer::getFile(reference.getFile().getValue(), /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
    if (!file)
      return emitError(loc, "cannot be read from ") << reference.getFile();
    source = std::move(*file);
  }
  StringRef bytes = source->getBuffer();
  if (reference.getOffset() > bytes.size() ||
      reference.getLength() > bytes.size() - reference.getOffset())
    return emitError(loc, "reaches beyond ") << reference.getFile();
  llvm::Error status = data.isOpen() ? llvm::Error::success() : data.open();
  uint64_t begin = llvm::alignTo(data.size(), kDataAlignment);
  if (!status)
    status = data.write(std::string(begin - data.size(), '\0'));
  if (!status)
    status = data.write(bytes.substr(reference.getOffset(), reference.getLength()));
  if (status)
    return emitError(loc) << llvm::toString(std::move(status));
  auto entry = [&](const char *key, const std::string &value) {
    auto *pair = proto.add_external_data();
    pair->set_key(key);
    pair->set_value(value);
  };
  entry("location", dataName);
  entry("offset", std::to_string(begin));
  entry("length", std::to_string(reference.getLength()));
  proto.set_data_location(TensorProto::EXTERNAL);
  return success();
}

LogicalResult Exporter::exportTensor(ir::TensorAttr tensor, Location loc, TensorProto &proto) {
  RankedTensorType type = tensor.getType();
  proto.set_name(tensor.getName().str());
  proto.set_data_type(dataTypeOf(type.getElementType()));
  for (int64_t size : type.getShape())
    proto.add_dims(size);
  return llvm::TypeSwitch<Attribute, LogicalResult>(tensor.getContent())
      .Case([&](ir::DataAttr reference) { return exportData(reference, loc, proto); })
      .Case([&](ArrayAttr strings) {
        for (StringRef text : strings.getAsValueRange<StringAttr>())
          proto.add_string_data(text.str());
        return success();
      })
      .Case([&](StringAttr bytes) {
        proto.set_raw_data(bytes.str());
        return success();
      })
      .Case([&](DenseElementsAttr elements) {
        std::string *raw = proto.mutable_raw_data();
        if (type.getElementType().isInteger(1)) {
          for (bool value : elements.getValues<bool>())
            raw->push_back(value);
          return success();
        }
        ArrayRef<char> bytes = elements.getRawData();
        int64_t repeats = elements.isSplat() ? type.getNumElements() : 1;
        for (int64_t i = 0; i < repeats; ++i)
          raw->append(bytes.data(), bytes.size());
        return success();
      })
      .Default([&](Attribute) { return emitError(loc, "holds a tensor of unknown form"); });
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// `interface` has the names of inputs and outputs, and the types of the latter.
template <typename Interface>
LogicalResult Exporter::exportGraphBody(StringAttr name, Block &body, Interface interface,
                                        GraphProto &proto) {
  proto.set_name(name.str());
  for (auto [argument, name] : llvm::zip(
           body.getArguments(), interface.getInputs().template getAsValueRange<StringAttr>())) {
    names[argument] = name.str();
    auto *input = proto.add_input();
    input->set_name(name.str());
    exportType(argument.getType(), *input->mutable_type());
  }
  if (failed(exportBody(body, proto.mutable_node(), &proto)))
    return failure();
  for (auto [name, type] :
       llvm::zip(interface.getOutputs().template getAsValueRange<StringAttr>(),
                 interface.getOutputTypes().template getAsValueRange<TypeAttr>())) {
    auto *output = proto.add_output();
    output->set_name(name.str());
    exportType(type, *output->mutable_type());
  }
  return success();
}

LogicalResult Exporter::exportGraph(ir::GraphAttr attribute, Operation *op, GraphProto &proto) {
  return exportGraphBody(attribute.getName(), op->getRegion(attribute.getRegion()).front(),
                         attribute, proto);
}

LogicalResult Exporter::exportAttribute(Attribute attribute, Operation *op, AttributeProto &proto) {
  return llvm::TypeSwitch<Attribute, LogicalResult>(attribute)
      .Case([&](FloatAttr value) {
        proto.set_type(AttributeProto::FLOAT);
        proto.set_f(static_cast<float>(value.getValueAsDouble()));
        return success();
      })
      .Case([&](IntegerAttr value) {
        proto.set_type(AttributeProto::INT);
        proto.set_i(value.getInt());
        return success();
      })
      .Case([&](StringAttr value) {
        proto.set_type(AttributeProto::STRING);
        proto.set_s(value.str());
        return success();
      })
      .Case([&](DenseF32ArrayAttr values) {
        proto.set_type(AttributeProto::FLOATS);
        proto.mutable_floats()->Add(values.asArrayRef().begin(), values.asArrayRef().end());
        return success();
      })
      .Case([&](DenseI64ArrayAttr values) {
        proto.set_type(AttributeProto::INTS);
        proto.mutable_ints()->Add(values.asArrayRef().begin(), values.asArrayRef().end());
        return success();
      })
      .Case([&](ir::TensorAttr tensor) {
        proto.set_type(AttributeProto::TENSOR);
        return exportTensor(tensor, op->getLoc(), *proto.mutable_t());
      })
      .Case([&](ir::GraphAttr graph) {
        proto.set_type(AttributeProto::GRAPH);
        return exportGraph(graph, op, *proto.mutable_g());
      })
      .Case([&](ir::RefAttr ref) {
        proto.set_ref_attr_name(ref.getName().str());
        proto.set_type(static_cast<AttributeProto::AttributeType>(ref.getKind()));
        return success();
      })
      .Case([&](ir::RawAttr raw) {
        std::string name = proto.name();
        if (!proto.ParseFromString(raw.getBytes().str()))
          return failure();
        proto.set_name(name);
        return success();
      })
      .Case([&](ArrayAttr list) {
        for (Attribute element : list) {
          if (auto text = dyn_cast<StringAttr>(element)) {
            proto.add_strings(text.str());
          } else if (auto tensor = dyn_cast<ir::TensorAttr>(element)) {
            if (failed(exportTensor(tensor, op->getLoc(), *proto.add_tensors())))
              return failure();
          } else if (failed(exportGraph(cast<ir::GraphAttr>(element), op, *proto.add_graphs()))) {
            return failure();
          }
        }
        proto.set_type(proto.tensors_size()  ? AttributeProto::TENSORS
                       : proto.graphs_size() ? AttributeProto::GRAPHS
                                             : AttributeProto::STRINGS);
        return success();
      })
      .Default([&](Attribute) {
        return emitError(op->getLoc(), "has an attribute of unknown form, got: ") << attribute;
      });
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

LogicalResult Exporter::exportNode(ir::NodeOp node, NodeProto &proto) {
  proto.set_op_type(node.getOpType().str());
  proto.set_domain(node.getDomain().str());
  proto.set_name(node.getNodeName().str());
  if (node.getOverload())
    proto.set_overload(node.getOverload()->str());
  for (Value input : node.getInputs())
    proto.add_input(isa<NoneType>(input.getType()) ? "" : names.lookup(input));
  for (auto [result, name] :
       llvm::zip(node.getResults(), node.getOutputs().getAsValueRange<StringAttr>())) {
    names[result] = name.str();
    proto.add_output(name.str());
  }
  for (NamedAttribute attribute : node.getNodeAttributes()) {
    AttributeProto &into = *proto.add_attribute();
    into.set_name(attribute.getName().str());
    if (failed(exportAttribute(attribute.getValue(), node, into)))
      return failure();
  }
  return success();
}

/// `graph` is null for the body of a function, which has no initializers.
LogicalResult Exporter::exportBody(Block &block,
                                   google::protobuf::RepeatedPtrField<NodeProto> *nodes,
                                   GraphProto *graph) {
  for (Operation &op : block.without_terminator()) {
    if (auto initializer = dyn_cast<ir::InitializerOp>(op)) {
      names[initializer.getResult()] = initializer.getTensor().getName().str();
      if (failed(exportTensor(initializer.getTensor(), op.getLoc(), *graph->add_initializer())))
        return failure();
      if (initializer.getInput()) {
        auto *input = graph->add_input();
        input->set_name(initializer.getTensor().getName().str());
        exportType(initializer.getTensor().getType(), *input->mutable_type());
      }
    } else if (auto node = dyn_cast<ir::NodeOp>(op)) {
      if (failed(exportNode(node, *nodes->Add())))
        return failure();
    }
  }
  return success();
}

template <typename Into> void Exporter::exportOpset(DictionaryAttr opset, Into &proto) {
  for (NamedAttribute entry : opset) {
    auto *import = proto.add_opset_import();
    import->set_domain(entry.getName() == "ai.onnx" ? "" : entry.getName().str());
    import->set_version(cast<IntegerAttr>(entry.getValue()).getInt());
  }
}

LogicalResult Exporter::exportFunction(ir::FunctionOp function, ::onnx::FunctionProto &proto) {
  proto.set_domain(function.getDomain().str());
  proto.set_name(function.getFunctionName().str());
  proto.set_overload(function.getOverload().str());
  exportOpset(function.getOpset(), proto);
  for (StringRef name : function.getParameters().getAsValueRange<StringAttr>())
    proto.add_attribute(name.str());
  for (NamedAttribute entry : function.getDefaults()) {
    AttributeProto &into = *proto.add_attribute_proto();
    into.set_name(entry.getName().str());
    if (failed(exportAttribute(entry.getValue(), function, into)))
      return failure();
  }
  Block &body = function.getBody().front();
  for (auto [argument, name] :
       llvm::zip(body.getArguments(), function.getInputs().getAsValueRange<StringAttr>())) {
    names[argument] = name.str();
    proto.add_input(name.str());
  }
  for (StringRef name : function.getOutputs().getAsValueRange<StringAttr>())
    proto.add_output(name.str());
  return exportBody(body, proto.mutable_node(), nullptr);
}

LogicalResult Exporter::exportModel(::onnx::ModelProto &model) {
  auto graphs = llvm::to_vector(module.getOps<ir::GraphOp>());
  if (graphs.size() != 1)
    return module.emitError("holds another number of ONNX graphs than one, got: ") << graphs.size();
  if (auto version = module->getAttrOfType<IntegerAttr>("onnx.ir_version"))
    model.set_ir_version(version.getInt());
  model.set_producer_name("cleave");
  if (auto opset = module->getAttrOfType<DictionaryAttr>("onnx.opset"))
    exportOpset(opset, model);
  if (auto metadata = module->getAttrOfType<DictionaryAttr>("onnx.metadata"))
    for (NamedAttribute entry : metadata) {
      auto *into = model.add_metadata_props();
      into->set_key(entry.getName().str());
      into->set_value(cast<StringAttr>(entry.getValue()).str());
    }
  for (auto function : module.getOps<ir::FunctionOp>())
    if (failed(exportFunction(function, *model.add_functions())))
      return failure();

  ir::GraphOp graph = graphs.front();
  return exportGraphBody(graph.getSymNameAttr(), graph.getBody().front(), graph,
                         *model.mutable_graph());
}

LogicalResult cleave::exportOnnx(ModuleOp module, StringRef path) {
  ::onnx::ModelProto model;
  Exporter exporter(module, path);
  if (failed(exporter.exportModel(model)))
    return failure();
  std::string bytes;
  PendingFile file(path);
  if (!model.SerializeToString(&bytes))
    return module.emitError("is larger than an ONNX file may be");
  llvm::Error status = file.open();
  if (!status)
    status = file.write(bytes);
  // The data first: a model is never there without them.
  if (!status)
    status = exporter.keepData();
  if (!status)
    status = file.keep();
  if (status)
    return module.emitError() << llvm::toString(std::move(status));
  return success();
}
