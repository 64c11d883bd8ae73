//===- Index.h - walks over row-major tensors -----------------*- C++ -*-===//

#ifndef CLEAVE_LIB_ANALYSIS_EVALUATE_INDEX_H
#define CLEAVE_LIB_ANALYSIS_EVALUATE_INDEX_H

#include "cleave/Analysis/Evaluate.h"

namespace cleave {

using Index = llvm::SmallVector<int64_t, 6>;

/// Elements between neighbours of each dimension.
inline Index stridesOf(llvm::ArrayRef<int64_t> shape) {
  Index strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/// Calls `body(index, linear)` for each element of `shape` in row-major order.
template <typename Body> void forEachIndex(llvm::ArrayRef<int64_t> shape, Body body) {
  int64_t total = 1;
  for (int64_t size : shape)
    total *= size;
  Index index(shape.size(), 0);
  for (int64_t linear = 0; linear < total; ++linear) {
    body(llvm::ArrayRef<int64_t>(index), linear);
    for (size_t dim = shape.size(); dim-- > 0;) {
      if (++index[dim] < shape[dim])
        break;
      index[dim] = 0;
    }
  }
}

/// Where `index` of a tensor lies in a tensor of `shape` that broadcasts to it.
inline int64_t broadcastOffset(llvm::ArrayRef<int64_t> index, llvm::ArrayRef<int64_t> shape,
                               llvm::ArrayRef<int64_t> strides) {
  int64_t offset = 0;
  size_t missing = index.size() - shape.size();
  for (size_t dim = 0; dim < shape.size(); ++dim)
    if (shape[dim] != 1)
      offset += index[missing + dim] * strides[dim];
  return offset;
}

/// Copies element `from` of `source` to element `to` of `target`, of one kind.
inline void copyElement(const HostTensor &source, int64_t from, HostTensor &target, int64_t to) {
  if (source.isFloat())
    target.floats[to] = source.floats[from];
  else
    target.ints[to] = source.ints[from];
}

} // namespace cleave

#endif // CLEAVE_LIB_ANALYSIS_EVALUATE_INDEX_H
