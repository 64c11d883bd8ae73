//===- PendingFile.cpp - a file that appears whole or not at all ----------===//

#include "cleave/Runtime/Tensors.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave::runtime;

PendingFile::PendingFile(std::string path) : path(std::move(path)) {}

PendingFile::~PendingFile() {
  if (descriptor < 0)
    return;
  ::close(descriptor);
  if (!kept)
    ::unlink(temporary.c_str());
}

Reason PendingFile::failed() const {
  return "cannot write \"" + path + "\": " + std::strerror(errno);
}

Reason PendingFile::open() {
  struct stat status;
  char whole[PATH_MAX];
  bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode))
    return "cannot write \"" + path +
           "\": it is no regular file; give the name of one, or of none that exists";
  if (exists && ::realpath(path.c_str(), whole))
    path = whole;
  temporary = path + "." + std::to_string(::getpid()) + ".partial";
  descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  return descriptor < 0 ? failed() : Reason();
}

Reason PendingFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failed();
    bytes.remove_prefix(static_cast<size_t>(count));
    written += static_cast<uint64_t>(count);
  }
  return {};
}

Reason PendingFile::keep() {
  if (::fsync(descriptor) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0)
    return failed();
  kept = true;
  return {};
}
