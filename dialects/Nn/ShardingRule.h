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
  /// Not empty: `dims` are read as a product of these sizes, major to minor, and
  /// only factor number `part` of it is meant: heads are (kv, group).
  llvm::SmallVector<int64_t, 2> split = {};
  int64_t part = 0;
};

/// The segment of a concatenation that no value holds; `dims` has its size.
inline constexpr int64_t kNoValue = -1;

enum class FactorKind {
  Parallel,      ///< every rank computes its part of the result
  Reduction,     ///< every rank holds a partial result, combined by a sum
  Lookup,        ///< a Reduction over a table's dimension: a rank finds the indices
                 ///< of its part and gives 0 for the others; outermost cuts only
  Concatenation, ///< the first group's dimension is the others, one behind the other
  Special,       ///< allowed; the op itself pays extra collectives
};

struct Factor {
  FactorKind kind;
  llvm::SmallVector<DimGroup, 3> groups;
  /// Special: bytes of each extra all-reduce when nothing else is cut.
  llvm::SmallVector<int64_t, 2> extraBytes = {};
};

struct ShardingRule {
  llvm::SmallVector<Factor, 6> factors;
  /// Sets of operands that may be partial sums together, the op being linear in
  /// them when the others are whole; the results are then partial too.
  llvm::SmallVector<llvm::SmallVector<int64_t, 2>, 2> linearIn = {};
  /// Floating-point operations of a contraction; 0 for all else.
  int64_t flops = 0;
  /// Movement, which costs nothing once fused with what reads it.
  bool isView = false;
};

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_SHARDINGRULE_H
