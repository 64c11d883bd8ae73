//===- MemoryFile.cpp - a file that is in no folder -----------------------===//

#include "cleave/Support/MemoryFile.h"

#include "llvm/Support/Errno.h"
#include "llvm/Support/Error.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace cleave;

MemoryFile::MemoryFile() : descriptor(memfd_create("cleave", MFD_CLOEXEC)) {
  if (descriptor < 0)
    missing = llvm::errnoAsErrorCode();
}

MemoryFile::~MemoryFile() {
  if (descriptor >= 0)
    ::close(descriptor);
}

std::error_code MemoryFile::write(llvm::StringRef bytes) {
  while (!missing && !bytes.empty()) {
    ssize_t count =
        llvm::sys::RetryAfterSignal(-1, ::write, descriptor, bytes.data(), bytes.size());
    if (count < 0)
      return llvm::errnoAsErrorCode();
    bytes = bytes.drop_front(size_t(count));
  }
  return missing;
}

std::string MemoryFile::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor);
}
