//===- Contractions.cpp - matmul, gemm, conv ------------------------------===//

#include "Node.h"

using namespace mlir;
using namespace cleave;

// Vectors are matrices for the time of the product.
static LogicalResult matmul(Node &n) {
  Value lhs = n.in(0), rhs = n.in(1);
  if (!lhs || !rhs)
    return failure();
  if (rankOf(lhs) == 0 || rankOf(rhs) == 0)
    return n.error() << "multiplies a scalar, got: " << lhs.getType() << " and " << rhs.getType();
  bool row = rankOf(lhs) == 1, column = rankOf(rhs) == 1;
  if (row)
    lhs = n.reshape(lhs, {1, sizesOf(lhs)[0]});
  if (column)
    rhs = n.reshape(rhs, {sizesOf(rhs)[0], 1});
  Value result = n.make<nn::MatmulOp>({lhs, rhs});
  if (!result || (!row && !column))
    return n.give(result);
  Sizes shape = sizesOf(result);
  if (column)
    shape.pop_back();
  if (row)
    shape.erase(shape.end() - (column ? 1 : 2));
  return n.give(n.reshape(result, shape));
}

static Value scaled(Node &n, Value value, double factor) {
  return factor == 1 || !value ? value
                               : n.make<nn::MulOp>({value, n.scalar(elementOf(value), factor)});
}

static LogicalResult gemm(Node &n) {
  Value lhs = n.in(0), rhs = n.in(1);
  if (!lhs || !rhs || rankOf(lhs) != 2 || rankOf(rhs) != 2)
    return n.error() << "wants two matrices";
  if (n.intAttr("transA"))
    lhs = n.transpose(lhs, {1, 0});
  if (n.intAttr("transB"))
    rhs = n.transpose(rhs, {1, 0});
  Value result = scaled(n, n.make<nn::MatmulOp>({lhs, rhs}), n.floatAttr("alpha", 1));
  if (n.has(2))
    result = n.make<nn::AddOp>({result, scaled(n, n.in(2), n.floatAttr("beta", 1))});
  return n.give(result);
}

//===----------------------------------------------------------------------===//
// Windows
//===----------------------------------------------------------------------===//

namespace {
struct Window {
  Ints strides, dilations, low, high;
  /// Of the result, where the frame follows from them and not they from the frame.
  std::optional<Sizes> results;
};
} // namespace

/// The window of a node over `spatial` sizes with kernel sizes `kernel`.
static FailureOr<Window> windowOf(Node &n, ArrayRef<Size> spatial, ArrayRef<int64_t> kernel) {
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

  StringRef mode = n.stringAttr("auto_pad");
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

static Value convolve(Node &n, Value input, Value filter, const Window &w, int64_t groups) {
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

static LogicalResult conv(Node &n) {
  Value input = n.in(0), filter = n.in(1);
  if (!input || !filter)
    return failure();
  if (rankOf(input) < 3 || rankOf(filter) != rankOf(input))
    return n.error() << "wants input and filter of one rank, 3 or more, got: " << input.getType()
                     << " and " << filter.getType();
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

void cleave::addContractions(ConvertTable &table) {
  table["AveragePool"] = averagePool;
  table["Conv"] = conv;
  table["Gemm"] = gemm;
  table["MatMul"] = matmul;
}
