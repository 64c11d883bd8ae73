//===- Tensor.h - tensors in memory and in files --------------*- C++ -*-===//
//
// NumPy has no bf16: such a tensor is stored as the unsigned integers of its
// bits, under its name with "@bf16" behind it.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_SUPPORT_TENSOR_H
#define CLEAVE_SUPPORT_TENSOR_H

#include "cleave/Runtime/Program.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <map>
#include <string>
#include <vector>

namespace cleave {

/// Row-major elements.
struct Tensor {
  cleave_type type = CLEAVE_F32;
  std::vector<int64_t> dims;
  std::vector<char> bytes;

  Tensor() = default;
  /// Zeros.
  Tensor(cleave_type type, llvm::ArrayRef<int64_t> dims);

  int64_t size() const;
  /// Element `i` as a number.
  double at(int64_t i) const;
};

/// `[2, 3]`
std::string shapeText(llvm::ArrayRef<int64_t> dims);

using NamedTensors = std::map<std::string, Tensor>;

/// The array of an .npy file's contents. Fails, with the reason, for anything but
/// little-endian numbers and bools whose header tells the truth; column-major
/// arrays are turned.
llvm::Expected<Tensor> parseNpy(llvm::StringRef contents);
/// `tensor` as the contents of an .npy file; bf16 as uint16.
std::string formatNpy(const Tensor &tensor);

/// Reads `path`: an .npz, or a folder of .npy files, whose names are the keys.
llvm::Expected<NamedTensors> readTensors(llvm::StringRef path);
/// Writes an .npz, whole or not at all.
llvm::Error writeNpz(llvm::StringRef path, const NamedTensors &tensors);
/// Writes one array, whole or not at all.
llvm::Error writeNpy(llvm::StringRef path, const Tensor &tensor);

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
