//===- cleave-opt.cpp - runs single passes, on MLIR or on a model ---------===//
//
// A file whose name ends in .onnx is read, or written with -o, as a model.
//
//===----------------------------------------------------------------------===//

#include "cleave/Frontend/Onnx.h"
#include "cleave/Plugin/Register.h"
#include "cleave/Support/NodeName.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

#include <csignal>

using namespace mlir;

static void complain(const llvm::Twine &message) {
  llvm::errs() << "cleave-opt: " << message << "\n";
}

/// Says the first error of `context` in one line, as the other programs do: `file` is what
/// was read or written.
static void complainOnce(MLIRContext &context, llvm::StringRef file) {
  context.getDiagEngine().registerHandler(
      [file = file.str(), said = std::make_shared<bool>(false)](Diagnostic &diagnostic) {
        bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
        if (!isError || std::exchange(*said, true))
          return;
        llvm::StringRef name = cleave::nodeName(diagnostic.getLocation());
        complain(file + ": " + (name.empty() ? "" : "\"" + name + "\" ") + diagnostic.str());
      });
}

/// The model at `path` as the text that passes begin with; null with a message.
static std::unique_ptr<llvm::MemoryBuffer> importToText(llvm::StringRef path,
                                                        const DialectRegistry &registry) {
  MLIRContext context(registry);
  complainOnce(context, path);
  OwningOpRef<ModuleOp> module = cleave::importOnnx(path, &context);
  if (!module)
    return nullptr;
  std::string text;
  llvm::raw_string_ostream out(text);
  module->print(out, OpPrintingFlags().enableDebugInfo());
  return llvm::MemoryBuffer::getMemBufferCopy(text, path);
}

/// Runs the passes and writes what is left of the model to `output`.
static int runToModel(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef output,
                      DialectRegistry &registry, const MlirOptMainConfig &config) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (failed(MlirOptMain(out, std::move(buffer), registry, config)))
    return 1;
  MLIRContext context(registry);
  complainOnce(context, output);
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  return module && succeeded(cleave::exportOnnx(*module, output)) ? 0 : 2;
}

int main(int argc, char **argv) {
  DialectRegistry registry;
  registry.insert<func::FuncDialect>();
  cleave::registerDialects(registry);
  registerCanonicalizerPass();
  registerCSEPass();
  cleave::registerPasses();

  auto [input, output] = registerAndParseCLIOptions(
      argc, argv, "Cleave's optimizer driver, on MLIR or .onnx files\n", registry);
  llvm::InitLLVM init(argc, argv);
  // A file that may not grow is an error to report, not an end.
  std::signal(SIGXFSZ, SIG_IGN);
  std::string error;
  std::unique_ptr<llvm::MemoryBuffer> buffer = llvm::StringRef(input).ends_with(".onnx")
                                                   ? importToText(input, registry)
                                                   : openInputFile(input, &error);
  if (!buffer) {
    if (!error.empty())
      complain(error);
    return 2;
  }
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  if (llvm::StringRef(output).ends_with(".onnx"))
    return runToModel(std::move(buffer), output, registry, config);

  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(output, &error);
  if (!file) {
    complain(error);
    return 2;
  }
  if (failed(MlirOptMain(file->os(), std::move(buffer), registry, config)))
    return 1;
  file->keep();
  return 0;
}
