//===- Grouping.h - which ops make one kernel -----------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_KERNEL_GROUPING_H
#define CLEAVE_LIB_TRANSFORMS_KERNEL_GROUPING_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"

#include <memory>
#include <vector>

namespace cleave::kernel {

/// The root decides which emitter a target uses.
enum class RootKind { Contraction, Row, Attention, Window, Scatter, Elementwise };

RootKind rootKind(mlir::Operation *op);

/// Elementwise and movement ops, which are computed element by element from
/// wherever they are needed.
bool isPullable(mlir::Operation *op);

struct Group {
  RootKind kind;
  mlir::Operation *root;
  std::vector<mlir::Operation *> ops; ///< the root among them, in no order
};

/// The groups of a block of nn ops and commands. Constants, weights, and views
/// between groups belong to none.
class Grouping {
public:
  /// Views that do not begin at a multiple of `alignment` bytes are code.
  Grouping(mlir::Block &block, int64_t alignment);

  Group *of(mlir::Operation *op) const { return groupOf.lookup(op); }
  const std::vector<std::unique_ptr<Group>> &all() const { return groups; }

  /// The collective or transfer that `op`, if it is one, has to follow.
  mlir::Operation *commandBefore(mlir::Operation *op) const { return before.lookup(op); }

private:
  Group *create(mlir::Operation *root, RootKind kind);
  void add(Group *group, mlir::Operation *op);
  void follow(Group &group);
  void lead(mlir::Operation *op);
  void releaseViews(int64_t alignment);
  bool accepts(Group &group, mlir::Operation *op) const;
  /// Finds the ops that make weights larger, which SplitLoad left in main: whoever reads
  /// what they give computes it.
  void findWidening();
  void duplicateViews();
  /// How often `group` computes each element of `op`, about.
  double evaluations(Group &group, mlir::Operation *op) const;
  /// Whether any value that enters `group`, or `op`, depends on what leaves
  /// them: together they could then not run at one time.
  bool makesCycle(Group &group, mlir::Operation *op) const;
  /// The last position that can run together with one at or before `at`.
  int64_t reach(int64_t at) const;

  mlir::Block &block;
  llvm::DenseMap<mlir::Operation *, Group *> groupOf;
  llvm::DenseSet<mlir::Operation *> widening;
  llvm::DenseMap<mlir::Operation *, int64_t> position;
  /// Of all groups with an op at or before a position, the last position.
  std::vector<int64_t> latest;
  /// Collectives keep their order: each depends on the one before it.
  llvm::DenseMap<mlir::Operation *, mlir::Operation *> before;
  std::vector<std::unique_ptr<Group>> groups;
};

} // namespace cleave::kernel

#endif // CLEAVE_LIB_TRANSFORMS_KERNEL_GROUPING_H
