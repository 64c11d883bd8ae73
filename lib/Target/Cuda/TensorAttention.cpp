//===- TensorAttention.cpp - softmax(q kᵀ) v on tensor cores --------------===//
//
// Each warp multiplies its own rows (mma.sync). Keys and values have one tile each in shared
// memory; values arrive while scores are computed, the next keys while values are weighted.
//
// With few queries (decoding), all query heads that share keys are rows of one block, and
// its warps divide the keys of a tile, and where such blocks are few several divide the tiles
// (Parts.h); their shares of a row are combined at the end.
//
//===----------------------------------------------------------------------===//

#include "AttentionRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

/// The longest rows whose tiles fit into the shared memory that needs no asking.
static constexpr int64_t kDepth = 128;

namespace {

class TensorAttention : AttentionRows {
public:
  TensorAttention(Emitter &e, nn::AttentionOp op, ThreadBlock &block, const AttentionPlan &plan)
      : AttentionRows(e, op, block, plan), keys(staged(op.getKey())),
        values(staged(op.getValue())) {}

  void run() {
    Value queryAt = warps.number(queryByte());
    keyAt = warps.number(keyByte(0)), valueAt = warps.number(valueByte(0));
    Staging queries = staged(op.getQuery());
    queries.fill(plan.queryTile, first, 0, queryAt);
    auto [begin, end] = tilesOfBlock();
    fillKeys(begin, end);
    warps.commit();
    warps.wait(0);
    block.sync();
    point();
    for (int64_t k = 0; k < ceilDiv(plan.depth, kStep); ++k)
      for (int64_t i = 0; i < down; ++i)
        query.push_back(warps.load(plan.queryTile, queryAt, queryPoint, i, k,
                                   /*transposed=*/false));

    SmallVector<Value> carried = emptyState();
    size_t numState = carried.size();
    carried.append(numResults(), e.zero(1));
    carried = e.loop(begin, end, 1, carried, [&, end = end](Value number, ValueRange before) {
      SmallVector<Value> after(before);
      MutableArrayRef<Value> all = after;
      step(number, end, all.take_front(numState), all.drop_front(numState));
      return after;
    });
    finish(ArrayRef(carried).take_front(numState), ArrayRef(carried).drop_front(numState));
  }

private:
  /// Where this lane finds its rows of all three.
  void point() {
    Value none = warps.number(int64_t(0)), firstKey = warps.times(warpDeep, keysOfWarp);
    queryPoint = warps.point(plan.queryTile, /*downFirst=*/true, warpRow, none);
    keyPoint = warps.point(plan.keyTile, /*downFirst=*/false, firstKey, none);
    valuePoint = warps.point(plan.valueTile, /*downFirst=*/true, firstKey, none);
  }

  /// Tile `number`, if it is in front of `end`.
  void fillKeys(Value number, Value end) {
    e.when(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, number, end),
           [&] { fill(keys, plan.keyTile, number, keyAt); });
  }

  /// Compares positions only in tiles that hold hidden keys; that is the same for all threads.
  void hideIfCut(SmallVector<Value> &scores, Value number) {
    if (!isEverCut())
      return;
    Value isCut = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::uge, number, tilesWhole());
    SmallVector<Type> types(scores.size(), b.getF32Type());
    auto branch = scf::IfOp::create(b, loc, types, isCut, /*addThenBlock=*/true,
                                    /*addElseBlock=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.elseBlock());
    scf::YieldOp::create(b, loc, scores);
    b.setInsertionPointToStart(branch.thenBlock());
    hide(scores, number);
    scf::YieldOp::create(b, loc, scores);
    llvm::copy(branch.getResults(), scores.begin());
  }

  void step(Value number, Value end, MutableArrayRef<Value> state, MutableArrayRef<Value> results) {
    // Keys are there; nobody reads the values before.
    warps.wait(0);
    block.sync();
    fill(values, plan.valueTile, number, valueAt);
    warps.commit();
    SmallVector<Value> scores = multiplyKeys();
    change(scores, number);
    hideIfCut(scores, number);
    fade(results, weigh(scores, state));
    // Values are there; nobody reads the keys.
    warps.wait(0);
    block.sync();
    fillKeys(arith::AddIOp::create(b, loc, number, e.indexConstant(1)), end);
    warps.commit();
    multiplyValues(scores, results);
  }

  SmallVector<Value> multiplyKeys() {
    SmallVector<Value> scores(down * keysOfWarp / kMatrix * 4, e.zero(1));
    for (int64_t k = 0; k < ceilDiv(plan.depth, kStep); ++k)
      for (int64_t n = 0; n < keysOfWarp / kStep; ++n) {
        SmallVector<Value> both =
            warps.load(plan.keyTile, keyAt, keyPoint, n, k, /*transposed=*/false);
        for (int64_t i = 0; i < down; ++i)
          for (int64_t half = 0; half < 2; ++half)
            warps.accumulate(query[k * down + i], ValueRange(both).slice(2 * half, 2), scores,
                             scoreAt(i, 2 * n + half));
      }
    return scores;
  }

  void multiplyValues(ArrayRef<Value> powers, MutableArrayRef<Value> results) {
    for (int64_t k = 0; k < keysOfWarp / kStep; ++k) {
      SmallVector<SmallVector<Value>> left;
      for (int64_t i = 0; i < down; ++i)
        left.push_back(packed(powers, i, k));
      for (int64_t j = 0; j < across; ++j) {
        SmallVector<Value> both =
            warps.load(plan.valueTile, valueAt, valuePoint, k, j, /*transposed=*/true);
        for (int64_t i = 0; i < down; ++i)
          for (int64_t half = 0; half < 2; ++half)
            warps.accumulate(left[i], ValueRange(both).slice(2 * half, 2), results,
                             (i * 2 * across + 2 * j + half) * 4);
      }
    }
  }

  Staging keys, values;
  Value keyAt, valueAt, queryPoint, keyPoint, valuePoint;
  SmallVector<SmallVector<Value>> query;
};

} // namespace

bool cleave::cuda::isTensorAttention(nn::AttentionOp op, const Chip &chip) {
  auto typeOf = [](Value tensor) {
    return cast<RankedTensorType>(tensor.getType()).getElementType();
  };
  Type element = typeOf(op.getQuery());
  int64_t depth = Emitter::shape(op.getQuery())[3], width = Emitter::shape(op.getValue())[3];
  return chip.hasTensorCores && (element.isF16() || element.isBF16()) &&
         typeOf(op.getKey()) == element && typeOf(op.getValue()) == element &&
         Emitter::size(op.getKey()) > 0 && depth <= kDepth && width <= kDepth;
}

Launch cleave::cuda::launchTensorAttention(nn::AttentionOp op, const Chip &chip) {
  AttentionPlan plan(op, chip);
  return launchParts(plan.blocks(), plan.parts, plan.warps * kWarp, plan.results().floats());
}

void cleave::cuda::emitTensorAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                                       const Chip &chip) {
  AttentionPlan plan(root, chip);
  if (plan.isGrouped)
    return emitGroupAttention(emitter, root, block, plan);
  TensorAttention(emitter, root, block, plan).run();
}
