//===- Graph.cpp - onnx to recognised nn ----------------------------------===//

#include "cleave/Conversion/Passes.h"
#include "cleave/Pipelines/Pipelines.h"
#include "cleave/Transforms/Graph/Passes.h"

#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace cleave;

void cleave::buildGraphPipeline(OpPassManager &passes, const GraphOptions &options) {
  OnnxToNnOptions conversion;
  for (const auto &[name, size] : options.dims)
    conversion.dims.push_back(name + "=" + std::to_string(size));
  for (const auto &[name, size] : options.guesses)
    conversion.guesses.push_back(name + "=" + std::to_string(size));
  passes.addPass(createOnnxToNn(conversion));

  OpPassManager &graph = passes.nest<func::FuncOp>();
  graph.addPass(createCSEPass());
  // Norms first: they break the long elementwise chains.
  graph.addPass(createFuseNorms());
  graph.addPass(createCanonicalizerPass());
  graph.addPass(createFuseActivations());
  graph.addPass(createFuseRope());
  graph.addPass(createCanonicalizerPass());
  graph.addPass(createFuseAttention());
  graph.addPass(createCanonicalizerPass());
  graph.addPass(createMultiplyBytes());
  graph.addPass(createCSEPass());
}
