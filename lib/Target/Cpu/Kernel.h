//===- Kernel.h - from a function of nn ops to machine code ---*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_KERNEL_H
#define CLEAVE_LIB_TARGET_CPU_KERNEL_H

#include "../Emit/Emitter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"

namespace cleave::cpu {

/// A kernel as loops, in a module of its own.
struct Loops {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  int64_t scratchBytes = 0;
};

Loops emitLoops(mlir::func::FuncOp kernel, const emit::Machine &machine);

/// Lowers to the llvm dialect.
mlir::LogicalResult lowerToLlvm(mlir::ModuleOp module);

/// Machine code of a lowered module, which exports `name` as a cleave_kernel
/// with `numBuffers` buffers; null with a message.
std::unique_ptr<llvm::MemoryBuffer> generateCode(mlir::ModuleOp module, llvm::StringRef name,
                                                 unsigned numBuffers, llvm::TargetMachine &machine);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_KERNEL_H
