//===- Models.h - what the rules of nn ops share --------------*- C++ -*-===//

#ifndef CLEAVE_DIALECTS_NN_MODELS_H
#define CLEAVE_DIALECTS_NN_MODELS_H

#include "Nn/Nn.h"

namespace cleave::nn {

/// A Parallel factor for each dimension of the only result, with the dimensions
/// of `operands` that meet it, aligned at the last and not repeated.
llvm::SmallVector<Factor, 6> broadcastFactors(mlir::Operation *op,
                                              llvm::ArrayRef<int64_t> operands);
llvm::SmallVector<Factor, 6> broadcastFactors(mlir::Operation *op);

/// A Parallel factor of single dimensions, given as (value, dimension).
inline Factor parallel(llvm::ArrayRef<std::pair<int64_t, int64_t>> places) {
  Factor factor{FactorKind::Parallel, {}};
  for (auto [value, dim] : places)
    factor.groups.push_back({value, {dim}});
  return factor;
}

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_MODELS_H
