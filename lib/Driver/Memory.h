//===- Memory.h - what this machine can hold ------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_DRIVER_MEMORY_H
#define CLEAVE_LIB_DRIVER_MEMORY_H

#include "llvm/Support/Error.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <unistd.h>

namespace cleave {

/// Fails if `bytes` for `what` are more than the machine has: the system promises
/// memory that it does not have, and ends the process that uses it.
inline llvm::Error requireMemory(const char *what, uint64_t bytes) {
  uint64_t present = uint64_t(::sysconf(_SC_PHYS_PAGES)) * uint64_t(::sysconf(_SC_PAGESIZE));
  if (bytes <= present)
    return llvm::Error::success();
  std::string message;
  llvm::raw_string_ostream(message)
      << what
      << llvm::format(" take %.1f GiB of memory, this machine has %.1f; ask for smaller "
                      "sizes with --dim",
                      bytes * 0x1p-30, present * 0x1p-30);
  return llvm::createStringError(message);
}

} // namespace cleave

#endif // CLEAVE_LIB_DRIVER_MEMORY_H
