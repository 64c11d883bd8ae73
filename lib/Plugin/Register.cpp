//===- Register.cpp - all dialects and passes of Cleave -------------------===//

#include "cleave/Plugin/Register.h"

#include "cleave/Conversion/Passes.h"
#include "cleave/Transforms/Graph/Passes.h"
#include "cleave/Transforms/Kernel/Passes.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Onnx/Onnx.h"
#include "Rt/Rt.h"

void cleave::registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<dist::DistDialect, nn::NnDialect, onnx::OnnxDialect, rt::RtDialect>();
}

void cleave::registerPasses() {
  registerConversionPasses();
  registerGraphPasses();
  registerShardingPasses();
  registerKernelPasses();
}
