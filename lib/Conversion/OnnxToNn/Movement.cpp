//===- Movement.cpp - slices, concatenations, gathers, scatters -----------===//

#include "Node.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

static LogicalResult transpose(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  std::optional<Ints> permutation = n.intsAttr("perm");
  if (!permutation) {
    permutation.emplace(rankOf(input));
    std::iota(permutation->rbegin(), permutation->rend(), 0);
  }
  return n.give(n.transpose(input, *permutation));
}

static LogicalResult concat(Node &n) {
  SmallVector<Value> inputs;
  for (size_t i = 0; i < n.numInputs(); ++i)
    if (!inputs.emplace_back(n.in(i)))
      return failure();
  if (inputs.empty())
    return n.error() << "joins nothing";
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(inputs[0]), 1);
  return failed(axis) ? failure() : n.give(n.concat(inputs, *axis));
}

static LogicalResult split(Node &n) {
  Value input = n.in(0);
  FailureOr<std::optional<Sizes>> sizes = n.sizesFrom("split", 1);
  if (!input || failed(sizes))
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(input));
  if (failed(axis))
    return failure();
  Size total = sizesOf(input)[*axis];
  int64_t parts = n.op.getNumResults();
  if (parts == 0)
    return success();
  if (!*sizes) {
    Size each = nn::ceilDiv(total, parts);
    sizes->emplace();
    for (int64_t i = 0; i < parts; ++i)
      (*sizes)->push_back(nn::least(each, nn::greatest(total - each * i, 0)));
  }
  if (static_cast<int64_t>((*sizes)->size()) != parts)
    return n.error() << "has " << parts << " outputs, got: " << (*sizes)->size() << " sizes";
  SmallVector<Value> results;
  Size start = 0;
  auto wrong = [&] {
    return n.error() << "sizes do not add up to " << total.value << ", got: ["
                     << nn::numbersOf(**sizes) << "]";
  };
  for (const Size &size : **sizes) {
    if (size.value < 0 || size.value > total.value - start.value)
      return wrong();
    results.push_back(n.slice(input, *axis, start, size));
    start = start + size;
  }
  return start.value == total.value ? n.give(results) : LogicalResult(wrong());
}

// Bounds are clamped as Python clamps them, for either direction of the step.
static LogicalResult slice(Node &n) {
  Value input = n.in(0);
  FailureOr<Sizes> starts = n.sizesWanted("starts", 1), ends = n.sizesWanted("ends", 2);
  if (!input || failed(starts) || failed(ends))
    return failure();
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 3);
  FailureOr<std::optional<Ints>> steps = n.has(4) ? n.intsFrom("steps", 4) : std::optional<Ints>();
  if (failed(axes) || failed(steps))
    return failure();
  if (!*axes) {
    axes->emplace(starts->size());
    std::iota((*axes)->begin(), (*axes)->end(), 0);
  }
  FailureOr<Ints> dims = n.wrapAxes(**axes, rankOf(input));
  if (failed(dims))
    return failure();
  if (starts->size() != dims->size() || ends->size() != dims->size() ||
      (*steps && (*steps)->size() != dims->size()))
    return n.error() << "wants a start and an end for each of " << dims->size() << " axes";

  Sizes from(rankOf(input), 0), sizes = sizesOf(input);
  Ints strides(rankOf(input), 1);
  for (auto [i, dim] : llvm::enumerate(*dims)) {
    Size size = sizes[dim];
    int64_t step = *steps ? (**steps)[i] : 1;
    if (step == 0)
      return n.error() << "has a step of 0";
    if (step == INT64_MIN)
      return n.error() << "has a step of -2^63";
    auto clamped = [&](const Size &at, int64_t least) {
      Size wrapped = at.value < 0 ? at + size : at;
      return step > 0 ? nn::least(nn::greatest(wrapped, 0), size)
                      : nn::least(nn::greatest(wrapped, least), size - 1);
    };
    // Backwards from before the first element is from there, unlike with NumPy.
    Size start = clamped((*starts)[i], 0), end = clamped((*ends)[i], -1);
    Size reach = step > 0 ? end - start : start - end;
    sizes[dim] = reach.value <= 0 ? Size(0) : nn::ceilDiv(reach, std::abs(step));
    from[dim] = sizes[dim].value == 0 ? Size(0) : start;
    strides[dim] = sizes[dim].value <= 1 ? 1 : step;
  }
  return n.give(n.slice(input, from, sizes, strides));
}

// A constant scalar index is a slice without its dimension: local under any cut
// of the others, and a view when it is outermost.
static LogicalResult gather(Node &n) {
  Value data = n.in(0), indices = n.in(1);
  if (!data || !indices)
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(data));
  if (failed(axis))
    return failure();
  std::optional<HostTensor> known = n.constant(indices);
  if (known && !known->isFloat() && rankOf(indices) == 0) {
    Sizes rest = sizesOf(data);
    FailureOr<int64_t> wrapped = n.wrapAxis(known->ints[0], rest[*axis].value);
    if (failed(wrapped))
      return failure();
    Size at = known->ints[0];
    if (Sizes content = contentOf(indices); content.size() == 1)
      at = content[0];
    if (at.value < 0)
      at = at + rest[*axis];
    rest.erase(rest.begin() + *axis);
    return n.give(n.reshape(n.slice(data, *axis, at, 1), rest));
  }
  return n.give(n.make<nn::GatherOp>({data, indices}, {{"axis", n.b.getI64IntegerAttr(*axis)}}));
}

static LogicalResult gatherElements(Node &n) {
  Value data = n.in(0);
  if (!data)
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(data));
  return failed(axis) ? failure()
                      : n.give(n.make<nn::GatherElementsOp>(
                            {data, n.in(1)}, {{"axis", n.b.getI64IntegerAttr(*axis)}}));
}

static LogicalResult gatherNd(Node &n) {
  return n.give(n.make<nn::GatherNdOp>(
      {n.in(0), n.in(1)}, {{"batch_dims", n.b.getI64IntegerAttr(n.intAttr("batch_dims"))}}));
}

static LogicalResult scatterNd(Node &n) {
  StringRef reduction = n.stringAttr("reduction");
  if (!reduction.empty() && reduction != "none")
    return n.unsupported("the reduction \"" + reduction + "\"");
  return n.give(n.make<nn::ScatterNdOp>({n.in(0), n.in(1), n.in(2)}));
}

static LogicalResult tensorScatter(Node &n) {
  Value cache = n.in(0), update = n.in(1);
  if (!cache || !update)
    return failure();
  if (n.stringAttr("mode") == "circular")
    return n.unsupported("the mode \"circular\"");
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(cache), -2);
  if (failed(axis))
    return failure();
  Value positions =
      n.has(2) ? n.in(2)
               : n.broadcast(n.scalar(n.b.getI64Type(), 0), ArrayRef(sizesOf(cache)).take_front(1));
  return n.give(n.make<nn::CacheUpdateOp>({cache, update, positions},
                                          {{"axis", n.b.getI64IntegerAttr(*axis)}}));
}

static LogicalResult pad(Node &n) {
  Value input = n.in(0);
  FailureOr<Sizes> pads = n.sizesWanted("pads", 1);
  if (!input || failed(pads))
    return failure();
  StringRef mode = n.stringAttr("mode");
  if (!mode.empty() && mode != "constant")
    return n.unsupported("the mode \"" + mode + "\"");
  int64_t rank = rankOf(input);
  Sizes low(rank, 0), high(rank, 0);
  Ints axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (n.has(3)) {
    FailureOr<Sizes> given = n.sizes(3);
    FailureOr<Ints> wrapped =
        failed(given) ? FailureOr<Ints>() : n.wrapAxes(nn::numbersOf(*given), rank);
    if (failed(wrapped))
      return failure();
    axes = *wrapped;
  }
  if (pads->size() != 2 * axes.size())
    return n.error() << "wants two pads for each of " << axes.size()
                     << " axes, got: " << pads->size();
  for (const Size &amount : *pads)
    if (amount.value < -kLargestTensor || amount.value > kLargestTensor)
      return n.error() << "pads by an impossible amount, got: " << amount.value;
  Value value =
      n.has(2) ? n.reshape(n.in(2), {}) : n.scalar(elementOf(input), n.floatAttr("value"));
  for (auto [i, axis] : llvm::enumerate(axes)) {
    low[axis] = (*pads)[i];
    high[axis] = (*pads)[axes.size() + i];
  }
  // A negative pad takes elements away.
  for (int64_t dim = 0; dim < rank && input; ++dim) {
    Size cutLow = nn::greatest(0 - low[dim], 0), cutHigh = nn::greatest(0 - high[dim], 0);
    Size rest = sizesOf(input)[dim] - cutLow - cutHigh;
    if (rest.value < 0)
      return n.error() << "takes away more than there is at dimension " << dim;
    if (cutLow.value || cutHigh.value)
      input = n.slice(input, dim, cutLow, rest);
    low[dim] = nn::greatest(low[dim], 0);
    high[dim] = nn::greatest(high[dim], 0);
  }
  return n.give(n.pad(input, value, low, high));
}

/// Whether j - i is at most (or at least) `diagonal`, for an [rows, columns] matrix.
static Value triangle(Node &n, Size rows, Size columns, int64_t diagonal, bool upper) {
  Value i = n.reshape(n.iota(rows), {rows, 1}), j = n.iota(columns);
  auto kind = upper ? nn::CompareKind::Ge : nn::CompareKind::Le;
  return n.make<nn::CompareOp>({n.make<nn::SubOp>({j, i}), n.scalar(n.b.getI64Type(), diagonal)},
                               {{"kind", nn::CompareKindAttr::get(n.b.getContext(), kind)}});
}

static LogicalResult trilu(Node &n) {
  Value input = n.in(0);
  if (!input || rankOf(input) < 2)
    return n.error() << "wants a matrix";
  int64_t diagonal = 0;
  if (n.has(1)) {
    FailureOr<Size> k = n.size(1);
    if (failed(k))
      return failure();
    // Beyond any matrix, and still exact as the double that `scalar` takes.
    diagonal = std::clamp(k->value, -kLargestTensor, kLargestTensor);
  }
  Sizes shape = sizesOf(input);
  Value kept = triangle(n, shape[shape.size() - 2], shape.back(), diagonal, n.intAttr("upper"));
  return n.give(n.make<nn::SelectOp>({kept, input, n.scalar(elementOf(input), 0)}));
}

static LogicalResult oneHot(Node &n) {
  Value indices = n.in(0), values = n.in(2);
  FailureOr<Size> depth = n.size(1);
  if (!indices || !values || failed(depth))
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(indices), -1, /*end=*/true);
  if (failed(axis))
    return failure();
  Value whole = n.cast(indices, n.b.getI64Type());
  Value counted = n.iota(*depth);
  Value size = n.intScalar(*depth);
  // Negative indices count from the end.
  auto less = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Lt);
  auto equal = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Eq);
  Value negative = n.make<nn::CompareOp>({whole, n.scalar(n.b.getI64Type(), 0)}, {{"kind", less}});
  whole = n.make<nn::SelectOp>({negative, n.make<nn::AddOp>({whole, size}), whole});
  Sizes expanded = sizesOf(indices), lanes(rankOf(indices) + 1, 1);
  expanded.insert(expanded.begin() + *axis, 1);
  lanes[*axis] = *depth;
  Value lane = n.reshape(counted, lanes);
  Value hot = n.make<nn::CompareOp>({n.reshape(whole, expanded), lane}, {{"kind", equal}});
  return n.give(n.make<nn::SelectOp>(
      {hot, n.reshape(n.slice(values, 0, 1, 1), {}), n.reshape(n.slice(values, 0, 0, 1), {})}));
}

void cleave::addMovement(ConvertTable &table) {
  table["Concat"] = concat;
  table["Gather"] = gather;
  table["GatherElements"] = gatherElements;
  table["GatherND"] = gatherNd;
  table["OneHot"] = oneHot;
  table["Pad"] = pad;
  table["ScatterND"] = scatterNd;
  table["Slice"] = slice;
  table["Split"] = split;
  table["TensorScatter"] = tensorScatter;
  table["Transpose"] = transpose;
  table["Trilu"] = trilu;
}
