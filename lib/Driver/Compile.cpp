//===- Compile.cpp - the phases in order ----------------------------------===//

#include "cleave/Driver/Compile.h"

#include "cleave/Frontend/Onnx.h"
#include "cleave/Pipelines/Pipelines.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace cleave;

/// The name of the node or value that `loc` stands for; empty for none.
static StringRef nameOf(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc))
    return name.getName();
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (StringRef name = nameOf(part); !name.empty())
        return name;
  return {};
}

Compilation::Compilation() : context(MLIRContext::Threading::DISABLED) {
  context.loadDialect<dist::DistDialect, func::FuncDialect, nn::NnDialect, onnx::OnnxDialect>();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
    StringRef name = nameOf(diagnostic.getLocation());
    std::string text = (name.empty() ? "" : "\"" + name + "\" ").str() + diagnostic.str();
    if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      warnings.push_back(text);
    else if (diagnostic.getSeverity() == DiagnosticSeverity::Error && firstError.empty())
      firstError = text;
  });
}

llvm::Error Compilation::failed() {
  return llvm::createStringError(firstError.empty() ? "failed without a message" : firstError);
}

llvm::Expected<OwningOpRef<ModuleOp>> Compilation::import(StringRef path) {
  onPhase("importing");
  OwningOpRef<ModuleOp> module = importOnnx(path, &context);
  if (!module)
    return failed();
  return module;
}

llvm::Error Compilation::graph(ModuleOp module, const std::map<std::string, int64_t> &dims) {
  onPhase("reading the graph");
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildGraphPipeline(passes, {dims});
  if (mlir::failed(passes.run(module)))
    return failed();
  return llvm::Error::success();
}

llvm::Error Compilation::shard(ModuleOp module, StringRef mesh) {
  onPhase("searching the cut");
  PassManager passes(&context);
  passes.enableVerifier(false);
  buildShardPipeline(passes, {mesh.str()});
  if (mlir::failed(passes.run(module)))
    return failed();
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<CompiledProgram>> Compilation::compile(ModuleOp module,
                                                                      unsigned threads) {
  onPhase("compiling kernels");
  return compileCpu(module, {threads});
}

llvm::Expected<int64_t> cleave::countRanks(StringRef mesh) {
  int64_t ranks = 1;
  SmallVector<StringRef> axes;
  mesh.split(axes, ',', -1, /*KeepEmpty=*/!mesh.empty());
  for (StringRef axis : axes) {
    if (axis == "1" && axes.size() == 1)
      return 1;
    auto [name, size] = axis.split('=');
    int64_t ranksHere;
    if (name.empty() || size.getAsInteger(10, ranksHere) || ranksHere < 1 || ranksHere > 4096 ||
        (ranks *= ranksHere) > 4096)
      return llvm::createStringError("mesh wants axes as in dp=2,tp=4 with 1 to 4096 ranks in "
                                     "all, got: \"" + mesh + "\"");
  }
  return ranks;
}
