//===- NodeName.h - the ONNX node behind a location -----------*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_NODENAME_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_NODENAME_H

#include "mlir/IR/Location.h"

#include <string>

namespace cleave::sharding {

/// The first name in a location; empty where it has none.
inline std::string nodeName(mlir::Location loc) {
  std::string name;
  loc->walk([&](mlir::Location inner) {
    auto named = llvm::dyn_cast<mlir::NameLoc>(inner);
    if (!named)
      return mlir::WalkResult::advance();
    name = named.getName().str();
    return mlir::WalkResult::interrupt();
  });
  return name;
}

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_NODENAME_H
