//===- Types.h - ONNX types and tensors to MLIR and back ------*- C++ -*-===//

#ifndef CLEAVE_LIB_FRONTEND_TYPES_H
#define CLEAVE_LIB_FRONTEND_TYPES_H

#include "Onnx/Onnx.h"

#include "mlir/IR/Diagnostics.h"

#include "onnx-ml.pb.h"

namespace cleave {

/// The element type that a TensorProto.DataType means, or null for UNDEFINED and
/// numbers that this ONNX does not have.
mlir::Type elementTypeOf(int32_t dataType, mlir::MLIRContext *context);
/// The reverse; UNDEFINED for a type that ONNX does not have.
int32_t dataTypeOf(mlir::Type elementType);

/// Bytes of `count` elements as ONNX stores them: two int4 share one. Nothing if
/// that overflows, and for strings.
std::optional<uint64_t> storedBytes(mlir::Type elementType, uint64_t count);

/// A type, !onnx.value where the file says none. Null with a message for a
/// negative size or a kind of type that Cleave does not have.
mlir::Type importType(const ::onnx::TypeProto &proto, mlir::Location loc);
void exportType(mlir::Type type, ::onnx::TypeProto &proto);

/// The type that a tensor says it has; failure with a message if it cannot be.
mlir::FailureOr<mlir::RankedTensorType> importTensorType(const ::onnx::TensorProto &proto,
                                                         mlir::Location loc);
/// The bytes of a tensor of such a type, no string, that holds them itself; failure with a
/// message if they are too few or too many.
mlir::FailureOr<std::string> importTensorBytes(const ::onnx::TensorProto &proto,
                                               mlir::RankedTensorType type, mlir::Location loc);

/// Reads tensors; remembers the files that it has checked.
class TensorImporter {
public:
  /// `modelFile` is the path of the model and `modelBytes` its size.
  TensorImporter(llvm::StringRef modelFile, uint64_t modelBytes);

  /// Null with a message if sizes, offsets or paths lie.
  onnx::TensorAttr import(const ::onnx::TensorProto &proto, mlir::Location loc);

private:
  onnx::DataAttr importReference(const ::onnx::TensorProto &proto, uint64_t bytes,
                                 mlir::Location loc);
  llvm::FailureOr<uint64_t> sizeOfDataFile(llvm::StringRef location, mlir::Location loc);

  std::string modelFile;
  uint64_t modelBytes;
  llvm::StringMap<uint64_t> dataFiles;
};

} // namespace cleave

#endif // CLEAVE_LIB_FRONTEND_TYPES_H
