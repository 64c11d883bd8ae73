//===- Messages.h - what a diagnostic says to a person --------*- C++ -*-===//
//
// Whoever has an ONNX file knows nodes, element types and shapes; the names of our
// ops and the way MLIR spells a type are for those who work on the compiler.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DRIVER_MESSAGES_H
#define CLEAVE_DRIVER_MESSAGES_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Types.h"

#include <string>

namespace cleave {

/// As in `f32 [batch, 64]`; what is no tensor as an element or as its dialect writes it.
std::string typeText(mlir::Type type);

/// `diagnostic` with the ONNX node in front, if it has one, and types as above.
std::string messageText(mlir::Diagnostic &diagnostic);

} // namespace cleave

#endif // CLEAVE_DRIVER_MESSAGES_H
