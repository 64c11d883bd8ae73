//===- Shard.cpp - the shard phase: nn to nn and dist ---------------------===//

#include "cleave/Pipelines/Shard.h"

#include "cleave/Transforms/Sharding/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace cleave;

static LogicalResult search(ModuleOp module, const SearchRequest &request) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return module.emitError("has no function main");
  return success(succeeded(searchShardings(main, request)));
}

LogicalResult cleave::shard(ModuleOp module, SearchRequest request, ModuleOp decode) {
  if (decode) {
    // An axis that is idle in one decode step may well be busy otherwise.
    SearchRequest quiet = request;
    quiet.strict = false;
    ScopedDiagnosticHandler noWarnings(module.getContext(), [](Diagnostic &diagnostic) {
      return success(diagnostic.getSeverity() == DiagnosticSeverity::Warning);
    });
    if (failed(search(decode, quiet)))
      return failure();
    request.pins = decode->getAttrOfType<DictionaryAttr>(kWeightShardings);
  }
  if (failed(search(module, request)))
    return failure();
  PassManager passes(module.getContext());
  passes.addPass(createLocalize());
  passes.addPass(createCSEPass());
  return passes.run(module);
}
