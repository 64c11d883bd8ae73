//===- Lower.h - loops and vectors become the llvm dialect ----*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_LOWER_H
#define CLEAVE_LIB_TARGET_EMIT_LOWER_H

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Transforms/DialectConversion.h"

namespace cleave::emit {

/// `addPatterns` brings what the target alone has; of two patterns the one with the higher
/// benefit wins, those of math that become intrinsics having `kMathBenefit`. An index has
/// `indexBits`.
mlir::LogicalResult
lowerToLlvm(mlir::ModuleOp module, unsigned indexBits,
            mlir::function_ref<void(mlir::LLVMTypeConverter &, mlir::RewritePatternSet &,
                                    mlir::ConversionTarget &)>
                addPatterns);

inline constexpr unsigned kMathBenefit = 2;

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_LOWER_H
