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

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_LOCALIZEOPS_H
