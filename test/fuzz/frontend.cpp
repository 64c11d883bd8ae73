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

#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;

/// The bytes as a file, for what is read by offset once the model is imported.
static std::string fileOf(llvm::StringRef bytes) {
  static const int descriptor = memfd_create("model", 0);
  if (ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    abort();
  return "/proc/self/fd/" + std::to_string(descriptor);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const DialectRegistry registry = [] {
    DialectRegistry made;
    made.insert<func::FuncDialect, cleave::nn::NnDialect, cleave::onnx::OnnxDialect>();
    return made;
  }();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  bool explained = false;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    explained |= diagnostic.getSeverity() == DiagnosticSeverity::Error;
  });

  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  OwningOpRef<ModuleOp> module = cleave::importOnnxBytes(bytes, fileOf(bytes), &context);
  if (!module == !explained)
    abort();
  if (!module)
    return 0;
  if (failed(verify(*module)))
    abort();
  cleave::OnnxToNnOptions options;
  options.dims = {"N=2", "S=3", "P=2", "P+S=5"};
  PassManager passes(&context);
  passes.enableVerifier(false);
  passes.addPass(cleave::createOnnxToNn(options));
  bool converted = succeeded(passes.run(*module));
  if (converted == explained || (converted && failed(verify(*module))))
    abort();
  return 0;
}
