//===- Compile.cpp - the phases in order ----------------------------------===//

#include "cleave/Driver/Compile.h"

#include "cleave/Frontend/Onnx.h"
#include "cleave/Pipelines/Pipelines.h"
#include "cleave/Support/Failure.h"
#include "cleave/Support/NodeName.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace cleave;

/// A mesh without axes, as a person may write it.
static constexpr llvm::StringLiteral kOneRank("1");

Compilation::Compilation() : context(MLIRContext::Threading::DISABLED) {
  context.loadDialect<dist::DistDialect, func::FuncDialect, nn::NnDialect, onnx::OnnxDialect>();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
    StringRef name = nodeName(diagnostic.getLocation());
    std::string text = (name.empty() ? "" : "\"" + name + "\" ").str() + diagnostic.str();
    if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      warnings.push_back(text);
    else if (diagnostic.getSeverity() == DiagnosticSeverity::Error && firstError.empty())
      firstError = text;
  });
}

llvm::Error Compilation::failed() {
  if (firstError.empty())
    return unexplained("the compilation");
  return llvm::createStringError(firstError);
}

llvm::Expected<OwningOpRef<ModuleOp>> Compilation::import(StringRef path) {
  onPhase("importing");
  OwningOpRef<ModuleOp> module = importOnnx(path, &context);
  if (!module)
    return failed();
  return module;
}

llvm::Error Compilation::graph(ModuleOp module, const std::map<std::string, int64_t> &dims,
                               const std::map<std::string, int64_t> &guesses) {
  onPhase("reading the graph");
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildGraphPipeline(passes, {dims, guesses});
  if (mlir::failed(passes.run(module)))
    return failed();
  return llvm::Error::success();
}

void Compilation::decodeFirst(ModuleOp module, ModuleOp imported,
                              const std::map<std::string, int64_t> &dims, StringRef mesh) {
  std::string error;
  dist::MeshAttr axes = mesh == kOneRank ? nullptr : parseMesh(&context, mesh, error);
  if (!axes || axes.getNumRanks() == 1)
    return;
  ScopedDiagnosticHandler notOfTheModel(&context, [](Diagnostic &) { return success(); });
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildGraphPipeline(passes, {{}, dims});
  if (mlir::failed(passes.run(imported)))
    return;
  FailureOr<DictionaryAttr> cuts =
      findWeightCuts(imported.lookupSymbol<func::FuncOp>("main"), {axes});
  if (succeeded(cuts))
    module->setAttr(kWeightShardings, *cuts);
}

llvm::Error Compilation::checkMesh(StringRef mesh) {
  std::string error;
  if (mesh == kOneRank || parseMesh(&context, mesh, error))
    return llvm::Error::success();
  return llvm::createStringError("--mesh: " + error);
}

llvm::Error Compilation::shard(ModuleOp module, StringRef mesh, bool strict) {
  onPhase("searching the cut");
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildShardPipeline(passes, {mesh == kOneRank ? "" : mesh.str(), strict});
  if (mlir::failed(passes.run(module)))
    return failed();
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<CompiledProgram>> Compilation::compile(ModuleOp module,
                                                                      unsigned threads) {
  onPhase("compiling kernels");
  return compileCpu(module, {threads});
}
