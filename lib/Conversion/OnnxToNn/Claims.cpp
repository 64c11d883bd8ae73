//===- Claims.cpp - what a model says of itself, held against what holds --===//
//
// A node against the schema of its op, an output against its declared type. What
// contradicts is refused: to ignore it is to guess which of the two was meant.
//
//===----------------------------------------------------------------------===//

#include "Node.h"

#include "cleave/Frontend/Schemas.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;

using Kind = SchemaAttribute::Kind;

static StringRef kindText(Kind kind) {
  switch (kind) {
  case Kind::Float: return "a float";
  case Kind::Int: return "an integer";
  case Kind::String: return "a string";
  case Kind::Tensor: return "a tensor";
  case Kind::Graph: return "a graph";
  case Kind::SparseTensor: return "a sparse tensor";
  case Kind::TypeProto: return "a type";
  case Kind::Floats: return "a list of floats";
  case Kind::Ints: return "a list of integers";
  case Kind::Strings: return "a list of strings";
  }
  llvm_unreachable("all kinds are listed");
}

/// Nothing for what is kept as the bytes of the file.
static std::optional<Kind> kindOf(Attribute attribute) {
  return llvm::TypeSwitch<Attribute, std::optional<Kind>>(attribute)
      .Case([](FloatAttr) { return Kind::Float; })
      .Case([](IntegerAttr) { return Kind::Int; })
      .Case([](StringAttr) { return Kind::String; })
      .Case([](onnx::TensorAttr) { return Kind::Tensor; })
      .Case([](onnx::GraphAttr) { return Kind::Graph; })
      .Case([](DenseF32ArrayAttr) { return Kind::Floats; })
      .Case([](DenseI64ArrayAttr) { return Kind::Ints; })
      .Case([](ArrayAttr) { return Kind::Strings; })
      .Default([](Attribute) { return std::nullopt; });
}

static bool isOfKind(Attribute attribute, Kind kind) {
  if (auto list = dyn_cast<ArrayAttr>(attribute))
    return kind == Kind::Strings && llvm::all_of(list, llvm::IsaPred<StringAttr>);
  if (std::optional<Kind> found = kindOf(attribute))
    return *found == kind;
  return kind == Kind::SparseTensor || kind == Kind::TypeProto;
}

static LogicalResult checkCount(Node &n, StringRef what, int64_t count, int64_t least,
                                int64_t most) {
  if (count >= least && count <= most)
    return success();
  InFlightDiagnostic error = n.error() << n.op.getOpType() << " takes ";
  if (most >= INT32_MAX)
    error << least << " or more";
  else if (least == most)
    error << least;
  else
    error << least << " to " << most;
  return error << " " << what << ", got: " << count;
}

static LogicalResult checkAttribute(Node &n, const Schema &schema, StringRef name) {
  // What begins so is an exporter's own, and means nothing.
  if (name.starts_with("__"))
    return success();
  const SchemaAttribute *known = schema.find(name);
  if (!known)
    return n.error() << n.op.getOpType() << " of opset " << schema.sinceVersion
                     << " has no such attribute; leave it out or raise the opset, got: \"" << name
                     << "\"";
  Attribute value = n.attr(name);
  if (!value || isOfKind(value, known->kind))
    return success();
  InFlightDiagnostic error = n.error() << n.op.getOpType() << " takes attribute \"" << name
                                       << "\" as " << kindText(known->kind) << ", got: ";
  if (std::optional<Kind> found = kindOf(value))
    return error << kindText(*found);
  return error << "another type";
}

LogicalResult cleave::checkSchema(Node &n) {
  const Schema *schema = findSchema(n.op.getDomain(), n.op.getOpType(), n.sinceVersion());
  if (!schema)
    return success();
  if (failed(checkCount(n, "inputs", n.numInputs(), schema->leastInputs, schema->mostInputs)) ||
      failed(checkCount(n, "outputs", n.op.getNumResults(), schema->leastOutputs,
                        schema->mostOutputs)))
    return failure();
  for (NamedAttribute attribute : n.op.getNodeAttributes())
    if (failed(checkAttribute(n, *schema, attribute.getName())))
      return failure();
  for (const SchemaAttribute &attribute : schema->attributes)
    if (attribute.required && !n.attr(attribute.name))
      return n.error() << n.op.getOpType() << " lacks attribute \"" << attribute.name
                       << "\", which has no default";
  return success();
}

LogicalResult cleave::checkOutput(Type declared, RankedTensorType type, Location loc,
                                  Conversion &conversion) {
  if (isa<onnx::ValueType>(declared))
    return success();
  auto tensor = dyn_cast<TensorType>(declared);
  bool agrees = tensor && tensor.getElementType() == type.getElementType();
  // Exporters that know no shape write an empty one, which says that it is a scalar's.
  if (agrees && tensor.hasRank() && tensor.getRank() > 0) {
    agrees = tensor.getRank() == type.getRank();
    for (int64_t dim = 0; agrees && dim < type.getRank(); ++dim)
      if (!tensor.isDynamicDim(dim) && tensor.getDimSize(dim) != type.getDimSize(dim)) {
        conversion.conflict = {nn::sizesOf(type)[dim], tensor.getDimSize(dim)};
        agrees = false;
      }
    // Names of dimensions are no part of what differs.
    declared = RankedTensorType::get(tensor.getShape(), tensor.getElementType());
  }
  if (agrees)
    return success();
  return emitError(loc, "output is computed as ")
         << type << "; declare it so, or leave its shape open, got: " << declared;
}
