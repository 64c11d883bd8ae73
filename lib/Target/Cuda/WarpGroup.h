//===- WarpGroup.h - products of four warps -------------------*- C++ -*-===//
//
// From sm_90a on four warps multiply together (wgmma): A[64, 16] with B[16, n], of 16-bit
// floats, or twice as much of K of bytes, each warp 16 of the rows. B is in shared memory, A too
// or in registers. It goes on
// while the warps do something else, until they wait.
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
  /// Of the types of A and B, as `Fragments`.
  WarpGroup(Emitter &emitter, Fragments &warps, mlir::Type element, mlir::Type other = {})
      : e(emitter), b(e.builder), loc(e.loc), warps(warps), element(element),
        other(other ? other : element) {}

  /// The number of this group, of which ptxas sees that a warp has it in common: what is computed
  /// with it is then computed once for all lanes, as descriptors want it.
  Value number();

  /// An operand in shared memory. Its rows are along K if it `isDeep`, else K is down.
  struct Operand {
    Value descriptor;
    bool isDeep;
    int64_t panelBytes;
  };
  /// The one that begins at byte `at`, a multiple of 1024.
  Operand describe(const SharedTile &tile, bool isDeep, Value at);

  /// What threads have brought to shared memory can be multiplied once they have met.
  void publish();
  /// Begins to add products of `depth` of K to the sums: of each column block of 8, the four
  /// registers of a fragment.
  mlir::SmallVector<Value> multiply(const Operand &left, const Operand &right, int64_t depth,
                                    mlir::ValueRange sums);
  /// The same, to nothing.
  mlir::SmallVector<Value> multiply(const Operand &left, const Operand &right, int64_t depth,
                                    int64_t columns);
  /// The same with A in registers, four for each 16 of K as in a fragment.
  mlir::SmallVector<Value> multiply(mlir::ValueRange left, const Operand &right,
                                    mlir::ValueRange sums);
  /// Waits for all products but those that were begun last, `count` times.
  void wait(int64_t count);
  /// The same; returns the sums of those waited for, which nothing reads before.
  mlir::SmallVector<Value> wait(int64_t count, mlir::ValueRange sums);
  /// What makes registers is in front of this, what uses them behind.
  mlir::SmallVector<Value> pin(mlir::ValueRange registers);

private:
  mlir::SmallVector<Value> multiply(const Operand &left, const Operand &right, int64_t depth,
                                    mlir::ValueRange sums, bool adds);
  Value step(const Operand &from, int64_t number);
  mlir::SmallVector<Value> members(Value all);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  Fragments &warps;
  mlir::Type element, other;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_WARPGROUP_H
