//===- Sums.cpp - products of which nothing is kept near -------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace cleave::emit;

/// Where a sum is as short, the taps of a window are known at each of them, so that what lies
/// outside of an image is left out by loops and not by tests.
static constexpr int64_t kUnrolled = 64;

bool cleave::emit::isProductType(Type tensor) {
  Type element = cast<RankedTensorType>(tensor).getElementType();
  return isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 32;
}

void cleave::emit::emitSums(Emitter &e, const Product &product) {
  const auto &[root, sizes, operands] = product;
  Outputs outputs(e.kernel, root);
  auto result = cast<RankedTensorType>(root->getResult(0).getType());
  Type element = result.getElementType();
  if (auto integer = dyn_cast<IntegerType>(element))
    element = e.builder.getIntegerType(integer.getWidth());
  else if (isProductType(result))
    element = e.builder.getF32Type();
  auto multiplyAdd = [&](Value sum, Value x, Value y) -> Value {
    if (isa<FloatType>(element))
      return math::FmaOp::create(e.builder, e.loc, x, y, sum);
    return arith::AddIOp::create(e.builder, e.loc, sum,
                                 arith::MulIOp::create(e.builder, e.loc, x, y));
  };
  e.nest(sizes.batch * sizes.m * sizes.n, [&](const Index &at) {
    SmallVector<Index> where = e.delinearize(at, {sizes.batch, sizes.m, sizes.n});
    int64_t lanes = e.lanesOf(at);
    Value zero = e.isDry() ? Value() : e.constantOf(element, 0, lanes);
    auto step = [&](const Index &k, ValueRange acc) {
      Value x = operands.pullA(where[0], where[1], k);
      Value y = operands.pullB(where[0], k, where[2]);
      if (e.isDry())
        return llvm::to_vector(acc);
      return SmallVector<Value>{multiplyAdd(acc[0], e.broadcast(x, lanes), e.broadcast(y, lanes))};
    };
    Value sum = zero;
    if (sizes.k > kUnrolled)
      sum = e.carry(0, sizes.k, zero, step)[0];
    else
      for (int64_t k = 0; k < sizes.k; ++k)
        sum = step(k, sum)[0];
    outputs.storeBehind(e, sum, at);
  });
}
