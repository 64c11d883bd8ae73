//===- Simulate.h - runs nn and dist programs, rank by rank ---*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_SHARDING_SIMULATE_H
#define CLEAVE_TEST_UNIT_SHARDING_SIMULATE_H

#include "cleave/Analysis/Evaluate.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace cleave::test {

using Tensors = std::vector<HostTensor>;

/// Values in [-1, 1], the same for a seed; integers in [0, `bound`).
HostTensor randomTensor(mlir::RankedTensorType type, uint64_t seed, int64_t bound = 2);

/// The results of an uncut function; weights are drawn from their offset.
mlir::FailureOr<Tensors> runWhole(mlir::func::FuncOp func, const Tensors &inputs);

/// The results of each rank of a localised module, all ranks in step: a rank
/// waits in a collective until its group is there. Ranks of a group that meet
/// in different collectives are a failure.
mlir::FailureOr<std::vector<Tensors>> runRanks(mlir::ModuleOp module, const Tensors &inputs);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_SHARDING_SIMULATE_H
