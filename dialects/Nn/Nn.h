//===- Nn.h - the nn dialect ----------------------------------*- C++ -*-===//

#ifndef CLEAVE_DIALECTS_NN_NN_H
#define CLEAVE_DIALECTS_NN_NN_H

#include "Nn/ShardingRule.h"
#include "Nn/Size.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "Nn/NnDialect.h.inc"
#include "Nn/NnEnums.h.inc"

#include "Nn/NnInterfaces.h.inc"

#define GET_OP_CLASSES
#include "Nn/NnOps.h.inc"

namespace cleave::nn {

/// Of a value of the dialect: all are ranked tensors of static shape.
inline mlir::RankedTensorType typeOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}
inline llvm::ArrayRef<int64_t> shapeOf(mlir::Value value) { return typeOf(value).getShape(); }
inline mlir::Type elementOf(mlir::Value value) { return typeOf(value).getElementType(); }

/// Whether it is an 8-bit float of a kind that the dialect computes with.
inline bool isByteFloat(mlir::Type element) {
  return llvm::isa<mlir::Float8E4M3FNType, mlir::Float8E5M2Type>(element);
}

/// Bytes that one element takes in memory; a bool takes one.
int64_t elementBytes(mlir::Type elementType);
int64_t bytesOf(mlir::RankedTensorType type);
inline int64_t bytesOf(mlir::Value value) { return bytesOf(typeOf(value)); }

/// Where the result of `op` begins in its operand, in bytes, if its elements lie there one
/// behind the other: of a reshape, and of a slice that takes neighbours.
std::optional<int64_t> viewOffset(mlir::Operation *op);

/// What holds the bytes of a value that may be seen through views, and where in it they begin.
struct Storage {
  mlir::Value value;
  int64_t offset;
};
Storage storageOf(mlir::Value value);

} // namespace cleave::nn

#endif // CLEAVE_DIALECTS_NN_NN_H
