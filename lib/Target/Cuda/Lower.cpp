//===- Lower.cpp - what a thread does becomes the nvvm dialect ------------===//

#include "../Emit/Lower.h"
#include "Kernel.h"

#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;

namespace {

/// The plain pointer of a memref, for instructions that know no memrefs.
struct LowerPointer : OpConversionPattern<UnrealizedConversionCastOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(UnrealizedConversionCastOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    if (!isa<MemRefType>(op.getInputs().front().getType()))
      return failure();
    MemRefDescriptor memory(adaptor.getInputs().front());
    rewriter.replaceOp(op, memory.alignedPtr(rewriter, op.getLoc()));
    return success();
  }
};

} // namespace

/// Whether all memory of `module` lies within reach of a signed index of 32 bits.
static bool isNear(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>())
    for (Type type : function.getArgumentTypes())
      if (auto memory = dyn_cast<MemRefType>(type);
          memory && memory.getNumElements() >= int64_t(1) << 31)
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
        populateNVVMToLLVMConversionPatterns(patterns);
        patterns.add<LowerPointer>(converter, patterns.getContext());
        target.addIllegalOp<UnrealizedConversionCastOp>();
        target.addLegalDialect<NVVM::NVVMDialect>();
        // They have no intrinsics.
        target.addIllegalOp<NVVM::MBarrierTryWaitParityOp, NVVM::WgmmaMmaAsyncOp>();
      });
}
