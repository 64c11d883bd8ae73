//===- Rows.cpp - softmax, norms and reductions of rows -------------------===//
//
// A row is pulled once into scratch, in f32 and padded with what the reduction
// ignores, so that all passes over it are whole vectors in the nearest cache.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

namespace {

struct RowEmitter {
  RowEmitter(Emitter &e, Operation *root)
      : e(e), b(e.builder), loc(e.loc), root(root), outputs(e.kernel, root),
        input(root->getOperand(0)), length(*rowLength(root)), lanes(e.machine.lanes) {
    unroll = 4;
    while (unroll > 1 && length % (unroll * lanes) != 0)
      unroll /= 2;
    padded = llvm::alignTo(length, unroll * lanes);
    base = e.reserve(padded);
  }

  void run() {
    e.loop(0, Emitter::size(input) / length, 1, [&](const Index &row) {
      Index start = row * length;
      for (int64_t at = length / lanes * lanes; at < padded; at += lanes)
        e.storeScratch(base, at, e.splat(identity(), lanes));
      e.nest(length, [&](const Index &at) {
        e.storeScratch(base, at, e.pull(input, start + at));
        outputs.storeInFront(e, start + at);
      });
      reduce(row, start);
      e.undefine(root->getResult(0));
    });
  }

private:
  double identity() {
    auto op = dyn_cast<nn::ReduceOp>(root);
    nn::ReduceKind kind = op ? op.getKind() : nn::ReduceKind::Sum;
    if (isa<nn::SoftmaxOp>(root) || kind == nn::ReduceKind::Max)
      return -kInfinity;
    return kind == nn::ReduceKind::Min ? kInfinity : kind == nn::ReduceKind::Prod ? 1.0 : 0.0;
  }

  /// Combines f(x) over the row; what f returns besides is stored back.
  Value over(double init, vector::CombiningKind kind,
             function_ref<Value(Value x, Value acc, Value address)> step) {
    SmallVector<Value> start(unroll, e.splat(init, lanes));
    SmallVector<Value> sums =
        e.loop(e.indexConstant(0), e.indexConstant(padded), unroll * lanes, start,
               [&](Value i, ValueRange accs) {
                 SmallVector<Value> next;
                 Index at = Index::of(e.symbol(i, padded));
                 for (int64_t u = 0; u < unroll; ++u) {
                   Index place = at + u * lanes;
                   next.push_back(step(e.loadScratch(base, place, lanes), accs[u], e.value(place)));
                 }
                 return next;
               });
    Value total = sums[0];
    for (Value other : ArrayRef(sums).drop_front())
      total = combine(kind, total, other);
    auto fast = arith::FastMathFlagsAttr::get(b.getContext(), arith::FastMathFlags::reassoc);
    return vector::ReductionOp::create(b, loc, kind, total, Value(), fast.getValue());
  }

  Value combine(vector::CombiningKind kind, Value x, Value y) {
    switch (kind) {
    case vector::CombiningKind::MAXIMUMF: return arith::MaximumFOp::create(b, loc, x, y);
    case vector::CombiningKind::MINIMUMF: return arith::MinimumFOp::create(b, loc, x, y);
    case vector::CombiningKind::MUL: return arith::MulFOp::create(b, loc, x, y);
    default: return arith::AddFOp::create(b, loc, x, y);
    }
  }

  Value plain(double init, vector::CombiningKind kind) {
    return over(init, kind, [&](Value x, Value acc, Value) { return combine(kind, x, acc); });
  }

  Value scalar(double number) { return e.splat(number, 1); }

  void reduce(const Index &row, const Index &start) {
    if (auto op = dyn_cast<nn::ReduceOp>(root))
      return reduceRow(op, row);
    if (isa<nn::SoftmaxOp>(root))
      return softmax(start);
    norm(start);
  }

  void reduceRow(nn::ReduceOp op, const Index &row) {
    using Kind = vector::CombiningKind;
    constexpr Kind kinds[] = {Kind::ADD, Kind::ADD, Kind::MAXIMUMF, Kind::MINIMUMF, Kind::MUL};
    Value result = plain(identity(), kinds[static_cast<size_t>(op.getKind())]);
    if (op.getKind() == nn::ReduceKind::Mean)
      result = arith::DivFOp::create(b, loc, result, scalar(length));
    outputs.storeBehind(e, result, row);
  }

  void finish(const Index &start, const std::function<Value(Value x, const Index &at)> &make) {
    e.define(root->getResult(0), [&](const Index &at) -> Value {
      if (e.isDry())
        return {};
      Index place = at - start;
      return make(e.loadScratch(base, place, e.lanesOf(place)), place);
    });
    e.nest(length, [&](const Index &at) { outputs.storeBehind(e, start + at); });
  }

  void softmax(const Index &start) {
    Value top = plain(-kInfinity, vector::CombiningKind::MAXIMUMF);
    Value tops = e.broadcast(top, lanes);
    Value sum = over(0.0, vector::CombiningKind::ADD, [&](Value x, Value acc, Value address) {
      Value power = buildDecay(e, arith::SubFOp::create(b, loc, x, tops));
      e.storeScratch(base, Index::of(e.symbol(address, padded)), power);
      return arith::AddFOp::create(b, loc, acc, power).getResult();
    });
    Value inverse = arith::DivFOp::create(b, loc, scalar(1.0), sum);
    finish(start, [=, this](Value x, const Index &) -> Value {
      return arith::MulFOp::create(b, loc, x, e.broadcast(inverse, e.laneCount(x)));
    });
  }

  Value inverseRoot(Value squares, double epsilon) {
    Value mean = arith::MulFOp::create(b, loc, squares, scalar(1.0 / length));
    Value sum = arith::AddFOp::create(b, loc, mean, scalar(epsilon));
    return arith::DivFOp::create(b, loc, scalar(1.0), math::SqrtOp::create(b, loc, sum));
  }

  void norm(const Index &start) {
    auto layer = dyn_cast<nn::LayerNormOp>(root);
    Value mean;
    if (layer) {
      Value sum = plain(0.0, vector::CombiningKind::ADD);
      mean = arith::MulFOp::create(b, loc, sum, scalar(1.0 / length));
      // What pads the row then differs from the mean by nothing.
      e.loop(length, padded, 1, [&](const Index &at) { e.storeScratch(base, at, mean); });
    }
    Value squares = over(0.0, vector::CombiningKind::ADD, [&](Value x, Value acc, Value) -> Value {
      if (mean)
        x = arith::SubFOp::create(b, loc, x, e.broadcast(mean, lanes));
      return math::FmaOp::create(b, loc, x, x, acc);
    });
    double epsilon =
        (layer ? layer.getEpsilon() : cast<nn::RmsNormOp>(root).getEpsilon()).convertToDouble();
    Value inverse = inverseRoot(squares, epsilon);
    Value bias = layer ? layer.getBias() : Value();
    finish(start, [=, this](Value x, const Index &at) -> Value {
      int64_t count = e.laneCount(x);
      if (mean)
        x = arith::SubFOp::create(b, loc, x, e.broadcast(mean, count));
      Value scale = e.broadcast(e.pull(root->getOperand(1), at), count);
      Value factor = arith::MulFOp::create(b, loc, scale, e.broadcast(inverse, count));
      if (!bias)
        return arith::MulFOp::create(b, loc, x, factor);
      return math::FmaOp::create(b, loc, x, factor, e.broadcast(e.pull(bias, at), count));
    });
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  Outputs outputs;
  Value input;
  int64_t length, lanes, unroll, padded, base;
};

} // namespace

void cleave::cpu::emitRows(Emitter &emitter, Operation *root) { RowEmitter(emitter, root).run(); }
