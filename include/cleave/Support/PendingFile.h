//===- PendingFile.h - a file that appears whole or not at all -*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_PENDINGFILE_H
#define CLEAVE_SUPPORT_PENDINGFILE_H

#include "cleave/Support/Tensor.h"

namespace cleave {

/// runtime::PendingFile with the compiler's errors.
class PendingFile {
public:
  explicit PendingFile(llvm::StringRef path) : file(path.str()) {}

  llvm::Error open() { return toError(file.open()); }
  llvm::Error write(llvm::StringRef bytes) { return toError(file.write(bytes)); }
  llvm::Error keep() { return toError(file.keep()); }
  bool isOpen() const { return file.isOpen(); }
  /// Bytes written.
  uint64_t size() const { return file.size(); }

private:
  runtime::PendingFile file;
};

} // namespace cleave

#endif // CLEAVE_SUPPORT_PENDINGFILE_H
