//===- GroupAttention.cpp - softmax(q kᵀ) v by groups of warps ------------===//
//
// Each group of four warps has 64 rows of queries in shared memory, and its scores and results
// in registers. Powers are multiplied with the values straight from registers. Of keys and of
// values two tiles each are in shared memory, one that is multiplied and one on its way.
//
// The products of one tile are always at work while another's scores become powers (Shah et
// al., FlashAttention-3): values of a tile are multiplied while the scores of the next are
// weighed, whose keys were multiplied in front of them.
//
//===----------------------------------------------------------------------===//

#include "AttentionRows.h"
#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

namespace {

class GroupAttention : AttentionRows {
public:
  GroupAttention(Emitter &e, nn::AttentionOp op, ThreadBlock &block, const AttentionPlan &plan)
      : AttentionRows(e, op, block, plan), group(e, warps, element), keys(staged(op.getKey())),
        values(staged(op.getValue())) {}

  void run() {
    auto [begin, end] = tilesOfBlock();
    SmallVector<Value> state = emptyState(), results(numResults(), e.zero(1));
    // Of a part of the tiles there may be none.
    Value isAny = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, begin, end);
    SmallVector<Value> none = state;
    llvm::append_range(none, results);
    auto branch = scf::IfOp::create(b, loc, ValueRange(none).getTypes(), isAny,
                                    /*addThenBlock=*/true, /*addElseBlock=*/true);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(b, loc, none);
      b.setInsertionPointToStart(branch.thenBlock());
      walk(begin, end, state, results);
      llvm::append_range(state, results);
      scf::YieldOp::create(b, loc, state);
    }
    e.forget();
    SmallVector<Value> all(branch.getResults());
    finish(ArrayRef(all).drop_back(numResults()), ArrayRef(all).take_back(numResults()));
  }

private:
  /// All tiles; there is one at least.
  void walk(Value begin, Value end, SmallVector<Value> &state, SmallVector<Value> &results) {
    Value last = arith::SubIOp::create(b, loc, end, e.indexConstant(1));
    // The rows of the group are as many in each panel.
    queryAt = warps.add(warps.times(group.number(), kGroupRows * 2 * kPanel), queryByte());
    Staging queries = staged(op.getQuery());
    queries.fill(plan.queryTile, first, 0, warps.number(queryByte()));
    fill(keys, plan.keyTile, begin, byteOf(begin, keyByte(0), plan.keyTile));
    warps.commit();
    fillBehind(begin, last);
    warps.wait(1);
    group.publish();
    block.sync();
    SmallVector<Value> scores = group.wait(0, multiplyKeys(begin));
    change(scores, begin);
    if (isEverCut())
      hide(scores, begin);
    Tile tile{state, {}, {}, scores, results};
    weigh(tile);
    auto step = [&](bool isCut) {
      return [&, isCut](Value number, ValueRange before) {
        Tile tile = Tile::from(before, *this);
        multiply(number, last, isCut, tile);
        return tile.all();
      };
    };
    // Positions are compared only in tiles that hold hidden keys.
    Value middle = last;
    if (isEverCut()) {
      middle = arith::SubIOp::create(b, loc, tilesWhole(), e.indexConstant(1));
      middle = arith::MaxSIOp::create(b, loc, middle, begin);
      middle = arith::MinSIOp::create(b, loc, middle, last);
    }
    SmallVector<Value> carried = e.loop(begin, middle, 1, tile.all(), step(/*isCut=*/false));
    if (isEverCut())
      carried = e.loop(middle, last, 1, carried, step(/*isCut=*/true));

    tile = Tile::from(carried, *this);
    SmallVector<Value> powers = arrive(tile);
    state = tile.state;
    results = group.wait(0, group.multiply(powers, valuesOf(last), tile.results));
  }

  /// What one tile leaves to the next.
  struct Tile {
    SmallVector<Value> state, faded;
    SmallVector<Value> isRisen; ///< whether a top of the warp has
    SmallVector<Value> powers;
    SmallVector<Value> results; ///< of the tiles before, which are still being multiplied

    SmallVector<Value> all() const {
      return llvm::to_vector(llvm::concat<const Value>(state, faded, isRisen, powers, results));
    }
    static Tile from(ValueRange all, const GroupAttention &attention) {
      Tile tile;
      auto take = [&](SmallVector<Value> &part, int64_t count) {
        part.assign(all.begin(), all.begin() + count);
        all = all.drop_front(count);
      };
      take(tile.state, 4 * attention.down);
      take(tile.faded, 2 * attention.down);
      take(tile.isRisen, 1);
      take(tile.powers, attention.keysOfWarp / 2);
      take(tile.results, attention.numResults());
      return tile;
    }
  };

  /// Values of tile `number`, while the scores of the next become powers.
  void multiply(Value number, Value last, bool isCut, Tile &tile) {
    SmallVector<Value> powers = arrive(tile);
    Value behind = next(number);
    tile.powers = multiplyKeys(behind);
    tile.results = group.multiply(powers, valuesOf(number), tile.results);
    fillBehind(behind, last);
    tile.powers = group.wait(1, tile.powers);
    change(tile.powers, behind);
    if (isCut)
      hide(tile.powers, behind);
    weigh(tile);
  }

  void weigh(Tile &tile) {
    SmallVector<Value> before = tile.state;
    tile.faded = AttentionRows::weigh(tile.powers, tile.state);
    Value isRisen;
    for (auto [old, top] : llvm::zip(ArrayRef(before).take_front(2 * down), tile.state)) {
      Value other = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, old, top);
      isRisen = isRisen ? arith::OrIOp::create(b, loc, isRisen, other).getResult() : other;
    }
    tile.isRisen = {NVVM::VoteSyncOp::create(b, loc, b.getI1Type(), warps.number(int64_t(-1)),
                                             isRisen, NVVM::VoteSyncKind::any)};
  }

  /// Results are there, what was brought last too, and nobody reads what was multiplied before.
  /// Returns the powers as operands.
  SmallVector<Value> arrive(Tile &tile) {
    // What takes a while is in front, where results are still awaited.
    warps.wait(0);
    group.publish();
    // Operands are no registers that are written while a product is at work.
    SmallVector<Value> both = tile.results;
    llvm::append_range(both, tile.powers);
    both = group.wait(0, both);
    tile.results.assign(both.begin(), both.begin() + numResults());
    SmallVector<Value> powers = group.pin(packed(ArrayRef(both).drop_front(numResults())));
    auto branch = scf::IfOp::create(b, loc, ValueRange(tile.results).getTypes(), tile.isRisen[0],
                                    /*addThenBlock=*/true, /*addElseBlock=*/true);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(b, loc, tile.results);
      b.setInsertionPointToStart(branch.thenBlock());
      fade(tile.results, tile.faded);
      scf::YieldOp::create(b, loc, tile.results);
    }
    llvm::copy(branch.getResults(), tile.results.begin());
    block.sync();
    return powers;
  }

  SmallVector<Value> packed(ArrayRef<Value> powers) {
    SmallVector<Value> all;
    for (int64_t k = 0; k < keysOfWarp / kStep; ++k)
      llvm::append_range(all, AttentionRows::packed(powers, 0, k));
    return all;
  }

  Value next(Value number) { return arith::AddIOp::create(b, loc, number, e.indexConstant(1)); }

  /// Where a tile lies, of two in turn that begin at `base`.
  Value byteOf(Value number, int64_t base, const SharedTile &tile) {
    Value word = arith::IndexCastOp::create(b, loc, b.getI32Type(), number);
    return warps.add(warps.times(warps.modulo(word, plan.stages), tile.bytes()), base);
  }

  /// Brings the values of a tile and the keys of the one behind it. Behind the last nobody
  /// reads them; a branch would part products from their wait.
  void fillBehind(Value number, Value last) {
    fill(values, plan.valueTile, number, byteOf(number, valueByte(0), plan.valueTile));
    Value to = byteOf(next(number), keyByte(0), plan.keyTile);
    fill(keys, plan.keyTile, arith::MinUIOp::create(b, loc, next(number), last), to);
    warps.commit();
  }

  SmallVector<Value> multiplyKeys(Value number) {
    WarpGroup::Operand left = group.describe(plan.queryTile, /*isDeep=*/true, queryAt);
    WarpGroup::Operand right =
        group.describe(plan.keyTile, /*isDeep=*/true, byteOf(number, keyByte(0), plan.keyTile));
    return group.multiply(left, right, ceilDiv(plan.depth, kStep) * kStep, keysOfWarp);
  }

  WarpGroup::Operand valuesOf(Value number) {
    return group.describe(plan.valueTile, /*isDeep=*/false,
                          byteOf(number, valueByte(0), plan.valueTile));
  }

  WarpGroup group;
  Staging keys, values;
  Value queryAt;
};

} // namespace

void cleave::cuda::emitGroupAttention(Emitter &emitter, nn::AttentionOp root, ThreadBlock &block,
                                      const AttentionPlan &plan) {
  GroupAttention(emitter, root, block, plan).run();
}
