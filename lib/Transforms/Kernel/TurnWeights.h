//===- TurnWeights.h - columns of dequantised weights lie together -*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_KERNEL_TURNWEIGHTS_H
#define CLEAVE_LIB_TRANSFORMS_KERNEL_TURNWEIGHTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace cleave::kernel {

/// Turns what right operands of products in `main` are computed from, where `load` gives it,
/// such that no transpose stands between the arithmetic and the product.
void turnWeights(mlir::func::FuncOp main, mlir::func::FuncOp load);

} // namespace cleave::kernel

#endif // CLEAVE_LIB_TRANSFORMS_KERNEL_TURNWEIGHTS_H
