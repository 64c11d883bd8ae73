//===- Rows.cpp - reductions, norms and what else runs along a row --------===//

#include "Evaluate.h"
#include "Index.h"

#include "Nn/Nn.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

namespace {
/// The rows of a tensor along one dimension.
struct Rows {
  int64_t outer = 1, length, inner = 1;

  Rows(ArrayRef<int64_t> shape, int64_t dim) : length(shape[dim]) {
    for (int64_t i = 0; i < dim; ++i)
      outer *= shape[i];
    for (size_t i = dim + 1; i < shape.size(); ++i)
      inner *= shape[i];
  }

  int64_t count() const { return outer * inner; }
  /// Element `i` of row `row`.
  int64_t at(int64_t row, int64_t i) const {
    return (row / inner * length + i) * inner + row % inner;
  }
};
} // namespace

static double combine(ReduceKind kind, double a, double b) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean: return a + b;
  case ReduceKind::Max: return std::isnan(a) || a > b ? a : b;
  case ReduceKind::Min: return std::isnan(a) || a < b ? a : b;
  case ReduceKind::Prod: return a * b;
  }
  llvm_unreachable("all kinds are listed");
}

static int64_t combine(ReduceKind kind, int64_t a, int64_t b) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean: return static_cast<int64_t>(uint64_t(a) + uint64_t(b));
  case ReduceKind::Max: return std::max(a, b);
  case ReduceKind::Min: return std::min(a, b);
  case ReduceKind::Prod: return static_cast<int64_t>(uint64_t(a) * uint64_t(b));
  }
  llvm_unreachable("all kinds are listed");
}

static double floatIdentity(ReduceKind kind) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean: return 0;
  case ReduceKind::Max: return -INFINITY;
  case ReduceKind::Min: return INFINITY;
  case ReduceKind::Prod: return 1;
  }
  llvm_unreachable("all kinds are listed");
}

static int64_t intIdentity(ReduceKind kind, IntegerType type) {
  unsigned width = type.getWidth();
  bool isUnsigned = type.isUnsigned() || width == 1;
  APInt least = isUnsigned ? APInt::getMinValue(width) : APInt::getSignedMinValue(width);
  APInt largest = isUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width);
  auto extend = [&](const APInt &x) {
    return isUnsigned ? static_cast<int64_t>(x.getZExtValue()) : x.getSExtValue();
  };
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean: return 0;
  case ReduceKind::Max: return extend(least);
  case ReduceKind::Min: return extend(largest);
  case ReduceKind::Prod: return 1;
  }
  llvm_unreachable("all kinds are listed");
}

static LogicalResult run(ReduceOp op, Operands operands, Results &results) {
  const HostTensor &input = *operands[0];
  HostTensor &result = results[0];
  ReduceKind kind = op.getKind();
  if (result.isFloat())
    std::fill(result.floats.begin(), result.floats.end(), floatIdentity(kind));
  else
    std::fill(result.ints.begin(), result.ints.end(),
              intIdentity(kind, cast<IntegerType>(result.type.getElementType())));

  Index strides = stridesOf(result.shape());
  forEachIndex(input.shape(), [&](ArrayRef<int64_t> index, int64_t from) {
    int64_t to = broadcastOffset(index, result.shape(), strides);
    if (input.isFloat())
      result.floats[to] = combine(kind, result.floats[to], input.floats[from]);
    else
      result.ints[to] = combine(kind, result.ints[to], input.ints[from]);
  });

  if (kind != ReduceKind::Mean || result.size() == 0)
    return success();
  int64_t count = input.size() / result.size();
  if (!result.isFloat() && count == 0)
    return op.emitError("takes the mean of no integers");
  for (double &value : result.floats)
    value /= static_cast<double>(count);
  for (int64_t &value : result.ints)
    value /= count;
  return success();
}

/// Whether element a of a row is preferred to b; equal ones are not.
static bool preferred(ArgKind kind, const HostTensor &input, int64_t a, int64_t b) {
  bool larger = kind == ArgKind::Max;
  if (input.isFloat())
    return larger ? input.floats[a] > input.floats[b] : input.floats[a] < input.floats[b];
  return larger ? input.ints[a] > input.ints[b] : input.ints[a] < input.ints[b];
}

/// The same in an order of all values: NaN is greater than any number.
static bool outranks(ArgKind kind, const HostTensor &input, int64_t a, int64_t b) {
  if (!input.isFloat())
    return preferred(kind, input, a, b);
  double x = input.floats[a], y = input.floats[b];
  if (kind == ArgKind::Min)
    std::swap(x, y);
  return x > y || (std::isnan(x) && !std::isnan(y));
}

static LogicalResult run(ArgReduceOp op, Operands operands, Results &results) {
  Rows rows(operands[0]->shape(), op.getDim());
  for (int64_t row = 0; row < rows.count(); ++row) {
    int64_t best = 0;
    for (int64_t i = 1; i < rows.length; ++i) {
      int64_t candidate = rows.at(row, i), held = rows.at(row, best);
      bool equal = !preferred(op.getKind(), *operands[0], held, candidate);
      if (preferred(op.getKind(), *operands[0], candidate, held) || (op.getLast() && equal))
        best = i;
    }
    results[0].ints[row] = best;
  }
  return success();
}

static LogicalResult run(TopKOp op, Operands operands, Results &results) {
  Rows rows(operands[0]->shape(), op.getDim());
  Rows kept(results[0].shape(), op.getDim());
  std::vector<int64_t> order(rows.length);
  for (int64_t row = 0; row < rows.count(); ++row) {
    std::iota(order.begin(), order.end(), 0);
    llvm::sort(order, [&](int64_t a, int64_t b) {
      int64_t left = rows.at(row, a), right = rows.at(row, b);
      if (outranks(op.getKind(), *operands[0], left, right))
        return true;
      return a < b && !outranks(op.getKind(), *operands[0], right, left);
    });
    for (int64_t i = 0; i < kept.length; ++i) {
      copyElement(*operands[0], rows.at(row, order[i]), results[0], kept.at(row, i));
      results[1].ints[kept.at(row, i)] = order[i];
    }
  }
  return success();
}

static LogicalResult run(CumSumOp op, Operands operands, Results &results) {
  const HostTensor &input = *operands[0];
  Rows rows(input.shape(), op.getDim());
  for (int64_t row = 0; row < rows.count(); ++row) {
    double floatSum = 0;
    uint64_t intSum = 0;
    for (int64_t step = 0; step < rows.length; ++step) {
      int64_t at = rows.at(row, op.getReverse() ? rows.length - 1 - step : step);
      double nextFloat = input.isFloat() ? floatSum + input.floats[at] : 0;
      uint64_t nextInt = input.isFloat() ? 0 : intSum + uint64_t(input.ints[at]);
      if (input.isFloat())
        results[0].floats[at] = op.getExclusive() ? floatSum : nextFloat;
      else
        results[0].ints[at] = static_cast<int64_t>(op.getExclusive() ? intSum : nextInt);
      floatSum = nextFloat;
      intSum = nextInt;
    }
  }
  return success();
}

static LogicalResult run(SoftmaxOp op, Operands operands, Results &results) {
  const std::vector<double> &input = operands[0]->floats;
  Rows rows(operands[0]->shape(), op.getDim());
  for (int64_t row = 0; row < rows.count(); ++row) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < rows.length; ++i)
      largest = std::max(largest, input[rows.at(row, i)]);
    for (int64_t i = 0; i < rows.length; ++i)
      sum += std::exp(input[rows.at(row, i)] - largest);
    for (int64_t i = 0; i < rows.length; ++i)
      results[0].floats[rows.at(row, i)] = std::exp(input[rows.at(row, i)] - largest) / sum;
  }
  return success();
}

/// Norms over the last dimension; `centred` subtracts the mean.
static LogicalResult normalise(Operands operands, bool centred, double epsilon,
                               HostTensor &result) {
  const HostTensor &input = *operands[0];
  Rows rows(input.shape(), input.shape().size() - 1);
  for (int64_t row = 0; row < rows.count(); ++row) {
    double mean = 0, square = 0;
    for (int64_t i = 0; centred && i < rows.length; ++i)
      mean += input.floats[rows.at(row, i)] / rows.length;
    for (int64_t i = 0; i < rows.length; ++i) {
      double centredValue = input.floats[rows.at(row, i)] - mean;
      square += centredValue * centredValue / rows.length;
    }
    for (int64_t i = 0; i < rows.length; ++i) {
      int64_t at = rows.at(row, i);
      result.floats[at] =
          (input.floats[at] - mean) / std::sqrt(square + epsilon) * operands[1]->floats[i] +
          (operands.size() > 2 ? operands[2]->floats[i] : 0);
    }
  }
  return success();
}

static LogicalResult run(LayerNormOp op, Operands operands, Results &results) {
  return normalise(operands, true, op.getEpsilon().convertToDouble(), results[0]);
}

static LogicalResult run(RmsNormOp op, Operands operands, Results &results) {
  return normalise(operands, false, op.getEpsilon().convertToDouble(), results[0]);
}

static LogicalResult run(RopeOp op, Operands operands, Results &results) {
  const HostTensor &input = *operands[0], &cos = *operands[1], &sin = *operands[2];
  int64_t pairs = cos.shape().back(), lanes = input.shape().back();
  Index strides = stridesOf(cos.shape());
  results[0].floats = input.floats;
  forEachIndex(input.shape().drop_back(), [&](ArrayRef<int64_t> index, int64_t row) {
    Index tableIndex(index);
    tableIndex.push_back(0);
    int64_t table = broadcastOffset(tableIndex, cos.shape(), strides);
    for (int64_t i = 0; i < pairs; ++i) {
      int64_t a = row * lanes + (op.getInterleaved() ? 2 * i : i);
      int64_t b = row * lanes + (op.getInterleaved() ? 2 * i + 1 : i + pairs);
      double c = cos.floats[table + i], s = sin.floats[table + i];
      results[0].floats[a] = input.floats[a] * c - input.floats[b] * s;
      results[0].floats[b] = input.floats[b] * c + input.floats[a] * s;
    }
  });
  return success();
}

std::optional<LogicalResult> cleave::evaluateRows(Operation *op, Operands operands,
                                                  Results &results) {
  return llvm::TypeSwitch<Operation *, std::optional<LogicalResult>>(op)
      .Case<ReduceOp, ArgReduceOp, TopKOp, CumSumOp, SoftmaxOp, LayerNormOp, RmsNormOp, RopeOp>(
          [&](auto rows) { return run(rows, operands, results); })
      .Default([](Operation *) { return std::nullopt; });
}
