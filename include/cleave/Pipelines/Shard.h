//===- Shard.h - the shard phase: nn to nn and dist -----------*- C++ -*-===//

#ifndef CLEAVE_PIPELINES_SHARD_H
#define CLEAVE_PIPELINES_SHARD_H

#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/IR/BuiltinOps.h"

namespace cleave {

/// Makes `module`, whose function main is nn on whole tensors, a program for each
/// class of ranks. Weights have one layout and decoding decides it: where
/// `decode`, the same model bound to the sizes of one decode step, is given, the
/// cuts of its weights are found first and followed. `decode` gets attributes.
mlir::LogicalResult shard(mlir::ModuleOp module, SearchRequest request,
                          mlir::ModuleOp decode = nullptr);

} // namespace cleave

#endif // CLEAVE_PIPELINES_SHARD_H
