//===- Lower.cpp - what a thread does becomes the nvvm dialect ------------===//

#include "../Emit/Lower.h"
#include "Kernel.h"

#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;

/// Whether all memory of `module` lies within reach of a signed index of 32 bits.
static bool isNear(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>())
    for (Type type : function.getArgumentTypes())
      if (cast<MemRefType>(type).getNumElements() >= int64_t(1) << 31)
        return false;
  return true;
}

LogicalResult cleave::cuda::lowerToNvvm(ModuleOp module) {
  return emit::lowerToLlvm(
      module, isNear(module) ? 32 : 64,
      [](LLVMTypeConverter &converter, RewritePatternSet &patterns, ConversionTarget &target) {
        configureGpuToNVVMTypeConverter(converter);
        populateGpuToNVVMConversionPatterns(converter, patterns);
        // LLVM has no code for its own intrinsics of these.
        populateLibDeviceConversionPatterns(converter, patterns, emit::kMathBenefit + 1);
        target.addLegalDialect<NVVM::NVVMDialect>();
      });
}
