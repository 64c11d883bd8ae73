//===- Verify.cpp - what must hold of rt ops, by constraint number --------===//

#include "Rt/Rt.h"

#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace cleave::rt;

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &tables) {
  // C1
  auto kernel = tables.lookupNearestSymbolFrom<FunctionOpInterface>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("names no function, got: @") << getKernel();

  // C2
  if (kernel.getArgumentTypes() != ArrayRef<Type>(llvm::to_vector(getOperandTypes())) ||
      kernel.getResultTypes() != ArrayRef<Type>(llvm::to_vector(getResultTypes())))
    return emitOpError("differs in type from @")
           << getKernel()
           << ", got: " << FunctionType::get(getContext(), getOperandTypes(), getResultTypes());
  return success();
}
