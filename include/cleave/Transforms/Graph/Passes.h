//===- Passes.h - graph passes --------------------------------*- C++ -*-===//

#ifndef CLEAVE_TRANSFORMS_GRAPH_PASSES_H
#define CLEAVE_TRANSFORMS_GRAPH_PASSES_H

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace cleave {

#define GEN_PASS_DECL
#include "cleave/Transforms/Graph/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "cleave/Transforms/Graph/Passes.h.inc"

} // namespace cleave

#endif // CLEAVE_TRANSFORMS_GRAPH_PASSES_H
