//===- ModelsMovement.cpp - how movement is cut ---------------------------===//

#include "Nn/Models.h"

using namespace mlir;
using namespace cleave::nn;

static ShardingRule view(SmallVector<Factor, 6> factors) {
  return {std::move(factors), {{0}}, 0, true};
}

// Runs of dimensions with equal products correspond; sizes of 1 belong to none.
ShardingRule ReshapeOp::getShardingRule() {
  ArrayRef<int64_t> in = shapeOf(getInput()), out = shapeOf(getResult());
  if (llvm::is_contained(in, 0))
    return view({});

  SmallVector<Factor, 6> factors;
  size_t i = 0, j = 0;
  auto take = [](ArrayRef<int64_t> shape, size_t &at, DimGroup &group) {
    group.dims.push_back(at);
    return shape[at++];
  };
  while (true) {
    while (i < in.size() && in[i] == 1)
      ++i;
    while (j < out.size() && out[j] == 1)
      ++j;
    if (i == in.size() || j == out.size())
      return view(std::move(factors));
    DimGroup a{0, {}}, b{1, {}};
    int64_t sizeA = take(in, i, a), sizeB = take(out, j, b);
    while (sizeA != sizeB) {
      if (sizeA < sizeB)
        sizeA *= take(in, i, a);
      else
        sizeB *= take(out, j, b);
    }
    factors.push_back({FactorKind::Parallel, {a, b}});
  }
}

ShardingRule TransposeOp::getShardingRule() {
  SmallVector<Factor, 6> factors;
  for (auto [to, from] : llvm::enumerate(getPermutation()))
    factors.push_back(parallel({{0, from}, {1, static_cast<int64_t>(to)}}));
  return view(std::move(factors));
}

ShardingRule BroadcastOp::getShardingRule() { return view(broadcastFactors(*this)); }

ShardingRule SliceOp::getShardingRule() {
  ArrayRef<int64_t> in = shapeOf(getInput()), out = shapeOf(getResult());
  SmallVector<Factor, 6> factors;
  for (int64_t d = 0, rank = in.size(); d < rank; ++d) {
    int64_t start = getStarts()[d], step = getSteps()[d];
    if (step == 1 && in[d] == out[d])
      factors.push_back(parallel({{0, d}, {1, d}}));
    else if (step == 1)
      factors.push_back(
          {FactorKind::Concatenation,
           {{0, {d}}, {kNoValue, {start}}, {1, {d}}, {kNoValue, {in[d] - start - out[d]}}}});
    // Every step-th index: the outer factor of (n, step).
    else if (step > 1 && start < step && in[d] == out[d] * step)
      factors.push_back({FactorKind::Parallel, {{0, {d}, {out[d], step}, 0}, {1, {d}}}});
  }
  return view(std::move(factors));
}

ShardingRule ConcatOp::getShardingRule() {
  int64_t inputs = getNumOperands(), axis = getAxis();
  Factor joined{FactorKind::Concatenation, {{inputs, {axis}}}};
  for (int64_t i = 0; i < inputs; ++i)
    joined.groups.push_back({i, {axis}});

  ShardingRule rule;
  for (int64_t d = 0, rank = shapeOf(getResult()).size(); d < rank; ++d) {
    if (d == axis) {
      rule.factors.push_back(joined);
      continue;
    }
    Factor factor{FactorKind::Parallel, {}};
    for (int64_t i = 0; i <= inputs; ++i)
      factor.groups.push_back({i, {d}});
    rule.factors.push_back(std::move(factor));
  }
  rule.linearIn = {llvm::to_vector<2>(llvm::seq<int64_t>(0, inputs))};
  return rule;
}

ShardingRule PadOp::getShardingRule() {
  ShardingRule rule;
  for (int64_t d = 0, rank = shapeOf(getInput()).size(); d < rank; ++d)
    if (getLow()[d] == 0 && getHigh()[d] == 0)
      rule.factors.push_back(parallel({{0, d}, {2, d}}));
  return rule;
}

// data[a…, v, c…], indices[i…] -> [a…, i…, c…]
ShardingRule GatherOp::getShardingRule() {
  int64_t axis = getAxis(), indices = shapeOf(getIndices()).size();
  ShardingRule rule;
  for (int64_t d = 0, rank = shapeOf(getData()).size(); d < rank; ++d)
    if (d == axis)
      rule.factors.push_back({FactorKind::Lookup, {{0, {d}}}});
    else
      rule.factors.push_back(parallel({{0, d}, {2, d < axis ? d : d + indices - 1}}));
  for (int64_t d = 0; d < indices; ++d)
    rule.factors.push_back(parallel({{1, d}, {2, axis + d}}));
  rule.linearIn = {{0}};
  return rule;
}

ShardingRule GatherElementsOp::getShardingRule() {
  ArrayRef<int64_t> data = shapeOf(getData()), indices = shapeOf(getIndices());
  ShardingRule rule;
  for (int64_t d = 0, rank = data.size(); d < rank; ++d)
    if (d == static_cast<int64_t>(getAxis()))
      rule.factors.push_back(parallel({{1, d}, {2, d}}));
    else if (data[d] == indices[d])
      rule.factors.push_back(parallel({{0, d}, {1, d}, {2, d}}));
  return rule;
}

// data[b…, (tuple)…, c…], indices[b…, i…, tuple] -> [b…, i…, c…]
ShardingRule GatherNdOp::getShardingRule() {
  int64_t batches = getBatchDims(), rank = shapeOf(getData()).size(),
          lead = shapeOf(getIndices()).size() - 1, tuple = shapeOf(getIndices()).back();
  ShardingRule rule;
  for (int64_t d = 0; d < lead; ++d) {
    Factor factor = parallel({{1, d}, {2, d}});
    if (d < batches)
      factor.groups.push_back({0, {d}});
    rule.factors.push_back(std::move(factor));
  }
  for (int64_t d = batches + tuple; d < rank; ++d)
    rule.factors.push_back(parallel({{0, d}, {2, lead + d - batches - tuple}}));
  return rule;
}

// Dimensions that tuples address stay whole, those of the slices are free.
ShardingRule ScatterNdOp::getShardingRule() {
  int64_t tuple = shapeOf(getIndices()).back(), lead = shapeOf(getIndices()).size() - 1;
  ShardingRule rule;
  for (int64_t d = tuple, rank = shapeOf(getData()).size(); d < rank; ++d)
    rule.factors.push_back(parallel({{0, d}, {2, lead + d - tuple}, {3, d}}));
  return rule;
}

ShardingRule CacheUpdateOp::getShardingRule() {
  ShardingRule rule;
  for (int64_t d = 0, rank = shapeOf(getCache()).size(); d < rank; ++d) {
    if (d == static_cast<int64_t>(getAxis()))
      continue;
    Factor factor = parallel({{0, d}, {1, d}, {3, d}});
    if (d == 0)
      factor.groups.push_back({2, {0}});
    rule.factors.push_back(std::move(factor));
  }
  return rule;
}
