//===- Messages.cpp - what a diagnostic says to a person ------------------===//

#include "cleave/Driver/Messages.h"

#include "Dist/Dist.h"
#include "Onnx/Onnx.h"

#include "cleave/Support/NodeName.h"

using namespace mlir;
using namespace cleave;

/// As --inputs and the outputs name it.
static void printElement(llvm::raw_ostream &out, Type element) {
  if (element.isInteger(1))
    out << "bool";
  else if (element.isUnsignedInteger())
    out << "u" << element.getIntOrFloatBitWidth();
  else
    out << element;
}

std::string cleave::typeText(Type type) {
  std::string text;
  llvm::raw_string_ostream out(text);
  auto tensor = dyn_cast<TensorType>(type);
  if (!tensor) {
    printElement(out, type);
    return text;
  }
  printElement(out, tensor.getElementType());
  if (!tensor.hasRank())
    return text + " of any rank";
  auto names = dyn_cast_or_null<onnx::DimsAttr>(cast<RankedTensorType>(type).getEncoding());
  out << " [";
  for (auto [i, size] : llvm::enumerate(tensor.getShape())) {
    StringRef name = names ? cast<StringAttr>(names.getNames()[i]).getValue() : "";
    out << (i ? ", " : "");
    if (!ShapedType::isDynamic(size))
      out << size;
    else
      out << (name.empty() ? "?" : name);
  }
  out << "]";
  return text;
}

/// As --mesh takes it.
static std::string meshText(dist::MeshAttr mesh) {
  std::string text;
  for (auto [name, size] : llvm::zip(mesh.getNames(), mesh.getSizes()))
    text += (text.empty() ? "" : ",") + name.str() + "=" + std::to_string(size);
  return text;
}

/// What `emitOpError` puts in front, `'op' op `, is three arguments.
static ArrayRef<DiagnosticArgument> withoutOp(ArrayRef<DiagnosticArgument> arguments) {
  auto is = [&](size_t i, StringRef text) {
    return arguments[i].getKind() == DiagnosticArgument::DiagnosticArgumentKind::String &&
           arguments[i].getAsString() == text;
  };
  return arguments.size() > 3 && is(0, "'") && is(2, "' op ") ? arguments.drop_front(3) : arguments;
}

std::string cleave::messageText(Diagnostic &diagnostic) {
  using Kind = DiagnosticArgument::DiagnosticArgumentKind;
  std::string text;
  llvm::raw_string_ostream out(text);
  if (StringRef name = nodeName(diagnostic.getLocation()); !name.empty())
    out << "\"" << name << "\" ";
  for (const DiagnosticArgument &argument : withoutOp(diagnostic.getArguments())) {
    if (argument.getKind() == Kind::Type)
      out << typeText(argument.getAsType());
    else if (auto mesh = argument.getKind() == Kind::Attribute
                             ? dyn_cast<dist::MeshAttr>(argument.getAsAttribute())
                             : nullptr)
      out << meshText(mesh);
    else
      argument.print(out);
  }
  return text;
}
