//===- Mpi.cpp - a wire of MPI, built once for each MPI -------------------===//
//
// Open MPI and MPICH differ in their ABI, so this file is a plug-in of its own
// for each; which one is loaded, the variables of the launcher say. It knows
// nothing of the runtime but Wire.h.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/Wire.h"

#include <mpi.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <vector>

/// MPI promises no larger tag; two equal ones are so far apart that messages
/// between them cannot all be lost.
static constexpr uint32_t tagMask = 0x7fff;
/// What a failed job waits for messages that are on their way, in seconds.
static constexpr double withdrawSeconds = 0.02;
/// Of what is too large for a count of MPI.
static constexpr uint64_t pieceBytes = uint64_t(1) << 20;

struct cleave_wire {
  bool check(int status) {
    if (status == MPI_SUCCESS)
      return true;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(status, text, &length);
    snprintf(problem, sizeof problem, "MPI failed: %.*s", length, text);
    return false;
  }

  MPI_Comm channels[CLEAVE_NUM_CHANNELS];
  std::vector<MPI_Request> requests;
  std::vector<bool> awaited; ///< by slot: it receives
  bool initialised = false;  ///< by us
  char problem[300] = "";
};

static int32_t open(cleave_wire **wire, uint32_t *rank, uint32_t *size, char *message,
                    size_t room) {
  auto *made = new cleave_wire;
  int already = 0, level = 0, number = 0;
  MPI_Initialized(&already);
  if (!already) {
    if (!made->check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level))) {
      snprintf(message, room, "%s", made->problem);
      delete made;
      return -1;
    }
    made->initialised = true;
  }
  // Cloned with their handler: an error is returned, and told by us.
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  for (MPI_Comm &channel : made->channels) {
    MPI_Comm_dup(MPI_COMM_WORLD, &channel);
    MPI_Comm_set_errhandler(channel, MPI_ERRORS_RETURN);
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &number);
  *rank = uint32_t(number);
  MPI_Comm_size(MPI_COMM_WORLD, &number);
  *size = uint32_t(number);
  *wire = made;
  return 0;
}

static int32_t broadcast(cleave_wire *wire, void *data, uint64_t bytes) {
  return wire->check(MPI_Bcast(data, int(bytes), MPI_BYTE, 0, MPI_COMM_WORLD)) ? 0 : -1;
}

static int32_t reserve(cleave_wire *wire, uint32_t slots) {
  wire->requests.resize(std::max<size_t>(wire->requests.size(), slots), MPI_REQUEST_NULL);
  wire->awaited.resize(wire->requests.size());
  return 0;
}

/// Calls `start(count, type)` with a type of which `bytes` are one piece.
template <typename Start>
static int32_t inOnePiece(cleave_wire *wire, uint64_t bytes, Start start) {
  if (bytes <= INT_MAX)
    return wire->check(start(int(bytes), MPI_BYTE)) ? 0 : -1;
  MPI_Datatype piece, whole;
  MPI_Type_contiguous(int(pieceBytes), MPI_BYTE, &piece);
  int counts[] = {int(bytes / pieceBytes), int(bytes % pieceBytes)};
  MPI_Aint places[] = {0, MPI_Aint(bytes / pieceBytes * pieceBytes)};
  MPI_Datatype types[] = {piece, MPI_BYTE};
  MPI_Type_create_struct(2, counts, places, types, &whole);
  MPI_Type_commit(&whole);
  bool done = wire->check(start(1, whole));
  // Both live on until the message is through.
  MPI_Type_free(&whole);
  MPI_Type_free(&piece);
  return done ? 0 : -1;
}

static int32_t sendMessage(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel,
                           uint32_t tag, const void *data, uint64_t bytes) {
  wire->awaited[slot] = false;
  return inOnePiece(wire, bytes, [&](int count, MPI_Datatype type) {
    return MPI_Isend(data, count, type, int(peer), int(tag & tagMask), wire->channels[channel],
                     &wire->requests[slot]);
  });
}

static int32_t receiveMessage(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel,
                              uint32_t tag, void *data, uint64_t bytes) {
  wire->awaited[slot] = true;
  return inOnePiece(wire, bytes, [&](int count, MPI_Datatype type) {
    return MPI_Irecv(data, count, type, int(peer), int(tag & tagMask), wire->channels[channel],
                     &wire->requests[slot]);
  });
}

static int32_t test(cleave_wire *wire, uint32_t first, uint32_t count) {
  int done = 0;
  if (!wire->check(MPI_Testall(int(count), &wire->requests[first], &done, MPI_STATUSES_IGNORE)))
    return -1;
  return done;
}

static int32_t withdraw(cleave_wire *wire) {
  auto size = uint32_t(wire->requests.size());
  for (uint32_t slot = 0; slot < size; ++slot)
    if (wire->awaited[slot] && wire->requests[slot] != MPI_REQUEST_NULL)
      MPI_Cancel(&wire->requests[slot]);
  double end = MPI_Wtime() + withdrawSeconds;
  int32_t done = 0;
  while (done == 0 && MPI_Wtime() < end)
    done = test(wire, 0, size);
  return done;
}

static const char *error(const cleave_wire *wire) { return wire->problem; }

/// A job that failed does not finalise: that would wait for the dead.
static void close(cleave_wire *wire, int32_t failed) {
  if (!failed) {
    for (MPI_Comm &channel : wire->channels)
      MPI_Comm_free(&channel);
    if (wire->initialised)
      MPI_Finalize();
  }
  delete wire;
}

const cleave_wire_api *cleave_wire_get(void) {
  static const cleave_wire_api api = {
      CLEAVE_WIRE_VERSION, "mpi", open,     broadcast, reserve, sendMessage,
      receiveMessage,      test,  withdraw, error,     close};
  return &api;
}
