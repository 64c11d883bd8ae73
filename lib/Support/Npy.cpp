//===- Npy.cpp - the .npy format, versions 1 to 3 -------------------------===//
//
// Source: NumPy Enhancement Proposal 1. A magic string, the length of a header,
// a Python dictionary as text, and the elements.
//
//===----------------------------------------------------------------------===//

#include "cleave/Support/Tensor.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>
#include <optional>

using namespace cleave;

static constexpr llvm::StringLiteral kMagic("\x93NUMPY");

static const std::pair<cleave_type, const char *> kDescriptions[] = {
    {CLEAVE_F32, "<f4"}, {CLEAVE_F64, "<f8"}, {CLEAVE_F16, "<f2"}, {CLEAVE_I8, "|i1"},
    {CLEAVE_I16, "<i2"}, {CLEAVE_I32, "<i4"}, {CLEAVE_I64, "<i8"}, {CLEAVE_U8, "|u1"},
    {CLEAVE_U16, "<u2"}, {CLEAVE_U32, "<u4"}, {CLEAVE_U64, "<u8"}, {CLEAVE_BOOL, "|b1"}};

/// The text behind `'key':` in a header, blanks skipped.
static llvm::StringRef valueOf(llvm::StringRef header, llvm::StringRef key) {
  size_t at = header.find(("'" + key + "'").str());
  if (at == llvm::StringRef::npos)
    return {};
  llvm::StringRef rest = header.substr(at + key.size() + 2).ltrim();
  return rest.consume_front(":") ? rest.ltrim() : llvm::StringRef();
}

static std::optional<std::vector<int64_t>> parseShape(llvm::StringRef text) {
  if (!text.consume_front("("))
    return std::nullopt;
  size_t end = text.find(')');
  if (end == llvm::StringRef::npos)
    return std::nullopt;
  std::vector<int64_t> shape;
  llvm::SmallVector<llvm::StringRef> parts;
  text.take_front(end).split(parts, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef part : parts) {
    int64_t size;
    if (part.trim().empty())
      continue;
    if (part.trim().getAsInteger(10, size) || size < 0)
      return std::nullopt;
    shape.push_back(size);
  }
  return shape;
}

/// `column` holds the elements with the first dimension innermost.
static void turn(Tensor &tensor, llvm::StringRef column) {
  uint64_t width = cleave_type_bytes(tensor.type);
  std::vector<int64_t> index(tensor.dims.size(), 0);
  for (int64_t i = 0, count = tensor.size(); i < count; ++i) {
    int64_t from = 0;
    for (size_t dim = tensor.dims.size(); dim-- > 0;)
      from = from * tensor.dims[dim] + index[dim];
    std::memcpy(tensor.bytes.data() + i * width, column.data() + from * width, width);
    for (size_t dim = tensor.dims.size(); dim-- > 0 && ++index[dim] == tensor.dims[dim];)
      index[dim] = 0;
  }
}

llvm::Expected<Tensor> cleave::parseNpy(llvm::StringRef contents) {
  if (!contents.consume_front(kMagic) || contents.size() < 4)
    return llvm::createStringError("is no .npy array");
  uint8_t version = contents[0];
  size_t lengthBytes = version == 1 ? 2 : 4;
  if (version < 1 || version > 3 || contents.size() < 2 + lengthBytes)
    return llvm::createStringError("has .npy version %d, want: 1 to 3", version);
  uint32_t length = 0;
  std::memcpy(&length, contents.data() + 2, lengthBytes);
  contents = contents.drop_front(2 + lengthBytes);
  if (length > contents.size())
    return llvm::createStringError("is cut off in its header");
  llvm::StringRef header = contents.take_front(length), data = contents.drop_front(length);

  llvm::StringRef description = valueOf(header, "descr");
  llvm::StringRef order = valueOf(header, "fortran_order");
  std::optional<std::vector<int64_t>> shape = parseShape(valueOf(header, "shape"));
  if (!shape || (!order.starts_with("True") && !order.starts_with("False")) ||
      !description.consume_front("'"))
    return llvm::createStringError("has a damaged .npy header");
  description = description.take_until([](char c) { return c == '\''; });
  for (auto [type, text] : kDescriptions) {
    llvm::StringRef known(text);
    // One byte has no order, so "<i1" and "|i1" say the same.
    if (description.drop_front(!description.empty()) != known.drop_front() ||
        description.starts_with(">"))
      continue;
    uint64_t bytes = cleave_type_bytes(type);
    for (int64_t size : *shape)
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes))
        return llvm::createStringError("has more elements than memory has addresses");
    if (data.size() != bytes)
      return llvm::createStringError("holds %zu bytes, want: %llu by its shape", data.size(),
                                     static_cast<unsigned long long>(bytes));
    Tensor tensor(type, *shape);
    if (order.starts_with("True"))
      turn(tensor, data);
    else if (bytes != 0)
      std::memcpy(tensor.bytes.data(), data.data(), bytes);
    return tensor;
  }
  return llvm::createStringError("has element type '%s', which is not supported",
                                 description.str().c_str());
}

std::string cleave::formatNpy(const Tensor &tensor) {
  cleave_type stored = tensor.type == CLEAVE_BF16 ? CLEAVE_U16 : tensor.type;
  std::string description;
  for (auto [type, text] : kDescriptions)
    if (type == stored)
      description = text;
  std::string shape;
  for (int64_t size : tensor.dims)
    shape += std::to_string(size) + ",";
  std::string header =
      "{'descr': '" + description + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  // The elements begin at a multiple of 64 bytes.
  size_t fixed = kMagic.size() + 4;
  header.resize(llvm::alignTo(fixed + header.size() + 1, 64) - fixed - 1, ' ');
  header += '\n';
  uint16_t length = static_cast<uint16_t>(header.size());
  std::string result = kMagic.str() + std::string("\x01\x00", 2);
  result.append(reinterpret_cast<const char *>(&length), 2);
  return result + header + std::string(tensor.bytes.begin(), tensor.bytes.end());
}
