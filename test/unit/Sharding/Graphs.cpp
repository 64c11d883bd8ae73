//===- Graphs.cpp - small models, built in place --------------------------===//

#include "Graphs.h"

#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

Graph::Graph(MLIRContext *context) : builder(context) {
  module = ModuleOp::create(builder.getUnknownLoc());
  builder.setInsertionPointToStart(module->getBody());
  func = func::FuncOp::create(builder, builder.getUnknownLoc(), "main",
                              builder.getFunctionType({}, {}));
  builder.setInsertionPointToStart(func.addEntryBlock());
}

Location Graph::loc(StringRef name) {
  return NameLoc::get(builder.getStringAttr(name + "_" + Twine(nextNode++)));
}

Value Graph::input(Shape shape, Type elementType) {
  auto type = RankedTensorType::get(shape, elementType ? elementType : builder.getF32Type());
  auto name = builder.getDictionaryAttr(builder.getNamedAttr(
      "onnx.name", builder.getStringAttr("input" + Twine(func.getNumArguments()))));
  (void)func.insertArgument(func.getNumArguments(), type, name, builder.getUnknownLoc());
  return func.getArguments().back();
}

Value Graph::weight(Shape shape) {
  auto type = RankedTensorType::get(shape, builder.getF32Type());
  int64_t length = 4 * type.getNumElements(), offset = nextOffset;
  nextOffset += length;
  return nn::WeightOp::create(builder, loc("weight"), type,
                              builder.getStringAttr("w" + Twine(offset)),
                              builder.getStringAttr("file"), builder.getI64IntegerAttr(offset),
                              builder.getI64IntegerAttr(length));
}

Value Graph::constant(double value) {
  auto type = RankedTensorType::get({}, builder.getF32Type());
  return nn::ConstantOp::create(builder, loc("constant"),
                                DenseElementsAttr::get(type, static_cast<float>(value)));
}

Value Graph::linear(Value x, int64_t out, bool bias) {
  Value y = op<nn::MatmulOp>(x, weight({shapeOf(x).back(), out}));
  return bias ? op<nn::AddOp>(y, weight({out})) : y;
}

Value Graph::reshape(Value x, Shape shape) {
  auto type = RankedTensorType::get(shape, cast<RankedTensorType>(x.getType()).getElementType());
  return op<nn::ReshapeOp>(type, x);
}

Value Graph::transpose(Value x, Shape permutation) { return op<nn::TransposeOp>(x, permutation); }

Value Graph::slice(Value x, int64_t dim, int64_t start, int64_t size) {
  Shape starts(shapeOf(x).size(), 0), sizes(shapeOf(x)), steps(shapeOf(x).size(), 1);
  starts[dim] = start;
  sizes[dim] = size;
  return op<nn::SliceOp>(x, starts, sizes, steps);
}

Value Graph::norm(Value x) {
  return op<nn::RmsNormOp>(x, weight({shapeOf(x).back()}), APFloat(1e-5));
}

Value Graph::heads(Value x, int64_t count) {
  ArrayRef<int64_t> shape = shapeOf(x);
  return transpose(reshape(x, {shape[0], shape[1], count, shape[2] / count}), {0, 2, 1, 3});
}

Value Graph::unheads(Value x) {
  Shape shape(shapeOf(x));
  return reshape(transpose(x, {0, 2, 1, 3}), {shape[0], shape[2], shape[1] * shape[3]});
}

OwningOpRef<ModuleOp> Graph::finish(ArrayRef<Value> results) {
  func::ReturnOp::create(builder, builder.getUnknownLoc(), results);
  func.setFunctionType(builder.getFunctionType(func.getBody().front().getArgumentTypes(),
                                               ValueRange(results).getTypes()));
  return std::move(module);
}

OwningOpRef<ModuleOp> test::decoder(MLIRContext *context, const Decoder &c) {
  Graph g(context);
  Value ids = g.input({c.batch, c.tokens}, g.builder.getI64Type());
  Value cos = g.input({c.batch, 1, c.tokens, c.lanes / 2});
  Value sin = g.input({c.batch, 1, c.tokens, c.lanes / 2});
  Value table = g.weight({c.vocabulary, c.hidden});
  SmallVector<Value> results;
  Value x = g.op<nn::GatherOp>(table, ids, 0);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Value n = g.norm(x), q, k, v;
    int64_t wide = c.heads * c.lanes, narrow = c.kvHeads * c.lanes;
    if (c.fusedQkv) {
      Value qkv = g.linear(n, wide + 2 * narrow, true);
      q = g.slice(qkv, 2, 0, wide);
      k = g.slice(qkv, 2, wide, narrow);
      v = g.slice(qkv, 2, wide + narrow, narrow);
    } else {
      q = g.linear(n, wide);
      k = g.linear(n, narrow);
      v = g.linear(n, narrow);
    }
    q = g.op<nn::RopeOp>(g.heads(q, c.heads), cos, sin, false);
    k = g.op<nn::RopeOp>(g.heads(k, c.kvHeads), cos, sin, false);
    v = g.heads(v, c.kvHeads);
    if (c.past) {
      Value pastK = g.input({c.batch, c.kvHeads, c.past, c.lanes});
      Value pastV = g.input({c.batch, c.kvHeads, c.past, c.lanes});
      k = g.op<nn::ConcatOp>(ValueRange{pastK, k}, 2);
      v = g.op<nn::ConcatOp>(ValueRange{pastV, v}, 2);
      results.append({k, v});
    }
    Value a = g.op<nn::AttentionOp>(q, k, v, Value(), Value(), g.builder.getF64FloatAttr(0.5),
                                    g.builder.getF64FloatAttr(0), g.builder.getUnitAttr(),
                                    g.builder.getI64IntegerAttr(c.past),
                                    nn::EmptyRowsAttr::get(context, nn::EmptyRows::Zero));
    a = g.linear(g.unheads(a), c.hidden);
    if (!c.parallel) {
      x = g.op<nn::AddOp>(x, a);
      n = g.norm(x);
    }
    Value gate, up;
    if (c.fusedGate) {
      Value both = g.linear(n, 2 * c.inner);
      gate = g.slice(both, 2, 0, c.inner);
      up = g.slice(both, 2, c.inner, c.inner);
    } else {
      gate = g.linear(n, c.inner);
      up = g.linear(n, c.inner);
    }
    Value m = g.linear(g.op<nn::MulOp>(g.op<nn::SiluOp>(gate), up), c.hidden);
    x = c.parallel ? g.op<nn::AddOp>(g.op<nn::AddOp>(x, a), m) : g.op<nn::AddOp>(x, m);
  }
  x = g.norm(x);
  Value y = c.tied ? g.op<nn::MatmulOp>(x, g.transpose(table, {1, 0})) : g.linear(x, c.vocabulary);
  if (c.argmax)
    y = g.op<nn::ArgReduceOp>(nn::ArgKind::Max, y, 2, false);
  results.insert(results.begin(), y);
  return g.finish(results);
}

//===----------------------------------------------------------------------===//
// Random graphs
//===----------------------------------------------------------------------===//

namespace {

class RandomGraph {
public:
  RandomGraph(MLIRContext *context, unsigned seed) : g(context), random(seed) {}

  OwningOpRef<ModuleOp> build(int steps) {
    int64_t rows = pick({1, 2, 3, 4, 6}), width = pick({4, 6, 8, 12});
    pool.push_back(g.input({pick({1, 2, 5}), rows, width}));
    for (int i = 0; i < steps; ++i)
      if (Value value = step())
        if (cast<RankedTensorType>(value.getType()).getNumElements() <= 4096)
          pool.push_back(value);
    SmallVector<Value> results = {pool.back(), pool[pool.size() / 2]};
    return g.finish(results);
  }

private:
  int64_t below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(random); }
  int64_t pick(ArrayRef<int64_t> options) { return options[below(options.size())]; }
  /// Recent values are read more often.
  Value any() {
    int64_t last = pool.size() - 1, back = std::min(last, below(4));
    return below(3) ? pool[last - back] : pool[below(pool.size())];
  }
  static int64_t rankOf(Value x) { return shapeOf(x).size(); }

  Value step();
  Value movement(Value x);
  Value rows(Value x);
  Value attention(Value x);
  Value indexed(Value x);

  Graph g;
  std::mt19937 random;
  SmallVector<Value> pool;
};

} // namespace

Value RandomGraph::movement(Value x) {
  Shape shape(shapeOf(x));
  int64_t rank = rankOf(x), d = below(std::max<int64_t>(rank, 1));
  switch (rank ? below(7) : 6) {
  case 0: { // split a dimension
    if (rank > 4)
      return nullptr;
    for (int64_t outer : {3, 2, 4})
      if (shape[d] > outer && shape[d] % outer == 0) {
        shape[d] /= outer;
        shape.insert(shape.begin() + d, outer);
        return g.reshape(x, shape);
      }
    return nullptr;
  }
  case 1: { // merge two
    if (rank < 3 || d + 1 >= rank)
      return nullptr;
    shape[d] *= shape[d + 1];
    shape.erase(shape.begin() + d + 1);
    return g.reshape(x, shape);
  }
  case 2: {
    Shape permutation(rank);
    std::iota(permutation.begin(), permutation.end(), 0);
    std::shuffle(permutation.begin(), permutation.end(), random);
    return g.transpose(x, permutation);
  }
  case 3: { // halves, in the other order
    if (shape[d] < 2)
      return nullptr;
    int64_t cut = below(2) ? shape[d] / 2 : 1 + below(shape[d] - 1);
    Value a = g.slice(x, d, 0, cut), b = g.slice(x, d, cut, shape[d] - cut);
    return g.op<nn::ConcatOp>(ValueRange{b, g.op<nn::NegOp>(a)}, d);
  }
  case 4: {
    if (shape[d] < 2)
      return nullptr;
    int64_t size = 1 + below(shape[d] - 1);
    return g.slice(x, d, below(shape[d] - size + 1), size);
  }
  case 5: { // repeat along a new dimension, and fold it in: grouped heads
    if (rank > 3 || rank < 2)
      return nullptr;
    Shape one(shape), wide(shape);
    one.insert(one.begin() + d, 1);
    wide.insert(wide.begin() + d, 2);
    Value y = g.op<nn::BroadcastOp>(RankedTensorType::get(wide, g.builder.getF32Type()),
                                    g.reshape(x, one));
    shape[d] *= 2;
    return g.reshape(y, shape);
  }
  default: return g.op<nn::NegOp>(x);
  }
}

Value RandomGraph::rows(Value x) {
  int64_t rank = rankOf(x);
  if (rank == 0)
    return nullptr;
  int64_t d = below(rank);
  switch (below(8)) {
  case 0: return g.op<nn::SoftmaxOp>(x, d);
  case 1: return rankOf(x) > 1 ? g.norm(x) : nullptr;
  case 2: return g.op<nn::ReduceOp>(nn::ReduceKind::Mean, x, ArrayRef<int64_t>{d});
  case 3:
    return g.op<nn::ReduceOp>(below(2) ? nn::ReduceKind::Max : nn::ReduceKind::Min, x,
                              ArrayRef<int64_t>{d});
  case 4: return g.op<nn::ReduceOp>(nn::ReduceKind::Sum, x, ArrayRef<int64_t>{d});
  case 5: {
    Value index = g.op<nn::ArgReduceOp>(nn::ArgKind::Max, x, d, below(2) == 1);
    return g.op<nn::CastOp>(RankedTensorType::get(shapeOf(index), g.builder.getF32Type()), index);
  }
  case 6: return g.op<nn::CumSumOp>(x, d, below(2) == 1, below(2) == 1);
  default: { // rows of a table, chosen by indices that differ everywhere
    Value indices = g.input({2, 3}, g.builder.getI64Type());
    Value table = below(2) ? x : g.weight({7, 6});
    int64_t axis = below(rankOf(table));
    if (shapeOf(table)[axis] < 2 || rankOf(table) > 3)
      return nullptr;
    return g.op<nn::GatherOp>(table, indices, axis);
  }
  }
}

Value RandomGraph::attention(Value x) {
  if (rankOf(x) != 3)
    return nullptr;
  int64_t kv = pick({1, 2, 3, 5}), group = pick({1, 2, 3}), lanes = 2;
  Value q = g.heads(g.linear(x, kv * group * lanes), kv * group);
  Value k = g.heads(g.linear(x, kv * lanes), kv), v = g.heads(g.linear(x, kv * lanes), kv);
  bool causal = below(2);
  int64_t tokens = shapeOf(x)[1], batch = shapeOf(x)[0];
  Value mask;
  if (below(2)) {
    Shape shape = {below(2) ? batch : 1, below(2) ? kv * group : 1, below(2) ? tokens : 1, tokens};
    mask = g.input(shape);
    if (below(2))
      mask = g.op<nn::CompareOp>(nn::CompareKind::Ge, mask, g.constant(-0.5));
  }
  Value lengths = below(4) ? Value() : g.input({batch}, g.builder.getI64Type());
  Value a = g.op<nn::AttentionOp>(
      q, k, v, mask, lengths, g.builder.getF64FloatAttr(0.7), g.builder.getF64FloatAttr(0),
      causal ? g.builder.getUnitAttr() : UnitAttr(),
      g.builder.getI64IntegerAttr(causal && !lengths ? below(3) - 1 : 0),
      nn::EmptyRowsAttr::get(g.builder.getContext(), nn::EmptyRows::Zero));
  return g.linear(g.unheads(a), pick({4, 6, 8}));
}

/// Ops on positions, windows and tuples.
Value RandomGraph::indexed(Value x) {
  Shape shape(shapeOf(x));
  int64_t rank = shape.size();
  Type i64 = g.builder.getI64Type();
  if (rank < 2)
    return nullptr;
  int64_t d = below(rank);
  switch (below(8)) {
  case 0: {
    Shape low(rank, 0), high(rank, 0);
    low[d] = below(2);
    high[d] = 1;
    return g.op<nn::PadOp>(x, g.constant(0.5), low, high);
  }
  case 1: return shape[d] < 2 ? nullptr : g.op<nn::TopKOp>(nn::ArgKind::Max, x, 2, d);
  case 2: {
    Shape indices(shape);
    indices[d] = 3;
    return shape[d] < 2 ? nullptr : g.op<nn::GatherElementsOp>(x, g.input(indices, i64), d);
  }
  case 3: return shape[0] < 2 ? nullptr : g.op<nn::GatherNdOp>(x, g.input({3, 1}, i64), 0);
  case 4: {
    Shape updates(shape);
    updates[0] = 2;
    return shape[0] < 2 ? nullptr
                        : g.op<nn::ScatterNdOp>(x, g.input({2, 1}, i64), g.input(updates));
  }
  case 5: {
    Shape update(shape);
    update[rank - 1] = 1;
    return shape[rank - 1] < 2
               ? nullptr
               : g.op<nn::CacheUpdateOp>(x, g.input(update), g.input({shape[0]}, i64), rank - 1);
  }
  case 6:
    return g.op<nn::LayerNormOp>(x, g.weight({shape.back()}), g.weight({shape.back()}),
                                 APFloat(1e-5));
  default: {
    if (rank != 3 && rank != 4)
      return nullptr;
    int64_t groups = shape[1] % 2 == 0 ? 1 + below(2) : 1;
    Shape filter = {groups * 3, shape[1] / groups}, ones(rank - 2, 1);
    filter.append(rank - 2, 3);
    return g.op<nn::ConvOp>(x, g.weight(filter), ones, ones, ones, ones, groups);
  }
  }
}

Value RandomGraph::step() {
  Value x = any();
  int64_t rank = rankOf(x);
  switch (below(12)) {
  case 0:
  case 1: return rank > 1 ? g.linear(x, pick({4, 6, 8, 9, 12}), below(2)) : nullptr;
  case 2: { // contraction of two activations
    if (rank < 2)
      return nullptr;
    Shape permutation(rank);
    std::iota(permutation.begin(), permutation.end(), 0);
    std::swap(permutation[rank - 1], permutation[rank - 2]);
    return g.op<nn::MatmulOp>(x, g.transpose(x, permutation));
  }
  case 3: { // add or multiply with another, where shapes allow
    Value y = any();
    SmallVector<ArrayRef<int64_t>> shapes = {shapeOf(x), shapeOf(y)};
    if (failed(nn::broadcastShapes(shapes)))
      return nullptr;
    return below(2) ? g.op<nn::AddOp>(x, y) : g.op<nn::MulOp>(x, y);
  }
  case 4: return g.op<nn::TanhOp>(x);
  case 5:
  case 6: return movement(x);
  case 7:
  case 8: return rows(x);
  case 9:
  case 10: return indexed(x);
  default: return attention(x);
  }
}

OwningOpRef<ModuleOp> test::randomGraph(MLIRContext *context, unsigned seed, int steps) {
  return RandomGraph(context, seed).build(steps);
}
