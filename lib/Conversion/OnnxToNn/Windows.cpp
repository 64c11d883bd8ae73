//===- Windows.cpp - convolutions and pools -------------------------------===//

#include "Window.h"

#include <cmath>

using namespace mlir;
using namespace cleave;

FailureOr<Window> cleave::windowOf(Node &n, ArrayRef<Size> spatial, ArrayRef<int64_t> kernel) {
  size_t rank = spatial.size();
  Window w{n.intsAttr("strides").value_or(Ints(rank, 1)),
           n.intsAttr("dilations").value_or(Ints(rank, 1)),
           Ints(rank, 0),
           Ints(rank, 0),
           {}};
  if (w.strides.size() != rank || w.dilations.size() != rank || kernel.size() != rank)
    return n.error() << "wants a stride, a dilation and a kernel size for each of " << rank
                     << " spatial dimensions";
  for (const Ints &steps : {w.strides, w.dilations, Ints(kernel)})
    for (int64_t step : steps)
      if (step < 1 || step > INT32_MAX)
        return n.error() << "has an impossible stride, dilation or kernel size, got: " << step;

  if (std::optional<Ints> said = n.intsAttr("kernel_shape"); said && ArrayRef(*said) != kernel)
    return n.error() << "has \"kernel_shape\" [" << ArrayRef(*said) << "] and a filter of ["
                     << kernel << "]; make them equal, or leave the attribute out";
  StringRef mode = n.stringAttr("auto_pad");
  if (!llvm::is_contained({"", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}, mode))
    return n.unsupported("\"auto_pad\" other than NOTSET, VALID, SAME_UPPER and SAME_LOWER, got: " +
                         mode);
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
    w.results.emplace();
    for (size_t i = 0; i < rank; ++i) {
      Size out = w.results->emplace_back(nn::ceilDiv(spatial[i], w.strides[i]));
      int64_t reach = (out.value - 1) * w.strides[i] + (kernel[i] - 1) * w.dilations[i] + 1;
      int64_t total = std::max<int64_t>(reach - spatial[i].value, 0);
      w.low[i] = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.high[i] = total - w.low[i];
    }
  } else if (std::optional<Ints> pads = n.intsAttr("pads"); pads && mode != "VALID") {
    if (pads->size() != 2 * rank ||
        llvm::any_of(*pads, [](int64_t p) { return p < 0 || p > INT32_MAX; }))
      return n.error() << "wants two pads for each of " << rank
                       << " spatial dimensions, none negative or above 2^31";
    w.low.assign(pads->begin(), pads->begin() + rank);
    w.high.assign(pads->begin() + rank, pads->end());
  }
  return w;
}

Value cleave::convolve(Node &n, Value input, Value filter, const Window &w, int64_t groups) {
  if (!input || !filter)
    return nullptr;
  std::optional<Sizes> shape;
  if (w.results) {
    shape = Sizes{sizesOf(input)[0], sizesOf(filter)[0]};
    shape->append(*w.results);
  }
  SmallVector<Value> results = n.build(nn::ConvOp::getOperationName(), {}, {input, filter},
                                       {{"strides", n.b.getDenseI64ArrayAttr(w.strides)},
                                        {"dilations", n.b.getDenseI64ArrayAttr(w.dilations)},
                                        {"low", n.b.getDenseI64ArrayAttr(w.low)},
                                        {"high", n.b.getDenseI64ArrayAttr(w.high)},
                                        {"groups", n.b.getI64IntegerAttr(groups)}},
                                       shape);
  return results.empty() ? Value() : results[0];
}

LogicalResult cleave::requireImage(Node &n, Value input, Value filter) {
  if (!input || !filter)
    return failure();
  if (rankOf(input) < 3 || rankOf(filter) != rankOf(input))
    return n.error() << "wants input and filter of one rank, 3 or more, got: " << input.getType()
                     << " and " << filter.getType();
  return success();
}

static LogicalResult conv(Node &n) {
  Value input = n.in(0), filter = n.in(1);
  if (failed(requireImage(n, input, filter)))
    return failure();
  Sizes whole = sizesOf(input);
  FailureOr<Window> window =
      windowOf(n, ArrayRef(whole).drop_front(2), shapeOf(filter).drop_front(2));
  if (failed(window))
    return failure();
  Value result = convolve(n, input, filter, *window, n.intAttr("group", 1));
  if (n.has(2) && result) {
    Sizes channel(rankOf(result), 1);
    channel[1] = sizesOf(result)[1];
    result = n.make<nn::AddOp>({result, n.reshape(n.in(2), channel)});
  }
  return n.give(result);
}

// A mean over windows is a convolution with ones, channel by channel, divided by
// the number of elements that each window holds.
static LogicalResult averagePool(Node &n) {
  Value input = n.in(0);
  std::optional<Ints> kernel = n.intsAttr("kernel_shape");
  if (!input || !kernel || rankOf(input) < 3)
    return n.error() << "wants a kernel shape and a tensor of rank 3 or more";
  if (n.intAttr("ceil_mode"))
    return n.unsupported("ceil_mode");
  Sizes whole = sizesOf(input);
  FailureOr<Window> window = windowOf(n, ArrayRef(whole).drop_front(2), *kernel);
  if (failed(window))
    return failure();
  auto ones = [&](ArrayRef<Size> shape) {
    return n.broadcast(n.scalar(elementOf(input), 1), shape);
  };
  Sizes filterShape = {whole[1], 1}, countedShape = {1, 1}, oneFilter = {1, 1};
  filterShape.append(kernel->begin(), kernel->end());
  oneFilter.append(kernel->begin(), kernel->end());
  countedShape.append(whole.begin() + 2, whole.end());
  Value counted = ones(countedShape);
  Window inside = *window;
  if (n.intAttr("count_include_pad") && counted) {
    Sizes low = {0, 0}, high = {0, 0};
    low.append(window->low.begin(), window->low.end());
    high.append(window->high.begin(), window->high.end());
    counted = n.pad(counted, n.scalar(elementOf(input), 1), low, high);
    inside.results.reset();
    llvm::fill(inside.low, 0);
    llvm::fill(inside.high, 0);
  }
  Value sum = convolve(n, input, ones(filterShape), *window, whole[1].value);
  return n.give(n.make<nn::DivOp>({sum, convolve(n, counted, ones(oneFilter), inside, 1)}));
}

//===----------------------------------------------------------------------===//
// The largest element of a window
//===----------------------------------------------------------------------===//

/// The least number of `element`, which no maximum gives.
static double leastOf(Type element) {
  if (isa<FloatType>(element))
    return -INFINITY;
  unsigned width = element.getIntOrFloatBitWidth();
  return element.isUnsignedInteger() ? 0 : -std::ldexp(1.0, width - 1);
}

/// The largest of `count` elements, `distance` apart along `dim`, that begin at each place;
/// what has them all. Maxima of 1, 2, 4, … elements give those of twice as many.
static Value largest(Node &n, Value x, int64_t dim, int64_t count, int64_t distance) {
  for (int64_t have = 1; have < count;) {
    int64_t more = std::min(have, count - have), offset = more * distance;
    Size left = sizesOf(x)[dim] - offset;
    x = n.make<nn::MaxOp>({n.slice(x, dim, 0, left), n.slice(x, dim, offset, left)});
    if (!x)
      return nullptr;
    have += more;
  }
  return x;
}

// The dimensions one after the other, on a frame of the least number; elements that the last
// window leaves are cut off.
static LogicalResult maxPool(Node &n) {
  Value x = n.in(0);
  std::optional<Ints> kernel = n.intsAttr("kernel_shape");
  if (!x || !kernel || rankOf(x) < 3)
    return n.error() << "wants a kernel shape and a tensor of rank 3 or more";
  if (n.op.getNumResults() > 1 && !n.op.getResult(1).use_empty())
    return n.unsupported("the places of the largest elements as an output");
  Sizes whole = sizesOf(x);
  FailureOr<Window> window = windowOf(n, ArrayRef(whole).drop_front(2), *kernel);
  if (failed(window))
    return failure();
  Sizes low = {0, 0}, high = {0, 0};
  for (size_t i = 0; i < kernel->size(); ++i) {
    int64_t reach = ((*kernel)[i] - 1) * window->dilations[i] + 1;
    Size padded = whole[i + 2] + window->low[i] + window->high[i];
    if (padded.value < reach || window->low[i] >= reach || window->high[i] >= reach)
      return n.error() << "has a window of " << reach << " elements that does not fit into "
                       << padded.value << " or leaves them";
    int64_t rest = (padded.value - reach) % window->strides[i];
    // A last window that only the frame reaches is none.
    bool isOneMore =
        n.intAttr("ceil_mode") && rest != 0 &&
        padded.value - reach - rest + window->strides[i] < whole[i + 2].value + window->low[i];
    low.push_back(window->low[i]);
    high.push_back(window->high[i] + (isOneMore ? window->strides[i] - rest : 0));
  }
  if (llvm::any_of(low, [](Size s) { return s.value != 0; }) ||
      llvm::any_of(high, [](Size s) { return s.value != 0; }))
    x = n.pad(x, n.scalar(elementOf(x), leastOf(elementOf(x))), low, high);
  for (size_t i = 0; x && i < kernel->size(); ++i) {
    x = largest(n, x, i + 2, (*kernel)[i], window->dilations[i]);
    if (!x || window->strides[i] == 1)
      continue;
    Sizes starts(rankOf(x), 0), sizes = sizesOf(x);
    Ints steps(rankOf(x), 1);
    steps[i + 2] = window->strides[i];
    sizes[i + 2] = nn::floorDiv(sizes[i + 2] - 1, window->strides[i]) + 1;
    x = n.slice(x, starts, sizes, steps);
  }
  return n.give(x);
}

static LogicalResult globalMaxPool(Node &n) {
  Value x = n.in(0);
  if (!x || rankOf(x) < 3)
    return n.error() << "wants a tensor of rank 3 or more";
  auto dims = llvm::to_vector(llvm::seq<int64_t>(2, rankOf(x)));
  return n.give(n.make<nn::ReduceOp>(
      x, {{"kind", nn::ReduceKindAttr::get(n.b.getContext(), nn::ReduceKind::Max)},
          {"dims", n.b.getDenseI64ArrayAttr(dims)}}));
}

void cleave::addWindows(ConvertTable &table) {
  table["AveragePool"] = averagePool;
  table["Conv"] = conv;
  table["GlobalMaxPool"] = globalMaxPool;
  table["MaxPool"] = maxPool;
}
