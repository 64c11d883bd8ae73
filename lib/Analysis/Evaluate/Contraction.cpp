//===- Contraction.cpp - matmul, conv, attention --------------------------===//

#include "Evaluate.h"
#include "Index.h"

#include "Nn/Nn.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

static LogicalResult run(MatmulOp op, Operands operands, HostTensor &result) {
  const HostTensor &lhs = *operands[0], &rhs = *operands[1];
  Index lhsStrides = stridesOf(lhs.shape()), rhsStrides = stridesOf(rhs.shape());
  int64_t k = lhs.shape().back(), n = rhs.shape().back();
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    Index row(index), column(index);
    row.back() = 0;
    column[index.size() - 2] = 0;
    int64_t a = broadcastOffset(row, lhs.shape(), lhsStrides);
    int64_t b = broadcastOffset(column, rhs.shape(), rhsStrides);
    double floatSum = 0;
    uint64_t intSum = 0;
    for (int64_t i = 0; i < k; ++i)
      if (lhs.isFloat())
        floatSum += lhs.floats[a + i] * rhs.floats[b + i * n];
      else
        intSum += uint64_t(lhs.ints[a + i]) * uint64_t(rhs.ints[b + i * n]);
    if (lhs.isFloat())
      result.floats[out] = floatSum;
    else
      result.ints[out] = static_cast<int64_t>(intSum);
  });
  return success();
}

static LogicalResult run(ConvOp op, Operands operands, HostTensor &result) {
  const HostTensor &input = *operands[0], &filter = *operands[1];
  Index inputStrides = stridesOf(input.shape()), filterStrides = stridesOf(filter.shape());
  int64_t perGroup = filter.shape()[0] / op.getGroups();
  forEachIndex(result.shape(), [&](ArrayRef<int64_t> index, int64_t out) {
    int64_t firstChannel = index[1] / perGroup * filter.shape()[1];
    double floatSum = 0;
    uint64_t intSum = 0;
    forEachIndex(filter.shape().drop_front(), [&](ArrayRef<int64_t> tap, int64_t) {
      int64_t from = index[0] * inputStrides[0] + (firstChannel + tap[0]) * inputStrides[1];
      int64_t weight = index[1] * filterStrides[0] + tap[0] * filterStrides[1];
      for (size_t i = 1; i < tap.size(); ++i) {
        int64_t at = index[i + 1] * op.getStrides()[i - 1] + tap[i] * op.getDilations()[i - 1] -
                     op.getLow()[i - 1];
        if (at < 0 || at >= input.shape()[i + 1])
          return;
        from += at * inputStrides[i + 1];
        weight += tap[i] * filterStrides[i + 1];
      }
      if (input.isFloat())
        floatSum += input.floats[from] * filter.floats[weight];
      else
        intSum += uint64_t(input.ints[from]) * uint64_t(filter.ints[weight]);
    });
    if (input.isFloat())
      result.floats[out] = floatSum;
    else
      result.ints[out] = static_cast<int64_t>(intSum);
  });
  return success();
}

namespace {
/// The masks of an attention, asked for one score at a time.
struct Visibility {
  const HostTensor *mask = nullptr, *lengths = nullptr;
  Index maskStrides;
  int64_t queries, offset;
  bool causal;

  Visibility(AttentionOp op, Operands operands)
      : queries(operands[0]->shape()[2]), offset(op.getOffset()), causal(op.getCausal()) {
    size_t next = 3;
    if (op.getMask())
      mask = operands[next++];
    if (op.getLengths())
      lengths = operands[next];
    if (mask)
      maskStrides = stridesOf(mask->shape());
  }

  /// -inf for a hidden key, else what is added to the score.
  double at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    int64_t last = i + (lengths ? lengths->ints[b] - queries : offset);
    if ((lengths && j >= lengths->ints[b]) || (causal && j > last))
      return -INFINITY;
    if (!mask)
      return 0;
    int64_t at = broadcastOffset({b, h, i, j}, mask->shape(), maskStrides);
    if (mask->isFloat())
      return mask->floats[at];
    return mask->ints[at] ? 0 : -INFINITY;
  }
};
} // namespace

static LogicalResult run(AttentionOp op, Operands operands, HostTensor &result) {
  const HostTensor &q = *operands[0], &k = *operands[1], &v = *operands[2];
  Visibility visibility(op, operands);
  double scale = op.getScale().convertToDouble(), cap = op.getSoftcap().convertToDouble();
  int64_t heads = q.shape()[1], d = q.shape()[3];
  int64_t keyHeads = k.shape()[1], keys = k.shape()[2], e = v.shape()[3];
  std::vector<double> scores(keys);
  forEachIndex(q.shape().drop_back(), [&](ArrayRef<int64_t> index, int64_t row) {
    int64_t b = index[0], h = index[1];
    int64_t firstKey = (b * keyHeads + h / (heads / keyHeads)) * keys;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; ++j) {
      double dot = 0;
      for (int64_t x = 0; x < d; ++x)
        dot += q.floats[row * d + x] * k.floats[(firstKey + j) * d + x];
      dot *= scale;
      if (cap != 0)
        dot = cap * std::tanh(dot / cap);
      scores[j] = dot + visibility.at(b, h, index[2], j);
      largest = std::max(largest, scores[j]);
    }
    for (double &score : scores)
      sum += score = largest == -INFINITY ? 0 : std::exp(score - largest);
    double empty = op.getEmptyRows() == EmptyRows::Nan ? NAN : 0;
    for (int64_t x = 0; x < e; ++x) {
      double total = 0;
      for (int64_t j = 0; j < keys; ++j)
        total += scores[j] * v.floats[(firstKey + j) * e + x];
      result.floats[row * e + x] = sum == 0 ? empty : total / sum;
    }
  });
  return success();
}

std::optional<LogicalResult> cleave::evaluateContraction(Operation *op, Operands operands,
                                                         Results &results) {
  return llvm::TypeSwitch<Operation *, std::optional<LogicalResult>>(op)
      .Case<MatmulOp, ConvOp, AttentionOp>(
          [&](auto contraction) { return run(contraction, operands, results[0]); })
      .Default([](Operation *) { return std::nullopt; });
}
