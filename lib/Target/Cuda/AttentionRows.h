//===- AttentionRows.h - rows of scores in registers of a warp -*- C++ -*-===//
//
// What attention on tensor cores says of its rows, whatever multiplies. A block has rows of
// queries and walks over tiles of keys; scores, their powers and the weighted values stay in
// the registers of a warp, which has 16 or 32 rows whole (Dao et al., FlashAttention). The
// fragments of two products fit together: what the first leaves in a lane is what the second
// takes from it.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_ATTENTIONROWS_H
#define CLEAVE_LIB_TARGET_CUDA_ATTENTIONROWS_H

#include "AttentionResults.h"
#include "Staging.h"

namespace cleave::cuda {

/// How an attention is divided over blocks and their warps.
struct AttentionPlan {
  AttentionPlan(nn::AttentionOp op, const Chip &chip);
  int64_t blocksOfUnit() const { return ceilDiv(rowsOfUnit, rows); }
  int64_t blocks() const { return batches * units * blocksOfUnit(); }
  int64_t tiles() const { return ceilDiv(keys, keyTile.rows); }
  ResultRows results() const { return {std::min(rows, rowsOfUnit), width}; }
  int64_t tileBytes() const {
    return queryTile.bytes() + stages * (keyTile.bytes() + valueTile.bytes());
  }

  int64_t batches, heads, queries, depth, groups, keys, width;
  int64_t units, rowsOfUnit; ///< whose rows see the same keys and values, and how many these are
  bool isGrouped;            ///< whether groups of warps multiply together
  int64_t warps = 4, warpRows = kStep;
  int64_t rows;       ///< of a block
  int64_t deep;       ///< warps that divide the keys of a tile
  int64_t parts;      ///< blocks that divide the tiles of keys
  int64_t stages = 1; ///< tiles of keys, and of values, in shared memory
  SharedTile queryTile, keyTile, valueTile;
};

class AttentionRows {
protected:
  /// Reserves shared memory: first the tile of queries, then those of keys, then of values.
  AttentionRows(Emitter &e, nn::AttentionOp op, ThreadBlock &block, const AttentionPlan &plan);

  Staging staged(Value tensor);
  /// Where a stage of keys or values begins, and where the queries.
  int64_t queryByte() const { return memory * 4; }
  int64_t keyByte(int64_t stage) const;
  int64_t valueByte(int64_t stage) const;

  /// Tiles with keys that any row of the block sees, and that are its part of them.
  std::pair<Value, Value> tilesOfBlock();
  /// Tiles all keys of which are seen by all rows of the block.
  Value tilesWhole();
  /// The tile to byte `to`.
  void fill(Staging &staging, const SharedTile &tile, Value number, Value to);

  /// Of a block of 16 rows and 8 keys the four registers.
  size_t scoreAt(int64_t i, int64_t n) const { return (i * keysOfWarp / kMatrix + n) * 4; }
  /// Scales, caps and masks scores of tile `number`, where the powers cannot.
  void change(mlir::MutableArrayRef<Value> scores, Value number);
  /// Whether keys of a tile may be hidden by their position.
  bool isEverCut() { return isPositional() || plan.keys % plan.keyTile.rows != 0; }
  /// Hides these.
  void hide(mlir::MutableArrayRef<Value> scores, Value number);
  /// Powers instead of scores; `state` are the tops and sums of rows, of which the sums are
  /// those of this lane. Returns what fades the results so far, row by row.
  mlir::SmallVector<Value> weigh(mlir::MutableArrayRef<Value> scores,
                                 mlir::MutableArrayRef<Value> state);
  void fade(mlir::MutableArrayRef<Value> results, mlir::ArrayRef<Value> faded);
  /// The powers of 16 keys, from `k` times 16 on, as the fragment of 16 rows.
  mlir::SmallVector<Value> packed(mlir::ArrayRef<Value> powers, int64_t i, int64_t k);

  /// Tops and sums in front of the first key.
  mlir::SmallVector<Value> emptyState();
  int64_t numResults() const { return down * across * 8; }
  /// `state` and results of all warps, [deep][rows], to shared memory; then rows of them leave in
  /// vectors.
  void finish(mlir::ArrayRef<Value> state, mlir::ArrayRef<Value> results);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  nn::AttentionOp op;
  ThreadBlock &block;
  AttentionPlan plan;
  mlir::Type element;
  Fragments warps;
  Parts parts;
  int64_t down, across; ///< blocks of 16 rows and of 16 values of a warp
  int64_t keysOfWarp;   ///< of a tile
  Index first;          ///< row of this block
  Value warpRow, warpDeep;

private:
  void findRows();
  bool isPositional() { return op.getCausal() || op.getLengths(); }
  Value toWord(Value number);
  Value seenBy(const Index &row);
  Value tilesSeen();
  Index firstKeyOf(Value number);

  Value keyOf(int64_t n);
  void forScores(mlir::MutableArrayRef<Value> scores,
                 mlir::function_ref<void(Value &, int64_t, Value)> body);
  Value overRow(Value x, mlir::vector::CombiningKind kind);
  Value power(Value x);

  int64_t stride;                ///< floats from row to row of the results
  int64_t memory, tops, sums;    ///< of shared memory
  double scoreScale, powerScale; ///< of scores, and of what is a power of 2
  bool isChanged;                ///< whether a score is more than a scaled product
  Index batch, queryBase, keyBase;
  mlir::SmallVector<Index> rowsOfLane; ///< of the unit
  mlir::SmallVector<Value> seen;       ///< keys that each of them sees
};

/// By groups of warps, where the plan says so.
void emitGroupAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                        const AttentionPlan &plan);

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_ATTENTIONROWS_H
