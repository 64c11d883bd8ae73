//===- Rt.h - the rt dialect ----------------------------------*- C++ -*-===//

#ifndef CLEAVE_DIALECTS_RT_RT_H
#define CLEAVE_DIALECTS_RT_RT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "Rt/RtDialect.h.inc"
#include "Rt/RtEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "Rt/RtAttrs.h.inc"

#define GET_OP_CLASSES
#include "Rt/RtOps.h.inc"

namespace cleave::rt {

// Names of the attributes that README.md describes.
inline constexpr llvm::StringLiteral kPlaces = "rt.places";
inline constexpr llvm::StringLiteral kScratch = "rt.scratch";
inline constexpr llvm::StringLiteral kCounters = "rt.counters";
inline constexpr llvm::StringLiteral kParam = "rt.param";
inline constexpr llvm::StringLiteral kLoad = "rt.load";
inline constexpr llvm::StringLiteral kArena = "rt.arena";
inline constexpr llvm::StringLiteral kParams = "rt.params";
inline constexpr llvm::StringLiteral kKernel = "rt.kernel";

} // namespace cleave::rt

#endif // CLEAVE_DIALECTS_RT_RT_H
