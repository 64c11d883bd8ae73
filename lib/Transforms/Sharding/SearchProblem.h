//===- SearchProblem.h - a graph as a sum of tables -----------*- C++ -*-===//
//
// Variables: for each op its strategy, for each value with several readers (or
// an output, or a cache) the state in which it is kept. Tables: the price of a
// strategy, and of moving a value from its producer to where it is kept, and
// from there to a reader. What is kept whole everyone may slice for free, so one
// collective for all readers is found exactly.
//
// An output that extends an input (a cache) is tied to it: the next step finds
// it as this step leaves it.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_SEARCHPROBLEM_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_SEARCHPROBLEM_H

#include "Eliminate.h"
#include "Strategies.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "llvm/ADT/MapVector.h"

namespace cleave::sharding {

/// What the model calls the dimensions of an input, "" where the size is fixed.
llvm::SmallVector<std::string> inputDims(mlir::func::FuncOp func, mlir::BlockArgument argument);

class SearchProblem {
public:
  SearchProblem(mlir::func::FuncOp func, DimNames &names, llvm::ArrayRef<Axis> axes,
                const SearchRequest &request);

  /// Nothing if the tables grow too large.
  std::optional<Problem::Solution> solve(const Held &held);
  /// What the last solution chose.
  llvm::ArrayRef<int> choices(mlir::Operation *op) { return chosen.at(op)->choices; }
  /// Writes the last solution onto the ops.
  void annotate(dist::MeshAttr mesh);
  llvm::ArrayRef<mlir::Operation *> ops() { return strategies.ops(); }
  /// Whether the last solution cuts anything over `axis`.
  bool cuts(unsigned axis);
  /// The dimension of `argument` that the last solution cuts over `axis`, if
  /// there is one.
  std::optional<int64_t> cutDimension(mlir::BlockArgument argument, unsigned axis);

private:
  /// Leaves the names that the last solution cuts on the module.
  void recordCuts(dist::MeshAttr mesh);

  struct Reader {
    mlir::Operation *op;
    unsigned operand;
  };
  struct Kept {
    unsigned variable;
    std::vector<State> states;
  };

  void addOps(const Held &held);
  void addValues();
  void addValue(mlir::Value value, llvm::ArrayRef<Reader> readers, bool isOutput, bool isLight);
  void tieCaches();
  void tieWeights();
  llvm::DenseSet<mlir::Value> lightValues();

  Problem::Table moveTable(mlir::Value value, unsigned fromSet, const Projection *from,
                           llvm::ArrayRef<State> fromStates, unsigned toSet, const Projection *to,
                           llvm::ArrayRef<State> toStates);
  const Projection &readerStates(const Reader &reader) {
    return sets.at(reader.op)->projections[reader.operand];
  }

  mlir::func::FuncOp func;
  DimNames &names;
  llvm::ArrayRef<Axis> axes;
  const Machine &machine;
  Strategies strategies;
  llvm::MapVector<mlir::Value, mlir::Value> caches;

  std::optional<Problem> problem;
  llvm::DenseMap<mlir::Operation *, unsigned> variables;
  llvm::DenseMap<mlir::Operation *, const StrategySet *> sets;
  llvm::DenseMap<mlir::Value, Kept> kept;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<Reader, 2>> readersOf;
  std::unordered_map<std::string, Problem::Table> tables;

  llvm::DenseMap<mlir::Operation *, const Strategy *> chosen;
  llvm::DenseMap<mlir::Value, State> keptState;
};

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_SEARCHPROBLEM_H
