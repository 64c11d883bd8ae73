//===- Plugin.cpp - what another mlir-opt asks of a plug-in ---------------===//
//
// mlir-opt --load-dialect-plugin=libCleavePlugin.so
//          --load-pass-plugin=libCleavePlugin.so
//          --pass-pipeline='builtin.module(shard-search{mesh=tp=2})'
//
//===----------------------------------------------------------------------===//

#include "cleave/Plugin/Register.h"

#include "mlir/Tools/Plugins/DialectPlugin.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

using namespace mlir;

extern "C" DialectPluginLibraryInfo mlirGetDialectPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Cleave", CLEAVE_VERSION,
          [](DialectRegistry *registry) { cleave::registerDialects(*registry); }};
}

extern "C" PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Cleave", CLEAVE_VERSION, cleave::registerPasses};
}
