//===- Inspect.cpp - cleave inspect: what a file holds --------------------===//

#include "Common.h"

#include "Onnx/Onnx.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace cleave;

static std::string typeText(const ModelInput &input) {
  std::string text;
  llvm::raw_string_ostream out(text);
  out << input.elementType << " [";
  for (auto [i, dim] : llvm::enumerate(input.dims)) {
    out << (i ? ", " : "");
    if (dim.size >= 0)
      out << dim.size;
    else
      out << dim.name;
  }
  out << "]";
  return text;
}

static int inspect(const std::string &path) {
  Compilation compilation;
  llvm::Expected<OwningOpRef<ModuleOp>> module = compilation.import(path);
  if (!module)
    return fail(llvm::createStringError(path + ": " + llvm::toString(module.takeError())));
  llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(**module);
  if (!inputs)
    return fail(llvm::createStringError(path + ": " + llvm::toString(inputs.takeError())));

  std::map<std::string, int64_t> ops;
  uint64_t weightBytes = 0, weights = 0;
  (*module)->walk([&](Operation *op) {
    if (auto node = dyn_cast<onnx::NodeOp>(op))
      ++ops[(node.getDomain().empty() ? "" : node.getDomain() + ".").str() +
            node.getOpType().str()];
    if (auto initializer = dyn_cast<onnx::InitializerOp>(op)) {
      ++weights;
      if (auto data = dyn_cast<onnx::DataAttr>(initializer.getTensor().getContent()))
        weightBytes += data.getLength();
      else if (auto elements = dyn_cast<DenseElementsAttr>(initializer.getTensor().getContent()))
        weightBytes += elements.getNumElements() *
                       llvm::divideCeil(elements.getElementType().getIntOrFloatBitWidth(), 8);
    }
  });
  llvm::raw_ostream &out = llvm::outs();
  out << "opsets:";
  for (NamedAttribute entry : (*module)->getOperation()->getAttrOfType<DictionaryAttr>("onnx.opset"))
    out << " " << entry.getName().getValue() << " " << cast<IntegerAttr>(entry.getValue()).getInt();
  out << "\ninputs:\n";
  for (const ModelInput &input : *inputs)
    out << "  " << input.name << ": " << typeText(input) << "\n";
  out << "outputs:\n";
  auto graph = *(*module)->getOps<onnx::GraphOp>().begin();
  for (StringRef name : graph.getOutputs().getAsValueRange<StringAttr>())
    out << "  " << name << "\n";
  out << "weights: " << weights << ", " << weightBytes << " bytes\nops:\n";
  for (const auto &[name, count] : ops)
    out << llvm::format("  %6lld ", static_cast<long long>(count)) << name << "\n";
  // The conversion is the judge of what is supported.
  if (llvm::Error error = compilation.graph(**module, bindDims(*inputs, {})))
    out << "unsupported: " << llvm::toString(std::move(error)) << "\n";
  return 0;
}

void cleave::addInspect(CLI::App &app, int &status) {
  auto path = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("inspect", "says what an ONNX file holds");
  command->add_option("model", *path, "an ONNX file")->required();
  command->callback([=, &status] { status = inspect(*path); });
}
