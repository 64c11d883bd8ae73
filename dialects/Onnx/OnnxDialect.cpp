//===- OnnxDialect.cpp - registers what the dialect holds -----------------===//

#include "Onnx/Onnx.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "Onnx/OnnxDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "Onnx/OnnxTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "Onnx/OnnxAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "Onnx/OnnxOps.cpp.inc"

using namespace cleave::onnx;

void OnnxDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "Onnx/OnnxTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "Onnx/OnnxAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "Onnx/OnnxOps.cpp.inc"
      >();
}
