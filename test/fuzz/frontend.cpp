//===- frontend.cpp - bytes that claim to be a model ----------------------===//
//
// Import and conversion to nn take any bytes: they answer with a message or with a
// module that verifies, and do neither crash nor hang.
//
//===----------------------------------------------------------------------===//

#include "cleave/Conversion/Passes.h"
#include "cleave/Frontend/Onnx.h"

#include "Onnx/Onnx.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  DialectRegistry registry;
  registry.insert<func::FuncDialect, cleave::nn::NnDialect, cleave::onnx::OnnxDialect>();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &) {});

  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  OwningOpRef<ModuleOp> module = cleave::importOnnxBytes(bytes, "/nowhere/model.onnx", &context);
  if (!module)
    return 0;
  if (failed(verify(*module)))
    abort();
  cleave::OnnxToNnOptions options;
  options.dims = {"batch=2", "sequence_len=3", "past_sequence_len=2", "N=2"};
  PassManager passes(&context);
  passes.addPass(cleave::createOnnxToNn(options));
  (void)passes.run(*module);
  return 0;
}
