//===- Cliques.h - what stands behind NCCL's functions ----------*- C++ -*-===//
//
// A call is two pieces of work of its stream: one says that the rank is there, and gives
// the others what it has; the other waits until the call has ended. A rank that has heard
// of all combines what they gave, in rank order.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_CLIQUES_H
#define CLEAVE_RUNTIME_SIMT_CLIQUES_H

#include "Driver.h"
#include "World.h"

namespace cleave::simt {

/// Calls of one group that have not ended; a stream waits for none of them to be left.
using Open = std::shared_ptr<size_t>;

class Clique {
public:
  /// `ranks` are those of the world, by member.
  Clique(World &world, uint64_t key, std::vector<int> ranks)
      : key(key), world(world), ranks(std::move(ranks)) {}

  int size() const { return int(ranks.size()); }
  /// A member, of this process, has arrived at a call.
  void arrive(int member, const Call &call, Open open);
  void split(int member, int colour, int splitKey);
  /// Ends what is there to be ended.
  void progress();
  /// Where `member` is in what all split: by colour, their members by key; false where
  /// not all have split.
  bool takeSplit(int member, std::map<int, std::map<std::pair<int, int>, int>> &colours);
  /// A member, of this process, is gone.
  void remove(int member) { locals.erase(member); }

  const uint64_t key;

private:
  struct Arrival {
    Call call;
    Open open;
  };
  struct Local {
    std::deque<Arrival> rounds;                  ///< of collectives
    std::map<int, std::deque<Arrival>> receives; ///< by sender
    std::map<int, std::deque<Open>> sends;       ///< by receiver
  };
  std::deque<Letter> &inbox(Message::Kind kind, int to, int from) {
    return world.inbox(key, kind, ranks[size_t(to)], ranks[size_t(from)]);
  }
  void give(Message message, int from, int to, std::shared_ptr<const std::string> bytes = {});
  bool hasAll(Message::Kind kind, int member);
  void endReceives(int member, Local &local);
  void endSends(int member, Local &local);
  void endRounds(int member, Local &local);

  World &world;
  const std::vector<int> ranks;
  std::map<int, Local> locals; ///< members of this process that have called
};

} // namespace cleave::simt

/// The handle of one rank.
struct ncclComm {
  std::shared_ptr<cleave::simt::World> world;
  std::shared_ptr<cleave::simt::Clique> clique; ///< null until all have called
  int rank = 0;                                 ///< of the clique
  CUcontext context = nullptr;
  bool aborted = false;
  struct Split {
    int colour;
    uint64_t number;
    std::shared_ptr<ncclComm> made; ///< null for no colour
  };
  std::deque<Split> splits; ///< that others have yet to call
  uint64_t numSplits = 0;
  struct Registration {
    const char *data;
    size_t bytes;
    bool isWindow, isSymmetric;

    bool holds(const void *address) const { return address >= data && address < data + bytes; }
  };
  std::map<void *, Registration> registered; ///< by handle
  /// Windows that others have yet to open.
  std::shared_ptr<size_t> opening = std::make_shared<size_t>(0);
};

#endif // CLEAVE_RUNTIME_SIMT_CLIQUES_H
