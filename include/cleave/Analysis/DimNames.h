//===- DimNames.h - equal dimensions have one name ------------*- C++ -*-===//
//
// Every dimension of every tensor gets a name, and the sharding rules say which
// names are one: a union-find that knows products and concatenations. A head
// split turns 64 into (4 heads, 16 lanes) wherever that 64 occurs, weights
// included; a fused QKV is the concatenation of three segments with one head
// name. Of a model of 9,000 nodes a few hundred names are left.
//
// A tensor is cut at a name, at its place in one dimension: scores are
// [b, h, s, s], with one name twice. What an op allows follows from its rule.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_ANALYSIS_DIMNAMES_H
#define CLEAVE_ANALYSIS_DIMNAMES_H

#include "Dist/Dist.h"
#include "Nn/ShardingRule.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

#include <deque>

namespace cleave {

/// A set of indices 0 … size - 1. Sizes of 0 and 1 have no name worth a cut.
struct DimName {
  enum Kind { Leaf, Product, Concat };
  int64_t size;
  unsigned id;
  Kind kind = Leaf;
  DimName *up = nullptr;                     ///< of the union-find; roots have none
  llvm::SmallVector<DimName *, 2> kids = {}; ///< major to minor, or one behind the other
};

/// Parts of a dimension are counted in millionths.
inline constexpr int64_t kWhole = 1000000;

/// One way to cut a tensor: factor number `position` of dimension `dim`, at `name`.
struct Cut {
  int64_t dim;
  unsigned position;
  const DimName *name;
  /// How much of the dimension holds the name: below kWhole some segments of a
  /// concatenation do not and stay whole on every rank.
  int64_t held = kWhole;
};

/// One way to cut an op.
struct CutFactor {
  nn::FactorKind kind;
  int64_t size;
  int64_t held;
  /// (operands first, then results; number in cuts()), in that order.
  llvm::SmallVector<std::pair<unsigned, unsigned>, 4> places;
  llvm::SmallVector<int64_t, 2> extraBytes;
};

/// What one or several axes do to a tensor: the axes of a cut, by its number.
using Marks = llvm::SmallVector<std::pair<unsigned, mlir::StringAttr>, 2>;

class DimNames {
public:
  /// Names the dimensions of all values of `func`. Fails at an op without a rule.
  mlir::LogicalResult run(mlir::func::FuncOp func);

  /// All ways to cut `value`.
  llvm::ArrayRef<Cut> cuts(mlir::Value value);
  /// All ways to cut `op`.
  llvm::ArrayRef<CutFactor> factors(mlir::Operation *op) { return opFactors[op]; }
  const nn::ShardingRule &rule(mlir::Operation *op) { return rules[op]; }

  /// The factors of dimension `dim`, major to minor.
  llvm::SmallVector<const DimName *> dimension(mlir::Value value, int64_t dim);

  /// `value` cut as `marks` say.
  dist::ShardingAttr sharding(mlir::Value value, const Marks &marks,
                              llvm::ArrayRef<mlir::StringAttr> partial);

  /// Names that stand for themselves, as a measure.
  unsigned getNumNames();

private:
  using Names = llvm::SmallVector<DimName *, 4>;

  DimName *make(int64_t size);
  Names &namesOf(mlir::Value value);
  Names namesOf(mlir::Operation *op, const nn::DimGroup &group);
  mlir::LogicalResult name(mlir::Operation *op);
  void expand(mlir::Operation *op);
  void expandAligned(mlir::Operation *op, const nn::Factor &factor);
  void expandConcat(mlir::Operation *op, const nn::Factor &factor);

  void unify(Names a, Names b);
  bool join(DimName *a, DimName *b);
  bool joinConcat(DimName *a, DimName *b);

  std::deque<DimName> arena;
  llvm::DenseMap<mlir::Value, Names> dims;
  // Vectors keep their elements in place when the map grows.
  llvm::DenseMap<mlir::Value, std::vector<Cut>> valueCuts;
  llvm::DenseMap<mlir::Operation *, nn::ShardingRule> rules;
  llvm::DenseMap<mlir::Operation *, std::vector<CutFactor>> opFactors;
  /// Of the groups with a split, in the order of the rule: the names of its factors.
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<Names, 2>> splitNames;
  /// Of the concatenations, in the order of the rule: the names of the parts.
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<Names, 1>> concatParts;
  size_t splitCursor = 0, concatCursor = 0; ///< while an op's factors are expanded
};

} // namespace cleave

#endif // CLEAVE_ANALYSIS_DIMNAMES_H
