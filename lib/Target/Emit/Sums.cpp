//===- Sums.cpp - products of types that have no tile ---------------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace cleave::emit;

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
  auto multiplyAdd = [&](Value sum, Value x, Value y) -> Value {
    if (isa<FloatType>(element))
      return arith::AddFOp::create(e.builder, e.loc, sum,
                                   arith::MulFOp::create(e.builder, e.loc, x, y));
    return arith::AddIOp::create(e.builder, e.loc, sum,
                                 arith::MulIOp::create(e.builder, e.loc, x, y));
  };
  e.nest(sizes.batch * sizes.m * sizes.n, [&](const Index &at) {
    SmallVector<Index> where = e.delinearize(at, {sizes.batch, sizes.m, sizes.n});
    int64_t lanes = e.lanesOf(at);
    Value zero = e.isDry() ? Value() : e.constantOf(element, 0, lanes);
    Value sum = e.carry(0, sizes.k, zero, [&](const Index &k, ValueRange acc) {
      Value x = operands.pullA(where[0], where[1], k);
      Value y = operands.pullB(where[0], k, where[2]);
      if (e.isDry())
        return llvm::to_vector(acc);
      return SmallVector<Value>{multiplyAdd(acc[0], e.broadcast(x, lanes), e.broadcast(y, lanes))};
    })[0];
    outputs.storeBehind(e, sum, at);
  });
}
