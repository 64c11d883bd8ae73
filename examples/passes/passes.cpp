//===- passes.cpp - Cleave's passes in a compiler of one's own ------------===//
//
//   passes FILE.mlir MESH
//
// Cuts a function over a mesh, as in tp=2, and prints what each class of ranks runs.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Sharding/Passes.h"
#include "cleave/Plugin/Register.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

int main(int argc, char **argv) {
  if (argc != 3) {
    llvm::errs() << "usage: passes FILE.mlir MESH\n";
    return 2;
  }
  DialectRegistry registry;
  registry.insert<func::FuncDialect>();
  cleave::registerDialects(registry);
  MLIRContext context(registry);
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(argv[1], &context);
  if (!module)
    return 2;

  PassManager passes(&context);
  cleave::SearchOptions options;
  options.mesh = argv[2];
  passes.addPass(cleave::createSearch(options));
  passes.addPass(cleave::createLocalize());
  passes.addPass(createCSEPass());
  if (failed(passes.run(*module)))
    return 1;
  llvm::outs() << *module << "\n";
  return 0;
}
