//===- Externalize.cpp - large tensors become references ------------------===//
//
// Why: a model may be far larger than memory, and protobuf's classes copy every
// byte and end at 2 GB. So the wire format is walked once, messages on the way
// to a tensor are rewritten, and everything else is copied as it stands.
//
//   TensorProto { raw_data (9): 16 MB }
//   => TensorProto { external_data (13): offset, length; data_location (14): EXTERNAL }
//
// Floats and doubles in fields of their type lie in the file as raw ones do.
//
//===----------------------------------------------------------------------===//

#include "Externalize.h"

#include "llvm/ADT/StringExtras.h"

#include <google/protobuf/wire_format_lite.h>

using namespace cleave;
using google::protobuf::internal::WireFormatLite;

namespace {

/// The messages on the way from a model to a tensor.
enum class Message { Model, Graph, Node, Attribute, Function, SparseTensor, Tensor, Other };

/// A field at [begin, end): its tag, and behind it from `content` on its bytes.
struct Field {
  uint32_t number = 0, wireType = 0;
  uint64_t value = 0; ///< of a varint
  uint64_t begin = 0, content = 0, end = 0;

  uint64_t length() const { return end - content; }
  bool isDelimited() const { return wireType == WireFormatLite::WIRETYPE_LENGTH_DELIMITED; }
};

class Rewriter {
public:
  explicit Rewriter(llvm::StringRef file) : file(file) {}

  llvm::Error rewrite(Message message, uint64_t begin, uint64_t end, int depth, std::string &out);

private:
  llvm::Error damaged(uint64_t at) const {
    return llvm::createStringError("is no ONNX model: damaged at byte " + llvm::Twine(at));
  }
  bool readVarint(uint64_t &at, uint64_t end, uint64_t &value) const;
  bool readField(uint64_t begin, uint64_t end, Field &field) const;
  uint32_t plainField(uint64_t begin, uint64_t end) const;

  llvm::StringRef file;
};

} // namespace

/// The message that field `number` of `message` holds.
static Message childOf(Message message, uint32_t number) {
  switch (message) {
  case Message::Model:
    return number == 7 ? Message::Graph : number == 25 ? Message::Function : Message::Other;
  case Message::Graph:
    return number == 1    ? Message::Node
           : number == 5  ? Message::Tensor
           : number == 15 ? Message::SparseTensor
                          : Message::Other;
  case Message::Function:
    return number == 7 ? Message::Node : number == 11 ? Message::Attribute : Message::Other;
  case Message::Node: return number == 5 ? Message::Attribute : Message::Other;
  case Message::Attribute:
    return number == 5 || number == 10    ? Message::Tensor
           : number == 6 || number == 11  ? Message::Graph
           : number == 22 || number == 23 ? Message::SparseTensor
                                          : Message::Other;
  case Message::SparseTensor: return number == 1 || number == 2 ? Message::Tensor : Message::Other;
  case Message::Tensor:
  case Message::Other: return Message::Other;
  }
  llvm_unreachable("all messages are listed");
}

static void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

static void appendBytes(std::string &out, uint32_t number, llvm::StringRef bytes) {
  appendVarint(out, number << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  appendVarint(out, bytes.size());
  out.append(bytes.data(), bytes.size());
}

/// The fields that stand in for the elements: external_data and data_location.
static void appendReference(std::string &out, uint64_t offset, uint64_t length) {
  auto entry = [&](llvm::StringRef key, llvm::StringRef value) {
    std::string pair;
    appendBytes(pair, 1, key);
    appendBytes(pair, 2, value);
    appendBytes(out, 13, pair);
  };
  entry("location", kOwnFile);
  entry("offset", llvm::utostr(offset));
  entry("length", llvm::utostr(length));
  appendVarint(out, 14 << 3 | WireFormatLite::WIRETYPE_VARINT);
  appendVarint(out, 1);
}

bool Rewriter::readVarint(uint64_t &at, uint64_t end, uint64_t &value) const {
  value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at >= end)
      return false;
    uint8_t byte = static_cast<uint8_t>(file[at++]);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80)
      return true;
  }
  return false;
}

/// Reads the field at `begin` of a message that ends at `end`; false if it is damaged.
bool Rewriter::readField(uint64_t begin, uint64_t end, Field &field) const {
  uint64_t at = begin, tag, length = 0;
  if (!readVarint(at, end, tag))
    return false;
  field = {static_cast<uint32_t>(tag >> 3), static_cast<uint32_t>(tag & 7), 0, begin, at, at};
  switch (field.wireType) {
  case WireFormatLite::WIRETYPE_VARINT:
    if (!readVarint(at, end, field.value))
      return false;
    break;
  case WireFormatLite::WIRETYPE_FIXED64: length = 8; break;
  case WireFormatLite::WIRETYPE_FIXED32: length = 4; break;
  case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
    if (!readVarint(at, end, length))
      return false;
    field.content = at;
    break;
  default: return false;
  }
  if (field.number == 0 || length > end - at)
    return false;
  field.end = at + length;
  return true;
}

/// The field of a tensor that holds its elements as they lie in memory: raw_data (9),
/// else, if they are in one packed run, float_data (4) or double_data (10). 0 if none
/// does, and where the message is damaged, which is said when it is rewritten.
uint32_t Rewriter::plainField(uint64_t begin, uint64_t end) const {
  constexpr uint64_t kFloat = 1, kDouble = 11;
  uint64_t dataType = 0;
  unsigned runs = 0;
  bool hasRaw = false, isPacked = true;
  Field field;
  for (uint64_t at = begin; at < end; at = field.end) {
    if (!readField(at, end, field))
      return 0;
    if (field.number == 2)
      dataType = field.value;
    hasRaw |= field.number == 9;
    if (field.number == 4 || field.number == 10) {
      ++runs;
      isPacked &= field.isDelimited();
    }
  }
  if (hasRaw)
    return 9;
  if (runs != 1 || !isPacked)
    return 0;
  return dataType == kFloat ? 4 : dataType == kDouble ? 10 : 0;
}

llvm::Error Rewriter::rewrite(Message message, uint64_t begin, uint64_t end, int depth,
                              std::string &out) {
  // Protobuf's own limit, so that nothing passes here that fails there.
  if (depth > 100)
    return llvm::createStringError("nests graphs deeper than 100 messages");

  uint32_t plain = message == Message::Tensor ? plainField(begin, end) : 0;
  Field field;
  for (uint64_t at = begin; at < end; at = field.end) {
    if (!readField(at, end, field))
      return damaged(at);
    Message child = field.isDelimited() ? childOf(message, field.number) : Message::Other;
    if (child != Message::Other) {
      std::string inner;
      if (llvm::Error error = rewrite(child, field.content, field.end, depth + 1, inner))
        return error;
      appendBytes(out, field.number, inner);
    } else if (field.isDelimited() && field.number == plain && field.length() > kInlineBytes) {
      appendReference(out, field.content, field.length());
    } else {
      out.append(file.data() + field.begin, field.end - field.begin);
    }
  }
  return llvm::Error::success();
}

llvm::Expected<std::string> cleave::externalize(llvm::StringRef model) {
  std::string out;
  if (llvm::Error error = Rewriter(model).rewrite(Message::Model, 0, model.size(), 0, out))
    return std::move(error);
  return out;
}
