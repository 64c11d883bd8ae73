//===- DistDialect.cpp - registers what the dialect holds -----------------===//

#include "Dist/Dist.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "Dist/DistDialect.cpp.inc"
#include "Dist/DistEnums.cpp.inc"
#include "Dist/DistInterfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "Dist/DistAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "Dist/DistOps.cpp.inc"

using namespace cleave::dist;

void DistDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "Dist/DistAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "Dist/DistOps.cpp.inc"
      >();
}
