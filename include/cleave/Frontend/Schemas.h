//===- Schemas.h - the operator schemas of ONNX ---------------*- C++ -*-===//
//
// Read out of the onnx package when Cleave is built.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_FRONTEND_SCHEMAS_H
#define CLEAVE_FRONTEND_SCHEMAS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace cleave {

/// An attribute that a node may leave out, and what it then means.
struct AttributeDefault {
  enum Kind { Int, Float, String } kind;
  llvm::StringRef name;
  int64_t intValue;
  float floatValue;
  llvm::StringRef stringValue;
};

struct Schema {
  llvm::StringRef domain, name;
  int64_t sinceVersion;
  llvm::ArrayRef<AttributeDefault> defaults;
};

/// The schema that `version` of `domain` means by `name`, or null where the onnx
/// package knows none. The default domain is "", also spelt "ai.onnx".
const Schema *findSchema(llvm::StringRef domain, llvm::StringRef name, int64_t version);

/// The newest opset of the default domain that the onnx package knows.
int64_t newestOpset();

} // namespace cleave

#endif // CLEAVE_FRONTEND_SCHEMAS_H
