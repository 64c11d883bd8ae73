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

int64_t cleave::nn::elementBytes(Type elementType) {
  return llvm::divideCeil(elementType.getIntOrFloatBitWidth(), 8);
}
