//===- Contrib.cpp - the com.microsoft ops of ONNX Runtime's exports ------===//
//
// Their meaning is in ONNX Runtime's ContribOperators.md. No schema describes
// them, so the defaults of their attributes stand here.
//
//===----------------------------------------------------------------------===//

#include "Attention.h"

#include <cmath>

using namespace mlir;
using namespace cleave;

static Value add(Node &n, Value a, Value b) { return n.make<nn::AddOp>({a, b}); }

//===----------------------------------------------------------------------===//
// Norms and activations
//===----------------------------------------------------------------------===//

/// Output 0 is the norm of the sum, 3 the sum; 1 and 2 are for training.
template <bool centred> static LogicalResult skipNorm(Node &n) {
  Value sum = add(n, n.in(0), n.in(1));
  size_t bias = centred ? 4 : 3;
  if (n.has(bias))
    sum = add(n, sum, n.in(bias));
  if (!sum || rankOf(sum) == 0)
    return n.error() << "wants a tensor of rank 1 or more";
  Value beta = centred && n.has(3) ? n.in(3) : Value();
  Value result =
      normalise(n, sum, n.in(2), beta, rankOf(sum) - 1, n.floatAttr("epsilon", 1e-12), centred);
  if (!result)
    return failure();
  for (size_t training : {1, 2})
    if (training < n.op.getNumResults() && !n.op.getResult(training).use_empty())
      return n.unsupported("its outputs for training");
  // What nobody reads may be anything that exists.
  return n.give({result, sum, sum, sum});
}

static LogicalResult embedLayerNorm(Node &n) {
  Value ids = n.in(0), words = n.in(2), positionTable = n.in(3);
  if (!ids || !words || !positionTable || rankOf(ids) != 2 || rankOf(words) != 2 ||
      rankOf(positionTable) != 2)
    return n.error() << "wants ids of two dimensions and two tables";
  auto axis = n.b.getI64IntegerAttr(0);
  Value sum = n.make<nn::GatherOp>({words, ids}, {{"axis", axis}});
  Size batch = sizesOf(ids)[0], length = sizesOf(ids)[1];
  if (n.has(8))
    sum = add(n, sum, n.make<nn::GatherOp>({positionTable, n.in(8)}, {{"axis", axis}}));
  else if (length.value > shapeOf(positionTable)[0])
    return n.error() << "reads " << length.value << " positions of a table with "
                     << shapeOf(positionTable)[0];
  else
    sum = add(n, sum, n.slice(positionTable, 0, 0, length));
  if (n.has(1) && n.has(4))
    sum = add(n, sum, n.make<nn::GatherOp>({n.in(4), n.in(1)}, {{"axis", axis}}));
  Value result = normalise(n, sum, n.in(5), n.in(6), 2, n.floatAttr("epsilon", 1e-12), true);
  // The lengths of rows that are padded on the right.
  Value lengths = n.broadcast(n.scalar(n.b.getI32Type(), 0), batch);
  if (n.has(7)) {
    auto kind = nn::ReduceKindAttr::get(n.b.getContext(), nn::ReduceKind::Sum);
    Value counted = n.make<nn::ReduceOp>(n.cast(n.in(7), n.b.getI32Type()),
                                         {{"kind", kind}, {"dims", n.b.getDenseI64ArrayAttr({1})}});
    lengths = n.reshape(counted, batch);
  }
  return n.give({result, lengths, sum});
}

template <nn::GeluKind kind> static LogicalResult biasGelu(Node &n) {
  Value x = n.in(0);
  if (n.has(1))
    x = add(n, x, n.in(1));
  return n.give(n.make<nn::GeluOp>(x, {{"kind", nn::GeluKindAttr::get(n.b.getContext(), kind)}}));
}

static LogicalResult quickGelu(Node &n) {
  double alpha = n.floatAttr("alpha", 1.702);
  if (std::abs(alpha - 1.702) < 1e-6)
    return biasGelu<nn::GeluKind::Quick>(n);
  Value x = n.in(0);
  if (!x)
    return failure();
  Value inner = n.make<nn::MulOp>({x, n.scalar(elementOf(x), alpha)});
  return n.give(n.make<nn::MulOp>({x, n.make<nn::SigmoidOp>(inner)}));
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// [b, s] positions that begin at `first` [b] or [1].
static Value positionsFrom(Node &n, Value first, Size batch, Size length) {
  if (!first)
    return nullptr;
  Value start = n.reshape(n.cast(first, n.b.getI64Type()), {nn::product(sizesOf(first)), 1});
  return n.broadcast(add(n, start, n.iota(length)), {batch, length});
}

static LogicalResult rotaryEmbedding(Node &n) {
  Value x = n.in(0), positions = n.in(1), cos = n.in(2);
  if (!x || !positions || !cos)
    return failure();
  if (rankOf(cos) != 2)
    return n.error() << "wants a table of two dimensions, got: " << cos.getType();
  bool merged = rankOf(x) == 3;
  if (merged) {
    int64_t heads = n.intAttr("num_heads");
    int64_t width = heads ? shapeOf(x)[2] / heads : 2 * shapeOf(cos).back();
    x = splitHeads(n, x, heads ? heads : shapeOf(x)[2] / std::max<int64_t>(width, 1));
  }
  if (!x || rankOf(x) != 4)
    return n.error() << "wants an input of three or four dimensions";
  if (typeOf(positions).getNumElements() == 1 && rankOf(positions) < 2)
    positions = positionsFrom(n, positions, sizesOf(x)[0], sizesOf(x)[2]);
  Value result = rotate(n, x, cos, n.in(3), positions, n.intAttr("interleaved"));
  return n.give(merged ? mergeHeads(n, result) : result);
}

/// What is added to the scores for a mask of 0 and 1, [b, t]: `filter` where it is 0.
static Value rawMask(Node &n, Value mask, Type element, double filter) {
  if (!mask)
    return nullptr;
  Value hidden = n.make<nn::SubOp>({n.scalar(element, 1), n.cast(mask, element)});
  Value added = n.make<nn::MulOp>({hidden, n.scalar(element, filter)});
  return n.reshape(added, {sizesOf(mask)[0], 1, 1, sizesOf(mask)[1]});
}

static LogicalResult attention(Node &n) {
  Value x = n.in(0), weight = n.in(1);
  int64_t heads = n.intAttr("num_heads");
  if (!x || !weight || rankOf(x) != 3 || rankOf(weight) != 2 || heads < 1)
    return n.error() << "wants an input of three dimensions, a matrix and heads";
  if (n.intAttr("do_rotary") || n.has(6))
    return n.unsupported("rotary embedding or a shared buffer inside");
  Value packed = n.make<nn::MatmulOp>({x, weight});
  if (n.has(2))
    packed = add(n, packed, n.in(2));
  if (!packed)
    return failure();
  Ints sizes = n.intsAttr("qkv_hidden_sizes").value_or(Ints(3, shapeOf(packed)[2] / 3));
  if (sizes.size() != 3 || !isPossible(sizes) ||
      sizes[0] + sizes[1] + sizes[2] != shapeOf(packed)[2])
    return n.error() << "does not split into q, k and v, got: [" << sizes << "]";
  AttentionForm form;
  form.query = splitHeads(n, n.slice(packed, 2, 0, sizes[0]), heads);
  form.key = splitHeads(n, n.slice(packed, 2, sizes[0], sizes[1]), heads);
  form.value = splitHeads(n, n.slice(packed, 2, sizes[0] + sizes[1], sizes[2]), heads);
  form.scale = n.floatAttr("scale");
  form.causal = n.intAttr("unidirectional");
  Value present;
  if (n.has(4)) {
    Value past = n.in(4);
    if (!past || rankOf(past) != 5 || shapeOf(past)[0] != 2)
      return n.error() << "wants a past of five dimensions";
    Sizes half = sizesOf(past);
    half.erase(half.begin());
    form.offset = half[2].value;
    form.key = n.concat({n.reshape(n.slice(past, 0, 0, 1), half), form.key}, 2);
    form.value = n.concat({n.reshape(n.slice(past, 0, 1, 1), half), form.value}, 2);
  }
  if (!form.key || !form.value)
    return failure();
  if (n.op.getNumResults() > 1 && !n.op.getResult(1).use_empty()) {
    auto lead = [&](Value half) {
      Sizes shape = sizesOf(half);
      shape.insert(shape.begin(), 1);
      return n.reshape(half, shape);
    };
    present = n.concat({lead(form.key), lead(form.value)}, 0);
  }
  if (n.has(3)) {
    Value mask = n.in(3);
    ArrayRef<int64_t> keys = shapeOf(form.key);
    if (mask && shapeOf(mask) == ArrayRef<int64_t>({keys[0], keys[2]}))
      form.mask = rawMask(n, mask, elementOf(x), n.floatAttr("mask_filter_value", -10000));
    else if (mask && shapeOf(mask) == keys.take_front(1) && !form.causal)
      form.lengths = mask;
    else
      return n.unsupported("a mask of this shape");
  }
  if (n.has(5) && !(form.mask = form.mask ? add(n, form.mask, n.in(5)) : n.in(5)))
    return failure();
  Value result = mergeHeads(n, attend(n, form));
  if (present)
    return n.give({result, present});
  return n.give(result);
}

/// The keys (or values) of a cache [b, g, p, d] of which new ones [b, g, s, d] take
/// the places from `first` [b] on, in a buffer of `total` places.
static Value updateCache(Node &n, Value past, Value fresh, Value first, Size total) {
  if (!past || !fresh)
    return nullptr;
  if (rankOf(past) != 4)
    return n.error() << "wants a past of four dimensions, got: " << past.getType(), nullptr;
  Size missing = total - sizesOf(past)[2];
  if (missing.value > 0)
    past = n.pad(past, n.scalar(elementOf(past), 0), {0, 0, 0, 0}, {0, 0, missing, 0});
  return n.make<nn::CacheUpdateOp>({past, fresh, first}, {{"axis", n.b.getI64IntegerAttr(2)}});
}

// Rows of a batch may hold caches of different lengths. A first prompt, which
// fills the whole buffer, begins at 0 in every row and is padded on the right.
static LogicalResult groupQueryAttention(Node &n) {
  Value query = n.in(0);
  int64_t heads = n.intAttr("num_heads"), keyHeads = n.intAttr("kv_num_heads");
  if (!query || rankOf(query) != 3 || heads < 1 || keyHeads < 1 || heads > INT32_MAX ||
      keyHeads > INT32_MAX)
    return n.error() << "wants a query of three dimensions and heads";
  if (n.intAttr("local_window_size", -1) >= 0 || n.intAttr("smooth_softmax") || n.has(11))
    return n.unsupported("a window or an attention sink");
  Size batch = sizesOf(query)[0], length = sizesOf(query)[1];
  AttentionForm form;
  Value key, value;
  if (n.has(1)) {
    key = n.in(1);
    value = n.in(2);
  } else {
    int64_t d = shapeOf(query)[2] / (heads + 2 * keyHeads);
    key = n.slice(query, 2, heads * d, keyHeads * d);
    value = n.slice(query, 2, (heads + keyHeads) * d, keyHeads * d);
    query = n.slice(query, 2, 0, heads * d);
  }
  form.query = splitHeads(n, query, heads);
  form.key = splitHeads(n, key, keyHeads);
  form.value = splitHeads(n, value, keyHeads);

  FailureOr<Size> total = n.size(6);
  Value last = n.in(5);
  if (failed(total) || !last || !form.value || !form.key || !form.query)
    return failure();
  if (total->value < 0 || total->value > kLargestTensor)
    return n.error() << "has an impossible total length, got: " << total->value;
  Value last64 = n.reshape(n.cast(last, n.b.getI64Type()), batch);
  Value lengths = add(n, last64, n.scalar(n.b.getI64Type(), 1));
  bool prompt = total->value == length.value;
  Value first = prompt ? n.broadcast(n.scalar(n.b.getI64Type(), 0), batch)
                       : n.make<nn::SubOp>({lengths, n.intScalar(length)});
  if (n.intAttr("do_rotary")) {
    Value positions = positionsFrom(n, first, batch, length);
    bool interleaved = n.intAttr("rotary_interleaved");
    form.query = rotate(n, form.query, n.in(7), n.in(8), positions, interleaved);
    form.key = rotate(n, form.key, n.in(7), n.in(8), positions, interleaved);
  }
  if (n.has(3)) {
    form.key = updateCache(n, n.in(3), form.key, first, *total);
    form.value = updateCache(n, n.in(4), form.value, first, *total);
  }
  form.causal = true;
  if (!prompt)
    form.lengths = lengths;
  else if (form.key && shapeOf(form.key)[2] > length.value)
    return n.unsupported("a prompt in a longer buffer");
  if (n.has(10) && !(form.mask = n.in(10)))
    return failure();
  form.scale = n.floatAttr("scale");
  form.softcap = n.floatAttr("softcap");
  return n.give({mergeHeads(n, attend(n, form)), form.key, form.value});
}

void cleave::addContrib(ConvertTable &table) {
  table["com.microsoft.Attention"] = attention;
  table["com.microsoft.BiasGelu"] = biasGelu<nn::GeluKind::Erf>;
  table["com.microsoft.EmbedLayerNormalization"] = embedLayerNorm;
  table["com.microsoft.FastGelu"] = biasGelu<nn::GeluKind::Tanh>;
  table["com.microsoft.Gelu"] = biasGelu<nn::GeluKind::Erf>;
  table["com.microsoft.GroupQueryAttention"] = groupQueryAttention;
  table["com.microsoft.QuickGelu"] = quickGelu;
  table["com.microsoft.RotaryEmbedding"] = rotaryEmbedding;
  table["com.microsoft.SkipLayerNormalization"] = skipNorm<true>;
  table["com.microsoft.SkipSimplifiedLayerNormalization"] = skipNorm<false>;
}
