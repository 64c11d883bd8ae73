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

/// An attribute that a node may or has to say.
struct SchemaAttribute {
  enum Kind {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    SparseTensor,
    TypeProto,
    Floats,
    Ints,
    Strings
  } kind;
  llvm::StringRef name;
  bool required;
  /// What it means where a node leaves it out: a float, an integer or a string.
  bool hasDefault = false;
  int64_t intValue = 0;
  float floatValue = 0;
  llvm::StringRef stringValue = {};
};

struct Schema {
  llvm::StringRef domain, name;
  int64_t sinceVersion;
  /// How many inputs and outputs a node lists, those included that it leaves out.
  int64_t leastInputs, mostInputs, leastOutputs, mostOutputs;
  llvm::ArrayRef<SchemaAttribute> attributes;

  /// Null for an attribute that the op does not know.
  const SchemaAttribute *find(llvm::StringRef attribute) const;
};

/// The schema that `version` of `domain` means by `name`, or null where the onnx
/// package knows none. The default domain is "", also spelt "ai.onnx".
const Schema *findSchema(llvm::StringRef domain, llvm::StringRef name, int64_t version);

/// The newest opset of the default domain that the onnx package knows.
int64_t newestOpset();

} // namespace cleave

#endif // CLEAVE_FRONTEND_SCHEMAS_H
