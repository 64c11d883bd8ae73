//===- Evaluate.h - what an nn op computes, on host tensors ---*- C++ -*-===//
//
// The meaning of nn in its plainest form: no speed, no vectors. Constants are
// folded with it, and kernels are tested against it. Floats are computed in
// double and rounded to the element type after each op.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_ANALYSIS_EVALUATE_H
#define CLEAVE_ANALYSIS_EVALUATE_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"

#include <vector>

namespace cleave {

/// A tensor whose elements are at hand. Row-major; exactly one of `floats` and
/// `ints` is in use, by the element type. bool is 0 or 1, unsigned integers
/// are held as the int64 of equal bits.
struct HostTensor {
  mlir::RankedTensorType type;
  std::vector<double> floats;
  std::vector<int64_t> ints;

  HostTensor() = default;
  /// All elements zero.
  explicit HostTensor(mlir::RankedTensorType type);

  bool isFloat() const { return llvm::isa<mlir::FloatType>(type.getElementType()); }
  int64_t size() const { return type.getNumElements(); }
  llvm::ArrayRef<int64_t> shape() const { return type.getShape(); }

  static HostTensor fromAttr(mlir::ElementsAttr attr);
  /// From row-major little-endian bytes, a bool a byte; `bytes` holds the type.
  static HostTensor fromBytes(mlir::RankedTensorType type, llvm::ArrayRef<char> bytes);
  mlir::DenseElementsAttr toAttr() const;
  /// The reverse of fromBytes.
  std::vector<char> toBytes() const;
  /// Rounds every element to the element type: bf16 keeps 8 bits, i8 wraps.
  void round();
};

/// The results of `op` on `operands`. Fails, with a message at the op, for an op
/// without a meaning here (nn.weight, ops of other dialects), for an index out
/// of range and for an integer division by zero.
mlir::FailureOr<std::vector<HostTensor>> evaluate(mlir::Operation *op,
                                                  llvm::ArrayRef<const HostTensor *> operands);

} // namespace cleave

#endif // CLEAVE_ANALYSIS_EVALUATE_H
