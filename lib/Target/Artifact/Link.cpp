//===- Link.cpp - objects become kernels.so -------------------------------===//
//
// The objects are one archive in memory.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"

#include "cleave/Support/Link.h"

#include "llvm/Object/ArchiveWriter.h"

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

llvm::Error cleave::artifact::linkKernels(const ProgramParts &parts,
                                          llvm::ArrayRef<std::string> names,
                                          const std::string &path, const std::string &called) {
  auto archive = archiveOf(parts, names);
  if (!archive)
    return archive.takeError();
  return linkLibrary((*archive)->getBuffer(), path, called);
}
