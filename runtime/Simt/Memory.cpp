//===- Memory.cpp - memory of the devices, and what is known of it --------===//

#include "Memory.h"

#include <sys/mman.h>

using namespace cleave::simt;

static constexpr uint64_t page = 4096;

static void *take(uint64_t bytes, int protection) {
  void *start =
      mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

bool Memory::reserve() {
  if (base)
    return true;
  void *data = take(capacity, PROT_NONE);
  written.words = static_cast<uint8_t *>(take(capacity / 8, PROT_READ | PROT_WRITE));
  cells = static_cast<Cell *>(take(capacity / 4 * sizeof(Cell), PROT_READ | PROT_WRITE));
  if (!data || !written.words || !cells)
    return false;
  base = top = reinterpret_cast<uint64_t>(data);
  return true;
}

uint64_t Memory::allocate(uint64_t bytes, int device) {
  // A page that is no one's lies behind each.
  uint64_t taken = (bytes + page - 1) / page * page + page;
  if (taken < bytes || capacity - (top - base) < taken ||
      mprotect(reinterpret_cast<void *>(top), taken - page, PROT_READ | PROT_WRITE))
    return 0;
  uint64_t begin = top;
  top += taken;
  allocations[begin] = {begin, bytes, Allocation::Device, device, true, ""};
  usedBytes[device] += bytes;
  return begin;
}

bool Memory::free(uint64_t address) {
  auto found = allocations.find(address);
  if (found == allocations.end() || found->second.kind != Allocation::Device || !found->second.live)
    return false;
  Allocation &allocation = found->second;
  allocation.live = false;
  usedBytes[allocation.device] -= allocation.bytes;
  uint64_t whole = (allocation.bytes + page - 1) / page * page;
  madvise(reinterpret_cast<void *>(address), whole, MADV_DONTNEED);
  mprotect(reinterpret_cast<void *>(address), whole, PROT_NONE);
  uint64_t offset = address - base;
  madvise(cells + offset / 4, whole / 4 * sizeof(Cell), MADV_DONTNEED);
  return true;
}

void Memory::freeAll(int device) {
  for (auto &[begin, allocation] : allocations)
    if (allocation.kind == Allocation::Device && allocation.device == device)
      free(begin);
}

Allocation *Memory::add(const void *address, uint64_t bytes, Allocation::Kind kind,
                        std::string name) {
  uint64_t begin = reinterpret_cast<uint64_t>(address);
  Allocation &allocation = allocations[begin];
  allocation = {begin, bytes, kind, 0, true, std::move(name)};
  return &allocation;
}

bool Memory::remove(const void *address, Allocation::Kind kind) {
  auto found = allocations.find(reinterpret_cast<uint64_t>(address));
  if (found == allocations.end() || found->second.kind != kind || !found->second.live)
    return false;
  // Sites remember allocations, so none goes.
  found->second.live = false;
  return true;
}

Allocation *Memory::before(uint64_t address) {
  auto next = allocations.upper_bound(address);
  return next == allocations.begin() ? nullptr : &std::prev(next)->second;
}

Allocation *Memory::after(uint64_t address) {
  auto next = allocations.upper_bound(address);
  return next == allocations.end() ? nullptr : &next->second;
}

Allocation *Memory::find(uint64_t address, uint64_t bytes) {
  for (auto at = allocations.upper_bound(address); at != allocations.begin();) {
    Allocation &allocation = (--at)->second;
    if (allocation.live)
      return allocation.holds(address, bytes) ? &allocation : nullptr;
    // What lay here while another image was loaded may lie within what does now.
    if (allocation.kind == Allocation::Device)
      return nullptr;
  }
  return nullptr;
}

void Memory::forgetRaces() { madvise(cells, (top - base) / 4 * sizeof(Cell), MADV_DONTNEED); }

uint64_t Memory::used(int device) const {
  auto found = usedBytes.find(device);
  return found == usedBytes.end() ? 0 : found->second;
}
