//===- ElementType.h - MLIR's element types as the runtime's --*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_ELEMENTTYPE_H
#define CLEAVE_SUPPORT_ELEMENTTYPE_H

#include "cleave/Runtime/Program.h"

#include "mlir/IR/BuiltinTypes.h"

#include <optional>

namespace cleave {

/// The runtime's name of an element type; nothing for one that it does not have.
inline std::optional<cleave_type> runtimeType(mlir::Type element) {
  if (element.isF32())
    return CLEAVE_F32;
  if (element.isF16())
    return CLEAVE_F16;
  if (element.isBF16())
    return CLEAVE_BF16;
  if (element.isF64())
    return CLEAVE_F64;
  if (llvm::isa<mlir::Float8E4M3FNType>(element))
    return CLEAVE_F8E4M3FN;
  if (llvm::isa<mlir::Float8E5M2Type>(element))
    return CLEAVE_F8E5M2;
  auto integer = llvm::dyn_cast<mlir::IntegerType>(element);
  if (!integer)
    return std::nullopt;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1: return CLEAVE_BOOL;
  case 8: return isUnsigned ? CLEAVE_U8 : CLEAVE_I8;
  case 16: return isUnsigned ? CLEAVE_U16 : CLEAVE_I16;
  case 32: return isUnsigned ? CLEAVE_U32 : CLEAVE_I32;
  case 64: return isUnsigned ? CLEAVE_U64 : CLEAVE_I64;
  }
  return std::nullopt;
}

} // namespace cleave

#endif // CLEAVE_SUPPORT_ELEMENTTYPE_H
