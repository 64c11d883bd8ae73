//===- Cliques.h - the communicators of a program -------------*- C++ -*-===//
//
// Ranks of this process, each with a GPU of its own, among all of a program. A communicator
// of all comes first; every group is split off from it, and every pair of ranks that sends,
// in one order on all ranks. README.md says why.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_NCCL_CLIQUES_H
#define CLEAVE_RUNTIME_NCCL_CLIQUES_H

#include "../Core/Error.h"
#include "../Core/Groups.h"
#include "../Core/Step.h"
#include "../Cuda/Driver.h"
#include "../Host/Workers.h"
#include "Library.h"

#include <deque>
#include <map>
#include <vector>

namespace cleave::runtime {

/// What a rank has: its GPU, and the memory that it mostly exchanges.
struct Seat {
  CUcontext context;
  void *arena;
  uint64_t bytes;
  bool isNccls; ///< the arena, which it gave
};

class Cliques {
public:
  /// `seats` are those of this process, whose first rank is `firstRank`.
  Cliques(const Nccl &nccl, const Driver &driver, const cleave_program &program, uint32_t firstRank,
          std::vector<Seat> seats, uint32_t deadlineMs);
  Cliques(const Cliques &) = delete;
  Cliques &operator=(const Cliques &) = delete;
  ~Cliques() { abort(); }

  /// What of the program NCCL cannot do; "" for none.
  static std::string missingIn(const cleave_program &program);

  /// Where all ranks meet, whatever their process, is what `id` says; one of them made it.
  /// On a fiber. No status, and no message, where another rank has failed.
  bool connect(const ncclUniqueId &id, Waiter &waiter, cleave_error *error);
  /// Has NCCL know the arenas that are in no window, where it can: then it need not copy what
  /// it exchanges.
  ncclResult_t enroll();
  /// Has it forget that of a rank, whose GPU is not at work.
  void dismiss(uint32_t rank);
  /// Ends what is under way; nobody is in a call.
  void abort();

  /// Puts an exchange that is no wait into a stream of `rank`, whose context is current.
  ncclResult_t issue(uint32_t rank, const Step &step, CUstream stream);
  /// Whether the communicators of a rank have ended their calls, which do not block: the
  /// first error, or ncclInProgress.
  ncclResult_t state(uint32_t rank) const;
  const char *describe(ncclResult_t result) const { return nccl.ncclGetErrorString(result); }

private:
  using List = std::vector<ncclComm_t>; ///< by rank of this process, null for none

  bool await(std::vector<const List *> lists, ncclResult_t result, Waiter &waiter,
             cleave_error *error);
  template <typename Call> ncclResult_t callAll(Call call);
  bool areAlike(uint32_t group, uint32_t rank) const;
  bool openWindows(uint32_t group, Waiter &waiter, cleave_error *error);
  bool split(List &into, const std::vector<std::pair<int, int>> &colours, Waiter &waiter,
             cleave_error *error);
  ncclResult_t issueCollective(const Step &step, const Membership &self, ncclComm_t comm,
                               CUstream stream);

  const Nccl &nccl;
  const Driver &driver;
  const cleave_program &program;
  const Groups groups;
  const uint32_t firstRank;
  const std::vector<Seat> seats;
  const uint32_t deadlineMs;
  List world;
  std::vector<std::vector<std::pair<ncclComm_t, void *>>> enrolled; ///< by seat
  /// By seat. NCCL writes them when ranks have met, and leaves null where it opens none.
  std::vector<std::deque<std::pair<ncclComm_t, ncclWindow_t>>> windows;
  std::vector<List> ofGroups;
  std::map<std::pair<uint32_t, uint32_t>, List> ofPairs; ///< by sender and receiver
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_NCCL_CLIQUES_H
