//===- Columns.cpp - reductions along any dimension of any type -----------===//
//
// The loops run over what is kept, in vectors where the memory allows it; each
// lane reduces a column of its own.
//
//===----------------------------------------------------------------------===//

#include "Columns.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

ColumnSizes::ColumnSizes(Operation *root) {
  auto dim = llvm::TypeSwitch<Operation *, std::optional<int64_t>>(root)
                 .Case<nn::SoftmaxOp, nn::ArgReduceOp, nn::CumSumOp, nn::TopKOp>(
                     [](auto op) { return op.getDim(); })
                 .Case<nn::LayerNormOp, nn::RmsNormOp>(
                     [](auto op) { return op.getInput().getType().getRank() - 1; })
                 .Default(std::nullopt);
  if (!dim)
    return;
  ArrayRef<int64_t> shape = Emitter::shape(root->getOperand(0));
  for (int64_t size : shape.take_front(*dim))
    outer *= size;
  for (int64_t size : shape.drop_front(*dim + 1))
    inner *= size;
  length = shape[*dim];
}

Columns::Columns(Emitter &emitter, Operation *root)
    : ColumnSizes(root), e(emitter), input(root->getOperand(0)) {
  element = cast<RankedTensorType>(input.getType()).getElementType();
  isSigned = !element.isUnsignedInteger() && !element.isInteger(1);
  compute = element;
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32)
    compute = e.builder.getF32Type();
  else if (auto integer = dyn_cast<IntegerType>(element))
    compute = e.builder.getIntegerType(integer.getWidth());
}

Index Columns::start(const Index &column, int64_t size) {
  auto [o, i] = e.divide(column, inner);
  return o * (size * inner) + i;
}

Value Columns::pull(const Index &at, int64_t lanes) {
  Value x = e.pull(input, at);
  return e.isDry() ? x : e.broadcast(x, lanes);
}

Value Columns::bound(bool isLeast, int64_t lanes) {
  if (isa<FloatType>(compute))
    return e.constantOf(compute, isLeast ? -kInfinity : kInfinity, lanes);
  unsigned width = compute.getIntOrFloatBitWidth();
  APInt value = isSigned
                    ? (isLeast ? APInt::getSignedMinValue(width) : APInt::getSignedMaxValue(width))
                    : (isLeast ? APInt::getZero(width) : APInt::getMaxValue(width));
  Value scalar =
      arith::ConstantOp::create(e.builder, e.loc, e.builder.getIntegerAttr(compute, value));
  return e.broadcast(scalar, lanes);
}

Value Columns::precedes(bool isMax, bool orEqual, Value x, Value y) {
  if (isa<FloatType>(compute)) {
    using P = arith::CmpFPredicate;
    P predicate = isMax ? (orEqual ? P::OGE : P::OGT) : (orEqual ? P::OLE : P::OLT);
    return arith::CmpFOp::create(e.builder, e.loc, predicate, x, y);
  }
  using P = arith::CmpIPredicate;
  P predicate = isSigned ? (isMax ? (orEqual ? P::sge : P::sgt) : (orEqual ? P::sle : P::slt))
                         : (isMax ? (orEqual ? P::uge : P::ugt) : (orEqual ? P::ule : P::ult));
  return arith::CmpIOp::create(e.builder, e.loc, predicate, x, y);
}

Value Columns::outranks(bool isMax, bool orEqual, Value x, Value y) {
  if (!isa<FloatType>(compute))
    return precedes(isMax, orEqual, x, y);
  OpBuilder &b = e.builder;
  auto isAbove = [&](Value p, Value q) -> Value {
    Value above = arith::CmpFOp::create(b, e.loc, arith::CmpFPredicate::UGT, p, q);
    Value isNumber = arith::CmpFOp::create(b, e.loc, arith::CmpFPredicate::ORD, q, q);
    return arith::AndIOp::create(b, e.loc, above, isNumber);
  };
  if (!orEqual)
    return isMax ? isAbove(x, y) : isAbove(y, x);
  Value behind = isMax ? isAbove(y, x) : isAbove(x, y);
  int64_t lanes = e.laneCount(behind);
  return arith::XOrIOp::create(b, e.loc, behind, e.constantOf(b.getI1Type(), 1, lanes));
}

Value Columns::front(bool isMax, int64_t lanes) {
  return isMax && isa<FloatType>(compute)
             ? e.constantOf(compute, std::numeric_limits<double>::quiet_NaN(), lanes)
             : bound(!isMax, lanes);
}

namespace {

struct ColumnEmitter : Columns {
  ColumnEmitter(Emitter &e, Operation *root)
      : Columns(e, root), e(e), b(e.builder), loc(e.loc), outputs(e.kernel, root) {}

  Value combine(nn::ReduceKind kind, Value x, Value y) {
    bool isFloat = isa<FloatType>(compute);
    switch (kind) {
    case nn::ReduceKind::Sum:
    case nn::ReduceKind::Mean:
      return isFloat ? arith::AddFOp::create(b, loc, x, y).getResult()
                     : arith::AddIOp::create(b, loc, x, y).getResult();
    case nn::ReduceKind::Prod:
      return isFloat ? arith::MulFOp::create(b, loc, x, y).getResult()
                     : arith::MulIOp::create(b, loc, x, y).getResult();
    case nn::ReduceKind::Max:
      if (isFloat)
        return arith::MaximumFOp::create(b, loc, x, y);
      return isSigned ? arith::MaxSIOp::create(b, loc, x, y).getResult()
                      : arith::MaxUIOp::create(b, loc, x, y).getResult();
    case nn::ReduceKind::Min:
      if (isFloat)
        return arith::MinimumFOp::create(b, loc, x, y);
      return isSigned ? arith::MinSIOp::create(b, loc, x, y).getResult()
                      : arith::MinUIOp::create(b, loc, x, y).getResult();
    }
    return {};
  }

  void reduce(nn::ReduceOp op) {
    // Neighbours that are both kept or both reduced count as one dimension.
    SmallVector<int64_t> sizes;
    SmallVector<bool> isReduced;
    for (auto [dim, size] : llvm::enumerate(Emitter::shape(op.getInput()))) {
      bool reduced = llvm::is_contained(op.getDims(), static_cast<int64_t>(dim));
      if (!sizes.empty() && isReduced.back() == reduced) {
        sizes.back() *= size;
      } else {
        sizes.push_back(size);
        isReduced.push_back(reduced);
      }
    }
    SmallVector<int64_t> kept;
    int64_t count = 1;
    for (auto [size, reduced] : llvm::zip_equal(sizes, isReduced)) {
      if (!reduced)
        kept.push_back(size);
      count *= reduced ? size : 1;
    }
    nn::ReduceKind kind = op.getKind();
    e.nest(Emitter::size(op.getResult()), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Value init;
      if (!e.isDry()) {
        if (kind == nn::ReduceKind::Max || kind == nn::ReduceKind::Min)
          init = bound(kind == nn::ReduceKind::Max, lanes);
        else
          init = e.constantOf(compute, kind == nn::ReduceKind::Prod ? 1 : 0, lanes);
      }
      SmallVector<Index> keptAt = e.delinearize(at, kept), all(sizes.size());
      std::function<Value(size_t, size_t, Value)> step = [&](size_t dim, size_t nextKept,
                                                             Value acc) -> Value {
        if (dim == sizes.size()) {
          Value x = pull(e.linearize(all, sizes), lanes);
          return e.isDry() ? acc : combine(kind, acc, x);
        }
        if (!isReduced[dim]) {
          all[dim] = keptAt[nextKept];
          return step(dim + 1, nextKept + 1, acc);
        }
        return e.carry(0, sizes[dim], acc, [&](const Index &i, ValueRange accs) {
          all[dim] = i;
          return SmallVector<Value>{step(dim + 1, nextKept, accs[0])};
        })[0];
      };
      Value result = step(0, 0, init);
      if (kind == nn::ReduceKind::Mean && !e.isDry()) {
        Value divisor = e.constantOf(compute, count, lanes);
        if (isa<FloatType>(compute))
          result = arith::DivFOp::create(b, loc, result, divisor);
        else if (count > 0)
          result = isSigned ? arith::DivSIOp::create(b, loc, result, divisor).getResult()
                            : arith::DivUIOp::create(b, loc, result, divisor).getResult();
      }
      outputs.storeBehind(e, result, at);
    });
  }

  void softmax(nn::SoftmaxOp op) {
    e.nest(count(), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Index column = start(at, length);
      Value least = e.isDry() ? Value() : bound(true, lanes);
      Value zero = e.isDry() ? Value() : e.constantOf(compute, 0, lanes);
      auto power = [&](const Index &k, Value top) -> Value {
        Value x = pull(column + k * inner, lanes);
        return e.isDry() ? x : buildDecay(e, arith::SubFOp::create(b, loc, x, top));
      };
      Value top = e.carry(0, length, least, [&](const Index &k, ValueRange acc) {
        Value x = pull(column + k * inner, lanes);
        return SmallVector<Value>{e.isDry() ? acc[0] : combine(nn::ReduceKind::Max, acc[0], x)};
      })[0];
      Value sum = e.carry(0, length, zero, [&](const Index &k, ValueRange acc) {
        Value x = power(k, top);
        return SmallVector<Value>{e.isDry() ? acc[0] : combine(nn::ReduceKind::Sum, acc[0], x)};
      })[0];
      e.carry(0, length, {}, [&](const Index &k, ValueRange) {
        Value x = power(k, top);
        if (!e.isDry())
          x = arith::DivFOp::create(b, loc, x, sum);
        outputs.storeBehind(e, x, column + k * inner);
        return SmallVector<Value>{};
      });
    });
  }

  /// Along the last dimension, with a bias where there is one.
  void norm(Value scale, Value bias, bool isCentred, double epsilon) {
    e.nest(count(), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Index row = start(at, length);
      auto number = [&](double x) { return e.isDry() ? Value() : e.constantOf(compute, x, lanes); };
      auto meanOf = [&](function_ref<Value(Value x)> f) -> Value {
        Value sum = e.carry(0, length, number(0), [&](const Index &k, ValueRange acc) {
          Value x = pull(row + k, lanes);
          return SmallVector<Value>{e.isDry() ? acc[0]
                                              : combine(nn::ReduceKind::Sum, acc[0], f(x))};
        })[0];
        return e.isDry() ? sum : arith::DivFOp::create(b, loc, sum, number(length)).getResult();
      };
      Value mean = isCentred ? meanOf([](Value x) { return x; }) : Value();
      auto centred = [&](Value x) -> Value {
        return isCentred ? arith::SubFOp::create(b, loc, x, mean).getResult() : x;
      };
      Value variance = meanOf([&](Value x) -> Value {
        Value y = centred(x);
        return arith::MulFOp::create(b, loc, y, y);
      });
      Value root;
      if (!e.isDry())
        root =
            math::SqrtOp::create(b, loc, arith::AddFOp::create(b, loc, variance, number(epsilon)));
      e.carry(0, length, {}, [&](const Index &k, ValueRange) {
        Value x = pull(row + k, lanes), factor = e.pull(scale, k);
        Value shift = bias ? e.pull(bias, k) : Value();
        outputs.storeInFront(e, row + k);
        if (!e.isDry()) {
          x = arith::DivFOp::create(b, loc, centred(x), root);
          x = arith::MulFOp::create(b, loc, x, e.broadcast(factor, lanes));
          if (bias)
            x = arith::AddFOp::create(b, loc, x, e.broadcast(shift, lanes));
        }
        outputs.storeBehind(e, x, row + k);
        return SmallVector<Value>{};
      });
    });
  }

  Value asI64(const Index &k, int64_t lanes) {
    Value number = arith::IndexCastOp::create(b, loc, b.getI64Type(), e.value(k));
    return e.broadcast(number, lanes);
  }

  void argReduce(nn::ArgReduceOp op) {
    bool isMax = op.getKind() == nn::ArgKind::Max;
    e.nest(count(), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Index column = start(at, length);
      Value first = pull(column, lanes);
      Value none = e.isDry() ? Value() : e.constantOf(b.getI64Type(), 0, lanes);
      Value best = e.carry(1, length, {first, none}, [&](const Index &k, ValueRange acc) {
        Value x = pull(column + k * inner, lanes);
        if (e.isDry())
          return llvm::to_vector(acc);
        Value wins = precedes(isMax, op.getLast(), x, acc[0]);
        return SmallVector<Value>{arith::SelectOp::create(b, loc, wins, x, acc[0]),
                                  arith::SelectOp::create(b, loc, wins, asI64(k, lanes), acc[1])};
      })[1];
      e.store(0, at, best);
    });
  }

  void cumSum(nn::CumSumOp op) {
    e.nest(count(), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Index column = start(at, length);
      Value zero = e.isDry() ? Value() : e.constantOf(compute, 0, lanes);
      e.carry(0, length, zero, [&](const Index &k, ValueRange acc) {
        Index place = column + (op.getReverse() ? Index(length - 1) - k : k) * inner;
        Value x = pull(place, lanes);
        if (e.isDry())
          return llvm::to_vector(acc);
        Value sum = combine(nn::ReduceKind::Sum, acc[0], x);
        e.store(0, place, op.getExclusive() ? Value(acc[0]) : sum);
        return SmallVector<Value>{sum};
      });
    });
  }

  void topK(nn::TopKOp op) {
    int64_t wanted = op.getK();
    bool isMax = op.getKind() == nn::ArgKind::Max;
    e.nest(count(), [&](const Index &at) {
      int64_t lanes = e.lanesOf(at);
      Index column = start(at, length), target = start(at, wanted);
      Value last, lastIndex;
      if (!e.isDry()) {
        last = front(isMax, lanes);
        lastIndex = e.constantOf(b.getI64Type(), -1, lanes);
      }
      // Each turn finds the first element behind the one found before.
      e.carry(0, wanted, {last, lastIndex}, [&](const Index &turn, ValueRange before) {
        Value start, none;
        if (!e.isDry()) {
          start = bound(isMax, lanes);
          none = e.constantOf(b.getI64Type(), -1, lanes);
        }
        auto found = e.carry(0, length, {start, none}, [&](const Index &k, ValueRange best) {
          Value x = pull(column + k * inner, lanes);
          if (e.isDry())
            return llvm::to_vector(best);
          auto both = [&](Value p, Value q) -> Value {
            return arith::AndIOp::create(b, loc, p, q);
          };
          auto either = [&](Value p, Value q) -> Value {
            return arith::OrIOp::create(b, loc, p, q);
          };
          auto compare = [&](arith::CmpIPredicate p, Value l, Value r) -> Value {
            return arith::CmpIOp::create(b, loc, p, l, r);
          };
          Value index = asI64(k, lanes);
          Value behind = either(outranks(isMax, false, before[0], x),
                                both(outranks(isMax, true, before[0], x),
                                     compare(arith::CmpIPredicate::sgt, index, before[1])));
          Value better = outranks(isMax, false, x, best[0]);
          Value first = compare(arith::CmpIPredicate::eq, best[1], none);
          Value wins = both(behind, either(first, better));
          return SmallVector<Value>{arith::SelectOp::create(b, loc, wins, x, best[0]),
                                    arith::SelectOp::create(b, loc, wins, index, best[1])};
        });
        if (e.isDry())
          return llvm::to_vector(before);
        e.store(0, target + turn * inner, found[0]);
        e.store(1, target + turn * inner, found[1]);
        return SmallVector<Value>{found[0], found[1]};
      });
    });
  }

private:
  Emitter &e;
  OpBuilder &b;
  Location loc;
  Outputs outputs;
};

} // namespace

void cleave::emit::emitColumns(Emitter &emitter, Operation *root) {
  ColumnEmitter columns(emitter, root);
  llvm::TypeSwitch<Operation *>(root)
      .Case([&](nn::ReduceOp op) { columns.reduce(op); })
      .Case([&](nn::SoftmaxOp op) { columns.softmax(op); })
      .Case([&](nn::LayerNormOp op) {
        columns.norm(op.getScale(), op.getBias(), /*isCentred=*/true,
                     op.getEpsilon().convertToDouble());
      })
      .Case([&](nn::RmsNormOp op) {
        columns.norm(op.getScale(), {}, /*isCentred=*/false, op.getEpsilon().convertToDouble());
      })
      .Case([&](nn::ArgReduceOp op) { columns.argReduce(op); })
      .Case([&](nn::CumSumOp op) { columns.cumSum(op); })
      .Case([&](nn::TopKOp op) { columns.topK(op); })
      .DefaultUnreachable("a root whose kernel nobody emits");
}
