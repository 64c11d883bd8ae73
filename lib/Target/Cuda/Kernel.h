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

/// Bytes of which every buffer begins at a multiple: what a thread loads at once.
inline constexpr int64_t kAlignment = 16;

/// How `kernel` is started on `chip`, but for its shared memory.
Launch launchOf(mlir::func::FuncOp kernel, const Chip &chip);
/// Of `launch`, the one of launchOf; `workspace` is what the images of all chips have in common.
DeviceLoops emitLoops(mlir::func::FuncOp kernel, const Chip &chip, Launch launch,
                      const emit::Workspace &workspace);

/// Lowers to the llvm and nvvm dialects. Indices are of 32 bits where all tensors allow it.
mlir::LogicalResult lowerToNvvm(mlir::ModuleOp module);

/// The module for `chip`, optimized, with the parts of libdevice that it calls. It has one
/// kernel `name(buffers…, const int64_t *coordinates, int32_t *fault, maps…)`, where workspace
/// and counters are the last buffers.
llvm::Expected<std::unique_ptr<llvm::Module>> makeModule(mlir::ModuleOp module,
                                                         llvm::LLVMContext &context,
                                                         llvm::StringRef name, const Launch &launch,
                                                         llvm::StringRef chip);

/// What a driver has to be to know `chip` and the PTX of a kernel, as cuDriverGetVersion counts.
uint32_t driverOf(llvm::StringRef chip, const Launch &launch);

/// PTX of a module of `makeModule`.
llvm::Expected<std::string> printPtx(llvm::Module &module, llvm::StringRef chip,
                                     const Launch &launch);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_KERNEL_H
