//===- Fragments.h - what tensor cores read and multiply ------*- C++ -*-===//
//
// A warp multiplies A[16, 16] with B[16, 8] of 16-bit floats and adds C[16, 8] of f32
// (mma.sync.m16n8k16). Of each matrix a lane holds a fragment, as the PTX ISA lays it out:
// with g = lane / 4 and q = lane % 4, rows g and g + 8 and columns 2 q and 2 q + 1 of C.
//
// Of 8-bit types it multiplies A[16, 32] with B[32, 8] (m16n8k32), and two neighbours along K
// lie as one element of 16 bits would: what is said of elements of K in tiles, steps and
// fragments is said of such halves of a word. K has to run along the rows of both, since
// what transposes matrices does not take halves apart.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_FRAGMENTS_H
#define CLEAVE_LIB_TARGET_CUDA_FRAGMENTS_H

#include "ThreadBlock.h"

namespace cleave::cuda {

/// Side of the matrices that a lane addresses a row of; elements of 16 bits in 16 bytes.
inline constexpr int64_t kMatrix = 8;
/// What one multiplication takes of rows of A, and of K.
inline constexpr int64_t kStep = 16;

/// Whether what is multiplied has 8 bits.
inline bool isOfBytes(mlir::Type element) { return element.getIntOrFloatBitWidth() == 8; }
/// Elements of K in one of 16 bits.
inline int64_t perHalf(mlir::Type element) { return 16 / element.getIntOrFloatBitWidth(); }

/// What tensor cores of `chip` multiply an operand of `root` as: 8-bit floats as themselves, or
/// as f16, which holds all of them.
mlir::Type factorOf(mlir::Operation *root, unsigned operand, const Chip &chip);

/// Rows of 16-bit elements in shared memory, a power of two of chunks of 16 bytes each. The
/// chunks of a row are permuted by its number, so that the same chunk of 8 rows that follow
/// each other lies in all banks. Long rows may be cut into panels that lie behind each other.
struct SharedTile {
  int64_t rows, columns;
  int64_t panel = 0; ///< columns of one; 0: it has one only
  int64_t bytes() const { return rows * 2 * columns; }
  int64_t rowBytes() const { return 2 * (panel ? panel : columns); }
  int64_t panelBytes() const { return rows * rowBytes(); }
  int64_t chunks() const { return columns / kMatrix; }
};

/// Two f32 rounded to bf16 in one i32; on chips with tensor cores.
Value packBf16(mlir::OpBuilder &b, mlir::Location loc, Value low, Value high);

/// Emits, in i32, what a warp does with its fragments.
class Fragments {
public:
  /// Of `element`, f16 or bf16, or of 8 bits, of which those of B may be `other` ones.
  Fragments(Emitter &emitter, ThreadBlock &block, mlir::Type element, mlir::Type other = {});

  Value number(int64_t constant);
  Value number(const Index &at);
  Value add(Value x, Value y);
  Value add(Value x, int64_t y) { return y == 0 ? x : add(x, number(y)); }
  Value times(Value x, int64_t by);
  Value over(Value x, int64_t by);
  Value modulo(Value x, int64_t by);
  Value flip(Value x, Value bits);
  Value flip(Value x, int64_t bits) { return bits == 0 ? x : flip(x, number(bits)); }
  Value isBelow(Value x, int64_t bound);
  /// A number in [0, extent) as an index.
  Index index(Value number, int64_t extent);

  /// Byte of a tile at which chunk `chunk` of row `row` lies.
  Value place(const SharedTile &tile, Value row, Value chunk);
  /// A byte of shared memory, and its address in 64 bits.
  Value pointer(Value offset);
  Value address(Value offset);
  /// The place that this lane addresses, of four matrices that begin at `row` and `chunk`: the
  /// second of them lies below the first, or to its right.
  Value point(const SharedTile &tile, bool downFirst, Value row, Value chunk);

  /// Copies 16 bytes to byte `to` of shared memory and does not wait; where `isThere` is given
  /// and does not hold, they are zeros. Both places may be some bytes further.
  void copy(Value to, const Emitter::Leaf &from, Value isThere, int64_t toFurther = 0,
            int64_t fromFurther = 0);
  /// What was copied before becomes one group; waits until all but the last `groups` are there.
  void commit();
  void wait(int64_t groups);

  /// Rounds f32, one or a vector of an even number, and stores it to byte `to`; where `element`
  /// has 8 bits, as these.
  void store(Value to, Value x, mlir::Type element);
  /// The bytes of i32, or of f32 that is one of `element`.
  Value bytes(Value x, mlir::Type element);
  /// Stores four bytes.
  void storeWord(Value to, Value x);

  /// Four matrices, 16 by 16 elements, of the tile at byte `from`: `down` and `along` times as
  /// far from where the lanes point; `transposed` each while loading.
  mlir::SmallVector<Value> load(const SharedTile &tile, Value from, Value point, int64_t down,
                                int64_t along, bool transposed);
  /// Adds a b, of one fragment each, to the four sums from `at` on.
  void accumulate(mlir::ValueRange a, mlir::ValueRange b, mlir::MutableArrayRef<Value> sums,
                  size_t at);
  /// Stores 16 rows of sums, in the order of column blocks of 8 and registers, to scratch from
  /// `memory` on, with `stride` from row to row and the first at `place`.
  void spill(llvm::ArrayRef<Value> sums, int64_t memory, const Index &place, int64_t stride);
  /// Two f32 rounded into one register.
  Value pack(Value low, Value high);
  /// Whether tensor cores hold sums of fewer bits than f32 has: then they are added up elsewhere,
  /// each at most 128 products of K.
  bool addsCoarsely() const { return nn::isByteFloat(element); }

  /// Numbers of this lane, warp and thread.
  Value lane, warp, thread;

private:
  Value further(Value pointer, int64_t bytes);
  mlir::SmallVector<Value> members(Value four);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type element, other, word;
  Value shared;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_FRAGMENTS_H
