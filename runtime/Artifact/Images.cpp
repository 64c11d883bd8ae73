//===- Images.cpp - whether an image ends where it says -------------------===//

#include "Images.h"

#include <cstring>
#include <elf.h>

using namespace cleave::runtime;

static bool isWithin(uint64_t offset, uint64_t count, uint64_t size, uint64_t limit) {
  return offset <= limit && (!count || count * size <= limit - offset);
}

/// The entries of a table, each of them where one of `bytes` may be read. One without
/// entries is nowhere: loaders look at its place, or for their number elsewhere.
template <typename Entry, typename Check>
static bool checkTable(std::string_view bytes, uint64_t offset, uint16_t count, uint16_t size,
                       Check check) {
  if (!count)
    return !offset;
  if (size != sizeof(Entry) || !isWithin(offset, count, size, bytes.size()))
    return false;
  for (uint16_t i = 0; i < count; ++i) {
    Entry entry;
    memcpy(&entry, bytes.data() + offset + uint64_t(i) * size, sizeof entry);
    if (!check(entry))
      return false;
  }
  return true;
}

static bool isWholeElf(std::string_view bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header || memcmp(bytes.data(), ELFMAG, SELFMAG) ||
      bytes[EI_CLASS] != ELFCLASS64)
    return false;
  memcpy(&header, bytes.data(), sizeof header);
  // Their number would be that of the first section.
  if (header.e_phnum == PN_XNUM)
    return false;
  return checkTable<Elf64_Phdr>(bytes, header.e_phoff, header.e_phnum, header.e_phentsize,
                                [&](const Elf64_Phdr &part) {
                                  return isWithin(part.p_offset, 1, part.p_filesz, bytes.size());
                                }) &&
         checkTable<Elf64_Shdr>(bytes, header.e_shoff, header.e_shnum, header.e_shentsize,
                                [&](const Elf64_Shdr &section) {
                                  return section.sh_type == SHT_NOBITS ||
                                         isWithin(section.sh_offset, 1, section.sh_size,
                                                  bytes.size());
                                });
}

bool cleave::runtime::isWhole(uint8_t kind, std::string_view bytes) {
  if (kind != CLEAVE_IMAGE_PTX)
    return isWholeElf(bytes);
  return !bytes.empty() && bytes.find('\0') == bytes.size() - 1;
}
