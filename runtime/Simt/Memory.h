//===- Memory.h - memory of the devices, and what is known of it -*- C++ -*-===//
//
// Device memory is one range of addresses of this process, never given twice: what was
// freed stays known. Beside it lie, at places that follow from an address, the bits that
// tell which bytes were ever written, and the cells of the races.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_MEMORY_H
#define CLEAVE_RUNTIME_SIMT_MEMORY_H

#include "Bits.h"
#include "Shadow.h"

#include <map>
#include <string>

namespace cleave::simt {

struct Allocation {
  enum Kind : uint8_t { Device, Host, Constant, Argument };
  uint64_t begin, bytes;
  Kind kind;
  int device = 0;
  bool live = true;
  std::string name; ///< of a constant

  bool holds(uint64_t address, uint64_t count) const {
    return address >= begin && address - begin <= bytes && bytes - (address - begin) >= count;
  }
};

class Memory {
public:
  /// Takes the addresses; false where the system refuses.
  bool reserve();

  /// Address 0 where there is no room left.
  uint64_t allocate(uint64_t bytes, int device);
  /// False for what is no begin of a live allocation.
  bool free(uint64_t address);
  void freeAll(int device);

  /// Makes other memory of this process known, and unknown.
  Allocation *add(const void *address, uint64_t bytes, Allocation::Kind kind, std::string name);
  bool remove(const void *address, Allocation::Kind kind);

  /// The allocation that begins last before `address`, dead or alive; null for none.
  Allocation *before(uint64_t address);
  /// The one that begins first behind `address`.
  Allocation *after(uint64_t address);
  /// The live one with all of these bytes; null for none.
  Allocation *find(uint64_t address, uint64_t bytes);

  /// Of device memory: has every byte been written?
  bool isWritten(uint64_t address, uint64_t bytes) const {
    return written.all(address - base, bytes);
  }
  void setWritten(uint64_t address, uint64_t bytes) { written.set(address - base, bytes); }
  /// What is known of the source, for the target.
  void copyWritten(uint64_t target, uint64_t source, uint64_t bytes) {
    written.copy(target - base, source - base, bytes);
  }
  /// The cell of four bytes of device memory.
  Cell *cellOf(uint64_t address) { return cells + (address - base) / 4; }
  bool isDevice(uint64_t address) const { return address - base < capacity; }

  /// Lets go of what races have left.
  void forgetRaces();

  uint64_t used(int device) const;

private:
  static constexpr uint64_t capacity = uint64_t(1) << 38;
  uint64_t base = 0, top = 0;
  Bits written;
  Cell *cells = nullptr;
  std::map<uint64_t, Allocation> allocations; ///< by begin
  std::map<int, uint64_t> usedBytes;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_MEMORY_H
