//===- Rows.cpp - softmax, norms and reductions of rows -------------------===//
//
// A warp has a short row, a block a long one. What a row is made of is computed
// once. Each thread holds its elements in registers where all have equally many and
// what follows takes each where it is; else they are kept in shared memory, and where they
// do not fit there computed once for each pass.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;
using Kind = vector::CombiningKind;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Rows up to which a warp is enough.
constexpr int64_t kShortRow = 1024;
constexpr int64_t kBlockThreads = 256, kMostThreads = 1024, kWarpsOfRows = 4;
/// Vectors of a row that a thread holds.
constexpr int64_t kMostHeld = 8;
/// f32 elements of a row that shared memory holds beside the slots of reductions.
constexpr int64_t kLongestKept = kSharedBytes / 4 - 64;

/// How many elements threads take at a time, and how many threads a row has.
struct Shares {
  int64_t lanes, threads;
  bool isEven = false; ///< all have as much, and no more than they can hold
};

Shares sharesOf(int64_t length) {
  bool isWhole = length > kShortRow;
  for (int64_t lanes = kLanes; lanes > 0; lanes /= 2)
    for (int64_t threads = isWhole ? kBlockThreads / 2 : kWarp;
         threads <= (isWhole ? kMostThreads : kWarp); threads *= 2)
      if (length % (lanes * threads) == 0 && length <= kMostHeld * lanes * threads)
        return {lanes, threads, true};
  int64_t lanes = kLanes;
  while (length % lanes != 0)
    lanes /= 2;
  return {lanes, isWhole ? kBlockThreads : kWarp};
}

/// Whether what is computed of `value` takes each element where it is.
bool isTakenInPlace(Value value) {
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    if (user->hasTrait<OpTrait::IsTerminator>())
      return true;
    return isa<nn::ElementwiseOpInterface>(user) &&
           Emitter::shape(user->getResult(0)) == Emitter::shape(value) &&
           isTakenInPlace(user->getResult(0));
  });
}

struct RowEmitter {
  RowEmitter(Emitter &e, Operation *root, ThreadBlock &block)
      : e(e), b(e.builder), loc(e.loc), root(root), block(block), outputs(e.kernel, root),
        input(root->getOperand(0)), length(*emit::rowLength(root)), shares(sharesOf(length)),
        lanes(shares.lanes), isWhole(length > kShortRow),
        team(isWhole ? block.whole() : block.warp()),
        rowsAtOnce(isWhole ? 1 : block.launch.threads / kWarp) {
    isHeld = shares.isEven && (isa<nn::ReduceOp>(root) || isTakenInPlace(root->getResult(0)));
    isKept = !isHeld && length <= kLongestKept;
    base = e.reserve(isKept ? rowsAtOnce * length : 0);
  }

  void run() {
    int64_t rows = Emitter::size(input) / length;
    Value begin = block.number;
    if (!isWhole) {
      begin = arith::MulIOp::create(b, loc, begin, e.indexConstant(rowsAtOnce));
      begin = arith::AddIOp::create(b, loc, begin, block.warpNumber);
    }
    int64_t step = block.launch.blocks * rowsAtOnce;
    e.loop(begin, e.indexConstant(rows), step, {}, [&](Value at, ValueRange) -> SmallVector<Value> {
      Index row = Index::of(e.symbol(at, rows));
      oneRow(row);
      return {};
    });
  }

private:
  void sync() { isWhole ? block.sync() : block.syncWarp(); }

  void oneRow(const Index &row) {
    start = row * length;
    if (isHeld) {
      hold();
    } else if (isKept || !outputs.inFront.empty()) {
      e.team = team;
      e.nest(length, [&](const Index &at) {
        if (isKept)
          e.storeScratch(base, slot() + at, e.pull(input, start + at));
        outputs.storeInFront(e, start + at);
      });
      e.team.reset();
      sync();
    }
    if (auto op = dyn_cast<nn::ReduceOp>(root))
      reduceRow(op, row);
    else if (isa<nn::SoftmaxOp>(root))
      softmax();
    else
      norm();
    e.undefine(root->getResult(0));
    // The next row takes the place of this.
    sync();
  }

  /// All that a thread has of the row, which it asks for at once.
  void hold() {
    held.clear();
    for (int64_t i = 0; i < length / (lanes * shares.threads); ++i) {
      Index at = heldAt(i);
      held.push_back(e.broadcast(e.pull(input, start + at), lanes));
      outputs.storeInFront(e, start + at);
    }
  }

  Index heldAt(int64_t i) {
    Value first = arith::MulIOp::create(b, loc, team.number, e.indexConstant(lanes));
    Index at = Index::of(e.symbol(first, shares.threads * lanes, lanes));
    if (lanes > 1)
      at = at + e.laneSymbol(lanes);
    return at + i * shares.threads * lanes;
  }

  /// Puts f(x) in the place of what threads hold; false where they hold nothing.
  bool replace(function_ref<Value(Value x)> f) {
    for (Value &x : held)
      x = f(x);
    return isHeld;
  }

  /// Where the row of this warp lies.
  Index slot() {
    if (isWhole)
      return 0;
    return Index::of(e.symbol(block.warpNumber, rowsAtOnce)) * length;
  }

  Value element(const Index &at) {
    if (!isKept)
      return e.pull(input, start + at);
    return e.loadScratch(base, slot() + at, e.lanesOf(at));
  }

  /// Combines f(x) over the row.
  Value over(double init, Kind kind, function_ref<Value(Value x)> f) {
    Value total = e.splat(init, lanes);
    for (Value x : held)
      total = combine(e, kind, total, f(x));
    if (!isHeld) {
      Value first = arith::MulIOp::create(b, loc, team.number, e.indexConstant(lanes));
      total = e.loop(first, e.indexConstant(length), shares.threads * lanes, total,
                     [&](Value i, ValueRange sums) -> SmallVector<Value> {
                       Index at = Index::of(e.symbol(i, length, lanes));
                       if (lanes > 1)
                         at = at + e.laneSymbol(lanes);
                       Value x = e.broadcast(element(at), lanes);
                       return {combine(e, kind, sums[0], f(x))};
                     })[0];
    }
    if (lanes > 1)
      total = vector::ReductionOp::create(b, loc, kind, total);
    int64_t slots = isWhole ? e.reserve(block.launch.threads / kWarp) : 0;
    return block.reduce(total, kind, isWhole, slots);
  }

  Value scalar(double number) { return e.splat(number, 1); }

  void reduceRow(nn::ReduceOp op, const Index &row) {
    constexpr Kind kinds[] = {Kind::ADD, Kind::ADD, Kind::MAXIMUMF, Kind::MINIMUMF, Kind::MUL};
    constexpr double identities[] = {0.0, 0.0, -kInfinity, kInfinity, 1.0};
    auto kind = static_cast<size_t>(op.getKind());
    Value result = over(identities[kind], kinds[kind], [](Value x) { return x; });
    if (op.getKind() == nn::ReduceKind::Mean)
      result = arith::DivFOp::create(b, loc, result, scalar(length));
    Value isFirst =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, team.number, e.indexConstant(0));
    e.when(isFirst, [&] { outputs.storeBehind(e, result, row); });
  }

  void finish(const std::function<Value(Value x, const Index &at)> &make) {
    for (auto [i, x] : llvm::enumerate(held)) {
      Index place = heldAt(i);
      outputs.storeBehind(e, make(x, place), start + place);
    }
    if (isHeld)
      return;
    e.define(root->getResult(0), [&](const Index &at) -> Value {
      Index place = at - start;
      Value x = element(place);
      return e.isDry() ? Value() : make(x, place);
    });
    e.forget();
    e.team = team;
    e.nest(length, [&](const Index &at) { outputs.storeBehind(e, start + at); });
    e.team.reset();
  }

  void softmax() {
    Value top = over(-kInfinity, Kind::MAXIMUMF, [](Value x) { return x; });
    auto power = [=, this](Value x) -> Value {
      Value tops = e.broadcast(top, e.laneCount(x));
      return emit::buildDecay(e, arith::SubFOp::create(b, loc, x, tops));
    };
    bool isPower = replace(power);
    Value sum = over(0.0, Kind::ADD, [&](Value x) { return isPower ? x : power(x); });
    Value inverse = arith::DivFOp::create(b, loc, scalar(1.0), sum);
    finish([=, this](Value x, const Index &) -> Value {
      x = isPower ? x : power(x);
      return arith::MulFOp::create(b, loc, x, e.broadcast(inverse, e.laneCount(x)));
    });
  }

  void norm() {
    auto layer = dyn_cast<nn::LayerNormOp>(root);
    Value mean;
    if (layer) {
      Value sum = over(0.0, Kind::ADD, [](Value x) { return x; });
      mean = arith::MulFOp::create(b, loc, sum, scalar(1.0 / length));
    }
    auto centre = [=, this](Value x) -> Value {
      return arith::SubFOp::create(b, loc, x, e.broadcast(mean, e.laneCount(x)));
    };
    bool isCentred = !mean || replace(centre);
    auto centred = [=](Value x) { return isCentred ? x : centre(x); };
    Value squares = over(0.0, Kind::ADD, [&](Value x) -> Value {
      Value y = centred(x);
      return arith::MulFOp::create(b, loc, y, y);
    });
    double epsilon =
        (layer ? layer.getEpsilon() : cast<nn::RmsNormOp>(root).getEpsilon()).convertToDouble();
    Value variance = arith::MulFOp::create(b, loc, squares, scalar(1.0 / length));
    Value sum = arith::AddFOp::create(b, loc, variance, scalar(epsilon));
    Value inverse = arith::DivFOp::create(b, loc, scalar(1.0), math::SqrtOp::create(b, loc, sum));
    Value bias = layer ? layer.getBias() : Value();
    finish([=, this](Value x, const Index &at) -> Value {
      int64_t count = e.laneCount(x);
      Value scale = e.broadcast(e.pull(root->getOperand(1), at), count);
      Value factor = arith::MulFOp::create(b, loc, scale, e.broadcast(inverse, count));
      x = centred(x);
      if (!bias)
        return arith::MulFOp::create(b, loc, x, factor);
      return math::FmaOp::create(b, loc, x, factor, e.broadcast(e.pull(bias, at), count));
    });
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  ThreadBlock &block;
  Outputs outputs;
  Value input;
  int64_t length;
  Shares shares;
  int64_t lanes;
  bool isWhole; ///< a block has a row
  Team team;
  int64_t rowsAtOnce, base;
  bool isHeld, isKept;
  Index start;
  SmallVector<Value> held;
};

} // namespace

Launch cleave::cuda::launchRows(Operation *root) {
  int64_t length = *emit::rowLength(root), rows = Emitter::size(root->getOperand(0)) / length;
  if (length > kShortRow)
    return {rows, sharesOf(length).threads, 0};
  int64_t warps = std::clamp<int64_t>(kLongestKept / length, 1, kWarpsOfRows);
  return {ceilDiv(rows, warps), warps * kWarp, 0};
}

void cleave::cuda::emitRows(Emitter &emitter, Operation *root, ThreadBlock &block) {
  RowEmitter(emitter, root, block).run();
}
