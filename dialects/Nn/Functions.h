//===- Functions.h - f32 functions without a library ----------*- C++ -*-===//
//
// What no target has an instruction for, on scalars or on vectors of any one
// length. f32 comes out within a few units of the last place over the whole
// range, infinities, NaN and denormals included; f64 is left to math.*.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DIALECTS_NN_FUNCTIONS_H
#define CLEAVE_DIALECTS_NN_FUNCTIONS_H

#include "mlir/IR/Builders.h"

namespace cleave::nn {

mlir::Value buildExp(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildLog(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildErf(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildTanh(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildSin(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildCos(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
mlir::Value buildPow(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value y);
/// The bits of x rounded to bf16, nearest even, in i32.
mlir::Value buildBf16Bits(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);
/// The bits of f32 x rounded to `type`, f8E4M3FN or f8E5M2, nearest even, in i32: what it does
/// not reach is its largest number if it saturates, else infinity, or NaN where it has none.
mlir::Value buildF8Bits(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                        mlir::Type type, bool saturates);
/// The f32 that such bits mean, of i32 or narrower.
mlir::Value buildOfF8Bits(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value bits,
                          mlir::Type type);
mlir::Value buildSigmoid(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_FUNCTIONS_H
