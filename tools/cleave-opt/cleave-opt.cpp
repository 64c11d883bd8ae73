//===- cleave-opt.cpp - runs single passes, on MLIR or on a model ---------===//
//
// A file whose name ends in .onnx is read, or written with -o, as a model.
//
//===----------------------------------------------------------------------===//

#include "cleave/Conversion/Passes.h"
#include "cleave/Frontend/Onnx.h"
#include "cleave/Transforms/Graph/Passes.h"
#include "cleave/Transforms/Kernel/Passes.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Onnx/Onnx.h"
#include "Rt/Rt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;

/// The model at `path` as the text that passes begin with; null with a message.
static std::unique_ptr<llvm::MemoryBuffer> importToText(llvm::StringRef path,
                                                        const DialectRegistry &registry) {
  MLIRContext context(registry);
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
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  return module && succeeded(cleave::exportOnnx(*module, output)) ? 0 : 2;
}

int main(int argc, char **argv) {
  DialectRegistry registry;
  registry.insert<func::FuncDialect, cleave::dist::DistDialect, cleave::nn::NnDialect,
                  cleave::onnx::OnnxDialect, cleave::rt::RtDialect>();
  registerCanonicalizerPass();
  registerCSEPass();
  cleave::registerConversionPasses();
  cleave::registerGraphPasses();
  cleave::registerShardingPasses();
  cleave::registerKernelPasses();

  auto [input, output] = registerAndParseCLIOptions(
      argc, argv, "Cleave's optimizer driver, on MLIR or .onnx files\n", registry);
  llvm::InitLLVM init(argc, argv);
  std::string error;
  std::unique_ptr<llvm::MemoryBuffer> buffer =
      llvm::StringRef(input).ends_with(".onnx") ? importToText(input, registry)
                                                : openInputFile(input, &error);
  if (!buffer) {
    if (!error.empty())
      llvm::errs() << error << "\n";
    return 2;
  }
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  if (llvm::StringRef(output).ends_with(".onnx"))
    return runToModel(std::move(buffer), output, registry, config);

  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(output, &error);
  if (!file) {
    llvm::errs() << error << "\n";
    return 2;
  }
  if (failed(MlirOptMain(file->os(), std::move(buffer), registry, config)))
    return 1;
  file->keep();
  return 0;
}
