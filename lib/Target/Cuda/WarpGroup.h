//===- WarpGroup.h - products of four warps -------------------*- C++ -*-===//
//
// From sm_90a on four warps multiply together (wgmma): A[64, 16] with B[16, n], both of
// 16-bit floats in shared memory, each warp 16 of the rows. It goes on while the warps do
// something else, until they wait.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_WARPGROUP_H
#define CLEAVE_LIB_TARGET_CUDA_WARPGROUP_H

#include "Fragments.h"

namespace cleave::cuda {

/// Warps of a group, and rows that they multiply.
inline constexpr int64_t kGroupWarps = 4, kGroupRows = 64;
/// Elements of a row that a tile for groups keeps together: 128 bytes.
inline constexpr int64_t kPanel = 64;

class WarpGroup {
public:
  WarpGroup(Emitter &emitter, Fragments &warps, mlir::Type element)
      : e(emitter), b(e.builder), loc(e.loc), warps(warps), element(element) {}

  /// Where an operand lies, in shared memory from byte `at` on, which is a multiple of 1024.
  /// Its rows are along K if it `isDeep`, else K is down.
  Value describe(const SharedTile &tile, bool isDeep, Value at);

  /// What threads have brought to shared memory can be multiplied once they have met.
  void publish();
  /// Begins to add products of `depth` of K to the sums: of each column block of 8, the four
  /// registers of a fragment.
  mlir::SmallVector<Value> multiply(Value left, bool leftIsDeep, Value right, bool rightIsDeep,
                                    int64_t depth, mlir::ValueRange sums);
  /// Waits for all products but those that were begun last, `count` times.
  void wait(int64_t count);

private:
  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  Fragments &warps;
  mlir::Type element;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_WARPGROUP_H
