//===- Board.h - where each rank of a host is, seen by all of it -*- C++ -*-===//
//
// A page of memory of the processes of one host, so that the command at which a
// process died is known exactly: writing it costs a store, and it outlives the
// writer. The memory has no name in any file system: peers open it through the
// process that made it, so nothing can be left behind.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_BOARD_H
#define CLEAVE_RUNTIME_PROCESS_BOARD_H

#include <atomic>
#include <cstdint>
#include <memory>

namespace cleave::runtime {

enum class Phase : uint32_t { Outside, Load, Main };

/// A line of its own for what each process writes.
struct alignas(64) Position {
  std::atomic<Phase> phase{Phase::Outside};
  std::atomic<uint32_t> step{0}; ///< see Rank::step
  std::atomic<uint32_t> run{0};  ///< how many it has begun
};

/// How others find it.
struct BoardKey {
  int32_t process;
  int32_t file;
  uint64_t secret[2];
};

class Board {
public:
  Board() = default;
  Board(const Board &) = delete;
  Board &operator=(const Board &) = delete;
  ~Board();

  /// Where the system gives no memory to share, it is this process's own.
  BoardKey create(uint32_t size);
  /// False on another host; the board is then this process's own.
  bool join(uint32_t size, const BoardKey &key);
  /// All have joined who can.
  void closeFile();

  bool isShared() const { return start; }
  Position &position(uint32_t rank) const { return positions[rank]; }
  /// True for the first process of the host that asks.
  bool claimWord() const { return !header->spoken.exchange(true); }

private:
  struct alignas(64) Header {
    uint64_t secret[2];
    std::atomic<bool> spoken;
  };

  bool map(uint32_t size);
  void useOwn(uint32_t size);

  int file = -1;
  void *start = nullptr;
  uint64_t length = 0;
  Header *header = nullptr;
  Position *positions = nullptr;
  std::unique_ptr<Header> ownHeader;
  std::unique_ptr<Position[]> ownPositions;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_BOARD_H
