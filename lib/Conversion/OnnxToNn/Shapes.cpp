//===- Shapes.cpp - constants, and what only depends on shapes ------------===//

#include "Node.h"

#include <cmath>

using namespace mlir;
using namespace cleave;

static LogicalResult constantOf(Node &n) {
  if (auto tensor = dyn_cast_or_null<onnx::TensorAttr>(n.attr("value"))) {
    if (IntegerType narrow = narrowOf(tensor.getType().getElementType()))
      n.setNarrow(0, narrow);
    return n.give(materialize(tensor, n.b, n.loc()));
  }
  if (auto value = dyn_cast_or_null<IntegerAttr>(n.attr("value_int")))
    return n.give(n.intScalar(value.getInt()));
  if (n.attr("value_float"))
    return n.give(n.scalar(n.b.getF32Type(), n.floatAttr("value_float")));
  if (std::optional<Ints> values = n.intsAttr("value_ints"))
    return n.give(n.intConstant(Sizes(values->begin(), values->end())));
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
  Sizes shape = sizesOf(input);
  return n.give(n.intConstant(ArrayRef(shape).slice(start, std::max<int64_t>(end - start, 0))));
}

static LogicalResult size(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  return n.give(n.intScalar(nn::product(sizesOf(input))));
}

/// Fails, with a message, if one of `sizes` is negative.
static LogicalResult requireSizes(Node &n, ArrayRef<Size> sizes) {
  for (const Size &size : sizes)
    if (size.value < 0)
      return n.error() << "asks for a negative size, got: [" << nn::numbersOf(sizes) << "]";
  return success();
}

static LogicalResult constantOfShape(Node &n) {
  FailureOr<Sizes> sizes = n.sizes(0);
  if (failed(sizes) || failed(requireSizes(n, *sizes)))
    return failure();
  Value value = n.scalar(n.b.getF32Type(), 0);
  if (auto tensor = dyn_cast_or_null<onnx::TensorAttr>(n.attr("value")))
    value = n.reshape(materialize(tensor, n.b, n.loc()), {});
  return n.give(n.broadcast(value, *sizes));
}

/// The number of elements of a Range, `count`, and behind it the elements of one that
/// starts at an open number.
static Sizes rangeContent(Node &n, int64_t count) {
  Sizes parts[3], content = {count};
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = contentOf(n.in(i));
    // Floats do not say what they stand for.
    if (parts[i].empty() && n.in(i).getDefiningOp()->hasAttr(kContent))
      return {Size::unknown(count, n.b.getContext())};
  }
  if (count == 0 || llvm::any_of(parts, [](const Sizes &part) { return part.size() != 1; }))
    return content;
  Size start = parts[0][0], limit = parts[1][0], step = parts[2][0];
  content[0] = step.value > 0 ? nn::ceilDiv(limit - start, step)
                              : nn::ceilDiv(start - limit, Size(0) - step);
  // Beyond 64 bits the two ways of counting differ.
  if (content[0].value != count)
    return {count};
  if (!start.isOpen() && !step.isOpen())
    return content;
  if (count > kSaidElements)
    content.push_back(Size::unknown(0, n.b.getContext()));
  else
    for (int64_t i = 0; i < count; ++i)
      content.push_back(start + step * i);
  return content;
}

static LogicalResult range(Node &n) {
  std::optional<HostTensor> parts[3];
  for (size_t i = 0; i < 3; ++i)
    if (!(parts[i] = n.constant(n.in(i))) || parts[i]->size() != 1)
      return n.unsupported("bounds that depend on the data");
  for (const std::optional<HostTensor> &part : parts)
    if (part->type.getElementType() != parts[0]->type.getElementType())
      return n.error() << "counts in different element types, got: " << part->type.getElementType()
                       << " and " << parts[0]->type.getElementType();
  auto number = [&](size_t i) {
    return parts[i]->isFloat() ? parts[i]->floats[0] : static_cast<double>(parts[i]->ints[0]);
  };
  if (number(2) == 0)
    return n.error() << "counts in steps of 0";
  double count = std::ceil((number(1) - number(0)) / number(2));
  if (!(count < 1 << 24))
    return n.unsupported("more than 2^24 elements");
  Sizes content = rangeContent(n, static_cast<int64_t>(std::max(count, 0.0)));
  HostTensor result(nn::tensorOf(content[0], parts[0]->type.getElementType()));
  for (int64_t i = 0; i < result.size(); ++i)
    if (result.isFloat())
      result.floats[i] = number(0) + i * number(2);
    else
      result.ints[i] = static_cast<int64_t>(uint64_t(parts[0]->ints[0]) +
                                            uint64_t(i) * uint64_t(parts[2]->ints[0]));
  result.round();
  Value value = n.constant(result);
  if (!result.isFloat())
    setContent(value, ArrayRef(content).drop_front());
  return n.give(value);
}

// Broadcasts both ways: a size of 1 asks for nothing.
static LogicalResult expand(Node &n) {
  Value input = n.in(0);
  FailureOr<Sizes> sizes = n.sizes(1);
  if (!input || failed(sizes) || failed(requireSizes(n, *sizes)))
    return failure();
  FailureOr<Sizes> joint = nn::broadcastSizes({sizesOf(input), *sizes});
  if (failed(joint))
    return n.error() << "does not broadcast, got: " << input.getType() << " to ["
                     << nn::numbersOf(*sizes) << "]";
  return n.give(n.broadcast(input, *joint));
}

// [a, b] tiled (r, s) is [1, a, 1, b] broadcast to [r, a, s, b].
static LogicalResult tile(Node &n) {
  Value input = n.in(0);
  FailureOr<Sizes> repeats = n.sizes(1);
  if (!input || failed(repeats) || failed(requireSizes(n, *repeats)))
    return failure();
  if (static_cast<int64_t>(repeats->size()) != rankOf(input))
    return n.error() << "wants a number of repeats for each dimension, got: " << repeats->size()
                     << " of " << rankOf(input);
  Sizes split, repeated, merged;
  for (auto [size, repeat] : llvm::zip(sizesOf(input), *repeats)) {
    split.append({1, size});
    repeated.append({repeat, size});
    int64_t number;
    if (llvm::MulOverflow(repeat.value, size.value, number))
      return n.error() << "repeats beyond 64 bits, got: " << repeat.value << " times "
                       << size.value;
    merged.push_back(repeat * size);
  }
  return n.give(n.reshape(n.broadcast(n.reshape(input, split), repeated), merged));
}

static LogicalResult reshape(Node &n) {
  Value input = n.in(0);
  FailureOr<Sizes> requested = n.sizesWanted("shape", 1);
  if (!input || failed(requested))
    return failure();
  Sizes whole = sizesOf(input), sizes = *requested, known;
  int64_t count = 1, open = -1;
  for (auto [i, size] : llvm::enumerate(sizes)) {
    if (size.value == 0 && !n.intAttr("allowzero")) {
      if (i >= whole.size())
        return n.error() << "copies a dimension that its input of rank " << whole.size()
                         << " does not have, got: " << i;
      size = whole[i];
    }
    if (size.value < -1 || (size.value == -1 && open >= 0))
      return n.error() << "asks for an impossible shape, got: [" << nn::numbersOf(*requested)
                       << "]";
    if (size.value == -1) {
      open = i;
      continue;
    }
    if (llvm::MulOverflow(count, size.value, count))
      return n.error() << "asks for a shape beyond 64 bits, got: [" << nn::numbersOf(*requested)
                       << "]";
    known.push_back(size);
  }
  if (open >= 0)
    sizes[open] = count == 0 ? Size(0) : nn::quotient(whole, known);
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
  Sizes shape = sizesOf(input);
  return n.give(n.reshape(input, {nn::product(ArrayRef(shape).take_front(*axis)),
                                  nn::product(ArrayRef(shape).drop_front(*axis))}));
}

static LogicalResult squeeze(Node &n) {
  Value input = n.in(0);
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 1);
  if (!input || failed(axes))
    return failure();
  Ints dropped;
  Sizes kept;
  if (*axes) {
    FailureOr<Ints> wrapped = n.wrapAxes(**axes, rankOf(input));
    if (failed(wrapped))
      return failure();
    dropped = *wrapped;
  }
  for (auto [i, size] : llvm::enumerate(sizesOf(input))) {
    bool drop = *axes ? llvm::is_contained(dropped, i) : size.value == 1;
    if (drop && size.value != 1)
      return n.error() << "drops a dimension that is not 1, got: " << size.value;
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
  Sizes sizes, shape = sizesOf(input);
  ArrayRef<Size> rest = shape;
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
