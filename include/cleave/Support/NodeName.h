//===- NodeName.h - the ONNX node behind a location -----------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_NODENAME_H
#define CLEAVE_SUPPORT_NODENAME_H

#include "mlir/IR/Location.h"

namespace cleave {

/// The first name in a location; empty where it has none.
inline llvm::StringRef nodeName(mlir::Location loc) {
  llvm::StringRef name;
  loc->walk([&](mlir::Location inner) {
    auto named = llvm::dyn_cast<mlir::NameLoc>(inner);
    if (!named)
      return mlir::WalkResult::advance();
    name = named.getName().getValue();
    return mlir::WalkResult::interrupt();
  });
  return name;
}

} // namespace cleave

#endif // CLEAVE_SUPPORT_NODENAME_H
