//===- Link.cpp - objects become kernels.so -------------------------------===//
//
// lld is linked in, so that compiling needs no other program on the machine and
// what it makes depends on no other version. The objects are one archive in
// memory; nothing of a name or a place gets into the library.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"

#include "lld/Common/Driver.h"
#include "llvm/Object/ArchiveWriter.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

LLD_HAS_DRIVER(elf)

using namespace cleave;
using namespace cleave::artifact;

/// The objects of `names` as an archive.
static llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
archiveOf(const ProgramParts &parts, llvm::ArrayRef<std::string> names) {
  std::vector<llvm::NewArchiveMember> members;
  for (const std::string &name : names)
    for (const auto &object : parts.objects)
      if (object->getBufferIdentifier() == name)
        members.emplace_back(object->getMemBufferRef());
  return llvm::writeArchiveToBuffer(members, llvm::SymtabWritingMode::NormalSymtab,
                                    llvm::object::Archive::K_GNU, /*Deterministic=*/true,
                                    /*Thin=*/false);
}

/// Writes all of `bytes`; false, with errno, where that cannot be.
static bool writeAll(int descriptor, llvm::StringRef bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR)
      return false;
    bytes = bytes.drop_front(std::max<ssize_t>(count, 0));
  }
  return true;
}

static llvm::Error linkArchive(llvm::StringRef archive, const std::string &path,
                               const std::string &called) {
  int descriptor = memfd_create("kernels", MFD_CLOEXEC);
  if (descriptor < 0 || !writeAll(descriptor, archive)) {
    llvm::Error error = cannotWrite(called);
    if (descriptor >= 0)
      ::close(descriptor);
    return error;
  }
  std::string input = "/proc/self/fd/" + std::to_string(descriptor), messages;
  llvm::raw_string_ostream out(messages);
  const char *arguments[] = {"ld.lld",
                             "-shared",
                             "--strip-all",
                             "--build-id=none",
                             "-z",
                             "now",
                             "-z",
                             "relro",
                             "-z",
                             "noexecstack",
                             "--threads=1",
                             "--hash-style=gnu",
                             "--whole-archive",
                             input.c_str(),
                             "-o",
                             path.c_str()};
  lld::Result result = lld::lldMain(arguments, out, out, {{lld::Gnu, &lld::elf::link}});
  ::close(descriptor);
  if (result.retCode == 0)
    return llvm::Error::success();
  return llvm::createStringError("cannot write \"" + called +
                                 "\": " + llvm::StringRef(messages).rtrim());
}

llvm::Error cleave::artifact::linkKernels(const ProgramParts &parts,
                                          llvm::ArrayRef<std::string> names,
                                          const std::string &path, const std::string &called) {
  auto archive = archiveOf(parts, names);
  if (!archive)
    return archive.takeError();
  return linkArchive((*archive)->getBuffer(), path, called);
}
