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
  FailureOr<std::optional<Ints>> sizes = n.intsFrom("split", 1);
  if (!input || failed(sizes))
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(input));
  if (failed(axis))
    return failure();
  int64_t total = shapeOf(input)[*axis], parts = n.op.getNumResults();
  if (parts == 0)
    return success();
  if (!*sizes) {
    int64_t each = llvm::divideCeil(total, parts);
    sizes->emplace();
    for (int64_t i = 0; i < parts; ++i)
      (*sizes)->push_back(std::min(each, std::max<int64_t>(total - i * each, 0)));
  }
  if (static_cast<int64_t>((*sizes)->size()) != parts)
    return n.error() << "has " << parts << " outputs, got: " << (*sizes)->size() << " sizes";
  SmallVector<Value> results;
  int64_t start = 0;
  for (int64_t size : **sizes) {
    if (size < 0 || size > total - start)
      return n.error() << "sizes do not add up to " << total << ", got: [" << **sizes << "]";
    results.push_back(n.slice(input, *axis, start, size));
    start += size;
  }
  if (start != total)
    return n.error() << "sizes do not add up to " << total << ", got: [" << **sizes << "]";
  return n.give(results);
}

// Bounds are clamped as Python clamps them, for either direction of the step.
static LogicalResult slice(Node &n) {
  Value input = n.in(0);
  FailureOr<Ints> starts = n.intsWanted("starts", 1), ends = n.intsWanted("ends", 2);
  if (!input || failed(starts) || failed(ends))
    return failure();
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 3);
  FailureOr<std::optional<Ints>> steps =
      n.has(4) ? n.intsFrom("steps", 4) : std::optional<Ints>();
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

  Ints from(rankOf(input), 0), sizes(shapeOf(input)), strides(rankOf(input), 1);
  for (auto [i, dim] : llvm::enumerate(*dims)) {
    int64_t size = shapeOf(input)[dim], step = *steps ? (**steps)[i] : 1;
    if (step == 0)
      return n.error() << "has a step of 0";
    if (step == INT64_MIN)
      return n.error() << "has a step of -2^63";
    auto clamped = [&](int64_t at) {
      int64_t wrapped = at < 0 ? at + size : at;
      return step > 0 ? std::clamp<int64_t>(wrapped, 0, size)
                      : std::clamp<int64_t>(wrapped, -1, size - 1);
    };
    int64_t start = clamped((*starts)[i]), end = clamped((*ends)[i]);
    int64_t reach = step > 0 ? end - start : start - end;
    sizes[dim] = reach <= 0 ? 0 : (reach - 1) / std::abs(step) + 1;
    from[dim] = sizes[dim] == 0 ? 0 : start;
    strides[dim] = sizes[dim] <= 1 ? 1 : step;
  }
  return n.give(n.make<nn::SliceOp>(input, {{"starts", n.b.getDenseI64ArrayAttr(from)},
                                            {"sizes", n.b.getDenseI64ArrayAttr(sizes)},
                                            {"steps", n.b.getDenseI64ArrayAttr(strides)}}));
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
    FailureOr<int64_t> at = n.wrapAxis(known->ints[0], shapeOf(data)[*axis]);
    if (failed(at))
      return failure();
    Ints rest(shapeOf(data));
    rest.erase(rest.begin() + *axis);
    return n.give(n.reshape(n.slice(data, *axis, *at, 1), rest));
  }
  return n.give(
      n.make<nn::GatherOp>({data, indices}, {{"axis", n.b.getI64IntegerAttr(*axis)}}));
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
  Value positions = n.has(2) ? n.in(2)
                             : n.broadcast(n.scalar(n.b.getI64Type(), 0),
                                           shapeOf(cache).take_front(1));
  return n.give(n.make<nn::CacheUpdateOp>({cache, update, positions},
                                          {{"axis", n.b.getI64IntegerAttr(*axis)}}));
}

static LogicalResult pad(Node &n) {
  Value input = n.in(0);
  FailureOr<Ints> pads = n.intsWanted("pads", 1);
  if (!input || failed(pads))
    return failure();
  StringRef mode = n.stringAttr("mode");
  if (!mode.empty() && mode != "constant")
    return n.unsupported("the mode \"" + mode + "\"");
  int64_t rank = rankOf(input);
  Ints low(rank, 0), high(rank, 0), axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (n.has(3)) {
    FailureOr<Ints> given = n.ints(3);
    FailureOr<Ints> wrapped = failed(given) ? FailureOr<Ints>() : n.wrapAxes(*given, rank);
    if (failed(wrapped))
      return failure();
    axes = *wrapped;
  }
  if (pads->size() != 2 * axes.size())
    return n.error() << "wants two pads for each of " << axes.size() << " axes, got: "
                     << pads->size();
  for (int64_t amount : *pads)
    if (amount < -kLargestTensor || amount > kLargestTensor)
      return n.error() << "pads by an impossible amount, got: " << amount;
  Value value = n.has(2) ? n.reshape(n.in(2), {})
                         : n.scalar(elementOf(input), n.floatAttr("value"));
  for (auto [i, axis] : llvm::enumerate(axes)) {
    low[axis] = (*pads)[i];
    high[axis] = (*pads)[axes.size() + i];
  }
  // A negative pad takes elements away.
  for (int64_t dim = 0; dim < rank && input; ++dim) {
    int64_t cutLow = std::max<int64_t>(-low[dim], 0), cutHigh = std::max<int64_t>(-high[dim], 0);
    int64_t rest = shapeOf(input)[dim] - cutLow - cutHigh;
    if (rest < 0)
      return n.error() << "takes away more than there is at dimension " << dim;
    if (cutLow || cutHigh)
      input = n.slice(input, dim, cutLow, rest);
    low[dim] = std::max<int64_t>(low[dim], 0);
    high[dim] = std::max<int64_t>(high[dim], 0);
  }
  return n.give(n.make<nn::PadOp>({input, value}, {{"low", n.b.getDenseI64ArrayAttr(low)},
                                                   {"high", n.b.getDenseI64ArrayAttr(high)}}));
}

/// Whether j - i is at most (or at least) `diagonal`, for an [rows, columns] matrix.
static Value triangle(Node &n, int64_t rows, int64_t columns, int64_t diagonal, bool upper) {
  Value i = n.reshape(n.iota(rows), {rows, 1}), j = n.iota(columns);
  auto kind = upper ? nn::CompareKind::Ge : nn::CompareKind::Le;
  return n.make<nn::CompareOp>(
      {n.make<nn::SubOp>({j, i}), n.scalar(n.b.getI64Type(), diagonal)},
      {{"kind", nn::CompareKindAttr::get(n.b.getContext(), kind)}});
}

static LogicalResult trilu(Node &n) {
  Value input = n.in(0);
  if (!input || rankOf(input) < 2)
    return n.error() << "wants a matrix";
  int64_t diagonal = 0;
  if (n.has(1)) {
    FailureOr<int64_t> k = n.integer(1);
    if (failed(k))
      return failure();
    // Beyond any matrix, and still exact as the double that `scalar` takes.
    diagonal = std::clamp(*k, -kLargestTensor, kLargestTensor);
  }
  ArrayRef<int64_t> matrix = shapeOf(input).take_back(2);
  Value kept = triangle(n, matrix[0], matrix[1], diagonal, n.intAttr("upper"));
  return n.give(n.make<nn::SelectOp>({kept, input, n.scalar(elementOf(input), 0)}));
}

static LogicalResult oneHot(Node &n) {
  Value indices = n.in(0), values = n.in(2);
  FailureOr<int64_t> depth = n.integer(1);
  if (!indices || !values || failed(depth))
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(indices), -1, /*end=*/true);
  if (failed(axis))
    return failure();
  Value whole = n.cast(indices, n.b.getI64Type());
  Value counted = n.iota(*depth);
  Value size = n.scalar(n.b.getI64Type(), *depth);
  // Negative indices count from the end.
  auto less = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Lt);
  auto equal = nn::CompareKindAttr::get(n.b.getContext(), nn::CompareKind::Eq);
  Value negative = n.make<nn::CompareOp>({whole, n.scalar(n.b.getI64Type(), 0)}, {{"kind", less}});
  whole = n.make<nn::SelectOp>({negative, n.make<nn::AddOp>({whole, size}), whole});
  Ints expanded(shapeOf(indices)), lanes(rankOf(indices) + 1, 1);
  expanded.insert(expanded.begin() + *axis, 1);
  lanes[*axis] = *depth;
  Value lane = n.reshape(counted, lanes);
  Value hot = n.make<nn::CompareOp>({n.reshape(whole, expanded), lane}, {{"kind", equal}});
  return n.give(n.make<nn::SelectOp>({hot, n.reshape(n.slice(values, 0, 1, 1), {}),
                                      n.reshape(n.slice(values, 0, 0, 1), {})}));
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
