//===- Cost.h - states of a tensor, and the price of moving ---*- C++ -*-===//
//
// All prices are integer picoseconds: sums are exact and ties are ties.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_COST_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_COST_H

#include "cleave/Analysis/DimNames.h"
#include "cleave/Transforms/Sharding/Machine.h"

namespace cleave::sharding {

/// What one axis does to a tensor: whole, partial, or cut number `value - kCut`.
using AxisState = uint16_t;
inline constexpr AxisState kReplicated = 0, kPartial = 1, kCut = 2;

/// What up to four axes do, 16 bits each.
using State = uint64_t;
inline constexpr unsigned kMaxAxes = 4;

inline AxisState at(State state, unsigned axis) { return state >> (16 * axis); }
inline State with(State state, unsigned axis, AxisState value) {
  unsigned shift = 16 * axis;
  return (state & ~(State(0xffff) << shift)) | State(value) << shift;
}

/// An axis as the search sees it: a mesh axis, or a sub-axis of one.
struct Axis {
  mlir::StringAttr name;
  int64_t size;
  /// tp, ep: weights held cost; dp, sp, cp never cut weights.
  bool holdsWeights;
  /// Number of the mesh axis it belongs to.
  unsigned parent;
  /// Micro-batches: their parts follow each other, so nothing moves between them.
  bool isInTime = false;
};

/// Per cut of a tensor: size of the name, millionths of the dimension that hold it.
using Shares = llvm::SmallVector<std::pair<int64_t, int64_t>, 8>;

enum class MoveKind { AllReduce, ReduceScatter, AllToAll, AllGather };

struct Move {
  MoveKind kind;
  double bytes;  ///< of what is moved, as a group holds it
  int64_t group; ///< members
};

/// Largest share of a tensor that a rank holds.
double largestShare(State state, const Shares &shares, llvm::ArrayRef<Axis> axes);
/// Largest share of a name of `size`, held in part, over `members`.
double largestPart(int64_t size, int64_t held, int64_t members);

/// The collectives that lead from one state to another. Axes that move alike
/// share one; slices first, then scatters, gathers last.
llvm::SmallVector<Move, 2> moves(State from, State to, const Shares &shares,
                                 llvm::ArrayRef<Axis> axes, double bytes);

double collectiveSeconds(const Machine &machine, MoveKind kind, double bytes, int64_t group);
int64_t movePrice(const Machine &machine, State from, State to, const Shares &shares,
                  llvm::ArrayRef<Axis> axes, double bytes);
int64_t picoseconds(double seconds);

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_COST_H
