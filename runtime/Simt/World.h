//===- World.h - the ranks of one unique id, and their messages -*- C++ -*-===//
//
// Ranks of this process leave each other messages; to those of others they go through a
// socket, one for each two ranks, whose name is made of the id: so the id says where to
// meet, and who ends is seen. Nothing moves but when somebody looks.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_WORLD_H
#define CLEAVE_RUNTIME_SIMT_WORLD_H

#include "../Process/Socket.h"

#include <nccl.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace cleave::simt {

/// What one rank says in one call of NCCL. A window of `count` bytes has no stream.
struct Call {
  enum Kind : uint8_t {
    AllReduce,
    ReduceScatter,
    AllGather,
    Reduce,
    Broadcast,
    Window,
    Send,
    Recv
  };
  Kind kind;
  const void *input;
  void *output;
  size_t count;
  ncclDataType_t type;
  ncclRedOp_t reduction;
  int root; ///< or the peer of a transfer
  static constexpr size_t nowhere = ~size_t(0);
  /// Where in a symmetric window of this rank they lie.
  size_t inputAt = nowhere, outputAt = nowhere;

  /// Of what this rank gives, and gets.
  size_t bytesIn(int rank, int size) const;
  size_t bytesOut(int rank, int size) const;
  /// As in `all_reduce of 4 float32, sum, from 0 to 64 of windows`.
  std::string text() const;
};

/// From rank to rank of a world, about a clique. The addresses of a call are the sender's.
struct Message {
  enum Kind : uint32_t { Hello, Split, Round, Sent, Taken } kind;
  int32_t from, to;
  uint64_t clique;
  Call call;
  int32_t colour, key; ///< of a split; `key` of a hello is the device
  uint64_t bytes;      ///< that follow it
};

struct Letter {
  Message message;
  std::shared_ptr<const std::string> bytes;
};

class World {
public:
  World(std::string name, int size) : name(std::move(name)), devices(size_t(size), -1) {}

  /// A rank of this process; false where it or its device has been added.
  bool add(int rank, int device);
  /// A rank of this process speaks no more; with the last one all connections end.
  void remove(int rank);

  int size() const { return int(devices.size()); }
  /// Connects with all ranks; whether they are there.
  bool isWhole();
  /// Sends and receives what can be.
  void pump();
  bool isRemote() const { return !peers.empty(); }
  /// Whether all that was given is on its way.
  bool isFlushed() const;
  /// Whether a rank of another process has ended, and whether one has a device of ours.
  bool isLost() const { return lost; }
  bool isShared() const { return shared; }

  void give(const Message &message, std::shared_ptr<const std::string> bytes = {});
  std::deque<Letter> &inbox(uint64_t clique, Message::Kind kind, int to, int from) {
    return letters[{clique, kind, to, from}];
  }

private:
  struct Peer {
    runtime::Socket socket;
    bool greeted = false;
    std::string out, in; ///< what has yet to be sent, or is not whole
  };
  using Pair = std::pair<int, int>; ///< a rank of this process, and one of another

  runtime::Address addressOf(int rank) const;
  void greet(Pair pair, runtime::Socket socket);
  void accept(int rank);
  void receive(Peer &peer);
  bool isConnected(int rank) const;
  void arrive(const Message &message, std::string bytes);

  const std::string name;
  std::vector<int> devices;                   ///< by rank; -1 for one that is not known
  std::map<int, runtime::Listener> listeners; ///< by rank of this process
  std::map<Pair, Peer> peers;
  std::map<std::tuple<uint64_t, Message::Kind, int, int>, std::deque<Letter>> letters;
  bool lost = false, shared = false;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_WORLD_H
