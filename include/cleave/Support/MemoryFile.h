//===- MemoryFile.h - a file that is in no folder -------------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_MEMORYFILE_H
#define CLEAVE_SUPPORT_MEMORYFILE_H

#include "llvm/ADT/StringRef.h"

#include <string>
#include <system_error>

namespace cleave {

/// A file in memory, which is gone when this process is, however it ends. It has a path for
/// this process and those that it starts.
class MemoryFile {
public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;

  /// Adds `bytes`; fails, for none too, where there is no file.
  std::error_code write(llvm::StringRef bytes);
  std::string path() const;

private:
  const int descriptor;
  std::error_code missing; ///< why there is no file
};

} // namespace cleave

#endif // CLEAVE_SUPPORT_MEMORYFILE_H
