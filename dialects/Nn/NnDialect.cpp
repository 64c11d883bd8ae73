//===- NnDialect.cpp - registers what the dialect holds -------------------===//

#include "Nn/Nn.h"

#include "Nn/NnDialect.cpp.inc"
#include "Nn/NnEnums.cpp.inc"
#include "Nn/NnInterfaces.cpp.inc"

#define GET_OP_CLASSES
#include "Nn/NnOps.cpp.inc"

using namespace mlir;
using namespace cleave::nn;

void NnDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "Nn/NnOps.cpp.inc"
      >();
}

Operation *NnDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type,
                                          Location loc) {
  auto elements = dyn_cast<ElementsAttr>(value);
  if (!elements || elements.getType() != type)
    return nullptr;
  return ConstantOp::create(builder, loc, type, elements);
}

/// In elements: behind a part of one dimension nothing but whole ones, in front of it
/// single indices.
static std::optional<int64_t> neighboursOffset(SliceOp slice) {
  ArrayRef<int64_t> from = shapeOf(slice.getInput()), to = slice.getSizes();
  if (llvm::is_contained(to, 0))
    return 0;
  int64_t offset = 0, stride = 1;
  bool isWhole = true;
  for (int64_t dim = to.size(); dim-- > 0; stride *= from[dim]) {
    if (to[dim] != 1 && !(isWhole && slice.getSteps()[dim] == 1))
      return std::nullopt;
    isWhole &= to[dim] == from[dim];
    offset += slice.getStarts()[dim] * stride;
  }
  return offset;
}

std::optional<int64_t> cleave::nn::viewOffset(Operation *op) {
  if (isa_and_nonnull<ReshapeOp>(op))
    return 0;
  auto slice = dyn_cast_or_null<SliceOp>(op);
  std::optional<int64_t> elements = slice ? neighboursOffset(slice) : std::nullopt;
  if (!elements)
    return std::nullopt;
  return *elements * elementBytes(elementOf(slice.getResult()));
}

Storage cleave::nn::storageOf(Value value) {
  Storage storage{value, 0};
  while (std::optional<int64_t> offset = viewOffset(storage.value.getDefiningOp())) {
    storage.value = storage.value.getDefiningOp()->getOperand(0);
    storage.offset += *offset;
  }
  return storage;
}

int64_t cleave::nn::elementBytes(Type elementType) {
  return llvm::divideCeil(elementType.getIntOrFloatBitWidth(), 8);
}

int64_t cleave::nn::bytesOf(RankedTensorType type) {
  return type.getNumElements() * elementBytes(type.getElementType());
}
