//===- RtDialect.cpp - registers what the dialect holds -------------------===//

#include "Rt/Rt.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "Rt/RtDialect.cpp.inc"
#include "Rt/RtEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "Rt/RtAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "Rt/RtOps.cpp.inc"

using namespace cleave::rt;

void RtDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "Rt/RtAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "Rt/RtOps.cpp.inc"
      >();
}
