//===- Quantized.h - what ops of quantised tensors share ------*- C++ -*-===//
//
// A quantised tensor holds integers or 8-bit floats q that stand for (q - zero) *
// scale. Scales and zero points come here in a shape that broadcasts to the
// tensor's; a null zero point is 0.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_CONVERSION_ONNXTONN_QUANTIZED_H
#define CLEAVE_LIB_CONVERSION_ONNXTONN_QUANTIZED_H

#include "Node.h"

namespace cleave {

struct Scaling {
  mlir::Value scale;
  mlir::Value zero; ///< null: 0
};

/// (q - zero) * scale in f32, rounded once to `element`. Null, with a message, for a `q` that
/// is not quantised.
mlir::Value dequantize(Node &n, mlir::Value q, Scaling by, mlir::Type element);

/// round(x / scale) + zero in f32, ties to even, held within `element`, an integer type;
/// integers of less than a byte come as bytes.
mlir::Value quantize(Node &n, mlir::Value x, Scaling by, mlir::IntegerType element);

/// x / scale + zero in f32, rounded to `element`, an 8-bit float, as nn.cast rounds it: what it
/// does not reach is its largest number where it `saturates`.
mlir::Value quantizeToFloat(Node &n, mlir::Value x, Scaling by, mlir::Type element, bool saturates);

/// round(sums * scale) + zero: what a product of quantised tensors gives.
mlir::Value requantize(Node &n, mlir::Value sums, Scaling by, mlir::IntegerType element);

/// The scale and zero point of a whole tensor that use all of `element` for its range, 0
/// included, as DynamicQuantizeLinear.
Scaling scalingOf(Node &n, mlir::Value x, mlir::IntegerType element);

/// Σk (a - zeroA) * (b - zeroB) in i32, of 8-bit integers [.., m, k] and [.., k, n]; vectors
/// are a row and a column. Zero points broadcast to [.., m, 1] and [.., 1, n].
mlir::Value multiplyIntegers(Node &n, mlir::Value a, mlir::Value b, mlir::Value zeroA,
                             mlir::Value zeroB);

/// `value`, of one element or of one for each place along `axis`, as it broadcasts to `tensor`.
/// Null, with a message, for other shapes.
mlir::Value along(Node &n, mlir::Value value, mlir::Value tensor, int64_t axis);

/// Inputs `scale` and `zero` (which may be left out) of a tensor that has one of each, or one
/// for each place along `axis`. Null scale, with a message, for other shapes.
Scaling scalingAlong(Node &n, size_t scale, size_t zero, mlir::Value tensor, int64_t axis);

/// Repeats each of `value`'s scales of blocks along `axis`, `block` places each, up to the size
/// of `x`. Null, with a message, for another number of blocks.
mlir::Value spread(Node &n, mlir::Value value, mlir::Value x, int64_t axis, int64_t block);

/// The same for the rows or columns of a matrix: zero points and scales of one element, of one
/// a column (with `ofRows` a row), or of the rank of the matrix.
mlir::Value ofMatrix(Node &n, mlir::Value value, mlir::Value matrix, bool ofRows);

/// nn.reduce along `dims`.
mlir::Value reduced(Node &n, nn::ReduceKind kind, mlir::Value x, llvm::ArrayRef<int64_t> dims);

/// Whether `zero` is null or known to be 0 everywhere.
bool isZero(Node &n, mlir::Value zero);

/// The integer type of input `i`, which may be of less than a byte; null with a message for
/// what is no integer.
mlir::IntegerType integerType(Node &n, size_t i);

/// The type of input `i`, a quantised tensor's: integers, which may be of less than a byte, or
/// an 8-bit float; null with a message for any other.
mlir::Type quantizedType(Node &n, size_t i);

/// Failure with a message if there is an input `zero`, a zero point, that is not of the quantised
/// type of input `of`, or of 8-bit floats that are known and not 0.
llvm::LogicalResult requireTypeOf(Node &n, size_t zero, size_t of);

/// `x` plus input `bias`, where there is one; null, with a message, if it does not broadcast to
/// the shape of `x`.
mlir::Value biased(Node &n, mlir::Value x, size_t bias);

/// Failure with a message if `value` is not of 8-bit integers.
llvm::LogicalResult requireBytes(Node &n, mlir::Value value);

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_QUANTIZED_H
