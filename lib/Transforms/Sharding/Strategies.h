//===- Strategies.h - what an op may choose, and its price ----*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_STRATEGIES_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_STRATEGIES_H

#include "Cost.h"

#include "Nn/Nn.h"

#include <memory>
#include <string>
#include <unordered_map>

namespace cleave::sharding {

/// Where a value comes from. Constants and weights are whole in a file or in the
/// program, and what follows from them alone is made at load: every reader takes
/// any part free of charge.
enum class Origin { Constant, Weight, Input, Activation };

struct ValueInfo {
  Origin origin;
  double bytes;
  Shares shares;
  /// The only weight that it is made of, if there is one.
  nn::WeightOp root;
};

/// A choice of one axis: a factor of the op, nothing, or a linear set.
inline constexpr int kNothing = -1;
inline constexpr int linearChoice(unsigned set) { return -2 - static_cast<int>(set); }

struct Strategy {
  llvm::SmallVector<State, 4> states; ///< operands, then results
  int64_t price;
  llvm::SmallVector<int, 2> choices; ///< an axis
};

/// The states of one operand or result over the strategies, each once.
struct Projection {
  std::vector<State> states;
  std::vector<unsigned> index; ///< of each strategy, into `states`
};

/// All strategies of an op; equal ops share one.
struct StrategySet {
  unsigned id;
  std::vector<Strategy> strategies;
  std::vector<Projection> projections; ///< operands, then results
};

/// Choices that are held, an axis each, where an op has an entry.
using Held = llvm::DenseMap<mlir::Operation *, llvm::SmallVector<std::optional<int>, 2>>;

class Strategies {
public:
  Strategies(DimNames &names, llvm::ArrayRef<Axis> axes, const Machine &machine,
             mlir::func::FuncOp func, mlir::DictionaryAttr pins);

  const ValueInfo &info(mlir::Value value) { return *infos.at(value); }
  /// Ops that run in every inference, in order.
  llvm::ArrayRef<mlir::Operation *> ops() const { return active; }
  const StrategySet &of(mlir::Operation *op, const Held &held);

  /// What a rank pays for holding its part of a weight.
  double holdSeconds(mlir::Operation *op, mlir::Value weight, State state);
  dist::ShardingAttr sharding(mlir::Value value, State state);
  /// `state` of `from`, said of another value by names; nothing if it lacks one.
  std::optional<State> translate(mlir::Value from, State state, mlir::Value to);
  /// How the weight behind `value` is cut when `value` is in `state`.
  dist::ShardingAttr rootSharding(mlir::Value value, State state);

private:
  void describe(mlir::func::FuncOp func);
  double weightBytes(mlir::Value value);
  nn::WeightOp rootOf(llvm::ArrayRef<nn::WeightOp> weights);
  llvm::SmallVector<llvm::SmallVector<int, 2>> choicesOf(mlir::Operation *op, const Held &held);
  Strategy strategy(mlir::Operation *op, llvm::ArrayRef<int> choices);
  double seconds(mlir::Operation *op, llvm::ArrayRef<int> choices, llvm::ArrayRef<State> states);
  bool cutsWeight(mlir::Operation *op, const CutFactor &factor);
  bool meetsPins(mlir::Operation *op, const Strategy &strategy);
  std::string signature(mlir::Operation *op, const Held &held);

  DimNames &names;
  llvm::ArrayRef<Axis> axes;
  const Machine &machine;
  mlir::DictionaryAttr pins;
  llvm::DenseMap<mlir::Value, std::unique_ptr<ValueInfo>> infos;
  std::vector<mlir::Operation *> active;
  std::unordered_map<std::string, std::unique_ptr<StrategySet>> memo;
  double largestWeight = 0;
};

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_STRATEGIES_H
