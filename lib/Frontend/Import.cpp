//===- Import.cpp - ModelProto to the onnx dialect ------------------------===//

#include "cleave/Frontend/Onnx.h"
#include "cleave/Frontend/Schemas.h"

#include "Externalize.h"
#include "Types.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

#include <set>

using namespace mlir;
using namespace cleave;
namespace ir = cleave::onnx;
using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;

namespace {

/// The values that a graph's nodes may name, innermost graph first.
struct Scope {
  const Scope *outer = nullptr;
  llvm::StringMap<Value> values;

  Value lookup(StringRef name) const {
    for (const Scope *scope = this; scope; scope = scope->outer)
      if (auto found = scope->values.find(name); found != scope->values.end())
        return found->second;
    return {};
  }
};

/// The names at the border of a graph, and the types its outputs are said to have.
struct Interface {
  ArrayAttr inputs, outputs, outputTypes;
};

class Importer {
public:
  Importer(StringRef path, uint64_t bytes, MLIRContext *context)
      : b(context), tensors(path, bytes) {}

  OwningOpRef<ModuleOp> importModel(const ::onnx::ModelProto &model);

private:
  LogicalResult importFunction(const ::onnx::FunctionProto &proto);
  LogicalResult importGraph(const GraphProto &graph, Block &block, Scope &scope);
  /// Of a graph that was imported into `block`; nothing, with a message, if a type lies.
  std::optional<Interface> importInterface(const GraphProto &graph, Block &block);
  LogicalResult importNodes(const google::protobuf::RepeatedPtrField<NodeProto> &nodes,
                            Scope &scope);
  LogicalResult importNode(const NodeProto &node, Scope &scope);
  LogicalResult importOutputs(ArrayRef<std::string> names, Scope &scope, Location loc);
  /// The attribute; graphs in it become regions, appended to `graphs`.
  Attribute importAttribute(const AttributeProto &proto, Scope *scope, Location loc,
                            SmallVectorImpl<std::unique_ptr<Region>> &graphs);
  Attribute importGraphAttribute(const GraphProto &graph, Scope *scope, Location loc,
                                 SmallVectorImpl<std::unique_ptr<Region>> &graphs);
  FailureOr<DictionaryAttr>
  importOpset(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto> &imports,
              Location loc);
  void addDefaults(const Schema *schema, NamedAttrList &attributes);
  ArrayAttr strings(const google::protobuf::RepeatedPtrField<std::string> &list);
  Location named(const Twine &name) { return NameLoc::get(b.getStringAttr(name)); }

  OpBuilder b;
  TensorImporter tensors;
  llvm::StringMap<int64_t> opset;
};

} // namespace

static StringRef canonicalDomain(StringRef domain) {
  return domain == "ai.onnx" ? StringRef() : domain;
}

ArrayAttr Importer::strings(const google::protobuf::RepeatedPtrField<std::string> &list) {
  SmallVector<StringRef> refs(list.begin(), list.end());
  return b.getStrArrayAttr(refs);
}

FailureOr<DictionaryAttr>
Importer::importOpset(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto> &imports,
                      Location loc) {
  opset.clear();
  NamedAttrList attributes;
  for (const auto &import : imports) {
    StringRef domain = canonicalDomain(import.domain());
    if (import.version() < 1)
      return emitError(loc, "imports opset ")
             << import.version() << " of domain \"" << domain << "\"";
    if (domain.empty() && import.version() > newestOpset())
      return emitError(loc, "imports opset ")
             << import.version() << ", newer than the newest known, " << newestOpset()
             << "; export the model with that one";
    // A model may say one domain twice; ONNX Runtime takes the last.
    opset[domain] = import.version();
    // Attribute names cannot be empty.
    attributes.set(domain.empty() ? "ai.onnx" : domain, b.getI64IntegerAttr(import.version()));
  }
  return attributes.getDictionary(b.getContext());
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

Attribute cleave::defaultValue(const SchemaAttribute &attribute, Builder &b) {
  if (!attribute.hasDefault)
    return nullptr;
  switch (attribute.kind) {
  case SchemaAttribute::Int: return b.getI64IntegerAttr(attribute.intValue);
  case SchemaAttribute::Float: return b.getF32FloatAttr(attribute.floatValue);
  case SchemaAttribute::String: return b.getStringAttr(attribute.stringValue);
  default: llvm_unreachable("the table holds no other defaults");
  }
}

void Importer::addDefaults(const Schema *schema, NamedAttrList &attributes) {
  if (!schema)
    return;
  for (const SchemaAttribute &attribute : schema->attributes)
    if (Attribute value = defaultValue(attribute, b); value && !attributes.get(attribute.name))
      attributes.set(attribute.name, value);
}

static AttributeProto::AttributeType kindOf(const AttributeProto &proto) {
  if (proto.type() != AttributeProto::UNDEFINED)
    return proto.type();
  // IR version 1 did not write the type.
  return proto.has_f()          ? AttributeProto::FLOAT
         : proto.has_i()        ? AttributeProto::INT
         : proto.has_s()        ? AttributeProto::STRING
         : proto.has_t()        ? AttributeProto::TENSOR
         : proto.has_g()        ? AttributeProto::GRAPH
         : proto.floats_size()  ? AttributeProto::FLOATS
         : proto.ints_size()    ? AttributeProto::INTS
         : proto.strings_size() ? AttributeProto::STRINGS
                                : AttributeProto::UNDEFINED;
}

/// Whether `proto` holds a value of another type than it says.
static bool isMixed(const AttributeProto &proto) {
  AttributeProto::AttributeType kind = kindOf(proto);
  return (proto.has_f() && kind != AttributeProto::FLOAT) ||
         (proto.has_i() && kind != AttributeProto::INT) ||
         (proto.has_s() && kind != AttributeProto::STRING) ||
         (proto.has_t() && kind != AttributeProto::TENSOR) ||
         (proto.has_g() && kind != AttributeProto::GRAPH) ||
         (proto.floats_size() && kind != AttributeProto::FLOATS) ||
         (proto.ints_size() && kind != AttributeProto::INTS) ||
         (proto.strings_size() && kind != AttributeProto::STRINGS) ||
         (proto.tensors_size() && kind != AttributeProto::TENSORS) ||
         (proto.graphs_size() && kind != AttributeProto::GRAPHS);
}

std::optional<Interface> Importer::importInterface(const GraphProto &graph, Block &block) {
  SmallVector<Attribute> inputs, outputs, types;
  for (BlockArgument argument : block.getArguments())
    inputs.push_back(cast<NameLoc>(argument.getLoc()).getName());
  for (const auto &output : graph.output()) {
    Type type = importType(output.type(), named(output.name()));
    if (!type)
      return std::nullopt;
    outputs.push_back(b.getStringAttr(output.name()));
    types.push_back(TypeAttr::get(type));
  }
  return Interface{b.getArrayAttr(inputs), b.getArrayAttr(outputs), b.getArrayAttr(types)};
}

Attribute Importer::importGraphAttribute(const GraphProto &graph, Scope *scope, Location loc,
                                         SmallVectorImpl<std::unique_ptr<Region>> &graphs) {
  auto region = std::make_unique<Region>();
  Block &block = region->emplaceBlock();
  Scope inner{scope, {}};
  if (failed(importGraph(graph, block, inner)))
    return nullptr;
  std::optional<Interface> interface = importInterface(graph, block);
  if (!interface)
    return nullptr;
  graphs.push_back(std::move(region));
  return ir::GraphAttr::get(b.getContext(), graphs.size() - 1, b.getStringAttr(graph.name()),
                            interface->inputs, interface->outputs, interface->outputTypes);
}

Attribute Importer::importAttribute(const AttributeProto &proto, Scope *scope, Location loc,
                                    SmallVectorImpl<std::unique_ptr<Region>> &graphs) {
  if (!proto.ref_attr_name().empty())
    return ir::RefAttr::get(b.getContext(), b.getStringAttr(proto.ref_attr_name()), proto.type());
  if (isMixed(proto))
    return emitError(loc, "holds a value of another type than it says in attribute \"")
               << proto.name() << "\"",
           nullptr;
  SmallVector<Attribute> list;
  switch (kindOf(proto)) {
  case AttributeProto::FLOAT: return b.getF32FloatAttr(proto.f());
  case AttributeProto::INT: return b.getI64IntegerAttr(proto.i());
  case AttributeProto::STRING: return b.getStringAttr(proto.s());
  case AttributeProto::FLOATS:
    return b.getDenseF32ArrayAttr(ArrayRef(proto.floats().data(), proto.floats_size()));
  case AttributeProto::INTS: {
    SmallVector<int64_t> ints(proto.ints().begin(), proto.ints().end());
    return b.getDenseI64ArrayAttr(ints);
  }
  case AttributeProto::STRINGS: return strings(proto.strings());
  case AttributeProto::TENSOR: return tensors.import(proto.t(), loc);
  case AttributeProto::TENSORS:
    for (const auto &tensor : proto.tensors())
      if (!list.emplace_back(tensors.import(tensor, loc)))
        return nullptr;
    return b.getArrayAttr(list);
  case AttributeProto::GRAPH: return importGraphAttribute(proto.g(), scope, loc, graphs);
  case AttributeProto::GRAPHS:
    for (const auto &graph : proto.graphs())
      if (!list.emplace_back(importGraphAttribute(graph, scope, loc, graphs)))
        return nullptr;
    return b.getArrayAttr(list);
  default: return ir::RawAttr::get(b.getContext(), b.getStringAttr(proto.SerializeAsString()));
  }
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

LogicalResult Importer::importNode(const NodeProto &node, Scope &scope) {
  Location loc = named(node.name().empty() ? node.op_type() : node.name());
  SmallVector<Value> inputs;
  for (const std::string &name : node.input()) {
    Value value =
        name.empty() ? ir::NoneOp::create(b, loc, b.getNoneType()).getResult() : scope.lookup(name);
    if (!value)
      return emitError(loc, "reads \"") << name << "\", which nothing produces";
    inputs.push_back(value);
  }

  NamedAttrList attributes;
  SmallVector<std::unique_ptr<Region>> graphs;
  for (const AttributeProto &proto : node.attribute()) {
    if (proto.name().empty() || attributes.get(proto.name()))
      return emitError(loc, "has an attribute without a name or twice, got: \"")
             << proto.name() << "\"";
    Attribute attribute = importAttribute(proto, &scope, loc, graphs);
    if (!attribute)
      return failure();
    attributes.set(proto.name(), attribute);
  }
  StringRef domain = canonicalDomain(node.domain());
  if (domain.empty() && !opset.contains(""))
    return emitError(loc, "is an op of the default domain, of which no opset is imported");
  const Schema *schema = findSchema(domain, node.op_type(), opset.lookup(domain));
  addDefaults(schema, attributes);

  SmallVector<Type> types(node.output_size(), ir::ValueType::get(b.getContext()));
  auto op = ir::NodeOp::create(
      b, loc, types, inputs, b.getStringAttr(node.op_type()), b.getStringAttr(domain),
      node.overload().empty() ? StringAttr() : b.getStringAttr(node.overload()),
      b.getI64IntegerAttr(schema ? schema->sinceVersion : 0), b.getStringAttr(node.name()),
      strings(node.output()), attributes.getDictionary(b.getContext()), graphs.size());
  for (auto [region, graph] : llvm::zip(op->getRegions(), graphs))
    region.takeBody(*graph);

  for (auto [name, result] : llvm::zip(node.output(), op->getResults()))
    if (!name.empty() && !scope.values.try_emplace(name, result).second)
      return emitError(loc, "produces \"") << name << "\", which exists already";
  return success();
}

/// Adds the names that `node` reads, also from inside its graphs. What an inner
/// graph produces itself hides an outer value of the same name.
static void collectReads(const NodeProto &node, llvm::StringSet<> &reads) {
  for (const std::string &input : node.input())
    reads.insert(input);
  auto visit = [&](const GraphProto &graph) {
    llvm::StringSet<> inner, own;
    for (const NodeProto &child : graph.node()) {
      collectReads(child, inner);
      for (const std::string &output : child.output())
        own.insert(output);
    }
    for (const auto &output : graph.output())
      inner.insert(output.name());
    for (const auto &input : graph.input())
      own.insert(input.name());
    for (const auto &initializer : graph.initializer())
      own.insert(initializer.name());
    for (const auto &name : inner)
      if (!own.contains(name.getKey()))
        reads.insert(name.getKey());
  };
  for (const AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      visit(attribute.g());
    for (const GraphProto &graph : attribute.graphs())
      visit(graph);
  }
}

// Nodes may stand in any order. A node is imported when all that this graph
// produces for it exists; equal candidates keep the order of the file.
LogicalResult Importer::importNodes(const google::protobuf::RepeatedPtrField<NodeProto> &nodes,
                                    Scope &scope) {
  llvm::StringMap<int> producer;
  for (auto [i, node] : llvm::enumerate(nodes))
    for (const std::string &name : node.output())
      if (!name.empty())
        producer.try_emplace(name, i);

  std::vector<SmallVector<int, 4>> readers(nodes.size());
  std::vector<int> missing(nodes.size(), 0);
  for (auto [i, node] : llvm::enumerate(nodes)) {
    llvm::StringSet<> reads;
    collectReads(node, reads);
    for (const auto &name : reads)
      if (auto found = producer.find(name.getKey()); found != producer.end()) {
        readers[found->second].push_back(i);
        ++missing[i];
      }
  }

  std::set<int> ready;
  for (int i = 0; i < nodes.size(); ++i)
    if (missing[i] == 0)
      ready.insert(i);
  int done = 0;
  for (; !ready.empty(); ++done) {
    int next = *ready.begin();
    ready.erase(ready.begin());
    if (failed(importNode(nodes[next], scope)))
      return failure();
    for (int reader : readers[next])
      if (--missing[reader] == 0)
        ready.insert(reader);
  }
  if (done == nodes.size())
    return success();
  for (auto [i, node] : llvm::enumerate(nodes))
    if (missing[i] > 0)
      return emitError(named(node.name().empty() ? node.op_type() : node.name()),
                       "is part of a cycle, or waits for one");
  llvm_unreachable("a node was left over");
}

LogicalResult Importer::importOutputs(ArrayRef<std::string> names, Scope &scope, Location loc) {
  SmallVector<Value> values;
  for (const std::string &name : names) {
    Value value = scope.lookup(name);
    if (!value)
      return emitError(loc, "gives \"") << name << "\", which nothing produces";
    values.push_back(value);
  }
  ir::OutputOp::create(b, loc, values);
  return success();
}

LogicalResult Importer::importGraph(const GraphProto &graph, Block &block, Scope &scope) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(&block);
  if (graph.sparse_initializer_size() > 0)
    return emitError(named(graph.name()), "has sparse initializers, which are not supported");

  llvm::StringMap<const ::onnx::TensorProto *> initializers;
  for (const auto &tensor : graph.initializer())
    if (tensor.name().empty() || !initializers.try_emplace(tensor.name(), &tensor).second)
      return emitError(named(tensor.name()), "initializer has no name or exists twice");

  llvm::StringSet<> listed;
  for (const auto &input : graph.input()) {
    if (input.name().empty() || !listed.insert(input.name()).second)
      return emitError(named(input.name()), "input has no name or exists twice");
    if (initializers.contains(input.name()))
      continue;
    Type type = importType(input.type(), named(input.name()));
    if (!type)
      return failure();
    scope.values[input.name()] = block.addArgument(type, named(input.name()));
  }
  for (const auto &tensor : graph.initializer()) {
    Location loc = named(tensor.name());
    ir::TensorAttr attr = tensors.import(tensor, loc);
    if (!attr)
      return failure();
    UnitAttr input = listed.contains(tensor.name()) ? b.getUnitAttr() : UnitAttr();
    scope.values[tensor.name()] = ir::InitializerOp::create(b, loc, attr.getType(), attr, input);
  }
  if (failed(importNodes(graph.node(), scope)))
    return failure();
  SmallVector<std::string> outputs;
  for (const auto &output : graph.output())
    outputs.push_back(output.name());
  return importOutputs(outputs, scope, named(graph.name()));
}

//===----------------------------------------------------------------------===//
// Functions and models
//===----------------------------------------------------------------------===//

LogicalResult Importer::importFunction(const ::onnx::FunctionProto &proto) {
  Location loc = named(proto.name());
  FailureOr<DictionaryAttr> functionOpset = importOpset(proto.opset_import(), loc);
  if (failed(functionOpset))
    return failure();
  NamedAttrList defaults;
  SmallVector<std::unique_ptr<Region>> graphs;
  for (const AttributeProto &attribute : proto.attribute_proto()) {
    Attribute value = importAttribute(attribute, nullptr, loc, graphs);
    if (!value || !graphs.empty())
      return emitError(loc, "has a default that is a graph, which is not supported");
    defaults.set(attribute.name(), value);
  }

  auto function = ir::FunctionOp::create(
      b, loc, b.getStringAttr(canonicalDomain(proto.domain())), b.getStringAttr(proto.name()),
      b.getStringAttr(proto.overload()), strings(proto.input()), strings(proto.output()),
      strings(proto.attribute()), defaults.getDictionary(b.getContext()), *functionOpset);
  OpBuilder::InsertionGuard guard(b);
  Block &block = function.getBody().emplaceBlock();
  b.setInsertionPointToEnd(&block);
  Scope scope;
  for (const std::string &name : proto.input())
    scope.values[name] = block.addArgument(ir::ValueType::get(b.getContext()), named(name));
  if (failed(importNodes(proto.node(), scope)))
    return failure();
  return importOutputs(SmallVector<std::string>(proto.output().begin(), proto.output().end()),
                       scope, loc);
}

OwningOpRef<ModuleOp> Importer::importModel(const ::onnx::ModelProto &model) {
  Location loc = b.getUnknownLoc();
  if (!model.has_graph())
    return emitError(loc, "is no ONNX model: it has no graph"), nullptr;
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  b.setInsertionPointToEnd(module->getBody());
  for (const auto &function : model.functions())
    if (failed(importFunction(function)))
      return nullptr;

  FailureOr<DictionaryAttr> modelOpset = importOpset(model.opset_import(), loc);
  if (failed(modelOpset))
    return nullptr;
  Operation *attributes = *module;
  attributes->setAttr("onnx.ir_version", b.getI64IntegerAttr(model.ir_version()));
  attributes->setAttr("onnx.opset", *modelOpset);
  attributes->setAttr("onnx.producer",
                      b.getStrArrayAttr({model.producer_name(), model.producer_version()}));
  NamedAttrList metadata;
  for (const auto &entry : model.metadata_props())
    if (!entry.key().empty())
      metadata.set(entry.key(), b.getStringAttr(entry.value()));
  attributes->setAttr("onnx.metadata", metadata.getDictionary(b.getContext()));

  const GraphProto &graph = model.graph();
  Region body;
  Scope scope;
  if (failed(importGraph(graph, body.emplaceBlock(), scope)))
    return nullptr;
  std::optional<Interface> interface = importInterface(graph, body.front());
  if (!interface)
    return nullptr;
  auto op = ir::GraphOp::create(b, loc, b.getStringAttr(graph.name()), interface->inputs,
                                interface->outputs, interface->outputTypes);
  op.getBody().takeBody(body);
  return module;
}

OwningOpRef<ModuleOp> cleave::importOnnx(StringRef path, MLIRContext *context) {
  // Weights are read by offset, so a pipe would not do.
  if (llvm::sys::fs::exists(path) && !llvm::sys::fs::is_regular_file(path))
    return emitError(UnknownLoc::get(context), "is no regular file"), nullptr;
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return emitError(UnknownLoc::get(context), "cannot be read: ") << file.getError().message(),
           nullptr;
  return importOnnxBytes((*file)->getBuffer(), path, context);
}

OwningOpRef<ModuleOp> cleave::importOnnxBytes(StringRef bytes, StringRef path,
                                              MLIRContext *context) {
  context->loadDialect<ir::OnnxDialect>();
  Location loc = UnknownLoc::get(context);
  if (bytes.empty())
    return emitError(loc, "is no ONNX model: the file is empty"), nullptr;
  llvm::Expected<std::string> small = externalize(bytes);
  if (!small)
    return emitError(loc) << llvm::toString(small.takeError()), nullptr;
  ::onnx::ModelProto model;
  if (!model.ParseFromString(*small))
    return emitError(loc, "is no ONNX model: its fields do not parse"), nullptr;
  return Importer(path, bytes.size(), context).importModel(model);
}
