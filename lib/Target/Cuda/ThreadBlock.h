//===- ThreadBlock.h - the threads that run a kernel together -------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CUDA_THREADBLOCK_H
#define CLEAVE_LIB_TARGET_CUDA_THREADBLOCK_H

#include "../Emit/Roots.h"

#include "cleave/Runtime/Program.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace cleave::cuda {

using emit::Emitter;
using emit::Index;
using emit::Team;
using emit::Value;

inline constexpr int64_t kWarp = 32;
/// The address spaces of all memory of the device, of what a block shares, and of what the
/// blocks of a cluster do.
inline constexpr unsigned kGlobalSpace = 1, kSharedSpace = 3, kClusterSpace = 7;

inline int64_t ceilDiv(int64_t count, int64_t by) { return (count + by - 1) / by; }

/// What kernels make use of.
struct Chip {
  bool hasTensorCores; ///< for 16-bit floats, and copies that do not wait
  bool hasByteFloats;  ///< tensor cores that take 8-bit floats as they are
  bool hasGroups;      ///< of warps, that multiply together
  bool beginsEarly;    ///< kernels get ready while those in front of them end
  int64_t multiprocessors;
  bool operator==(const Chip &) const = default;
};

/// How a kernel is started.
struct Launch {
  int64_t blocks = 1, threads = kWarp;
  int64_t sharedBytes = 0;
  emit::Workspace workspace = {};
  int64_t resident = 0; ///< blocks of a multiprocessor, which do the work of `blocks`; 0: any
  llvm::SmallVector<cleave_map, 2> maps = {}; ///< the last arguments, in this order
  bool isEarly = false;              ///< may begin before the kernel in front of it has ended
  bool multipliesByteFloats = false; ///< by tensor cores, as they are
};

/// The view of one thread of a block of `launch.threads`. Scratch of the emitter is
/// memory that the block shares.
class ThreadBlock {
public:
  ThreadBlock(Emitter &emitter, const Launch &launch);

  Team grid() const { return {globalNumber, globalCount}; }
  Team whole() const { return {thread, e.indexConstant(launch.threads)}; }
  Team warp() const { return {lane, e.indexConstant(kWarp)}; }

  /// Everything before is seen by everybody behind it; all threads meet.
  void sync();
  void syncWarp();

  /// Combines `x` over the warp or, with `isWhole`, the block; all threads get it. `slots`
  /// are as many floats of scratch as the block has warps, used for nothing else until all
  /// threads have met once more.
  Value reduce(Value x, mlir::vector::CombiningKind kind, bool isWhole, int64_t slots);

  Value thread; ///< within the block
  Value lane, warpNumber;
  Value number; ///< of the block
  Launch launch;

private:
  Emitter &e;
  Value globalNumber, globalCount;
};

/// The plain pointer to a memref (Lower.cpp).
Value pointerOf(mlir::OpBuilder &builder, mlir::Location loc, Value memory, unsigned space);

/// One of the four reductions of floats.
Value combine(Emitter &emitter, mlir::vector::CombiningKind kind, Value x, Value y);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_THREADBLOCK_H
