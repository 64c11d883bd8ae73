//===- Sharding.cpp - extents and shardings -------------------------------===//

#include "Dist/Dist.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace cleave::dist;

//===----------------------------------------------------------------------===//
// ExtentAttr
//===----------------------------------------------------------------------===//

bool ExtentAttr::isCut() const {
  return !getAxes().empty() ||
         llvm::any_of(getParts(), [](ExtentAttr part) { return part.isCut(); });
}

/// What a rank holds of a run: of the part by one axis the part by the next. Sub-axes that
/// make one axis cut as it does.
static Part leafPart(ExtentAttr leaf, MeshAttr mesh, int64_t rank) {
  Part part{0, leaf.getSize()};
  for (StringAttr axis : joinAxes(mesh, leaf.getAxes())) {
    Part inner = partOf(part.size, *mesh.getGroupSize(axis), mesh.getMember(axis, rank));
    part = {part.begin + inner.begin, inner.size};
  }
  return part;
}

int64_t ExtentAttr::getLocalSize(MeshAttr mesh, int64_t rank) const {
  if (isLeaf())
    return getAxes().empty() ? getSize() : leafPart(*this, mesh, rank).size;
  int64_t size = getIsConcat() ? 0 : 1;
  for (ExtentAttr part : getParts()) {
    int64_t local = part.getLocalSize(mesh, rank);
    size = getIsConcat() ? size + local : size * local;
  }
  return size;
}

SmallVector<int64_t> ExtentAttr::getLocalIndices(MeshAttr mesh, int64_t rank) const {
  SmallVector<int64_t> indices;
  if (isLeaf()) {
    Part part = getAxes().empty() ? Part{0, getSize()} : leafPart(*this, mesh, rank);
    for (int64_t i = 0; i < part.size; ++i)
      indices.push_back(part.begin + i);
    return indices;
  }
  if (getIsConcat()) {
    int64_t begin = 0;
    for (ExtentAttr part : getParts()) {
      for (int64_t index : part.getLocalIndices(mesh, rank))
        indices.push_back(begin + index);
      begin += part.getSize();
    }
    return indices;
  }
  indices.push_back(0);
  for (ExtentAttr part : getParts()) {
    SmallVector<int64_t> inner = part.getLocalIndices(mesh, rank), outer;
    std::swap(outer, indices);
    for (int64_t major : outer)
      for (int64_t minor : inner)
        indices.push_back(major * part.getSize() + minor);
  }
  return indices;
}

ExtentAttr ExtentAttr::getNormalized(MeshAttr mesh) const {
  if (isLeaf())
    return mesh ? get(getContext(), getSize(), joinAxes(mesh, getAxes())) : *this;
  if (!isCut())
    return get(getContext(), getSize());
  SmallVector<ExtentAttr> parts;
  for (ExtentAttr part : getParts()) {
    part = part.getNormalized(mesh);
    SmallVector<ExtentAttr> opened = {part};
    if (!part.isLeaf() && part.getIsConcat() == getIsConcat())
      opened.assign(part.getParts().begin(), part.getParts().end());
    for (ExtentAttr next : opened) {
      bool drop = next.isLeaf() && next.getSize() == (getIsConcat() ? 0 : 1) && !next.isCut();
      if (drop)
        continue;
      bool merge = !parts.empty() && !parts.back().isCut() && !next.isCut();
      if (!merge) {
        parts.push_back(next);
        continue;
      }
      int64_t a = parts.back().getSize(), b = next.getSize();
      parts.back() = get(getContext(), getIsConcat() ? a + b : a * b);
    }
  }
  return get(getContext(), getIsConcat(), parts);
}

static void printAxes(raw_ostream &os, ArrayRef<StringAttr> axes) {
  auto printOne = [&](StringAttr axis) { os << '"' << axis.getValue() << '"'; };
  if (axes.size() == 1) {
    printOne(axes.front());
    return;
  }
  os << "[";
  llvm::interleaveComma(axes, os, printOne);
  os << "]";
}

void ExtentAttr::printBare(raw_ostream &os) const {
  if (isLeaf()) {
    os << getSize();
    if (!getAxes().empty()) {
      os << " over ";
      printAxes(os, getAxes());
    }
    return;
  }
  os << (getIsConcat() ? "(" : "");
  llvm::interleave(
      getParts(), os, [&](ExtentAttr part) { part.printBare(os); }, getIsConcat() ? " | " : " * ");
  os << (getIsConcat() ? ")" : "");
}

void ExtentAttr::print(AsmPrinter &printer) const {
  printer << "<";
  printBare(printer.getStream());
  printer << ">";
}

static ParseResult parseAxes(AsmParser &parser, SmallVectorImpl<StringAttr> &axes) {
  auto parseOne = [&]() -> ParseResult {
    std::string name;
    if (parser.parseString(&name))
      return failure();
    axes.push_back(parser.getBuilder().getStringAttr(name));
    return success();
  };
  if (succeeded(parser.parseOptionalLSquare()))
    return failure(parser.parseCommaSeparatedList(parseOne) || parser.parseRSquare());
  return parseOne();
}

static FailureOr<ExtentAttr> parseExtent(AsmParser &parser);

/// A leaf or a concatenation.
static FailureOr<ExtentAttr> parseFactor(AsmParser &parser) {
  MLIRContext *context = parser.getContext();
  if (succeeded(parser.parseOptionalLParen())) {
    SmallVector<ExtentAttr> parts;
    do {
      FailureOr<ExtentAttr> part = parseExtent(parser);
      if (failed(part))
        return failure();
      parts.push_back(*part);
    } while (succeeded(parser.parseOptionalVerticalBar()));
    if (parser.parseRParen())
      return failure();
    return ExtentAttr::get(context, true, parts);
  }
  int64_t size;
  SmallVector<StringAttr> axes;
  if (parser.parseInteger(size) ||
      (succeeded(parser.parseOptionalKeyword("over")) && parseAxes(parser, axes)))
    return failure();
  return ExtentAttr::get(context, size, axes);
}

static FailureOr<ExtentAttr> parseExtent(AsmParser &parser) {
  SmallVector<ExtentAttr> parts;
  do {
    FailureOr<ExtentAttr> part = parseFactor(parser);
    if (failed(part))
      return failure();
    parts.push_back(*part);
  } while (succeeded(parser.parseOptionalStar()));
  return ExtentAttr::get(parser.getContext(), false, parts);
}

Attribute ExtentAttr::parse(AsmParser &parser, Type) {
  if (parser.parseLess())
    return {};
  FailureOr<ExtentAttr> extent = parseExtent(parser);
  if (failed(extent) || parser.parseGreater())
    return {};
  return *extent;
}

//===----------------------------------------------------------------------===//
// ShardingAttr
//===----------------------------------------------------------------------===//

Attribute ShardingAttr::parse(AsmParser &parser, Type) {
  SmallVector<ExtentAttr> dims;
  SmallVector<StringAttr> partial;
  auto parseDim = [&]() -> ParseResult {
    FailureOr<ExtentAttr> dim = parseExtent(parser);
    if (failed(dim))
      return failure();
    dims.push_back(*dim);
    return success();
  };
  if (parser.parseLess() || parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseDim))
    return {};
  if (succeeded(parser.parseOptionalComma()) &&
      (parser.parseKeyword("partial") || parser.parseKeyword("over") || parseAxes(parser, partial)))
    return {};
  if (parser.parseGreater())
    return {};
  return get(parser.getContext(), dims, partial);
}

static void printBody(raw_ostream &os, ShardingAttr sharding) {
  os << "[";
  llvm::interleaveComma(sharding.getDims(), os, [&](ExtentAttr dim) { dim.printBare(os); });
  os << "]";
  if (!sharding.getPartial().empty()) {
    os << ", partial over ";
    printAxes(os, sharding.getPartial());
  }
}

void ShardingAttr::print(AsmPrinter &printer) const {
  printer << "<";
  printBody(printer.getStream(), *this);
  printer << ">";
}

std::string ShardingAttr::str() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  printBody(os, *this);
  return text;
}

bool ShardingAttr::isReplicated() const {
  return getPartial().empty() &&
         llvm::none_of(getDims(), [](ExtentAttr dim) { return dim.isCut(); });
}

SmallVector<int64_t> ShardingAttr::getLocalShape(MeshAttr mesh, int64_t rank) const {
  SmallVector<int64_t> shape;
  for (ExtentAttr dim : getDims())
    shape.push_back(dim.getLocalSize(mesh, rank));
  return shape;
}

ShardingAttr ShardingAttr::getNormalized(MeshAttr mesh) const {
  SmallVector<ExtentAttr> dims;
  for (ExtentAttr dim : getDims())
    dims.push_back(dim.getNormalized(mesh));
  if (!mesh)
    return get(getContext(), dims, getPartial());
  return get(getContext(), dims, joinAxes(mesh, getPartial()));
}

ShardingAttr ShardingAttr::getReplicated(MLIRContext *context, ArrayRef<int64_t> shape) {
  SmallVector<ExtentAttr> dims;
  for (int64_t size : shape)
    dims.push_back(ExtentAttr::get(context, size));
  return get(context, dims, {});
}
