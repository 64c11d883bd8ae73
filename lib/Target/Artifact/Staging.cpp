//===- Staging.cpp - a folder that appears whole or not at all ------------===//
//
// The temporary folder is locked by the process that fills it. One that nobody
// locks was left by a process that was killed, and the next one with the same
// target removes it.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"

#include "llvm/Support/MemoryBuffer.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave;
using namespace cleave::artifact;
namespace fs = std::filesystem;

static constexpr llvm::StringLiteral kSuffix(".partial");

llvm::Error cleave::artifact::cannotWrite(const std::string &path) {
  return llvm::createStringError("cannot write \"" + path + "\": " + std::strerror(errno));
}

/// Whether a folder was an artifact once: a damaged one may be replaced too.
static bool wasArtifact(const std::string &folder) {
  std::string path = folder + "/" + runtime::kManifest;
  std::error_code ignored;
  // Who opens a pipe waits for its other end.
  if (!fs::is_regular_file(path, ignored))
    return false;
  auto manifest = llvm::MemoryBuffer::getFileSlice(path, 64, 0);
  return manifest && (*manifest)->getBuffer().contains(runtime::kFormat);
}

/// Only an artifact, or an empty folder, may be replaced.
llvm::Error Staging::checkTarget() const {
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0)
    return llvm::Error::success();
  std::error_code ignored;
  bool isFolder = S_ISDIR(status.st_mode);
  if (isFolder && (fs::is_empty(path, ignored) || wasArtifact(path)))
    return llvm::Error::success();
  return llvm::createStringError("cannot write \"" + path + "\": it is " +
                                 (isFolder ? "a folder that holds something else" : "no folder") +
                                 "; give the name of an artifact, or of nothing that exists");
}

void Staging::removeLeftovers() const {
  std::string prefix = fs::path(path).filename().string() + ".";
  std::error_code status;
  for (fs::directory_iterator it(folder, status), end; it != end && !status; it.increment(status)) {
    std::string file = it->path().filename();
    llvm::StringRef name = file;
    pid_t owner;
    // One that lives may be about to lock its own.
    if (!name.consume_front(prefix) || !name.consume_back(kSuffix) ||
        name.getAsInteger(10, owner) || ::kill(owner, 0) == 0)
      continue;
    int descriptor = ::open(it->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
      continue;
    std::error_code ignored;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0)
      fs::remove_all(it->path(), ignored);
    ::close(descriptor);
  }
}

llvm::Error Staging::open(llvm::StringRef wanted) {
  path = wanted.rtrim('/').str();
  std::error_code status;
  fs::path parent = fs::path(path).parent_path();
  folder = fs::canonical(parent.empty() ? "." : parent, status);
  if (path.empty() || status)
    return llvm::createStringError("cannot write \"" + wanted +
                                   "\": " + (path.empty() ? "it has no name" : status.message()));
  if (llvm::Error error = checkTarget())
    return error;
  removeLeftovers();
  temporary = path + "." + std::to_string(::getpid()) + kSuffix.str();
  interrupts.guard(temporary);
  if (::mkdir(temporary.c_str(), 0755) != 0 ||
      (lock = ::open(temporary.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
      ::flock(lock, LOCK_EX | LOCK_NB) != 0)
    return cannotWrite(path);
  return llvm::Error::success();
}

llvm::Error Staging::publish() {
  if (::fsync(lock) != 0)
    return cannotWrite(path);
  auto rename = [&] {
    return ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0 ||
           ::rename(temporary.c_str(), path.c_str()) == 0;
  };
  // After an exchange the temporary name is that of the old artifact.
  if (!interrupts.exchange(rename, temporary))
    return cannotWrite(path);
  int above = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (above >= 0) {
    ::fsync(above);
    ::close(above);
  }
  return llvm::Error::success();
}

Staging::~Staging() {
  std::error_code ignored;
  if (!temporary.empty())
    fs::remove_all(temporary, ignored);
  interrupts.guard("");
  if (lock >= 0)
    ::close(lock);
}
