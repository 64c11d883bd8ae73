//===- Tensors.cpp - TensorProto to #onnx.tensor, nothing believed --------===//

#include "Externalize.h"
#include "Types.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <sys/stat.h>

using namespace mlir;
using namespace cleave;
namespace ir = cleave::onnx;
using ::onnx::TensorProto;

TensorImporter::TensorImporter(StringRef modelFile, uint64_t modelBytes)
    : modelFile(modelFile), modelBytes(modelBytes) {}

/// The size of the file that `location` names, which has to lie under the model's
/// folder without a detour: no absolute path, no "..", no link of either kind.
FailureOr<uint64_t> TensorImporter::sizeOfDataFile(StringRef location, Location loc) {
  auto known = dataFiles.find(location);
  if (known != dataFiles.end())
    return known->second;

  if (llvm::sys::path::is_absolute(location) || location.contains('\0'))
    return emitError(loc, "keeps its data outside the model's folder, got: \"") << location << "\"";
  SmallString<256> path(llvm::sys::path::parent_path(modelFile));
  struct stat status;
  for (StringRef part :
       llvm::make_range(llvm::sys::path::begin(location), llvm::sys::path::end(location))) {
    if (part == "..")
      return emitError(loc, "keeps its data outside the model's folder, got: \"")
             << location << "\"";
    llvm::sys::path::append(path, part);
    if (lstat(path.c_str(), &status) != 0)
      return emitError(loc, "keeps its data in a file that cannot be opened, got: \"")
             << location << "\"";
    if (S_ISLNK(status.st_mode))
      return emitError(loc, "keeps its data behind a symbolic link, got: \"")
             << location << "\"; copy the file instead";
  }
  if (!S_ISREG(status.st_mode) || status.st_nlink > 1)
    return emitError(loc, "keeps its data in something else than a plain file with one "
                          "name, got: \"")
           << location << "\"; copy the file instead";
  return dataFiles[location] = status.st_size;
}

static bool parseNumber(StringRef text, uint64_t &value) { return !text.getAsInteger(10, value); }

ir::DataAttr TensorImporter::importReference(const TensorProto &proto, uint64_t bytes,
                                             Location loc) {
  StringRef location;
  uint64_t offset = 0, length = bytes;
  for (const auto &entry : proto.external_data()) {
    bool valid = true;
    if (entry.key() == "location")
      location = entry.value();
    else if (entry.key() == "offset")
      valid = parseNumber(entry.value(), offset);
    else if (entry.key() == "length")
      valid = parseNumber(entry.value(), length);
    if (!valid)
      return emitError(loc, "has external data with a bad ")
                 << entry.key() << ", got: \"" << entry.value() << "\"",
             nullptr;
  }
  if (location.empty())
    return emitError(loc, "has external data without a location"), nullptr;
  if (length != bytes)
    return emitError(loc, "takes ") << bytes << " bytes by its type and shape, got: " << length,
           nullptr;

  SmallString<256> file(modelFile);
  FailureOr<uint64_t> size = modelBytes;
  if (location != kOwnFile) {
    size = sizeOfDataFile(location, loc);
    file = llvm::sys::path::parent_path(modelFile);
    llvm::sys::path::append(file, location);
  }
  if (failed(size))
    return nullptr;
  if (offset > *size || length > *size - offset)
    return emitError(loc, "reaches beyond its file of ")
               << *size << " bytes, got: " << length << " bytes at " << offset,
           nullptr;
  return ir::DataAttr::get(loc.getContext(), StringAttr::get(loc.getContext(), file), offset,
                           length);
}

/// The elements that lie in the typed fields, as the bytes of `type`; nothing if
/// there are not `count` of them.
static std::optional<std::string> typedBytes(const TensorProto &proto, Type type, uint64_t count) {
  std::string bytes;
  // Of types below a byte, a field's element holds the byte that several share.
  uint64_t elements = type.isIntOrFloat() && type.getIntOrFloatBitWidth() < 8 && !type.isInteger(1)
                          ? *storedBytes(type, count)
                          : count;
  auto gather = [&](const auto &field, size_t width) {
    if (static_cast<uint64_t>(field.size()) != elements)
      return false;
    for (auto value : field)
      bytes.append(reinterpret_cast<const char *>(&value), width);
    return true;
  };
  bool whole = false;
  if (type.isF32())
    whole = gather(proto.float_data(), 4);
  else if (type.isF64())
    whole = gather(proto.double_data(), 8);
  else if (type.isSignlessInteger(64))
    whole = gather(proto.int64_data(), 8);
  else if (type.isInteger(32) && type.isUnsignedInteger())
    whole = gather(proto.uint64_data(), 4);
  else if (type.isInteger(64))
    whole = gather(proto.uint64_data(), 8);
  else if (type.isIntOrFloat() && type.getIntOrFloatBitWidth() <= 32)
    whole = gather(proto.int32_data(), llvm::divideCeil(type.getIntOrFloatBitWidth(), 8));
  if (!whole)
    return std::nullopt;
  return bytes;
}

/// `bytes` as elements, or as they are for types that attributes do not hold.
static Attribute contentOf(RankedTensorType type, StringRef bytes) {
  Type element = type.getElementType();
  if (element.isInteger(1)) {
    SmallVector<bool> values;
    for (char byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  if (element.isIntOrFloat() && element.getIntOrFloatBitWidth() >= 8 &&
      (!isa<FloatType>(element) || element.getIntOrFloatBitWidth() >= 16))
    return DenseElementsAttr::getFromRawBuffer(type, ArrayRef(bytes.data(), bytes.size()));
  return StringAttr::get(type.getContext(), bytes);
}

FailureOr<RankedTensorType> cleave::importTensorType(const TensorProto &proto, Location loc) {
  Type element = elementTypeOf(proto.data_type(), loc.getContext());
  if (!element)
    return emitError(loc, "has an element type that ONNX does not define, got: ")
           << proto.data_type();
  uint64_t count = 1;
  for (int64_t size : proto.dims()) {
    if (size < 0)
      return emitError(loc, "has a negative dimension, got: ") << size;
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(size), &count) ||
        count > INT64_MAX / 16)
      return emitError(loc, "has more elements than memory has addresses");
  }
  if (!isa<ir::StringType>(element) && !storedBytes(element, count))
    return emitError(loc, "has more elements than memory has addresses");
  SmallVector<int64_t> shape(proto.dims().begin(), proto.dims().end());
  return RankedTensorType::get(shape, element);
}

FailureOr<std::string> cleave::importTensorBytes(const TensorProto &proto, RankedTensorType type,
                                                 Location loc) {
  uint64_t bytes = *storedBytes(type.getElementType(), type.getNumElements());
  std::optional<std::string> content = proto.raw_data();
  if (!proto.has_raw_data() &&
      !(content = typedBytes(proto, type.getElementType(), type.getNumElements())))
    return emitError(loc, "holds another number of elements than its shape says, want: ")
           << type.getNumElements();
  if (content->size() != bytes)
    return emitError(loc, "takes ")
           << bytes << " bytes by its type and shape, got: " << content->size();
  return *content;
}

ir::TensorAttr TensorImporter::import(const TensorProto &proto, Location loc) {
  MLIRContext *context = loc.getContext();
  FailureOr<RankedTensorType> type = importTensorType(proto, loc);
  if (failed(type))
    return nullptr;
  int64_t count = type->getNumElements();
  auto name = StringAttr::get(context, proto.name());
  if (isa<ir::StringType>(type->getElementType())) {
    if (proto.string_data_size() != count)
      return emitError(loc, "holds another number of strings than its shape says, got: ")
                 << proto.string_data_size() << " of " << count,
             nullptr;
    SmallVector<Attribute> strings;
    for (const std::string &text : proto.string_data())
      strings.push_back(StringAttr::get(context, text));
    return ir::TensorAttr::get(context, name, *type, ArrayAttr::get(context, strings));
  }
  if (proto.data_location() == TensorProto::EXTERNAL) {
    ir::DataAttr data = importReference(proto, *storedBytes(type->getElementType(), count), loc);
    return data ? ir::TensorAttr::get(context, name, *type, data) : nullptr;
  }
  FailureOr<std::string> bytes = importTensorBytes(proto, *type, loc);
  if (failed(bytes))
    return nullptr;
  return ir::TensorAttr::get(context, name, *type, contentOf(*type, *bytes));
}
