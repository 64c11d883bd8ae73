//===- Pipelines.h - the phases, each a list of passes --------*- C++ -*-===//

#ifndef CLEAVE_PIPELINES_PIPELINES_H
#define CLEAVE_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"

#include <map>
#include <string>

namespace cleave {

struct GraphOptions {
  /// Sizes of symbolic dimensions, by name.
  std::map<std::string, int64_t> dims;
  /// Of those that are not in `dims`; corrected where the graph shows other ones.
  std::map<std::string, int64_t> guesses = {};
};

/// onnx -> nn, recognised.
void buildGraphPipeline(mlir::OpPassManager &passes, const GraphOptions &options);

struct ShardOptions {
  /// As in `dp=2,tp=4`; empty for one rank.
  std::string mesh;
  /// An axis that cuts nothing is an error.
  bool strict = false;
  /// Parts of the batch that follow each other.
  int64_t microBatches = 1;
  /// Chunks of the model a stage, of a mesh with an axis `pp`.
  int64_t virtualStages = 1;
  /// Ranks are GPUs, between which large sums travel beside their products, and small
  /// ones are gathered.
  bool areGpus = false;
};

/// nn -> one nn + dist program a class of ranks, for one rank too. Weights are cut as
/// the module's `dist.weights` says, where it says so.
void buildShardPipeline(mlir::OpPassManager &passes, const ShardOptions &options);

} // namespace cleave

#endif // CLEAVE_PIPELINES_PIPELINES_H
