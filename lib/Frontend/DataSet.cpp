//===- DataSet.cpp - input_0.pb, input_1.pb …: the cases of ONNX's suite --===//

#include "cleave/Frontend/DataSet.h"
#include "cleave/Support/ElementType.h"

#include "Types.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <map>

using namespace mlir;
using namespace cleave;

/// The number of `file` if it is called <prefix>_<number>.pb.
static std::optional<unsigned> numberOf(StringRef file, StringRef prefix) {
  unsigned number;
  if (!file.consume_front(prefix) || !file.consume_front("_") || !file.consume_back(".pb") ||
      file.getAsInteger(10, number))
    return std::nullopt;
  return number;
}

/// Files of the set by number.
static std::map<unsigned, std::string> filesOf(StringRef folder, StringRef prefix) {
  std::map<unsigned, std::string> files;
  std::error_code status;
  for (llvm::sys::fs::directory_iterator it(folder, status), end; it != end && !status;
       it.increment(status))
    if (std::optional<unsigned> number = numberOf(llvm::sys::path::filename(it->path()), prefix))
      files[*number] = it->path();
  return files;
}

bool cleave::isDataSet(StringRef folder, StringRef prefix) {
  return !filesOf(folder, prefix).empty();
}

/// Reads a TensorProto; null with a diagnostic if it lies.
static std::optional<Tensor> readTensorProto(StringRef path, Location loc, std::string &name) {
  if (!llvm::sys::fs::is_regular_file(path))
    return emitError(loc, "is no regular file"), std::nullopt;
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return emitError(loc, "cannot be read: ") << file.getError().message(), std::nullopt;
  ::onnx::TensorProto proto;
  if ((*file)->getBufferSize() > INT32_MAX ||
      !proto.ParseFromArray((*file)->getBufferStart(), (*file)->getBufferSize()))
    return emitError(loc, "is no ONNX tensor"), std::nullopt;
  name = proto.name();
  FailureOr<RankedTensorType> type = importTensorType(proto, loc);
  if (failed(type))
    return std::nullopt;
  std::optional<cleave_type> element = runtimeType(type->getElementType());
  if (!element)
    return emitError(loc, "has an element type that is not supported, got: ")
               << type->getElementType(),
           std::nullopt;
  if (proto.data_location() == ::onnx::TensorProto::EXTERNAL)
    return emitError(loc, "keeps its data in another file, which is not supported"), std::nullopt;
  FailureOr<std::string> bytes = importTensorBytes(proto, *type, loc);
  if (failed(bytes))
    return std::nullopt;
  Tensor tensor(*element, type->getShape());
  tensor.bytes.assign(bytes->begin(), bytes->end());
  if (*element == CLEAVE_BOOL)
    for (char &flag : tensor.bytes)
      flag = flag != 0;
  return tensor;
}

llvm::Expected<NamedTensors> cleave::readDataSet(StringRef folder, StringRef prefix,
                                                 ArrayRef<std::string> names) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  std::string reason;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    if (reason.empty())
      reason = diagnostic.str();
  });
  NamedTensors tensors;
  for (const auto &[number, path] : filesOf(folder, prefix)) {
    std::string name;
    std::optional<Tensor> tensor = readTensorProto(path, UnknownLoc::get(&context), name);
    if (!tensor)
      return llvm::createStringError("\"" + path + "\" " + reason);
    // Some writers give no name, or another; then the place in the list counts.
    if (!llvm::is_contained(names, name)) {
      if (number >= names.size())
        return llvm::createStringError("\"" + path + "\" holds \"" + name +
                                       "\", which the model does not have");
      name = names[number];
    }
    if (!tensors.try_emplace(name, std::move(*tensor)).second)
      return llvm::createStringError("\"" + path + "\" holds \"" + name + "\" twice");
  }
  return tensors;
}
