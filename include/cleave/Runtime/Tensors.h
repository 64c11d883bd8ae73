//===- Tensors.h - tensors in memory and in files -------------*- C++ -*-===//
//
// NumPy has neither bf16 nor 8-bit floats: such a tensor is stored as the unsigned
// integers of its bits, under its name with "@bf16", "@f8e4m3fn" or "@f8e5m2" behind it.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_TENSORS_H
#define CLEAVE_RUNTIME_TENSORS_H

#include "cleave/Runtime/Session.h"

#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cleave {

/// Row-major elements.
struct Tensor {
  cleave_type type = CLEAVE_F32;
  std::vector<int64_t> dims;
  std::vector<char> bytes;

  Tensor() = default;
  /// Zeros.
  Tensor(cleave_type type, std::span<const int64_t> dims);
  Tensor(cleave_type type, std::initializer_list<int64_t> dims)
      : Tensor(type, std::span(dims.begin(), dims.size())) {}

  int64_t size() const;
  /// Element `i` as a number.
  double at(int64_t i) const;
};

using NamedTensors = std::map<std::string, Tensor>;

/// `[2, 3]`
std::string shapeText(std::span<const int64_t> dims);

/// What the elements of a tensor are in an .npy file: themselves, or the bits of what NumPy
/// does not have.
cleave_type storedType(cleave_type type);
/// `tensor` as the contents of an .npy file.
std::string formatNpy(const Tensor &tensor);

namespace runtime {

/// Why something cannot be done; empty where it was done.
using Reason = std::string;

/// The array of an .npy file's contents. Refuses anything but little-endian numbers
/// and bools whose header tells the truth; column-major arrays are turned.
Reason parseNpy(std::string_view contents, Tensor &tensor);

/// Reads `path`: an .npz, or a folder of .npy files, whose names are the keys.
Reason readTensors(const std::string &path, NamedTensors &tensors);
/// Writes an .npz, whole or not at all.
Reason writeNpz(const std::string &path, const NamedTensors &tensors);
/// Writes one array, whole or not at all.
Reason writeNpy(const std::string &path, const Tensor &tensor);

/// Finds the inputs of `program` by name, in its order. Refuses one that is missing,
/// unknown, or of another type or shape. `bound` points into `tensors`.
Reason bindInputs(const cleave_program &program, const NamedTensors &tensors,
                  std::vector<cleave_input> &bound);
/// The indices that elements of an input may be, which `node` looks up.
struct IndexRange {
  int64_t from = 0, to = 0;
  std::string node;
};
/// Refuses an element of `tensor`, the input `name`, beyond `range`.
Reason checkIndices(const std::string &name, const Tensor &tensor, const IndexRange &range);
/// Makes `tensors` the outputs of `program`; where they lie, in its order.
std::vector<cleave_output> bindOutputs(const cleave_program &program, NamedTensors &tensors);

/// A line for each output: `logits: f32 [1, 8, 256]`.
std::string formatOutputs(const cleave_program &program);
/// A JSON object: the outputs, and what the runtime counted on each rank, the bytes of
/// its blocks of memory, and for each command that ran how often, and what it sent;
/// and milliseconds, one a run, where they are given.
std::string formatReport(const cleave_program &program, const cleave_session *session,
                         std::span<const double> latencies = {});

/// Bytes go to a temporary name beside `path`; `keep` brings them to the disk and
/// renames. What is not kept is removed. A link keeps its place, what it points to is
/// replaced. A device or a pipe is refused: it can be neither taken back nor renamed.
class PendingFile {
public:
  explicit PendingFile(std::string path);
  ~PendingFile();
  PendingFile(const PendingFile &) = delete;
  PendingFile &operator=(const PendingFile &) = delete;

  Reason open();
  Reason write(std::string_view bytes);
  Reason keep();
  bool isOpen() const { return descriptor >= 0; }
  /// Bytes written.
  uint64_t size() const { return written; }

private:
  Reason failed() const;

  std::string path, temporary;
  int descriptor = -1;
  uint64_t written = 0;
  bool kept = false;
};

} // namespace runtime
} // namespace cleave

#endif // CLEAVE_RUNTIME_TENSORS_H
