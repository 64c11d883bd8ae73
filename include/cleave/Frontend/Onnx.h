//===- Onnx.h - ONNX files to the onnx dialect and back -------*- C++ -*-===//

#ifndef CLEAVE_FRONTEND_ONNX_H
#define CLEAVE_FRONTEND_ONNX_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace cleave {

struct SchemaAttribute;

/// What a node means that leaves the attribute out; null if it then means nothing.
mlir::Attribute defaultValue(const SchemaAttribute &attribute, mlir::Builder &b);

/// Reads the model at `path`. Tensors above a kilobyte become references
/// (file, offset, length); the file is mapped and their bytes are not touched.
/// Null, with one diagnostic that names the node or tensor, if the file is
/// damaged, lies about a size, or refers to data outside its folder.
mlir::OwningOpRef<mlir::ModuleOp> importOnnx(llvm::StringRef path, mlir::MLIRContext *context);

/// The same for a model whose serialized `bytes` are at hand; `path` is where they
/// came from, and where its tensors are said to lie.
mlir::OwningOpRef<mlir::ModuleOp> importOnnxBytes(llvm::StringRef bytes, llvm::StringRef path,
                                                  mlir::MLIRContext *context);

/// Writes the model that `module` holds to `path`; tensors above a kilobyte go to
/// `path`.data. Both appear whole or not at all.
mlir::LogicalResult exportOnnx(mlir::ModuleOp module, llvm::StringRef path);

} // namespace cleave

#endif // CLEAVE_FRONTEND_ONNX_H
