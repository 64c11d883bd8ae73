//===- Shadow.h - who touched memory, and what came before it ---*- C++ -*-===//
//
// Races by happens-before. A thread counts its releases (arrivals at barriers, at
// bar.warp.sync): its epochs. A clock tells for every thread of a block the epoch up to
// which what it did is known; of other launches and of copies the timeline tells it. A
// cell of four bytes remembers its last writer and two readers with their epochs; whoever
// touches it has to know of them. Copies and products that go on beside the threads are
// threads of their own in this, with numbers behind those of the block: whoever waits for
// them learns of their epochs.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_SHADOW_H
#define CLEAVE_RUNTIME_SIMT_SHADOW_H

#include "Timeline.h"

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace cleave::simt {

/// Blocks have numbers of their own in all launches; 0 is none.
struct Access {
  static constexpr uint64_t lastBlock = (uint64_t(1) << 28) - 2;
  uint64_t block : 28 = 0, thread : 12 = 0, epoch : 22 = 0, atomic : 1 = 0;
  uint64_t pending : 1 = 0; ///< of an asynchronous copy that is not waited for
};

struct Cell {
  Access write, reads[2];
};
static_assert(sizeof(Cell) == 24);

/// Epochs by thread of the block; what is behind its end is 0.
using Clock = std::vector<uint32_t>;
using ClockRef = std::shared_ptr<const Clock>;

inline bool knows(const Clock *clock, uint64_t thread, uint64_t epoch) {
  return clock && thread < clock->size() && epoch <= (*clock)[thread];
}
/// Of two clocks; either may be none.
ClockRef join(const ClockRef &a, const ClockRef &b);

/// What is known of other blocks, by their numbers.
using Blocks = std::unordered_map<uint64_t, ClockRef>;

/// What threads give to each other where they meet.
class Meeting {
public:
  /// Adds what a thread knows, which is `clock`, and its own epoch.
  void release(const ClockRef &clock, uint32_t thread, uint32_t epoch, uint32_t numThreads);
  /// All of it; then nothing.
  ClockRef take();
  bool empty() const { return !joined; }

private:
  std::shared_ptr<Clock> joined;
  std::vector<ClockRef> bases; ///< that are in it
};

/// Looks at a cell for a thread and notes what it does.
class Shadow {
public:
  /// The thread, and what it knows.
  struct Thread {
    Access now;
    uint64_t begins; ///< the thread in whose program it stands
    const Clock *known;
    const Blocks *blocks;
    const Timeline *timeline;
    uint64_t firstBlock; ///< of the launch
    bool shared;         ///< memory that no other block sees
  };

  /// Notes an access to `bytes` at `address`, whose cell is `cell`, and returns what it
  /// is not ordered with; none has block 0.
  Access touch(Cell *cell, uint64_t address, uint64_t bytes, bool write, const Thread &thread);
  /// Calls `act` with the last write of each part of `bytes` from the begin of a cell on.
  template <typename Act> void eachWrite(Cell *cell, uint64_t bytes, Act &&act) const {
    for (uint64_t i = 0; i < bytes; i += 4, ++cell)
      if (const std::array<Cell, 4> *parts = partsOf(*cell))
        for (const Cell &part : *parts)
          act(part.write);
      else
        act(cell->write);
  }
  /// An asynchronous copy of the thread is waited for: its bytes are its writes from now.
  void settle(Cell *cell, uint64_t bytes, const Access &now);
  /// Lets go of what is known of single bytes, where that has become much.
  void trim();
  void forgetParts();

private:
  static bool ordered(const Access &before, const Thread &thread);
  static Access touchOne(Cell &cell, bool write, const Thread &thread);
  std::array<Cell, 4> *partsOf(Cell &cell) const;
  std::array<Cell, 4> &split(Cell &cell);

  /// Cells that are touched by single bytes.
  mutable std::vector<std::array<Cell, 4>> parts;
  uint64_t generation = 1; ///< of the parts
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_SHADOW_H
