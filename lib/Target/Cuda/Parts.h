//===- Parts.h - one result by several blocks -----------------*- C++ -*-===//
//
// Where results are few and each takes long, blocks divide the work on one: every block
// leaves its part in the workspace, and the one that comes last puts them together, in the
// order of the parts and so with the same bits each time.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_PARTS_H
#define CLEAVE_LIB_TARGET_CUDA_PARTS_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// What products are added up in: f32, or i32 where bytes are multiplied. Scratch and workspace
/// are words of f32, which hold the bits of either.
class Accumulator {
public:
  Accumulator(Emitter &emitter, mlir::Type factor);

  mlir::Type type() const { return element; }
  Value zero(int64_t lanes) const { return e.constantOf(element, 0, lanes); }
  Value add(Value x, Value y) const;
  mlir::SmallVector<Value> add(mlir::ValueRange x, mlir::ValueRange y) const;
  Value multiplyAdd(Value x, Value y, Value sum) const;
  /// Between registers and memory.
  Value toWords(Value x) const;
  Value ofWords(Value words) const;

private:
  Value as(mlir::Type type, Value x) const;

  Emitter &e;
  mlir::Type element;
};

/// What a block would do alone.
struct Work {
  int64_t readBytes;   ///< in all
  int64_t resultBytes; ///< of what has to be put together, in f32
  int64_t steps;       ///< that parts may have some of
};

/// How many blocks divide the work of each of `blocks`: as many as give every multiprocessor
/// `each`, while steps last. Parts take readBytes / parts to make and parts * resultBytes to
/// put together, in one block again, so more than the square root of the quotient are slower.
int64_t partsOf(const Chip &chip, int64_t blocks, int64_t each, const Work &work);

/// Launches `blocks` times `parts` blocks, of which those with one result follow each other.
Launch launchParts(int64_t blocks, int64_t parts, int64_t threads, int64_t floats);

class Parts {
public:
  /// Each part is `floats` in the workspace.
  Parts(Emitter &emitter, ThreadBlock &block, int64_t count, int64_t floats);

  /// The float at `at` of a part, which is that of this block without a number.
  Value load(const Index &number, const Index &at);
  void store(const Index &at, Value value);
  /// The sum over all parts, in their order; of f32, or of words, as words.
  Value sum(const Index &at) { return sum(at, Accumulator(e, e.builder.getF32Type())); }
  Value sum(const Index &at, const Accumulator &sums);
  /// Everything that blocks have stored for this result is seen in `body`, which only the
  /// last of them runs; all threads meet.
  void whenLast(mlir::function_ref<void()> body);

  int64_t count;
  Index number; ///< of this block
  Index result; ///< that it works on

private:
  Emitter &e;
  ThreadBlock &block;
  int64_t floats;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_PARTS_H
