//===- Kernel.h - from a function of nn ops to code for a GPU -*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_KERNEL_H
#define CLEAVE_LIB_TARGET_CUDA_KERNEL_H

#include "ThreadBlock.h"

#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"

namespace cleave::cuda {

/// What one thread does, in a module of its own, and how many of them there are.
struct DeviceLoops {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  Launch launch;
};

/// The chips that a kernel is for. It is started in one way on all of them, so what it does
/// is what all of them can.
struct Chips {
  unsigned oldest;        ///< capability, as 80
  bool hasGroups = false; ///< all multiply by groups of warps
};
DeviceLoops emitLoops(mlir::func::FuncOp kernel, const Chips &chips);

/// Lowers to the llvm and nvvm dialects. Indices are of 32 bits where all tensors allow it.
mlir::LogicalResult lowerToNvvm(mlir::ModuleOp module);

/// The module for `chip`, optimized, with the parts of libdevice that it calls. It has one
/// kernel `name(buffers…, const int64_t *coordinates, int32_t *fault)`.
llvm::Expected<std::unique_ptr<llvm::Module>> makeModule(mlir::ModuleOp module,
                                                         llvm::LLVMContext &context,
                                                         llvm::StringRef name, const Launch &launch,
                                                         llvm::StringRef chip);

/// PTX of a module of `makeModule`.
llvm::Expected<std::string> printPtx(llvm::Module &module, llvm::StringRef chip);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_KERNEL_H
