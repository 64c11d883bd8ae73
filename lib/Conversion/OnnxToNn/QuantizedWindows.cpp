//===- QuantizedWindows.cpp - convolutions of quantised tensors -----------===//
//
// As products: the convolution of the bytes as they are, with corrections by the
// sums of filters and of windows.
//
//===----------------------------------------------------------------------===//

#include "Quantized.h"
#include "Window.h"

using namespace mlir;
using namespace cleave;

/// Σ (input - zeroX) (filter - zeroW) in i32 over the window of `n`. What lies around the
/// image stands for 0, so it is zeroX; zeroW is one number, or one a filter.
static Value convolveIntegers(Node &n, Value input, Value filter, Value zeroX, Value zeroW) {
  if (failed(requireImage(n, input, filter)) || failed(requireBytes(n, input)) ||
      failed(requireBytes(n, filter)))
    return nullptr;
  Sizes whole = sizesOf(input);
  FailureOr<Window> window =
      windowOf(n, ArrayRef(whole).drop_front(2), shapeOf(filter).drop_front(2));
  if (failed(window))
    return nullptr;
  Type i32 = n.b.getI32Type();
  int64_t groups = n.intAttr("group", 1);
  bool isMovedX = !isZero(n, zeroX), isMovedW = !isZero(n, zeroW);
  auto isNone = [](ArrayRef<int64_t> frame) {
    return llvm::all_of(frame, [](int64_t size) { return size == 0; });
  };
  if (isMovedX && !(isNone(window->low) && isNone(window->high))) {
    Sizes low = {0, 0}, high = {0, 0};
    low.append(window->low.begin(), window->low.end());
    high.append(window->high.begin(), window->high.end());
    input = n.pad(input, n.reshape(zeroX, {}), low, high);
    window->low.assign(window->low.size(), 0);
    window->high.assign(window->high.size(), 0);
    window->results.reset();
  }
  Value result = convolve(n, input, filter, *window, groups);
  if (!result)
    return nullptr;
  Sizes channel(rankOf(result), 1);
  channel[1] = sizesOf(result)[1];
  auto ofFilters = [&](Value value) {
    return value && typeOf(value).getNumElements() > 1 ? n.reshape(value, channel) : value;
  };
  auto scaled = [&](Value zero, Value sums) {
    return n.make<nn::MulOp>({n.cast(zero, i32), sums});
  };
  Value moveW = isMovedW ? ofFilters(zeroW) : Value();
  if (isMovedW) {
    // The sum of each window, once a group, for all filters of it.
    Sizes ones = sizesOf(filter), places = sizesOf(result), each = places;
    ones[0] = groups;
    Value sums =
        convolve(n, input, n.broadcast(n.scalar(elementOf(filter), 1), ones), *window, groups);
    each[1] = nn::floorDiv(places[1], groups);
    each.insert(each.begin() + 1, groups);
    Sizes one = each;
    one[2] = 1;
    sums = sums ? n.reshape(n.broadcast(n.reshape(sums, one), each), places) : sums;
    result = n.make<nn::SubOp>({result, scaled(moveW, sums)});
  }
  if (isMovedX) {
    auto dims = llvm::to_vector(llvm::seq<int64_t>(1, rankOf(filter)));
    Value sums = reduced(n, nn::ReduceKind::Sum, n.cast(filter, i32), dims);
    sums = n.reshape(sums, channel);
    int64_t taps = 1;
    for (int64_t size : shapeOf(filter).drop_front())
      taps *= size;
    if (isMovedW)
      sums = n.make<nn::SubOp>({sums, scaled(moveW, n.scalar(i32, taps))});
    result = n.make<nn::SubOp>({result, scaled(n.reshape(zeroX, {}), sums)});
  }
  return result;
}

static LogicalResult convInteger(Node &n) {
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 3, 1)))
    return failure();
  Value filter = n.in(1);
  Value zeroX = n.has(2) ? along(n, n.in(2), n.in(0), 0) : Value();
  Value zeroW = n.has(3) ? along(n, n.in(3), filter, 0) : Value();
  if ((n.has(2) && (!zeroX || rankOf(zeroX) != 0)) || (n.has(3) && !zeroW))
    return n.error() << n.op.getOpType() << " wants one zero point of its input, and one or one "
                     << "a filter of the filters";
  return n.give(convolveIntegers(n, n.in(0), filter, zeroX, zeroW));
}

static LogicalResult qlinearConv(Node &n) {
  if (failed(requireTypeOf(n, 2, 0)) || failed(requireTypeOf(n, 5, 3)))
    return failure();
  Value filter = n.in(3), input = n.in(0);
  Scaling x = scalingAlong(n, 1, 2, input, 0), w = scalingAlong(n, 4, 5, filter, 0);
  IntegerType element = integerType(n, 7);
  if (!x.scale || !w.scale || !element)
    return failure();
  if (rankOf(x.scale) != 0 || (x.zero && rankOf(x.zero) != 0))
    return n.error() << n.op.getOpType() << " wants one scale and zero point of its input";
  Value sums = convolveIntegers(n, input, filter, x.zero, w.zero);
  if (!sums)
    return failure();
  Sizes channel(rankOf(sums), 1);
  channel[1] = sizesOf(sums)[1];
  if (n.has(8))
    sums = n.make<nn::AddOp>({sums, n.reshape(n.in(8), channel)});
  Scaling by = scalingAlong(n, 6, 7, sums, 1);
  Value scale = rankOf(w.scale) == 0 ? w.scale : n.reshape(w.scale, channel);
  Value both = n.make<nn::MulOp>({x.scale, scale});
  by.scale = n.make<nn::DivOp>({both, by.scale});
  return n.give(requantize(n, sums, by, element));
}

void cleave::addQuantizedWindows(ConvertTable &table) {
  table["ConvInteger"] = convInteger;
  table["QLinearConv"] = qlinearConv;
}
