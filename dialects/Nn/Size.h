//===- Size.h - sizes that know what they stand for -----------*- C++ -*-===//
//
// A model is converted at one number for each of its open dimensions (a batch, a
// sequence). Beside each number is carried what it is at any others, an expression
// over the open dimensions, which are its symbols. Decisions are taken on numbers,
// so an expression holds for all sizes at which they turn out the same: that one
// thing is longer than another, that a size is not 1. While a model is converted
// the expressions of a type are its encoding:
//
//   tensor<2x7x64xf32, affine_map<()[s0, s1] -> (s0, s1 + 2, 64)>>
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DIALECTS_NN_SIZE_H
#define CLEAVE_DIALECTS_NN_SIZE_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"

#include <string>

namespace cleave::nn {

struct Size {
  Size(int64_t value = 0, mlir::AffineExpr expr = {});

  /// The number.
  int64_t value;
  /// Over symbols; a dimension instead of one stands for what cannot be said. Null
  /// if the number is the same at all sizes.
  mlir::AffineExpr expr;

  bool isOpen() const { return static_cast<bool>(expr); }
  /// Whether both are known to be the same at all sizes.
  bool sameAs(const Size &other) const;
  /// `value`, of which can not be said how it depends on the sizes.
  static Size unknown(int64_t value, mlir::MLIRContext *context);
};

using Sizes = llvm::SmallVector<Size>;

/// Numbers wrap; whoever takes them from a file looks at them first.
Size operator+(const Size &a, const Size &b);
Size operator-(const Size &a, const Size &b);
Size operator*(const Size &a, const Size &b);
/// Rounded down and up; the number `b` is positive.
Size floorDiv(const Size &a, const Size &b);
Size ceilDiv(const Size &a, const Size &b);
/// What floorDiv leaves: from 0 to `b` - 1.
Size modulo(const Size &a, const Size &b);
Size least(const Size &a, const Size &b);
Size greatest(const Size &a, const Size &b);
Size product(llvm::ArrayRef<Size> sizes);
/// `whole / part` for products: equal sizes cancel.
Size quotient(llvm::ArrayRef<Size> whole, llvm::ArrayRef<Size> part);

llvm::SmallVector<int64_t> numbersOf(llvm::ArrayRef<Size> sizes);
/// Null if none of `sizes` is open.
mlir::AffineMapAttr encode(llvm::ArrayRef<Size> sizes);
/// `numbers` as what `encoding` says, which is null or of encode.
Sizes decode(llvm::ArrayRef<int64_t> numbers, mlir::Attribute encoding);

mlir::RankedTensorType tensorOf(llvm::ArrayRef<Size> shape, mlir::Type elementType);
Sizes sizesOf(mlir::RankedTensorType type);
/// Of a value of the dialect.
Sizes sizesOf(mlir::Value value);

/// On the inputs and outputs of a converted graph: a map as of encode, of their shapes.
inline constexpr llvm::StringLiteral kShape("nn.shape");
/// On the function: what each symbol of these maps is called.
inline constexpr llvm::StringLiteral kSymbols("nn.symbols");
/// On the function: a set of which sums of symbols are 0, since sizes were taken for equal.
inline constexpr llvm::StringLiteral kEqual("nn.equal");

/// The numpy broadcast of `shapes`; failure if two sizes differ and neither is 1.
llvm::FailureOr<Sizes> broadcastSizes(llvm::ArrayRef<Sizes> shapes);
llvm::FailureOr<llvm::SmallVector<int64_t>>
broadcastShapes(llvm::ArrayRef<llvm::ArrayRef<int64_t>> shapes);

/// `expr` with these names for its symbols, as in `past + 2 * sequence`.
std::string textOf(mlir::AffineExpr expr, llvm::ArrayRef<std::string> names);
/// That `difference` is 0, as in `past + sequence = total`.
std::string equationText(mlir::AffineExpr difference, llvm::ArrayRef<std::string> names);
/// What the dimensions of a tensor are called by `shape`, its kShape or null, and the
/// `symbols` of its function: "" for one of fixed size, and of all if there is no shape.
llvm::SmallVector<std::string> dimNames(mlir::Attribute shape, mlir::Attribute symbols,
                                        int64_t rank);
/// `expr` at these sizes; nothing if it says nothing or divides by 0.
std::optional<int64_t> evaluate(mlir::AffineExpr expr, llvm::ArrayRef<int64_t> sizes);

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_SIZE_H
