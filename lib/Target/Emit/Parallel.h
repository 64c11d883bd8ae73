//===- Parallel.h - kernels are compiled side by side ---------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_PARALLEL_H
#define CLEAVE_LIB_TARGET_EMIT_PARALLEL_H

#include "mlir/IR/MLIRContext.h"

namespace cleave::emit {

/// Calls `work` with each number below `count` on `threads` threads, 0 being all that this
/// process may use; all may build IR in `context`. Fails where one does, after all.
mlir::LogicalResult forAll(mlir::MLIRContext &context, size_t count, unsigned threads,
                           mlir::function_ref<mlir::LogicalResult(size_t)> work);

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_PARALLEL_H
