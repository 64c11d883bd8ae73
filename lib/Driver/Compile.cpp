//===- Compile.cpp - the phases in order ----------------------------------===//

#include "cleave/Driver/Compile.h"

#include "cleave/Driver/Messages.h"
#include "cleave/Frontend/Onnx.h"
#include "cleave/Support/Failure.h"
#include "cleave/Target/Cpu.h"
#include "cleave/Target/Cuda.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace cleave;

Compilation::Compilation() : context(MLIRContext::Threading::DISABLED) {
  context.loadDialect<dist::DistDialect, func::FuncDialect, nn::NnDialect, onnx::OnnxDialect>();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      messages.push_back("warning: " + messageText(diagnostic));
    else if (diagnostic.getSeverity() == DiagnosticSeverity::Error && firstError.empty())
      firstError = messageText(diagnostic);
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
  dist::MeshAttr axes = isOneRank(mesh) ? nullptr : parseMesh(&context, mesh, error);
  if (!axes || axes.getNumRanks() == 1)
    return;
  // What ails the model at these sizes is no error of the request.
  std::string reason;
  ScopedDiagnosticHandler notOfTheModel(&context, [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error && reason.empty())
      reason = messageText(diagnostic);
    return success();
  });
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildGraphPipeline(passes, {{}, dims});
  FailureOr<DictionaryAttr> cuts = failure();
  if (succeeded(passes.run(imported)))
    cuts = findWeightCuts(imported.lookupSymbol<func::FuncOp>("main"), {axes});
  if (succeeded(cuts)) {
    module->setAttr(kWeightShardings, *cuts);
    return;
  }
  std::string sizes;
  for (const auto &[name, size] : dims)
    sizes += (sizes.empty() ? "" : ", ") + name + "=" + std::to_string(size);
  messages.push_back("note: the weights are cut for the sizes of this run and not for a decode "
                     "step, which the model does not take at " +
                     sizes + ": " + reason);
}

bool Compilation::isOneRank(StringRef mesh) { return mesh.empty() || mesh == "1"; }

llvm::Error Compilation::checkMesh(StringRef mesh) {
  std::string error;
  if (isOneRank(mesh) || parseMesh(&context, mesh, error))
    return llvm::Error::success();
  return llvm::createStringError("--mesh: " + error);
}

llvm::Error Compilation::shard(ModuleOp module, ShardOptions options) {
  onPhase("searching the cut");
  PassManager passes(&context);
  passes.enableVerifier(false);
  if (isOneRank(options.mesh))
    options.mesh.clear();
  buildShardPipeline(passes, options);
  if (mlir::failed(passes.run(module)))
    return failed();
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<CompiledProgram>> Compilation::compile(ModuleOp module,
                                                                      const Target &target) {
  onPhase("compiling kernels");
  llvm::Expected<std::unique_ptr<CompiledProgram>> program =
      target.kind == Target::Cpu
          ? compileCpu(module, {target.threads, /*forceAvx2=*/false, target.isShipped})
          : compileCuda(module, {target.chips, target.kind == Target::Simt, target.threads, {}});
  if (program || firstError.empty())
    return program;
  llvm::consumeError(program.takeError());
  return failed();
}
