//===- Tensor.h - tensors and files of them, for the compiler -*- C++ -*-===//
//
// The formats are the runtime's, since what runs afterwards reads them too; here
// they speak the compiler's errors.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_SUPPORT_TENSOR_H
#define CLEAVE_SUPPORT_TENSOR_H

#include "cleave/Runtime/Tensors.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace cleave {

/// A reason as an error; none where it is empty.
inline llvm::Error toError(const runtime::Reason &reason) {
  return reason.empty() ? llvm::Error::success() : llvm::createStringError(reason);
}

inline llvm::Expected<Tensor> parseNpy(llvm::StringRef contents) {
  Tensor tensor;
  if (llvm::Error error = toError(runtime::parseNpy(contents, tensor)))
    return std::move(error);
  return tensor;
}

inline llvm::Expected<NamedTensors> readTensors(llvm::StringRef path) {
  NamedTensors tensors;
  if (llvm::Error error = toError(runtime::readTensors(path.str(), tensors)))
    return std::move(error);
  return tensors;
}

inline llvm::Error writeNpz(llvm::StringRef path, const NamedTensors &tensors) {
  return toError(runtime::writeNpz(path.str(), tensors));
}

inline llvm::Error writeNpy(llvm::StringRef path, const Tensor &tensor) {
  return toError(runtime::writeNpy(path.str(), tensor));
}

struct Difference {
  double largest = 0; ///< |got - want|
  double share = 0;   ///< of what is tolerated; above 1 is unequal
  int64_t index = -1; ///< where the share is largest
};

/// Compares |got - want| with atol + rtol |want|; other types than floats have to
/// be equal. A NaN equals a NaN. Fails if types or shapes differ.
llvm::Expected<Difference> compareTensors(const Tensor &got, const Tensor &want, double atol,
                                          double rtol);

} // namespace cleave

#endif // CLEAVE_SUPPORT_TENSOR_H
