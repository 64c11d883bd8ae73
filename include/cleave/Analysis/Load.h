//===- Load.h - what a session computes once, when it is created -*- C++ -*-===//

#ifndef CLEAVE_ANALYSIS_LOAD_H
#define CLEAVE_ANALYSIS_LOAD_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

namespace cleave {

/// The ops of `function` that depend on weights and constants alone, and are computed before
/// the first run. Those that make weights larger are not among them, but what they are
/// computed from is: where bytes become floats, a run holds the bytes, and whoever reads the
/// floats computes them.
llvm::SetVector<mlir::Operation *> opsAtLoad(mlir::func::FuncOp function);

} // namespace cleave

#endif // CLEAVE_ANALYSIS_LOAD_H
