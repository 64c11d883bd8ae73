//===- LocalizeOps.h - an op on the parts of its operands -----*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_LOCALIZEOPS_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_LOCALIZEOPS_H

#include "Reshard.h"

namespace cleave::sharding {

/// An op of the whole program, what a rank holds of its operands, and how they
/// and the results are cut.
struct LocalOp {
  mlir::Operation *op;
  llvm::SmallVector<mlir::Value, 4> operands;
  llvm::SmallVector<dist::ShardingAttr, 4> taken, given;
};

/// Builds what a rank computes of `local.op`; fails, with a message, at a cut
/// that the op cannot carry.
mlir::FailureOr<llvm::SmallVector<mlir::Value>> localizeOp(mlir::OpBuilder &builder,
                                                           Reshard &reshard, const LocalOp &local);

/// How the operands of `op`, which follows from weights and constants alone, have to be cut
/// for its result to be as `sharding` says; nothing where no cut of theirs gives that.
std::optional<llvm::SmallVector<dist::ShardingAttr>>
sourceShardings(mlir::Operation *op, dist::ShardingAttr sharding, dist::MeshAttr mesh);

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_LOCALIZEOPS_H
