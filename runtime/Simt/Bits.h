//===- Bits.h - a bit for each byte of memory -------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_SIMT_BITS_H
#define CLEAVE_RUNTIME_SIMT_BITS_H

#include <cstdint>
#include <cstring>

namespace cleave::simt {

/// Which bytes of a range were ever written. It does not own its words.
class Bits {
public:
  uint8_t *words = nullptr;

  bool all(uint64_t offset, uint64_t bytes) const {
    for (; bytes && offset % 8; ++offset, --bytes)
      if (!get(offset))
        return false;
    for (; bytes >= 8; offset += 8, bytes -= 8)
      if (words[offset / 8] != 0xff)
        return false;
    uint8_t rest = uint8_t((1 << bytes) - 1);
    return (words[offset / 8] & rest) == rest;
  }

  void set(uint64_t offset, uint64_t bytes) {
    for (; bytes && offset % 8; ++offset, --bytes)
      put(offset, true);
    memset(words + offset / 8, 0xff, bytes / 8);
    words[(offset + bytes) / 8] |= uint8_t((1 << bytes % 8) - 1);
  }

  void copy(uint64_t target, uint64_t source, uint64_t bytes) {
    if (all(source, bytes))
      return set(target, bytes);
    for (uint64_t i = 0; i < bytes; ++i)
      put(target + i, get(source + i));
  }

private:
  bool get(uint64_t offset) const { return words[offset / 8] >> (offset % 8) & 1; }
  void put(uint64_t offset, bool value) {
    uint8_t bit = uint8_t(1 << offset % 8);
    words[offset / 8] = value ? words[offset / 8] | bit : words[offset / 8] & ~bit;
  }
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_BITS_H
