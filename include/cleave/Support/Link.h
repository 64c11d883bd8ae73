//===- Link.h - objects become a shared library -----------------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_LINK_H
#define CLEAVE_SUPPORT_LINK_H

#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace cleave {

/// Links `input`, an object or an archive of which all is taken, into a library at
/// `path`, which messages call `called`.
llvm::Error linkLibrary(llvm::StringRef input, const std::string &path, const std::string &called);

/// The same as bytes; a symbol that it lacks is an error.
llvm::Expected<std::vector<char>> linkInMemory(llvm::StringRef input, const std::string &called);

} // namespace cleave

#endif // CLEAVE_SUPPORT_LINK_H
