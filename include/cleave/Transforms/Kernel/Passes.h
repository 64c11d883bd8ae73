//===- Passes.h - kernel passes -------------------------------*- C++ -*-===//

#ifndef CLEAVE_TRANSFORMS_KERNEL_PASSES_H
#define CLEAVE_TRANSFORMS_KERNEL_PASSES_H

#include "Rt/Rt.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace cleave {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "cleave/Transforms/Kernel/Passes.h.inc"

} // namespace cleave

#endif // CLEAVE_TRANSFORMS_KERNEL_PASSES_H
