//===- Async.h - what goes on beside the threads of a block -----*- C++ -*-===//
//
// Bulk copies and products of warp groups. What they touch is noted as that of a worker,
// who knows what the thread knew that began them, and of whom threads learn that wait: at
// the mbarrier where a copy arrives, or by groups. Epochs of workers are phases and groups.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_ASYNC_H
#define CLEAVE_RUNTIME_SIMT_ASYNC_H

#include "Shadow.h"

#include "cleave/Runtime/SimtAbi.h"

#include <cstring>
#include <deque>

namespace cleave::simt {

/// A copy of many parts on its way.
struct Bulk {
  struct Piece {
    char *target;
    const char *source; ///< null for zeros
    uint32_t bytes;
  };
  std::vector<Piece> pieces;
  cleave_simt_site *site = nullptr;
  uint32_t thread = 0;
  uint64_t bytes = 0;   ///< that an mbarrier counts
  uint64_t barrier = 0; ///< its address; 0 for copies that are waited for in groups
  uint64_t phase = 0;   ///< of the mbarrier, else the group

  void perform() const {
    for (const Piece &piece : pieces)
      if (piece.source)
        memcpy(piece.target, piece.source, piece.bytes);
      else
        memset(piece.target, 0, piece.bytes);
  }
};

/// An mbarrier, of which the bytes in shared memory tell nothing here.
struct Mbarrier {
  uint32_t expected = 0, pending = 0;
  int64_t bytes = 0; ///< that are expected and have not come
  uint64_t phase = 0;
  Access made;
  Meeting arrivals;
  ClockRef completed; ///< what was known at the end of the last phase
  uint32_t worker = 0;
  uint64_t lastCopy = 0; ///< the phase of the last one, counted from 1
  std::vector<uint32_t> waiting;
};

/// Copies out of shared memory that a thread has begun.
struct BulkGroups {
  uint32_t reader = 0, writer = 0;  ///< workers; 0 for none yet
  uint32_t committed = 0, read = 0; ///< how many are
  const cleave_simt_site *last = nullptr;
  bool open = false; ///< one is not committed
};

/// Products of a warp.
struct Products {
  uint32_t worker = 0; ///< who reads its operands
  uint32_t committed = 0, waited = 0;
  bool fenced = false; ///< since its sums and operands were last touched
};

/// What the four warps of a group have to do alike.
struct WarpGroup {
  struct Step {
    const cleave_simt_site *site;
    uint64_t a, b;
    bool operator==(const Step &) const = default;
  };
  std::deque<Step> steps;
  uint64_t first = 0; ///< the number of the first step
  std::array<uint64_t, 4> done = {};
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_ASYNC_H
