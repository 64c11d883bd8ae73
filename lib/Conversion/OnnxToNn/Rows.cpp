//===- Rows.cpp - reductions, softmax, norms ------------------------------===//

#include "Node.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

static Value reduceDims(Node &n, nn::ReduceKind kind, Value input, ArrayRef<int64_t> dims) {
  return n.make<nn::ReduceOp>(input, {{"kind", nn::ReduceKindAttr::get(n.b.getContext(), kind)},
                                      {"dims", n.b.getDenseI64ArrayAttr(dims)}});
}

/// The dimensions that a Reduce node means, rising; nothing if it reduces none.
static FailureOr<std::optional<Ints>> reducedDims(Node &n, int64_t rank) {
  FailureOr<std::optional<Ints>> axes = n.intsFrom("axes", 1);
  if (failed(axes))
    return failure();
  if (!*axes || (*axes)->empty()) {
    if (n.intAttr("noop_with_empty_axes"))
      return std::optional<Ints>();
    Ints all(rank);
    std::iota(all.begin(), all.end(), 0);
    return std::optional<Ints>(all);
  }
  FailureOr<Ints> dims = n.wrapAxes(**axes, rank);
  if (failed(dims))
    return failure();
  llvm::sort(*dims);
  return std::optional<Ints>(*dims);
}

/// `after(reduce(before(x)))`, the form of every ONNX reduction.
template <nn::ReduceKind kind>
static LogicalResult reduceWith(Node &n, Value (*before)(Node &, Value),
                                Value (*after)(Node &, Value)) {
  Value input = n.in(0);
  if (!input)
    return failure();
  FailureOr<std::optional<Ints>> dims = reducedDims(n, rankOf(input));
  if (failed(dims))
    return failure();
  // Each element is a row of its own then.
  if (!*dims)
    return n.give(after(n, before(n, input)));
  Value result = after(n, reduceDims(n, kind, before(n, input), **dims));
  if (!result || n.intAttr("keepdims", 1))
    return n.give(result);
  Sizes kept;
  for (auto [dim, size] : llvm::enumerate(sizesOf(input)))
    if (!llvm::is_contained(**dims, dim))
      kept.push_back(size);
  return n.give(n.reshape(result, kept));
}

static Value itself(Node &, Value x) { return x; }
static Value squared(Node &n, Value x) { return n.make<nn::MulOp>({x, x}); }
static Value absolute(Node &n, Value x) { return n.make<nn::AbsOp>(x); }
static Value root(Node &n, Value x) { return n.make<nn::SqrtOp>(x); }
static Value logarithm(Node &n, Value x) { return n.make<nn::LogOp>(x); }

template <nn::ReduceKind kind> static LogicalResult reduce(Node &n) {
  return reduceWith<kind>(n, itself, itself);
}
static LogicalResult reduceL1(Node &n) {
  return reduceWith<nn::ReduceKind::Sum>(n, absolute, itself);
}
static LogicalResult reduceL2(Node &n) { return reduceWith<nn::ReduceKind::Sum>(n, squared, root); }
static LogicalResult reduceSumSquare(Node &n) {
  return reduceWith<nn::ReduceKind::Sum>(n, squared, itself);
}
static LogicalResult reduceLogSum(Node &n) {
  return reduceWith<nn::ReduceKind::Sum>(n, itself, logarithm);
}

static LogicalResult globalAveragePool(Node &n) {
  Value input = n.in(0);
  if (!input || rankOf(input) < 3)
    return n.error() << "wants a tensor of rank 3 or more";
  Ints dims(rankOf(input) - 2);
  std::iota(dims.begin(), dims.end(), 2);
  return n.give(reduceDims(n, nn::ReduceKind::Mean, input, dims));
}

template <nn::ArgKind kind> static LogicalResult argReduce(Node &n) {
  Value input = n.in(0);
  if (!input)
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(input));
  if (failed(axis))
    return failure();
  Value result = n.make<nn::ArgReduceOp>(
      input, {{"kind", nn::ArgKindAttr::get(n.b.getContext(), kind)},
              {"dim", n.b.getI64IntegerAttr(*axis)},
              {"last", n.intAttr("select_last_index") ? n.b.getUnitAttr() : UnitAttr()}});
  if (!result || n.intAttr("keepdims", 1))
    return n.give(result);
  Sizes kept = sizesOf(input);
  kept.erase(kept.begin() + *axis);
  return n.give(n.reshape(result, kept));
}

static LogicalResult topK(Node &n) {
  Value input = n.in(0);
  FailureOr<Size> k = n.attr("k") ? FailureOr<Size>(Size(n.intAttr("k"))) : n.size(1);
  if (!input || failed(k))
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(input), -1);
  if (failed(axis))
    return failure();
  nn::ArgKind kind = n.intAttr("largest", 1) ? nn::ArgKind::Max : nn::ArgKind::Min;
  SmallVector<Value> results = n.build(nn::TopKOp::getOperationName(), {}, input,
                                       {{"kind", nn::ArgKindAttr::get(n.b.getContext(), kind)},
                                        {"k", n.b.getI64IntegerAttr(k->value)},
                                        {"dim", n.b.getI64IntegerAttr(*axis)}});
  return results.empty() ? failure() : n.give(results);
}

static LogicalResult cumSum(Node &n) {
  Value input = n.in(0);
  FailureOr<Size> axis = n.size(1);
  if (!input || failed(axis))
    return failure();
  FailureOr<int64_t> dim = n.wrapAxis(axis->value, rankOf(input));
  if (failed(dim))
    return failure();
  auto flag = [&](StringRef name) { return n.intAttr(name) ? n.b.getUnitAttr() : UnitAttr(); };
  return n.give(n.make<nn::CumSumOp>(input, {{"dim", n.b.getI64IntegerAttr(*dim)},
                                             {"exclusive", flag("exclusive")},
                                             {"reverse", flag("reverse")}}));
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

// Before opset 13 all dimensions from the axis on were one row.
static Value softmaxOf(Node &n) {
  Value input = n.in(0);
  if (!input)
    return nullptr;
  bool coerced = n.sinceVersion() < 13;
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(input), coerced ? 1 : -1);
  if (failed(axis))
    return nullptr;
  if (!coerced || *axis == rankOf(input) - 1)
    return n.make<nn::SoftmaxOp>(input, {{"dim", n.b.getI64IntegerAttr(*axis)}});
  Sizes shape = sizesOf(input);
  Value matrix = n.reshape(input, {nn::product(ArrayRef(shape).take_front(*axis)),
                                   nn::product(ArrayRef(shape).drop_front(*axis))});
  return n.reshape(n.make<nn::SoftmaxOp>(matrix, {{"dim", n.b.getI64IntegerAttr(1)}}), shape);
}

static LogicalResult softmax(Node &n) { return n.give(softmaxOf(n)); }

static LogicalResult logSoftmax(Node &n) { return n.give(n.make<nn::LogOp>(softmaxOf(n))); }

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

Value cleave::normalise(Node &n, Value x, Value scale, Value bias, int64_t axis, double epsilon,
                        bool centred) {
  if (!x || !scale)
    return nullptr;
  Sizes shape = sizesOf(x), merged(shape.begin(), shape.begin() + axis);
  ArrayRef<Size> normalised = ArrayRef(shape).drop_front(axis);
  // What differs from row to row is applied behind the norm.
  auto varies = [&](Value value) {
    return value && rankOf(value) > static_cast<int64_t>(normalised.size());
  };
  if (varies(scale) || varies(bias)) {
    auto wide = [&](Value value) { return n.broadcast(n.cast(value, elementOf(x)), shape); };
    Value one = n.scalar(elementOf(x), 1);
    Value result = normalise(n, x, one, nullptr, axis, epsilon, centred);
    result = n.make<nn::MulOp>({result, wide(scale)});
    return bias ? n.make<nn::AddOp>({result, wide(bias)}) : result;
  }
  merged.push_back(nn::product(normalised));
  auto vector = [&](Value value) {
    return n.reshape(n.broadcast(n.cast(value, elementOf(x)), normalised), merged.back());
  };
  Value rows = n.reshape(x, merged);
  auto eps = n.b.getF64FloatAttr(epsilon);
  Value result = nullptr;
  if (!centred)
    result = n.make<nn::RmsNormOp>({rows, vector(scale)}, {{"epsilon", eps}});
  else if (bias)
    result = n.make<nn::LayerNormOp>({rows, vector(scale), vector(bias)}, {{"epsilon", eps}});
  else
    result = n.make<nn::LayerNormOp>({rows, vector(scale)}, {{"epsilon", eps}});
  return n.reshape(result, shape);
}

template <bool centred> static LogicalResult norm(Node &n) {
  Value x = n.in(0);
  if (!x)
    return failure();
  FailureOr<int64_t> axis = n.axisAttr("axis", rankOf(x), -1);
  if (failed(axis))
    return failure();
  Value bias = centred && n.has(2) ? n.in(2) : Value();
  return n.give(normalise(n, x, n.in(1), bias, *axis, n.floatAttr("epsilon", 1e-5), centred));
}

// Inference: y = (x - mean) * scale / sqrt(var + ε) + bias, all per channel.
static LogicalResult batchNorm(Node &n) {
  Value x = n.in(0);
  if (!x || rankOf(x) < 2)
    return n.error() << "wants a tensor of rank 2 or more";
  if (n.intAttr("training_mode") || (n.attr("is_test") && !n.intAttr("is_test")))
    return n.unsupported("training mode");
  auto channel = [&](size_t i) -> Value {
    Value vector = n.in(i);
    if (!vector)
      return nullptr;
    Sizes sizes(rankOf(x), 1);
    sizes[1] = nn::product(sizesOf(vector));
    return n.reshape(n.cast(vector, elementOf(x)), sizes);
  };
  Value scale = channel(1), bias = channel(2), mean = channel(3), variance = channel(4);
  if (!variance)
    return failure();
  Value epsilon = n.scalar(elementOf(x), n.floatAttr("epsilon", 1e-5));
  Value factor =
      n.make<nn::MulOp>({scale, n.make<nn::RsqrtOp>(n.make<nn::AddOp>({variance, epsilon}))});
  Value offset = n.make<nn::SubOp>({bias, n.make<nn::MulOp>({mean, factor})});
  return n.give(n.make<nn::AddOp>({n.make<nn::MulOp>({x, factor}), offset}));
}

void cleave::addRows(ConvertTable &table) {
  table["ArgMax"] = argReduce<nn::ArgKind::Max>;
  table["ArgMin"] = argReduce<nn::ArgKind::Min>;
  table["BatchNormalization"] = batchNorm;
  table["CumSum"] = cumSum;
  table["GlobalAveragePool"] = globalAveragePool;
  table["LayerNormalization"] = norm<true>;
  table["LogSoftmax"] = logSoftmax;
  table["RMSNormalization"] = norm<false>;
  table["ReduceL1"] = reduceL1;
  table["ReduceL2"] = reduceL2;
  table["ReduceLogSum"] = reduceLogSum;
  table["ReduceMax"] = reduce<nn::ReduceKind::Max>;
  table["ReduceMean"] = reduce<nn::ReduceKind::Mean>;
  table["ReduceMin"] = reduce<nn::ReduceKind::Min>;
  table["ReduceProd"] = reduce<nn::ReduceKind::Prod>;
  table["ReduceSum"] = reduce<nn::ReduceKind::Sum>;
  table["ReduceSumSquare"] = reduceSumSquare;
  // An op of ONNX Runtime that its exporters put into the default domain.
  table["SimplifiedLayerNormalization"] = norm<false>;
  table["Softmax"] = softmax;
  table["TopK"] = topK;
}
