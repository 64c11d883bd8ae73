//===- Models.cpp - how contractions, rows and attention are cut ----------===//
//
// One function an op. Dimensions in no factor have to be whole: the rows that
// softmax and norms run over, the keys of attention, the windows of conv.
//
//===----------------------------------------------------------------------===//

#include "Nn/Models.h"

#include <numeric>

using namespace mlir;
using namespace cleave::nn;

static int64_t elementsOf(Value value) {
  ArrayRef<int64_t> shape = shapeOf(value);
  return std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<int64_t>());
}

SmallVector<Factor, 6> cleave::nn::broadcastFactors(Operation *op, ArrayRef<int64_t> operands) {
  SmallVector<Factor, 6> factors;
  ArrayRef<int64_t> result = shapeOf(op->getResult(0));
  int64_t rank = result.size(), resultNumber = op->getNumOperands();
  for (int64_t d = 0; d < rank; ++d) {
    if (result[d] == 1)
      continue;
    Factor factor{FactorKind::Parallel, {}};
    for (int64_t operand : operands) {
      ArrayRef<int64_t> shape = shapeOf(op->getOperand(operand));
      int64_t at = d - rank + static_cast<int64_t>(shape.size());
      if (at >= 0 && shape[at] == result[d])
        factor.groups.push_back({operand, {at}});
    }
    factor.groups.push_back({resultNumber, {d}});
    factors.push_back(std::move(factor));
  }
  return factors;
}

SmallVector<Factor, 6> cleave::nn::broadcastFactors(Operation *op) {
  auto all = llvm::to_vector(llvm::seq<int64_t>(0, op->getNumOperands()));
  return broadcastFactors(op, all);
}

/// A factor for each dimension but `without`, over operand 0 and all results.
static SmallVector<Factor, 6> allDimsBut(Operation *op, ArrayRef<int64_t> without) {
  SmallVector<Factor, 6> factors;
  for (int64_t d = 0, rank = shapeOf(op->getOperand(0)).size(); d < rank; ++d) {
    if (llvm::is_contained(without, d))
      continue;
    Factor factor = parallel({{0, d}});
    for (int64_t i = 0; i < op->getNumResults(); ++i)
      factor.groups.push_back({op->getNumOperands() + i, {d}});
    factors.push_back(std::move(factor));
  }
  return factors;
}

//===----------------------------------------------------------------------===//
// Sources: every rank has them whole and takes what it needs
//===----------------------------------------------------------------------===//

ShardingRule ConstantOp::getShardingRule() { return {}; }
ShardingRule WeightOp::getShardingRule() { return {}; }

//===----------------------------------------------------------------------===//
// Contractions
//===----------------------------------------------------------------------===//

ShardingRule MatmulOp::getShardingRule() {
  ArrayRef<int64_t> lhs = shapeOf(getLhs()), rhs = shapeOf(getRhs()), result = shapeOf(getResult());
  int64_t l = lhs.size(), r = rhs.size(), rank = result.size();
  ShardingRule rule;
  for (int64_t d = 0; d < rank - 2; ++d) {
    Factor batch = parallel({{2, d}});
    if (int64_t at = d - rank + l; at >= 0 && lhs[at] == result[d])
      batch.groups.push_back({0, {at}});
    if (int64_t at = d - rank + r; at >= 0 && rhs[at] == result[d])
      batch.groups.push_back({1, {at}});
    rule.factors.push_back(std::move(batch));
  }
  rule.factors.push_back(parallel({{0, l - 2}, {2, rank - 2}}));
  rule.factors.push_back(parallel({{1, r - 1}, {2, rank - 1}}));
  rule.factors.push_back({FactorKind::Reduction, {{0, {l - 1}}, {1, {r - 2}}}});
  rule.flops = 2 * elementsOf(getResult()) * lhs.back();
  return rule;
}

// [n, (g c), x…], [(g o), c, k…] -> [n, (g o), y…]
ShardingRule ConvOp::getShardingRule() {
  int64_t groups = getGroups(), channels = shapeOf(getInput())[1],
          filters = shapeOf(getFilter())[0];
  ShardingRule rule;
  rule.factors.push_back(parallel({{0, 0}, {2, 0}}));
  if (groups == 1) {
    rule.factors.push_back(parallel({{1, 0}, {2, 1}}));
    rule.factors.push_back({FactorKind::Reduction, {{0, {1}}, {1, {1}}}});
  } else {
    SmallVector<int64_t, 2> out = {groups, filters / groups};
    rule.factors.push_back(
        {FactorKind::Parallel,
         {{0, {1}, {groups, channels / groups}, 0}, {1, {0}, out, 0}, {2, {1}, out, 0}}});
  }
  ArrayRef<int64_t> filter = shapeOf(getFilter());
  rule.flops =
      2 * elementsOf(getResult()) * elementsOf(getFilter()) / std::max<int64_t>(1, filter[0]);
  return rule;
}

// Heads of q are (kv, group), those of k and v are kv.
ShardingRule AttentionOp::getShardingRule() {
  ArrayRef<int64_t> q = shapeOf(getQuery()), k = shapeOf(getKey());
  int64_t heads = q[1], kv = k[1], result = getNumOperands();
  SmallVector<int64_t, 2> split = {kv, heads / std::max<int64_t>(1, kv)};

  Factor batch = parallel({{0, 0}, {1, 0}, {2, 0}, {result, 0}});
  Factor kvHeads{FactorKind::Parallel,
                 {{0, {1}, split, 0}, {1, {1}}, {2, {1}}, {result, {1}, split, 0}}};
  Factor group{FactorKind::Parallel, {{0, {1}, split, 1}, {result, {1}, split, 1}}};
  Factor rows = parallel({{0, 2}, {result, 2}});

  if (getMask()) {
    ArrayRef<int64_t> mask = shapeOf(getMask());
    int64_t rank = mask.size();
    if (rank > 3 && mask[rank - 4] == q[0])
      batch.groups.push_back({3, {rank - 4}});
    if (rank > 2 && mask[rank - 3] == heads) {
      kvHeads.groups.push_back({3, {rank - 3}, split, 0});
      group.groups.push_back({3, {rank - 3}, split, 1});
    }
    if (rank > 1 && mask[rank - 2] == q[2])
      rows.groups.push_back({3, {rank - 2}});
  }
  if (getLengths())
    batch.groups.push_back({result - 1, {0}});

  ShardingRule rule{{batch, kvHeads, group}};
  // A rank with a part of the rows spells its part of the causal mask out, which
  // a mask that is added cannot say of rows without any key.
  bool added = getMask() && isa<FloatType>(getMask().getType().getElementType());
  bool emptyRows = getLengths() || static_cast<int64_t>(getOffset()) < 0;
  if (!(getCausal() && added && emptyRows))
    rule.factors.push_back(rows);
  rule.flops = 2 * q[0] * heads * q[2] * k[2] * (q[3] + shapeOf(getValue())[3]);
  return rule;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

ShardingRule ReduceOp::getShardingRule() {
  ShardingRule rule{allDimsBut(*this, getDims())};
  bool linear = getKind() == ReduceKind::Sum || getKind() == ReduceKind::Mean;
  for (int64_t dim : getDims())
    rule.factors.push_back(linear
                               ? Factor{FactorKind::Reduction, {{0, {dim}}}}
                               : Factor{FactorKind::Special, {{0, {dim}}}, {bytesOf(getResult())}});
  if (linear)
    rule.linearIn = {{0}};
  return rule;
}

// Each rank's best travels with its index: three halves of (value, index), which
// is what an all-reduce of 24 bytes a row costs.
ShardingRule ArgReduceOp::getShardingRule() {
  int64_t dim = getDim();
  ShardingRule rule{allDimsBut(*this, dim)};
  rule.factors.push_back({FactorKind::Special, {{0, {dim}}}, {3 * bytesOf(getResult())}});
  return rule;
}

ShardingRule TopKOp::getShardingRule() {
  int64_t dim = getDim();
  return {allDimsBut(*this, dim)};
}

ShardingRule CumSumOp::getShardingRule() {
  int64_t dim = getDim();
  return {allDimsBut(*this, dim)};
}

ShardingRule SoftmaxOp::getShardingRule() {
  int64_t dim = getDim();
  ShardingRule rule{allDimsBut(*this, dim)};
  int64_t rows = elementsOf(getResult()) / std::max<int64_t>(1, shapeOf(getInput())[dim]);
  rule.factors.push_back({FactorKind::Special, {{0, {dim}}, {1, {dim}}}, {4 * rows, 4 * rows}});
  return rule;
}

ShardingRule LayerNormOp::getShardingRule() {
  return {allDimsBut(*this, shapeOf(getInput()).size() - 1)};
}

ShardingRule RmsNormOp::getShardingRule() {
  return {allDimsBut(*this, shapeOf(getInput()).size() - 1)};
}

ShardingRule RopeOp::getShardingRule() {
  ShardingRule rule{broadcastFactors(*this)};
  // The last dimension holds the pairs, and the tables half of it.
  int64_t last = shapeOf(getInput()).size() - 1;
  llvm::erase_if(rule.factors,
                 [&](const Factor &factor) { return factor.groups.back().dims.front() == last; });
  return rule;
}
