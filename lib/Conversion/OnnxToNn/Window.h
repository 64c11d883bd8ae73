//===- Window.h - what convolutions and pools share -----------*- C++ -*-===//

#ifndef CLEAVE_LIB_CONVERSION_ONNXTONN_WINDOW_H
#define CLEAVE_LIB_CONVERSION_ONNXTONN_WINDOW_H

#include "Node.h"

namespace cleave {

/// How windows lie over an image: an entry a spatial dimension.
struct Window {
  Ints strides, dilations, low, high;
  /// Of the result, where the frame follows from them and not they from the frame.
  std::optional<Sizes> results;
};

/// The window of a node over `spatial` sizes with kernel sizes `kernel`.
llvm::FailureOr<Window> windowOf(Node &n, llvm::ArrayRef<Size> spatial,
                                 llvm::ArrayRef<int64_t> kernel);

/// nn.conv; null if an operand is.
mlir::Value convolve(Node &n, mlir::Value input, mlir::Value filter, const Window &w,
                     int64_t groups);

/// Input and filter of one rank, 3 or more; failure with a message otherwise.
llvm::LogicalResult requireImage(Node &n, mlir::Value input, mlir::Value filter);

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_WINDOW_H
