//===- Onnx.h - the onnx dialect ------------------------------*- C++ -*-===//

#ifndef CLEAVE_DIALECTS_ONNX_ONNX_H
#define CLEAVE_DIALECTS_ONNX_ONNX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "Onnx/OnnxDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "Onnx/OnnxTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "Onnx/OnnxAttrs.h.inc"

#define GET_OP_CLASSES
#include "Onnx/OnnxOps.h.inc"

#endif // CLEAVE_DIALECTS_ONNX_ONNX_H
