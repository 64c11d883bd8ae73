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
#include <numbers>

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

Outputs::Outputs(func::FuncOp kernel, Operation *root)
    : end(kernel.getBody().front().getTerminator()) {
  DenseSet<Operation *> later{root};
  for (Operation &op : kernel.getBody().front())
    if (llvm::any_of(op.getOperands(), [&](Value operand) {
          return operand.getDefiningOp() && later.contains(operand.getDefiningOp());
        }))
      later.insert(&op);
  for (auto [number, value] : llvm::enumerate(end->getOperands()))
    (later.contains(value.getDefiningOp()) ? behind : inFront).push_back(number);
}

void Outputs::storeBehind(Emitter &emitter, const Index &at) const {
  for (unsigned number : behind)
    emitter.store(number, at, emitter.pull(end->getOperand(number), at));
}

void Outputs::storeInFront(Emitter &emitter, const Index &at) const {
  for (unsigned number : inFront)
    emitter.store(number, at, emitter.pull(end->getOperand(number), at));
}

Value cleave::cpu::buildDecay(Emitter &e, Value x) {
  // 2^n e^r with n >= -126, so that one shift of the exponent is the factor.
  OpBuilder &b = e.builder;
  int64_t lanes = e.laneCount(x);
  auto num = [&](double v) { return e.splat(v, lanes); };
  auto integer = [&](int64_t v) { return e.constantOf(b.getI32Type(), v, lanes); };
  Type ints = e.vectorOf(b.getI32Type(), lanes);
  Value tiny = arith::CmpFOp::create(b, e.loc, arith::CmpFPredicate::OLT, x, num(-87.3));
  Value safe = arith::SelectOp::create(b, e.loc, tiny, num(0.0), x);
  Value n = math::RoundEvenOp::create(
      b, e.loc, arith::MulFOp::create(b, e.loc, safe, num(std::numbers::log2e)));
  Value r = math::FmaOp::create(b, e.loc, n, num(-0.693359375), safe);
  r = math::FmaOp::create(b, e.loc, n, num(0.693359375 - std::numbers::ln2), r);
  Value p = num(1.0 / 720);
  for (double c : {1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
    p = math::FmaOp::create(b, e.loc, p, r, num(c));
  Value shift =
      arith::ShLIOp::create(b, e.loc, arith::FPToSIOp::create(b, e.loc, ints, n), integer(23));
  Value bits = arith::AddIOp::create(b, e.loc, arith::BitcastOp::create(b, e.loc, ints, p), shift);
  Value power = arith::BitcastOp::create(b, e.loc, x.getType(), bits);
  return arith::SelectOp::create(b, e.loc, tiny, num(0.0), power);
}

/// Length of the rows that `root` reduces; nothing if they are not contiguous.
static std::optional<int64_t> rowLength(Operation *root) {
  ArrayRef<int64_t> shape = Emitter::shape(root->getOperand(0));
  SmallVector<int64_t> dims;
  if (auto reduce = dyn_cast<nn::ReduceOp>(root))
    dims.assign(reduce.getDims().begin(), reduce.getDims().end());
  else if (auto softmax = dyn_cast<nn::SoftmaxOp>(root))
    dims.push_back(softmax.getDim());
  else if (isa<nn::LayerNormOp, nn::RmsNormOp>(root))
    dims.push_back(shape.size() - 1);
  else
    return std::nullopt;
  int64_t length = 1;
  bool keptBehind = false;
  for (int64_t dim = static_cast<int64_t>(shape.size()) - 1; dim >= 0; --dim) {
    bool isReduced = llvm::is_contained(dims, dim);
    if (isReduced && keptBehind && shape[dim] != 1)
      return std::nullopt;
    keptBehind |= !isReduced && shape[dim] != 1;
    length *= isReduced ? shape[dim] : 1;
  }
  return length;
}

bool cleave::cpu::isRow(Operation *root) {
  auto type = cast<RankedTensorType>(root->getOperand(0).getType());
  std::optional<int64_t> length = rowLength(root);
  return isa<FloatType>(type.getElementType()) && type.getElementTypeBitWidth() <= 32 && length &&
         *length > 0;
}

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
    e.define(op.getResult(), [=](const Index &) { return result; });
    e.forget();
    outputs.storeBehind(e, row);
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
