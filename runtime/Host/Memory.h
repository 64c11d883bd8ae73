//===- Memory.h - blocks of memory and mapped files -----------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_HOST_MEMORY_H
#define CLEAVE_RUNTIME_HOST_MEMORY_H

#include "cleave/Runtime/Program.h"

#include <utility>

namespace cleave::runtime {

/// Zeroed memory on huge pages, aligned to a cache line. Pages are taken from
/// the system when they are first touched, by the thread that touches them.
class Block {
public:
  Block() = default;
  Block(Block &&other) noexcept { *this = std::move(other); }
  Block &operator=(Block &&other) noexcept {
    std::swap(start, other.start);
    std::swap(length, other.length);
    std::swap(address, other.address);
    return *this;
  }
  ~Block();

  /// False where the system has no such memory. Ranks use equal offsets in
  /// their blocks at the same time; blocks of different `colour` keep these
  /// apart in the caches.
  bool allocate(uint64_t bytes, uint32_t colour);
  char *data() const { return address; }

private:
  void *start = nullptr;
  uint64_t length = 0;
  char *address = nullptr;
};

/// Fixed stacks, each with a page below it that faults.
class Stacks {
public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;
  ~Stacks();

  bool allocate(uint32_t count);
  /// The highest address of a stack; it grows downwards.
  char *top(uint32_t index) const;
  static uint64_t size();

private:
  char *start = nullptr;
  uint64_t length = 0;
};

/// A file, mapped read-only.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }
  MappedFile &operator=(MappedFile &&other) noexcept {
    std::swap(address, other.address);
    std::swap(length, other.length);
    return *this;
  }
  ~MappedFile();

  int32_t open(const cleave_file &file, cleave_error *error);
  const char *data() const { return address; }

  /// Lets go of the whole pages within [begin, end); they are read again from
  /// the file when somebody needs them.
  void release(uint64_t begin, uint64_t end) const;

private:
  const char *address = nullptr;
  uint64_t length = 0;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_HOST_MEMORY_H
