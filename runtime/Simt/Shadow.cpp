//===- Shadow.cpp - who touched memory, and what came before it -----------===//

#include "Shadow.h"

#include <algorithm>
#include <bit>

using namespace cleave::simt;

void Meeting::release(const ClockRef &clock, uint32_t thread, uint32_t epoch, uint32_t numThreads) {
  if (!joined)
    joined = std::make_shared<Clock>(numThreads, 0);
  if (clock && std::find(bases.begin(), bases.end(), clock) == bases.end()) {
    joined->resize(std::max(joined->size(), clock->size()));
    for (size_t i = 0; i < clock->size(); ++i)
      (*joined)[i] = std::max((*joined)[i], (*clock)[i]);
    bases.push_back(clock);
  }
  joined->resize(std::max<size_t>(joined->size(), thread + 1));
  (*joined)[thread] = std::max((*joined)[thread], epoch);
}

ClockRef cleave::simt::join(const ClockRef &a, const ClockRef &b) {
  if (!a || !b || a == b)
    return a ? a : b;
  auto joined = std::make_shared<Clock>(a->size() < b->size() ? *b : *a);
  const Clock &other = a->size() < b->size() ? *a : *b;
  for (size_t i = 0; i < other.size(); ++i)
    (*joined)[i] = std::max((*joined)[i], other[i]);
  return joined;
}

ClockRef Meeting::take() {
  bases.clear();
  return std::move(joined);
}

/// The number of a block that marks a cell in parts.
static constexpr uint64_t inParts = Access::lastBlock + 1;

bool Shadow::ordered(const Access &before, const Thread &thread) {
  if (before.block < thread.firstBlock)
    return !before.block || thread.shared || thread.timeline->knows(before.block);
  if (before.block != thread.now.block) {
    if (thread.shared)
      return true;
    auto known = thread.blocks->find(before.block);
    return known != thread.blocks->end() && knows(known->second.get(), before.thread, before.epoch);
  }
  if (before.pending)
    return false;
  return before.thread == thread.begins || knows(thread.known, before.thread, before.epoch);
}

Access Shadow::touchOne(Cell &cell, bool write, const Thread &thread) {
  Access conflict;
  auto look = [&](const Access &before) {
    if (!ordered(before, thread) && !(before.atomic && thread.now.atomic))
      conflict = before;
  };
  look(cell.write);
  if (write) {
    look(cell.reads[0]);
    look(cell.reads[1]);
    cell.write = thread.now;
    cell.reads[0] = cell.reads[1] = Access();
    return conflict;
  }
  auto isOwn = [&](const Access &read) {
    return read.block == thread.now.block && read.thread == thread.now.thread;
  };
  // Whom the next writer would have to know of anyway gives way.
  bool first = isOwn(cell.reads[0]) || (!isOwn(cell.reads[1]) && ordered(cell.reads[0], thread));
  cell.reads[first ? 0 : 1] = thread.now;
  return conflict;
}

std::array<Cell, 4> *Shadow::partsOf(Cell &cell) const {
  if (cell.write.block != inParts)
    return nullptr;
  if (std::bit_cast<uint64_t>(cell.reads[1]) == generation)
    return &parts[std::bit_cast<uint64_t>(cell.reads[0])];
  cell = Cell();
  return nullptr;
}

std::array<Cell, 4> &Shadow::split(Cell &cell) {
  if (std::array<Cell, 4> *known = partsOf(cell))
    return *known;
  parts.push_back({cell, cell, cell, cell});
  cell.write = Access();
  cell.write.block = inParts;
  cell.reads[0] = std::bit_cast<Access>(uint64_t(parts.size() - 1));
  cell.reads[1] = std::bit_cast<Access>(generation);
  return parts.back();
}

Access Shadow::touch(Cell *cell, uint64_t address, uint64_t bytes, bool write,
                     const Thread &thread) {
  Access conflict;
  auto note = [&](const Access &found) {
    if (found.block)
      conflict = found;
  };
  for (uint64_t end = address + bytes; address < end; ++cell) {
    uint64_t inside = address % 4, count = std::min<uint64_t>(4 - inside, end - address);
    std::array<Cell, 4> *known = count == 4 ? partsOf(*cell) : &split(*cell);
    if (!known)
      note(touchOne(*cell, write, thread));
    else
      for (uint64_t i = 0; i < count; ++i)
        note(touchOne((*known)[inside + i], write, thread));
    address += count;
  }
  return conflict;
}

void Shadow::settle(Cell *cell, uint64_t bytes, const Access &now) {
  auto settleOne = [&](Cell &one) {
    if (one.write.pending && one.write.block == now.block && one.write.thread == now.thread)
      one.write = now;
  };
  for (uint64_t i = 0; i < bytes; i += 4, ++cell)
    if (std::array<Cell, 4> *known = partsOf(*cell))
      std::for_each(known->begin(), known->end(), settleOne);
    else
      settleOne(*cell);
}

void Shadow::trim() {
  constexpr size_t much = 1 << 20;
  if (parts.size() > much)
    forgetParts();
}

void Shadow::forgetParts() {
  parts.clear();
  ++generation;
}
