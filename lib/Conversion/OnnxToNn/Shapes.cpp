//===- Shapes.cpp - constants, and what only depends on shapes ------------===//

#include "Node.h"

#include <cmath>

using namespace mlir;
using namespace cleave;

static LogicalResult constantOf(Node &n) {
  if (auto tensor = dyn_cast_or_null<onnx::TensorAttr>(n.attr("value")))
    return n.give(materialize(tensor, n.b, n.loc()));
  if (auto value = dyn_cast_or_null<IntegerAttr>(n.attr("value_int")))
    return n.give(n.intScalar(value.getInt()));
  if (n.attr("value_float"))
    return n.give(n.scalar(n.b.getF32Type(), n.floatAttr("value_float")));
  if (std::optional<Ints> values = n.intsAttr("value_ints"))
    return n.give(n.intConstant(*values));
  if (auto values = dyn_cast_or_null<DenseF32ArrayAttr>(n.attr("value_floats"))) {
    HostTensor tensor(RankedTensorType::get(values.size(), n.b.getF32Type()));
    llvm::copy(values.asArrayRef(), tensor.floats.begin());
    return n.give(n.constant(tensor));
  }
  return n.unsupported("a value that is no tensor of numbers");
}

static LogicalResult shape(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  int64_t rank = rankOf(input);
  auto clamped = [&](StringRef name, int64_t otherwise) {
    int64_t at = n.intAttr(name, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  int64_t start = clamped("start", 0), end = clamped("end", rank);
  return n.give(n.intConstant(
      shapeOf(input).slice(start, std::max<int64_t>(end - start, 0))));
}

static LogicalResult size(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  return n.give(n.intScalar(typeOf(input).getNumElements()));
}

/// Fails, with a message, if one of `sizes` is negative.
static LogicalResult requireSizes(Node &n, ArrayRef<int64_t> sizes) {
  for (int64_t size : sizes)
    if (size < 0)
      return n.error() << "asks for a negative size, got: [" << sizes << "]";
  return success();
}

static LogicalResult constantOfShape(Node &n) {
  FailureOr<Ints> sizes = n.ints(0);
  if (failed(sizes) || failed(requireSizes(n, *sizes)))
    return failure();
  Value value = n.scalar(n.b.getF32Type(), 0);
  if (auto tensor = dyn_cast_or_null<onnx::TensorAttr>(n.attr("value")))
    value = n.reshape(materialize(tensor, n.b, n.loc()), {});
  return n.give(n.broadcast(value, *sizes));
}

static LogicalResult range(Node &n) {
  std::optional<HostTensor> parts[3];
  for (size_t i = 0; i < 3; ++i)
    if (!(parts[i] = n.constant(n.in(i))) || parts[i]->size() != 1)
      return n.unsupported("bounds that depend on the data");
  for (const std::optional<HostTensor> &part : parts)
    if (part->type.getElementType() != parts[0]->type.getElementType())
      return n.error() << "counts in different element types, got: "
                       << part->type.getElementType() << " and "
                       << parts[0]->type.getElementType();
  auto number = [&](size_t i) {
    return parts[i]->isFloat() ? parts[i]->floats[0] : static_cast<double>(parts[i]->ints[0]);
  };
  if (number(2) == 0)
    return n.error() << "counts in steps of 0";
  double count = std::ceil((number(1) - number(0)) / number(2));
  if (!(count < 1 << 24))
    return n.unsupported("more than 2^24 elements");
  HostTensor result(RankedTensorType::get(static_cast<int64_t>(std::max(count, 0.0)),
                                          parts[0]->type.getElementType()));
  for (int64_t i = 0; i < result.size(); ++i)
    if (result.isFloat())
      result.floats[i] = number(0) + i * number(2);
    else
      result.ints[i] = static_cast<int64_t>(uint64_t(parts[0]->ints[0]) +
                                            uint64_t(i) * uint64_t(parts[2]->ints[0]));
  result.round();
  return n.give(n.constant(result));
}

// Broadcasts both ways: a size of 1 asks for nothing.
static LogicalResult expand(Node &n) {
  Value input = n.in(0);
  FailureOr<Ints> sizes = n.ints(1);
  if (!input || failed(sizes) || failed(requireSizes(n, *sizes)))
    return failure();
  FailureOr<SmallVector<int64_t>> joint = nn::broadcastShapes({shapeOf(input), *sizes});
  if (failed(joint))
    return n.error() << "does not broadcast, got: " << input.getType() << " to [" << *sizes
                     << "]";
  return n.give(n.broadcast(input, *joint));
}

// [a, b] tiled (r, s) is [1, a, 1, b] broadcast to [r, a, s, b].
static LogicalResult tile(Node &n) {
  Value input = n.in(0);
  FailureOr<Ints> repeats = n.ints(1);
  if (!input || failed(repeats) || failed(requireSizes(n, *repeats)))
    return failure();
  if (static_cast<int64_t>(repeats->size()) != rankOf(input))
    return n.error() << "wants a number of repeats for each dimension, got: "
                     << repeats->size() << " of " << rankOf(input);
  Ints split, repeated, merged;
  for (auto [size, repeat] : llvm::zip(shapeOf(input), *repeats)) {
    split.append({1, size});
    repeated.append({repeat, size});
    if (llvm::MulOverflow(repeat, size, merged.emplace_back()))
      return n.error() << "repeats beyond 64 bits, got: " << repeat << " times " << size;
  }
  return n.give(n.reshape(n.broadcast(n.reshape(input, split), repeated), merged));
}

static LogicalResult reshape(Node &n) {
  Value input = n.in(0);
  FailureOr<Ints> requested = n.intsWanted("shape", 1);
  if (!input || failed(requested))
    return failure();
  Ints sizes = *requested;
  int64_t known = 1, open = -1;
  for (auto [i, size] : llvm::enumerate(sizes)) {
    if (size == 0 && !n.intAttr("allowzero")) {
      if (static_cast<int64_t>(i) >= rankOf(input))
        return n.error() << "copies a dimension that its input of rank " << rankOf(input)
                         << " does not have, got: " << i;
      size = shapeOf(input)[i];
    }
    if (size < -1 || (size == -1 && open >= 0))
      return n.error() << "asks for an impossible shape, got: [" << *requested << "]";
    if (size == -1)
      open = i;
    else if (__builtin_mul_overflow(known, size, &known))
      return n.error() << "asks for a shape beyond 64 bits, got: [" << *requested << "]";
  }
  int64_t count = typeOf(input).getNumElements();
  if (open >= 0)
    sizes[open] = known == 0 ? 0 : count / known;
  return n.give(n.reshape(input, sizes));
}

static LogicalResult flatten(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  // Counted from the end it is a dimension; only from the front it may lie behind all.
  int64_t wanted = n.intAttr("axis", 1);
  FailureOr<int64_t> axis = n.wrapAxis(wanted, rankOf(input), /*end=*/wanted >= 0);
  if (failed(axis))
    return failure();
  int64_t rows = 1, columns = 1;
  for (auto [i, size] : llvm::enumerate(shapeOf(input)))
    (static_cast<int64_t>(i) < *axis ? rows : columns) *= size;
  return n.give(n.reshape(input, {rows, columns}));
}

static LogicalResult squeeze(Node &n) {
  Value input = n.in(0);
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 1);
  if (!input || failed(axes))
    return failure();
  Ints dropped, kept;
  if (*axes) {
    FailureOr<Ints> wrapped = n.wrapAxes(**axes, rankOf(input));
    if (failed(wrapped))
      return failure();
    dropped = *wrapped;
  }
  for (auto [i, size] : llvm::enumerate(shapeOf(input))) {
    bool drop = *axes ? llvm::is_contained(dropped, i) : size == 1;
    if (drop && size != 1)
      return n.error() << "drops a dimension that is not 1, got: " << size;
    if (!drop)
      kept.push_back(size);
  }
  return n.give(n.reshape(input, kept));
}

static LogicalResult unsqueeze(Node &n) {
  Value input = n.in(0);
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 1);
  if (!input || failed(axes))
    return failure();
  if (!*axes)
    return n.error() << "has no axes";
  int64_t rank = rankOf(input) + (*axes)->size();
  FailureOr<Ints> added = n.wrapAxes(**axes, rank);
  if (failed(added))
    return failure();
  Ints sizes;
  ArrayRef<int64_t> rest = shapeOf(input);
  for (int64_t dim = 0; dim < rank; ++dim) {
    if (llvm::is_contained(*added, dim)) {
      sizes.push_back(1);
      continue;
    }
    sizes.push_back(rest.front());
    rest = rest.drop_front();
  }
  return n.give(n.reshape(input, sizes));
}

void cleave::addShapes(ConvertTable &table) {
  table["Constant"] = constantOf;
  table["ConstantOfShape"] = constantOfShape;
  table["Expand"] = expand;
  table["Flatten"] = flatten;
  table["Range"] = range;
  table["Reshape"] = reshape;
  table["Shape"] = shape;
  table["Size"] = size;
  table["Squeeze"] = squeeze;
  table["Tile"] = tile;
  table["Unsqueeze"] = unsqueeze;
}
