//===- Cliques.h - what stands behind NCCL's functions ----------*- C++ -*-===//
//
// Ranks of this process, each on a device of its own. A call is two pieces of work of its
// stream: one says that the rank is there, the other waits until the call has ended. What
// all members have arrived at is done at once, in rank order.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_CLIQUES_H
#define CLEAVE_RUNTIME_SIMT_CLIQUES_H

#include "Driver.h"

#include <nccl.h>

namespace cleave::simt {

/// What one rank says in one call of NCCL.
struct Call {
  enum Kind : uint8_t { AllReduce, ReduceScatter, AllGather, Reduce, Broadcast, Send, Recv };
  Kind kind;
  const void *input;
  void *output;
  size_t count;
  ncclDataType_t type;
  ncclRedOp_t reduction;
  int root; ///< or the peer of a transfer

  bool isTransfer() const { return kind == Send || kind == Recv; }
  /// Of what this rank gives, and gets.
  size_t bytesIn(int rank, int size) const;
  size_t bytesOut(int rank, int size) const;
  /// As in `all_reduce of 4 float32, sum`.
  std::string text() const;
};

/// Calls of one group that have not ended; a stream waits for none of them to be left.
using Open = std::shared_ptr<size_t>;

class Clique {
public:
  explicit Clique(int size) : members(size_t(size)), rounds(size_t(size)) {}

  /// A rank has arrived at a call.
  void arrive(int rank, const Call &call, Open open);
  bool isWhole() const;

  std::vector<ncclComm_t> members; ///< null for who has yet to join

private:
  struct Arrival {
    Call call;
    Open open;
  };
  void meet();
  void exchange(int from, int to);
  void compute(const std::vector<Call> &calls);

  std::vector<std::deque<Arrival>> rounds; ///< of collectives, by rank
  std::map<std::pair<int, int>, std::deque<Arrival>> sends, receives;
};

} // namespace cleave::simt

/// The handle of one rank.
struct ncclComm {
  std::shared_ptr<cleave::simt::Clique> clique; ///< null until all have called
  int rank = 0;
  CUcontext context = nullptr;
  bool aborted = false;
  struct Split {
    int colour, key;
    std::shared_ptr<ncclComm> made; ///< null for no colour
  };
  std::deque<Split> splits; ///< that others have yet to call
};

#endif // CLEAVE_RUNTIME_SIMT_CLIQUES_H
