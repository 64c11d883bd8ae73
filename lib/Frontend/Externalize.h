//===- Externalize.h - large tensors become references --------*- C++ -*-===//

#ifndef CLEAVE_LIB_FRONTEND_EXTERNALIZE_H
#define CLEAVE_LIB_FRONTEND_EXTERNALIZE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace cleave {

/// Tensors of more bytes than this are referred to, smaller ones are held: a value
/// that is held is part of the code that uses it, and layers would differ by it.
inline constexpr uint64_t kInlineBytes = 32;

/// The location by which a tensor refers to the model's own file: no name that a file
/// has. A model that says so by itself gets its own bytes, within their bounds.
inline constexpr llvm::StringLiteral kOwnFile = "\1";

/// The serialized ModelProto `model` with every `raw_data`, `float_data` and
/// `double_data` above kInlineBytes replaced by a reference to the same bytes in the
/// model's own file, so that what is left is small. Fails on bytes that are no protocol buffer.
llvm::Expected<std::string> externalize(llvm::StringRef model);

} // namespace cleave

#endif // CLEAVE_LIB_FRONTEND_EXTERNALIZE_H
