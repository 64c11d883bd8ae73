//===- Convolution.cpp - windows over images, as products -----------------===//
//
// The filter [g, o, (c x…)] times the windows [g, (c x…), (y…)], which are never
// written down: a panel of them is pulled, zeros where the window leaves the image.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <memory>
#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

namespace {

/// Reads the input under a tap of the window at a place of the result.
struct Window {
  Window(Emitter &e, nn::ConvOp op)
      : e(e), op(op), taps(Emitter::shape(op.getFilter()).drop_front(1)),
        places(Emitter::shape(op.getResult()).drop_front(2)),
        image(Emitter::shape(op.getInput()).drop_front(2)) {}

  Value pull(const Index &group, const Index &k, const Index &n) {
    SmallVector<Index> tap = e.delinearize(k, taps), place = e.delinearize(n, places);
    Index flat = group * taps[0] + tap[0];
    Value inside;
    bool isOutside = false;
    for (auto [dim, size] : llvm::enumerate(image)) {
      Index at = place[dim] * op.getStrides()[dim] + tap[dim + 1] * op.getDilations()[dim] -
                 op.getLow()[dim];
      isOutside |= narrow(inside, at, 0, /*isInside=*/false);
      isOutside |= narrow(inside, at, size, /*isInside=*/true);
      flat = flat * size + e.clamp(at, size);
    }
    if (isOutside)
      return e.isDry() ? Value() : zero(1);
    Value x = pullFactor(e, op.getInput(), flat);
    if (!inside || e.isDry())
      return x;
    int64_t lanes = std::max(e.laneCount(inside), e.laneCount(x));
    return arith::SelectOp::create(e.builder, e.loc, e.broadcast(inside, lanes),
                                   e.broadcast(x, lanes), zero(lanes));
  }

  Emitter &e;
  nn::ConvOp op;
  SmallVector<int64_t> taps, places, image;

private:
  /// Of the type that products have.
  Value zero(int64_t lanes) {
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Type element = type.getElementType();
    bool isNarrow = isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32;
    return e.constantOf(isNarrow ? e.builder.getF32Type() : element, 0, lanes);
  }

  /// Adds to `inside` that `at` < `bound` is `isInside`; true if it never is.
  bool narrow(Value &inside, const Index &at, int64_t bound, bool isInside) {
    Emitter::Test test = e.isBelow(at, bound);
    if (test.known)
      return *test.known != isInside;
    if (e.isDry())
      return false;
    Value holds = test.value;
    if (!isInside) {
      Value one = e.constantOf(e.builder.getI1Type(), 1, e.laneCount(holds));
      holds = arith::XOrIOp::create(e.builder, e.loc, holds, one);
    }
    if (inside) {
      int64_t lanes = std::max(e.laneCount(inside), e.laneCount(holds));
      holds = arith::AndIOp::create(e.builder, e.loc, e.broadcast(inside, lanes),
                                    e.broadcast(holds, lanes));
    }
    inside = holds;
    return false;
  }
};

} // namespace

static int64_t elementsOf(ArrayRef<int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t(1), std::multiplies<>());
}

ProductSizes cleave::emit::sizesOf(nn::ConvOp root) {
  ArrayRef<int64_t> filter = Emitter::shape(root.getFilter());
  ArrayRef<int64_t> result = Emitter::shape(root.getResult());
  int64_t groups = root.getGroups();
  return {result[0] * groups, filter[0] / groups, elementsOf(result.drop_front(2)),
          elementsOf(filter.drop_front(1))};
}

bool cleave::emit::hasOneFilter(Operation *root) {
  auto conv = dyn_cast<nn::ConvOp>(root);
  return conv && sizesOf(conv).m == 1;
}

Product cleave::emit::productOf(Emitter &e, nn::ConvOp root) {
  auto window = std::make_shared<Window>(e, root);
  ProductSizes sizes = sizesOf(root);
  int64_t groups = root.getGroups(), filters = sizes.m, depth = sizes.k;

  auto atA = [=, &e](const Index &b, const Index &m, const Index &k) {
    Index group = groups == 1 ? Index(0) : e.divide(b, groups).second;
    return (group * filters + m) * depth + k;
  };
  ProductOperands operands;
  operands.pullA = [=, &e](const Index &b, const Index &m, const Index &k) mutable {
    return pullFactor(e, root.getFilter(), atA(b, m, k));
  };
  operands.pullB = [=](const Index &b, const Index &k, const Index &n) {
    return window->pull(b, k, n);
  };
  operands.traceA = [=, &e](const Index &b, const Index &m, const Index &k) mutable {
    return e.trace(root.getFilter(), atA(b, m, k));
  };
  operands.traceB = [](const Index &, const Index &, const Index &) {
    return std::optional<Emitter::Leaf>();
  };
  return {root, sizes, operands};
}
