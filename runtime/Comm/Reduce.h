//===- Reduce.h - combines the blocks of several ranks --------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_COMM_REDUCE_H
#define CLEAVE_RUNTIME_COMM_REDUCE_H

#include "cleave/Runtime/Program.h"

namespace cleave::runtime {

/// Combines elements [begin, begin + count) of `numInputs` blocks, in their
/// order, and writes them to each output: to output[i] + (begin - shift)
/// elements. An output may be one of the inputs. Nothing need be aligned.
struct Reduction {
  const void *const *inputs;
  uint32_t numInputs;
  void *const *outputs;
  uint32_t numOutputs;
  uint64_t begin, count, shift;
};

using ReduceFunction = void (*)(const Reduction &);

/// The code for this processor.
ReduceFunction findReduce(uint8_t type, uint8_t reduction);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_REDUCE_H
