//===- Attention.cpp - the standard's Attention and RotaryEmbedding -------===//

#include "Attention.h"

#include <cmath>

using namespace mlir;
using namespace cleave;

Value cleave::splitHeads(Node &n, Value x, int64_t heads) {
  if (!x)
    return nullptr;
  if (rankOf(x) != 3 || heads < 1 || shapeOf(x)[2] % heads != 0)
    return n.error() << "does not split into " << heads << " heads, got: " << x.getType(), nullptr;
  Sizes shape = sizesOf(x);
  return n.transpose(n.reshape(x, {shape[0], shape[1], heads, nn::floorDiv(shape[2], heads)}),
                     {0, 2, 1, 3});
}

Value cleave::mergeHeads(Node &n, Value x) {
  if (!x)
    return nullptr;
  Sizes shape = sizesOf(x);
  return n.reshape(n.transpose(x, {0, 2, 1, 3}), {shape[0], shape[2], shape[1] * shape[3]});
}

Value cleave::attend(Node &n, const AttentionForm &form) {
  if (!form.query || !form.key || !form.value)
    return nullptr;
  if (rankOf(form.query) != 4)
    return n.error() << "wants a query of three or four dimensions, got: " << form.query.getType(),
           nullptr;
  SmallVector<Value> operands = {form.query, form.key, form.value};
  if (form.mask)
    operands.push_back(isa<FloatType>(elementOf(form.mask))
                           ? n.cast(form.mask, elementOf(form.query))
                           : form.mask);
  if (form.lengths)
    operands.push_back(form.lengths);
  double scale = form.scale != 0 ? form.scale : 1 / std::sqrt(shapeOf(form.query).back());
  Builder &b = n.b;
  return n.make<nn::AttentionOp>(
      operands,
      {{"scale", b.getF64FloatAttr(scale)},
       {"softcap", form.softcap != 0 ? b.getF64FloatAttr(form.softcap) : FloatAttr()},
       {"causal", form.causal ? b.getUnitAttr() : UnitAttr()},
       {"offset", form.causal && form.offset ? b.getI64IntegerAttr(form.offset) : IntegerAttr()},
       {"operandSegmentSizes",
        b.getDenseI32ArrayAttr({1, 1, 1, form.mask != nullptr, form.lengths != nullptr})}});
}

Value cleave::rotate(Node &n, Value x, Value cos, Value sin, Value positions, bool interleaved) {
  if (!x || !cos || !sin)
    return nullptr;
  auto table = [&](Value values) -> Value {
    // A position is a place in the table; none counts from its end.
    if (positions)
      values = n.make<nn::GatherOp>({values, positions}, {{"axis", n.b.getI64IntegerAttr(0)},
                                                          {"absolute", n.b.getUnitAttr()}});
    if (!values || rankOf(values) != 3)
      return n.error() << "wants a table of three dimensions", nullptr;
    Sizes shape = sizesOf(values);
    return n.reshape(n.cast(values, elementOf(x)), {shape[0], 1, shape[1], shape[2]});
  };
  return n.make<nn::RopeOp>({x, table(cos), table(sin)},
                            {{"interleaved", interleaved ? n.b.getUnitAttr() : UnitAttr()}});
}

static LogicalResult rotaryEmbedding(Node &n) {
  Value x = n.in(0);
  if (!x)
    return failure();
  bool merged = rankOf(x) == 3;
  if (merged)
    x = splitHeads(n, x, n.intAttr("num_heads"));
  Value positions = n.has(3) ? n.in(3) : Value();
  Value result = rotate(n, x, n.in(1), n.in(2), positions, n.intAttr("interleaved"));
  return n.give(merged ? mergeHeads(n, result) : result);
}

// A mask may be shorter than the keys; what it does not reach is hidden.
static Value lengthenMask(Node &n, Value mask, Size keys) {
  if (!mask || rankOf(mask) == 0 || shapeOf(mask).back() >= keys.value || shapeOf(mask).back() == 1)
    return mask;
  Sizes low(rankOf(mask), 0), high(rankOf(mask), 0);
  high.back() = keys - sizesOf(mask).back();
  Value hidden = n.scalar(elementOf(mask), isa<FloatType>(elementOf(mask)) ? -INFINITY : 0);
  return n.pad(mask, hidden, low, high);
}

static LogicalResult attention(Node &n) {
  AttentionForm form{n.in(0), n.in(1), n.in(2), {}, {}};
  if (!form.query || !form.key || !form.value)
    return failure();
  if (n.intAttr("left_window_size", -1) >= 0 || n.intAttr("right_window_size", -1) >= 0)
    return n.unsupported("a window");
  // What nn.attention computes is as exact as f32.
  if (elementOf(form.query).isF64())
    return n.unsupported("operands of f64");
  bool merged = rankOf(form.query) == 3;
  if (merged) {
    int64_t keyHeads = n.intAttr("kv_num_heads");
    form.query = splitHeads(n, form.query, n.intAttr("q_num_heads"));
    form.key = splitHeads(n, form.key, keyHeads);
    form.value = splitHeads(n, form.value, keyHeads);
  }
  if (n.has(4)) {
    Value past = n.in(4);
    if (!past || rankOf(past) != 4)
      return n.error() << "wants a past of four dimensions";
    form.offset = shapeOf(past)[2];
    form.key = n.concat({past, form.key}, 2);
    form.value = n.concat({n.in(5), form.value}, 2);
  }
  if (!form.key || !form.value || rankOf(form.key) != 4)
    return n.error() << "wants operands of three or four dimensions";
  if (n.has(3) && !(form.mask = lengthenMask(n, n.in(3), sizesOf(form.key)[2])))
    return failure();
  if (n.has(6) && !(form.lengths = n.in(6)))
    return failure();
  form.causal = n.intAttr("is_causal");
  form.scale = n.floatAttr("scale");
  form.softcap = n.floatAttr("softcap");
  Value result = attend(n, form);
  return n.give({merged ? mergeHeads(n, result) : result, form.key, form.value});
}

void cleave::addAttention(ConvertTable &table) {
  table["Attention"] = attention;
  table["RotaryEmbedding"] = rotaryEmbedding;
}
