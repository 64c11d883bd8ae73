//===- ColumnSums.cpp - sums and means of columns that lie side by side ---===//
//
// A block has as many columns as a warp reads together. Its warps divide the rows, and where
// such blocks are few several do (Parts.h); sums are put together in the order of both.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;

namespace {

constexpr int64_t kWarps = 8;
/// Rows that a warp asks for at once.
constexpr int64_t kAtOnce = 4;
/// Columns that are shorter are a thread's, and so are all where these are many.
constexpr int64_t kLong = 64, kThreadsOfMultiprocessor = 2048;

/// x[outer, length, inner], of which `length` is summed up.
struct Shape {
  int64_t outer = 1, length = 1, inner = 1, lanes = kLanes, parts = 1;

  int64_t columns() const { return kWarp * lanes; }
  int64_t blocks() const { return outer * ceilDiv(inner, columns()); }
};

std::optional<Shape> shapeOf(Operation *root, const Chip &chip) {
  auto op = dyn_cast<nn::ReduceOp>(root);
  if (!op || (op.getKind() != nn::ReduceKind::Sum && op.getKind() != nn::ReduceKind::Mean))
    return std::nullopt;
  auto type = cast<RankedTensorType>(op.getInput().getType());
  if (!isa<FloatType>(type.getElementType()) || type.getElementTypeBitWidth() > 32)
    return std::nullopt;
  Shape shape;
  bool isBehind = false;
  for (auto [dim, size] : llvm::enumerate(type.getShape())) {
    bool isReduced = llvm::is_contained(op.getDims(), static_cast<int64_t>(dim));
    // Behind the first that is kept and stands behind one that is not, all are.
    if (isReduced && isBehind && size != 1)
      return std::nullopt;
    isBehind |= !isReduced && shape.length > 1 && size != 1;
    (isReduced ? shape.length : isBehind ? shape.inner : shape.outer) *= size;
  }
  while (shape.inner % shape.lanes != 0)
    shape.lanes /= 2;
  bool isFew =
      shape.outer * shape.inner < shape.lanes * kThreadsOfMultiprocessor * chip.multiprocessors;
  if (shape.length < kLong || shape.inner < kWarp || shape.outer == 0 || !isFew)
    return std::nullopt;
  shape.parts = partsOf(chip, shape.blocks(), /*each=*/4,
                        {shape.length * shape.columns() * type.getElementTypeBitWidth() / 8,
                         shape.columns() * 4, ceilDiv(shape.length, kWarps * kAtOnce)});
  return shape;
}

struct ColumnSums {
  ColumnSums(Emitter &e, Operation *root, ThreadBlock &block, const Shape &shape)
      : e(e), b(e.builder), loc(e.loc), root(root), block(block), outputs(e.kernel, root),
        shape(shape), parts(e, block, shape.parts, shape.columns()),
        slots(e.reserve(kWarps * shape.columns())) {}

  void run() {
    auto [o, tile] = e.divide(parts.result, ceilDiv(shape.inner, shape.columns()));
    outer = o;
    first =
        Index::of(e.symbol(e.value(tile), ceilDiv(shape.inner, shape.columns()))) * shape.columns();
    Index own = Index::of(e.symbol(block.lane, kWarp)) * shape.lanes;
    if (shape.lanes > 1)
      own = own + e.laneSymbol(shape.lanes);
    Index warp = Index::of(e.symbol(block.warpNumber, kWarps));
    e.storeScratch(slots, warp * shape.columns() + own, sumOfWarp(own));
    block.sync();
    forColumns([&](const Index &column, const Index &place) {
      Value sum = e.loadScratch(slots, column, e.lanesOf(column));
      for (int64_t i = 1; i < kWarps; ++i) {
        Value more = e.loadScratch(slots, column + i * shape.columns(), e.lanesOf(column));
        if (!e.isDry())
          sum = arith::AddFOp::create(b, loc, sum, more);
      }
      shape.parts == 1 ? store(sum, place) : parts.store(column, sum);
    });
    if (shape.parts > 1)
      parts.whenLast([&] {
        forColumns(
            [&](const Index &column, const Index &place) { store(parts.sum(column), place); });
      });
  }

private:
  /// Of the rows of this warp, in its part of them.
  Value sumOfWarp(const Index &own) {
    Index column = e.clamp(first + own, shape.inner);
    int64_t each = ceilDiv(shape.length, shape.parts);
    Value begin = e.value(parts.number * each + Index::of(e.symbol(block.warpNumber, kWarps)));
    Value end = e.value(parts.number * each + each);
    end = arith::MinUIOp::create(b, loc, end, e.indexConstant(shape.length));
    auto rows = [&](Value row, ValueRange before) -> SmallVector<Value> {
      Value sum = before[0];
      for (int64_t i = 0; i < kAtOnce; ++i) {
        Value at = arith::AddIOp::create(b, loc, row, e.indexConstant(i * kWarps));
        Value isThere = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, at, end);
        at = arith::MinUIOp::create(b, loc, at, e.indexConstant(shape.length - 1));
        Index place = (outer * shape.length + Index::of(e.symbol(at, shape.length))) * shape.inner;
        Value x = e.broadcast(e.pull(root->getOperand(0), place + column), shape.lanes);
        x = arith::SelectOp::create(b, loc, e.broadcast(isThere, shape.lanes), x,
                                    e.zero(shape.lanes));
        sum = arith::AddFOp::create(b, loc, sum, x);
      }
      return {sum};
    };
    return e.loop(begin, end, kWarps * kAtOnce, e.zero(shape.lanes), rows)[0];
  }

  /// Calls `body` with each column of the block and its place in the result, if it has one.
  void forColumns(function_ref<void(const Index &, const Index &)> body) {
    e.team = block.whole();
    e.nest(
        shape.columns(),
        [&](const Index &column) {
          Index at = first + column;
          Emitter::Test test = e.isBelow(at, shape.inner);
          e.when(test, [&] { body(column, outer * shape.inner + e.clamp(at, shape.inner)); });
        },
        Emitter::Tail::Exact, /*allowVectors=*/shape.inner % kLanes == 0);
    e.team.reset();
  }

  void store(Value sum, const Index &place) {
    if (!e.isDry() && cast<nn::ReduceOp>(root).getKind() == nn::ReduceKind::Mean)
      sum = arith::DivFOp::create(b, loc, sum, e.splat(shape.length, e.laneCount(sum)));
    outputs.storeBehind(e, sum, place);
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  ThreadBlock &block;
  Outputs outputs;
  Shape shape;
  Parts parts;
  int64_t slots;
  Index outer, first;
};

} // namespace

std::optional<Launch> cleave::cuda::launchColumnSums(Operation *root, const Chip &chip) {
  std::optional<Shape> shape = shapeOf(root, chip);
  if (!shape)
    return std::nullopt;
  return launchParts(shape->blocks(), shape->parts, kWarps * kWarp, shape->columns());
}

void cleave::cuda::emitColumnSums(Emitter &emitter, Operation *root, ThreadBlock &block,
                                  const Chip &chip) {
  ColumnSums(emitter, root, block, *shapeOf(root, chip)).run();
}
