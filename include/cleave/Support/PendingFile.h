//===- PendingFile.h - a file that appears whole or not at all -*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_PENDINGFILE_H
#define CLEAVE_SUPPORT_PENDINGFILE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace cleave {

/// Bytes go to a temporary name beside `path`; `keep` brings them to the disk and
/// renames. What is not kept is removed. A link keeps its place, what it points to is
/// replaced. A device or a pipe is refused: it can be neither taken back nor renamed.
class PendingFile {
public:
  explicit PendingFile(llvm::StringRef path);
  ~PendingFile();
  PendingFile(const PendingFile &) = delete;
  PendingFile &operator=(const PendingFile &) = delete;

  llvm::Error open();
  llvm::Error write(llvm::StringRef bytes);
  llvm::Error keep();
  bool isOpen() const { return descriptor >= 0; }
  /// Bytes written.
  uint64_t size() const { return written; }

private:
  llvm::Error failed() const;

  std::string path, temporary;
  int descriptor = -1;
  uint64_t written = 0;
  bool kept = false;
};

} // namespace cleave

#endif // CLEAVE_SUPPORT_PENDINGFILE_H
