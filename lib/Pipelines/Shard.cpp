//===- Shard.cpp - nn to one program a class of ranks ---------------------===//

#include "cleave/Pipelines/Pipelines.h"
#include "cleave/Transforms/Sharding/Passes.h"

using namespace mlir;
using namespace cleave;

void cleave::buildShardPipeline(OpPassManager &passes, const ShardOptions &options) {
  SearchOptions search;
  search.mesh = options.mesh;
  search.strict = options.strict;
  search.pinned = true;
  search.microBatches = options.microBatches;
  passes.addPass(createSearch(search));
  passes.addPass(createLocalize());
  PipelineOptions pipeline;
  pipeline.virtualStages = options.virtualStages;
  pipeline.strict = options.strict;
  passes.addPass(createPipeline(pipeline));
  if (options.areGpus) {
    passes.addPass(createOverlap());
    passes.addPass(createOneShot());
  }
}
