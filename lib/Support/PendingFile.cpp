//===- PendingFile.cpp - a file that appears whole or not at all ----------===//

#include "cleave/Support/PendingFile.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave;

PendingFile::PendingFile(llvm::StringRef path) : path(path) {}

PendingFile::~PendingFile() {
  if (descriptor < 0)
    return;
  ::close(descriptor);
  if (!kept)
    ::unlink(temporary.c_str());
}

llvm::Error PendingFile::failed() const {
  return llvm::createStringError("cannot write \"%s\": %s", path.c_str(), std::strerror(errno));
}

llvm::Error PendingFile::open() {
  struct stat status;
  char whole[PATH_MAX];
  bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode))
    return llvm::createStringError("cannot write \"%s\": it is no regular file; give the name of "
                                   "one, or of none that exists",
                                   path.c_str());
  if (exists && ::realpath(path.c_str(), whole))
    path = whole;
  temporary = path + "." + std::to_string(::getpid()) + ".partial";
  descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  return descriptor < 0 ? failed() : llvm::Error::success();
}

llvm::Error PendingFile::write(llvm::StringRef bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failed();
    bytes = bytes.drop_front(count);
    written += count;
  }
  return llvm::Error::success();
}

llvm::Error PendingFile::keep() {
  if (::fsync(descriptor) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0)
    return failed();
  kept = true;
  return llvm::Error::success();
}
