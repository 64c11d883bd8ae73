//===- Link.cpp - objects become a shared library -------------------------===//
//
// lld is linked in, so that compiling needs no other program on the machine and
// what it makes depends on no other version. Nothing of a name or a place gets into
// the library.
//
//===----------------------------------------------------------------------===//

#include "cleave/Support/Link.h"

#include "cleave/Support/MemoryFile.h"

#include "lld/Common/Driver.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace cleave;

static llvm::Error cannotWrite(const std::string &called, const llvm::Twine &why) {
  return llvm::createStringError("cannot write \"" + called + "\": " + why);
}

/// What lld calls files for this processor; a program without kernels has no object to tell.
#ifdef __aarch64__
static constexpr char kEmulation[] = "aarch64linux";
#else
static constexpr char kEmulation[] = "elf_x86_64";
#endif

/// Runs lld on the objects of `input`.
static llvm::Error link(llvm::StringRef input, const std::string &path, const std::string &called,
                        std::initializer_list<const char *> more) {
  MemoryFile file;
  if (std::error_code failed = file.write(input))
    return cannotWrite(called, failed.message());
  std::string object = file.path(), messages;
  llvm::raw_string_ostream out(messages);
  std::vector<const char *> arguments = {"ld.lld",
                                         "-m",
                                         kEmulation,
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
                                         object.c_str(),
                                         "-o",
                                         path.c_str()};
  arguments.insert(arguments.end(), more);
  // lld keeps what it does in one place of the process.
  static std::mutex one;
  std::lock_guard lock(one);
  lld::Result result = lld::lldMain(arguments, out, out, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode == 0)
    return llvm::Error::success();
  return cannotWrite(called, llvm::StringRef(messages).rtrim());
}

llvm::Error cleave::linkLibrary(llvm::StringRef input, const std::string &path,
                                const std::string &called) {
  return link(input, path, called, {});
}

llvm::Expected<std::vector<char>> cleave::linkInMemory(llvm::StringRef input,
                                                       const std::string &called) {
  // lld writes beside its output and renames, which wants a folder.
  llvm::SmallString<128> path;
  if (std::error_code error = llvm::sys::fs::createTemporaryFile("cleave", "so", path))
    return cannotWrite(called, error.message());
  llvm::FileRemover remover(path);
  if (llvm::Error error = link(input, path.str().str(), called, {"-z", "defs"}))
    return std::move(error);
  auto bytes = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                           /*RequiresNullTerminator=*/false);
  if (!bytes)
    return cannotWrite(called, bytes.getError().message());
  return std::vector<char>((*bytes)->getBufferStart(), (*bytes)->getBufferEnd());
}
