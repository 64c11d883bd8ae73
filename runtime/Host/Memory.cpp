//===- Memory.cpp - blocks of memory and mapped files ---------------------===//

#include "Memory.h"

#include "../Core/Error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave::runtime;

static constexpr uint64_t hugePage = uint64_t(2) << 20;
/// Neighbours differ in the sets of the first-level cache and of the second.
static constexpr uint64_t colourStep = (uint64_t(32) << 10) + 9 * 64;
static constexpr uint32_t numColours = 32;

static uint64_t pageBytes() {
  static const uint64_t bytes = uint64_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

static uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

static void *mapAnonymous(uint64_t bytes) {
  void *start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

bool Block::allocate(uint64_t bytes, uint32_t colour) {
  // An empty block still has an address.
  uint64_t shift = colour % numColours * colourStep;
  uint64_t wanted = roundUp(std::max<uint64_t>(bytes, 1) + shift, pageBytes());
  length = wanted + hugePage;
  start = mapAnonymous(length);
  if (!start)
    return false;
  address = reinterpret_cast<char *>(roundUp(uintptr_t(start), hugePage));
  // Huge pages for a block smaller than one would only waste memory. Where
  // the system has none, small ones do.
  if (wanted >= hugePage)
    madvise(address, wanted, MADV_HUGEPAGE);
  address += shift;
  return true;
}

Block::~Block() {
  if (start)
    munmap(start, length);
}

/// Kernels keep tiles on their stack, at most some tens of KiB.
uint64_t Stacks::size() { return uint64_t(512) << 10; }

bool Stacks::allocate(uint32_t count) {
  uint64_t step = size() + pageBytes();
  length = step * count;
  start = static_cast<char *>(mapAnonymous(length));
  if (!start)
    return false;
  for (uint32_t i = 0; i < count; ++i)
    if (mprotect(start + i * step, pageBytes(), PROT_NONE))
      return false;
  return true;
}

char *Stacks::top(uint32_t index) const { return start + (index + 1) * (size() + pageBytes()); }

Stacks::~Stacks() {
  if (start)
    munmap(start, length);
}

int32_t MappedFile::open(const cleave_file &file, cleave_error *error) {
  int descriptor = ::open(file.path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return fail(error, CLEAVE_REFUSED, "cannot open \"%.400s\": %s", file.path, strerror(errno));
  struct stat status;
  int32_t result = CLEAVE_OK;
  if (fstat(descriptor, &status) || !S_ISREG(status.st_mode))
    result = fail(error, CLEAVE_REFUSED, "\"%.400s\" is no regular file", file.path);
  else if (uint64_t(status.st_size) < file.bytes)
    result = fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" is shorter than the program's %llu bytes, got: "
                  "%llu",
                  file.path, (unsigned long long)file.bytes, (unsigned long long)status.st_size);
  else if (file.bytes) {
    void *start = mmap(nullptr, file.bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (start == MAP_FAILED) {
      result = fail(error, CLEAVE_REFUSED, "cannot map \"%.400s\": %s", file.path, strerror(errno));
    } else {
      address = static_cast<const char *>(start);
      length = file.bytes;
    }
  }
  close(descriptor);
  return result;
}

void MappedFile::release(uint64_t begin, uint64_t end) const {
  // Bytes behind the end share the last page with nobody.
  uint64_t first = roundUp(begin, pageBytes());
  uint64_t last = end == length ? roundUp(end, pageBytes()) : end / pageBytes() * pageBytes();
  if (first < last)
    madvise(const_cast<char *>(address) + first, last - first, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (address)
    munmap(const_cast<char *>(address), length);
}
