//===- Narrow.cpp - operands that are computed from bytes -----------------===//

#include "Narrow.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace cleave::cuda;
using cleave::emit::Symbol;

std::optional<Narrow> cleave::cuda::narrowOf(Value operand) {
  int64_t elements = Emitter::size(operand);
  llvm::SetVector<Value> open;
  open.insert(operand);
  for (size_t i = 0; i < open.size(); ++i) {
    Value value = open[i];
    if (Operation *op = value.getDefiningOp()) {
      open.insert(op->operand_begin(), op->operand_end());
      continue;
    }
    Type element = getElementTypeOrSelf(value.getType());
    bool isComputed = element.getIntOrFloatBitWidth() == 8 && (i > 0 || isa<FloatType>(element));
    for (int64_t ofByte : {1, 2, 4})
      if (isComputed && elements > 0 && Emitter::size(value) * ofByte == elements)
        return Narrow{value, ofByte};
  }
  return std::nullopt;
}

bool cleave::cuda::runsAlong(Emitter &e, const Narrow &narrow, int64_t count,
                             function_ref<Value(const Index &)> pull) {
  if (count % kNeighbours != 0)
    return false;
  int64_t bytes = kNeighbours / narrow.ofByte;
  Symbol place = e.symbol(e.indexConstant(0), count / narrow.ofByte, bytes);
  std::optional<Index> found;
  e.rehearse([&] {
    e.define(narrow.bytes, [&](const Index &at) {
      found = at;
      return Value();
    });
    pull(Index::of(place) * narrow.ofByte);
    e.undefine(narrow.bytes);
  });
  // Symbols that are made on the way are what was divided.
  return found && found->factor(place) == 1 && e.multipleOf(*found) % bytes == 0 &&
         llvm::all_of(found->terms, [&](auto term) { return term.first <= place; });
}

SmallVector<Value> cleave::cuda::pullNeighbours(Emitter &e, const Narrow &narrow,
                                                function_ref<Value(const Index &)> pull) {
  int64_t lanes = kNeighbours / narrow.ofByte;
  Index lane = e.laneSymbol(lanes) * narrow.ofByte;
  SmallVector<Value> elements(kNeighbours);
  for (int64_t i = 0; i < narrow.ofByte; ++i) {
    Value x = pull(lane + i);
    if (e.isDry())
      continue;
    x = e.broadcast(x, lanes);
    for (int64_t j = 0; j < lanes; ++j)
      elements[j * narrow.ofByte + i] =
          vector::ExtractOp::create(e.builder, e.loc, x, ArrayRef<int64_t>{j});
  }
  return elements;
}
