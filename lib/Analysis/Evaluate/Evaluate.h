//===- Evaluate.h - the families of ops -----------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_ANALYSIS_EVALUATE_EVALUATE_H
#define CLEAVE_LIB_ANALYSIS_EVALUATE_EVALUATE_H

#include "cleave/Analysis/Evaluate.h"

namespace cleave {

using Operands = llvm::ArrayRef<const HostTensor *>;
using Results = std::vector<HostTensor>;

/// Each fills `results`, which have their types and are zero, and answers
/// nothing when the op is of another family.
std::optional<llvm::LogicalResult> evaluateElementwise(mlir::Operation *op, Operands operands,
                                                       Results &results);
std::optional<llvm::LogicalResult> evaluateMovement(mlir::Operation *op, Operands operands,
                                                    Results &results);
std::optional<llvm::LogicalResult> evaluateRows(mlir::Operation *op, Operands operands,
                                                Results &results);
std::optional<llvm::LogicalResult> evaluateContraction(mlir::Operation *op, Operands operands,
                                                       Results &results);

} // namespace cleave

#endif // CLEAVE_LIB_ANALYSIS_EVALUATE_EVALUATE_H
