//===- ShardingRule.h - how an op may be cut ------------------*- C++ -*-===//
//
// A rule is a list of factors. A factor says which dimensions of which operands
// and results are cut together when an op is cut along it:
//
//   matmul [b, m, k] x [k, n] -> [b, m, n]
//     b: lhs.0, result.0        Parallel
//     m: lhs.1, result.1        Parallel
//     k: lhs.2, rhs.0           Reduction: every rank holds a partial sum
//     n: rhs.1, result.2        Parallel
//
// A dimension in no factor has to be whole on every rank.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DIALECTS_NN_SHARDINGRULE_H
#define CLEAVE_DIALECTS_NN_SHARDINGRULE_H

#include "llvm/ADT/SmallVector.h"

#include <cstdint>

namespace cleave::nn {

/// The dimensions of one value that belong to one side of a correspondence, major
/// to minor. `value` counts operands first, then results.
struct DimGroup {
  int64_t value;
  llvm::SmallVector<int64_t, 2> dims;
};

enum class FactorKind {
  Parallel,      ///< every rank computes its part of the result
  Reduction,     ///< every rank holds a partial result, combined by a sum
  Concatenation, ///< the first group's dimension is the others, one behind the other
  Special,       ///< allowed; the op itself pays extra collectives
};

struct Factor {
  FactorKind kind;
  llvm::SmallVector<DimGroup, 3> groups;
  /// Special: elements that each extra all-reduce carries, a rank.
  llvm::SmallVector<int64_t, 2> extraElements;
};

struct ShardingRule {
  llvm::SmallVector<Factor, 6> factors;
  /// Sets of values that may be partial sums together, the op being linear in
  /// them; the result is then partial too. Operand numbers.
  llvm::SmallVector<llvm::SmallVector<int64_t, 2>, 2> linearIn;
  /// Floating-point operations of the whole op.
  int64_t flops = 0;
  /// Moves no data when nothing is cut across it: reshape.
  bool isView = false;
};

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_SHARDINGRULE_H
