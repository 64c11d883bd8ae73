//===- Analyses.h - what LLVM's passes ask while they run -----*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_ANALYSES_H
#define CLEAVE_LIB_TARGET_EMIT_ANALYSES_H

#include "llvm/Passes/PassBuilder.h"

namespace cleave::emit {

/// The analyses of one module for `machine`, in the order in which passes may let go of them.
struct Analyses {
  explicit Analyses(llvm::TargetMachine &machine, llvm::PipelineTuningOptions tuning = {})
      : builder(&machine, tuning) {
    builder.registerModuleAnalyses(modules);
    builder.registerCGSCCAnalyses(graphs);
    builder.registerFunctionAnalyses(functions);
    builder.registerLoopAnalyses(loops);
    builder.crossRegisterProxies(loops, functions, graphs, modules);
  }

  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graphs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder;
};

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_ANALYSES_H
