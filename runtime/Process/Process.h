//===- Process.h - this process as one of a job, inside -------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_PROCESS_PROCESS_H
#define CLEAVE_RUNTIME_PROCESS_PROCESS_H

#include "Control.h"
#include "cleave/Runtime/Process.h"
#include "cleave/Runtime/Wire.h"

#include <optional>

namespace cleave::runtime {

/// The number of this process on its host, where the launcher says it.
std::optional<uint32_t> placeByVariable(uint32_t launcher);

class Process {
public:
  Process(const cleave_launch &launch, uint32_t deadlineMs)
      : launch(launch), rank(launch.rank), size(launch.size), deadlineMs(deadlineMs) {}
  ~Process();

  int32_t join(cleave_error *error);

  /// Tells the job of a failure that is not of a command; the verdict.
  cleave_error settle(cleave_error error);

  /// Whether this host runs more processes of the job than it has cores.
  bool isCrowded() const;

  /// The number of this process among those of its host, from 0: which GPU is its own.
  uint32_t place() const;

  /// Has NCCL, which opens ports of its own, do so where this job does, and nowhere else,
  /// unless the user has said where.
  void nameInterface() const;

  Position &position(uint32_t r) const { return board.position(r); }

  const cleave_launch launch;
  const uint32_t rank, size;
  const uint32_t deadlineMs; ///< for joining and leaving
  const cleave_wire_api *api = nullptr;
  cleave_wire *wire = nullptr;
  std::unique_ptr<Control> control;

private:
  int32_t meet(std::vector<Socket> &star, cleave_error *error);
  int32_t openMpi(cleave_error *error);
  int32_t findByVariables(cleave_error *error);
  int32_t findForMpi(cleave_error *error);
  int32_t readToken(cleave_error *error);
  int32_t openDoor(cleave_error *error);
  int32_t acceptOf(uint32_t firstPurpose, uint32_t numPurposes, std::vector<Socket> &sockets,
                   cleave_error *error);
  int32_t call(const Address &address, uint32_t peer, uint32_t purpose, Socket &socket,
               cleave_error *error);
  int32_t exchangeEntries(std::vector<Socket> &star, cleave_error *error);
  int32_t connectMesh(cleave_error *error);

  /// What each process tells of itself.
  struct Entry {
    char host[64];
    Address door; ///< where it awaits its peers' streams
  };

  bool mpi = false;
  Address meeting = {}; ///< where rank 0 awaits the others
  std::string secret;
  Listener door;
  Address doorAddress = {};
  std::vector<Entry> entries; ///< by rank
  std::string interface;      ///< of the control connections
  Board board;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_PROCESS_H
