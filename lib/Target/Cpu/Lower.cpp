//===- Lower.cpp - loops and vectors become the llvm dialect --------------===//

#include "../Emit/Lower.h"
#include "Kernel.h"

#include "mlir/Conversion/MathToLibm/MathToLibm.h"

using namespace mlir;

LogicalResult cleave::cpu::lowerToLlvm(ModuleOp module) {
  return emit::lowerToLlvm(
      module, /*indexBits=*/64,
      [](LLVMTypeConverter &, RewritePatternSet &patterns, ConversionTarget &) {
        // A library serves f64 where there is no intrinsic, and nothing else.
        populateMathToLibmConversionPatterns(patterns, /*benefit=*/1);
      });
}
