//===- Npy.cpp - the .npy format, versions 1 to 3 -------------------------===//
//
// Source: NumPy Enhancement Proposal 1. A magic string, the length of a header,
// a Python dictionary as text, and the elements.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/Tensors.h"

#include <charconv>
#include <cstring>
#include <optional>

using namespace cleave;
using namespace cleave::runtime;

static constexpr std::string_view kMagic("\x93NUMPY");

static const std::pair<cleave_type, std::string_view> kDescriptions[] = {
    {CLEAVE_F32, "<f4"}, {CLEAVE_F64, "<f8"}, {CLEAVE_F16, "<f2"}, {CLEAVE_I8, "|i1"},
    {CLEAVE_I16, "<i2"}, {CLEAVE_I32, "<i4"}, {CLEAVE_I64, "<i8"}, {CLEAVE_U8, "|u1"},
    {CLEAVE_U16, "<u2"}, {CLEAVE_U32, "<u4"}, {CLEAVE_U64, "<u8"}, {CLEAVE_BOOL, "|b1"}};

static std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";
  size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos)
    return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

/// The text behind `'key':` in a header, blanks skipped.
static std::string_view valueOf(std::string_view header, const std::string &key) {
  size_t at = header.find("'" + key + "'");
  if (at == header.npos)
    return {};
  std::string_view rest = trim(header.substr(at + key.size() + 2));
  return rest.starts_with(':') ? trim(rest.substr(1)) : std::string_view();
}

static std::optional<std::vector<int64_t>> parseShape(std::string_view text) {
  size_t end = text.find(')');
  if (!text.starts_with('(') || end == text.npos)
    return std::nullopt;
  std::vector<int64_t> shape;
  for (std::string_view rest = text.substr(1, end - 1); !rest.empty();) {
    size_t comma = std::min(rest.find(','), rest.size());
    std::string_view part = trim(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (part.empty())
      continue;
    int64_t size;
    auto [stop, status] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (status != std::errc() || stop != part.data() + part.size() || size < 0)
      return std::nullopt;
    shape.push_back(size);
  }
  return shape;
}

/// `column` holds the elements with the first dimension innermost.
static void turn(Tensor &tensor, std::string_view column) {
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

/// The type that `description` spells; nothing for one that is not supported.
static std::optional<cleave_type> typeOf(std::string_view description) {
  if (description.empty() || description.front() == '>')
    return std::nullopt;
  // One byte has no order, so "<i1" and "|i1" say the same.
  for (auto [type, text] : kDescriptions)
    if (description.substr(1) == text.substr(1))
      return type;
  return std::nullopt;
}

/// Takes header and elements apart, the magic string being gone.
static Reason split(std::string_view contents, std::string_view &header, std::string_view &data) {
  uint8_t version = static_cast<uint8_t>(contents[0]);
  size_t lengthBytes = version == 1 ? 2 : 4;
  if (version < 1 || version > 3 || contents.size() < 2 + lengthBytes)
    return "has .npy version " + std::to_string(version) + ", want: 1 to 3";
  uint32_t length = 0;
  std::memcpy(&length, contents.data() + 2, lengthBytes);
  contents.remove_prefix(2 + lengthBytes);
  if (length > contents.size())
    return "is cut off in its header";
  header = contents.substr(0, length);
  data = contents.substr(length);
  return {};
}

Reason cleave::runtime::parseNpy(std::string_view contents, Tensor &tensor) {
  if (!contents.starts_with(kMagic) || contents.size() < kMagic.size() + 4)
    return "is no .npy array";
  std::string_view header, data;
  if (Reason reason = split(contents.substr(kMagic.size()), header, data); !reason.empty())
    return reason;

  std::string_view description = valueOf(header, "descr");
  std::string_view order = valueOf(header, "fortran_order");
  std::optional<std::vector<int64_t>> shape = parseShape(valueOf(header, "shape"));
  if (!shape || (!order.starts_with("True") && !order.starts_with("False")) ||
      !description.starts_with('\''))
    return "has a damaged .npy header";
  description.remove_prefix(1);
  description = description.substr(0, description.find('\''));
  std::optional<cleave_type> type = typeOf(description);
  if (!type)
    return "has element type '" + std::string(description) + "', which is not supported";

  uint64_t bytes = cleave_type_bytes(*type);
  for (int64_t size : *shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes))
      return "has more elements than memory has addresses";
  if (data.size() != bytes)
    return "holds " + std::to_string(data.size()) + " bytes, want: " + std::to_string(bytes) +
           " by its shape";
  tensor = Tensor(*type, *shape);
  if (order.starts_with("True"))
    turn(tensor, data);
  else if (bytes != 0)
    std::memcpy(tensor.bytes.data(), data.data(), bytes);
  return {};
}

cleave_type cleave::storedType(cleave_type type) {
  switch (type) {
  case CLEAVE_BF16: return CLEAVE_U16;
  case CLEAVE_F8E4M3FN:
  case CLEAVE_F8E5M2: return CLEAVE_U8;
  default: return type;
  }
}

std::string cleave::formatNpy(const Tensor &tensor) {
  cleave_type stored = storedType(tensor.type);
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
  header.resize((fixed + header.size() + 1 + 63) / 64 * 64 - fixed - 1, ' ');
  header += '\n';
  uint16_t length = static_cast<uint16_t>(header.size());
  std::string result = std::string(kMagic) + std::string("\x01\x00", 2);
  result.append(reinterpret_cast<const char *>(&length), 2);
  return result + header + std::string(tensor.bytes.begin(), tensor.bytes.end());
}
