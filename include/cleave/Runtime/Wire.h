//===- Wire.h - messages between processes, as a plug-in gives them -*- C -*-===//
//
// All that differs between MPI, other MPIs and sockets: bytes from one process
// to another. What collectives make of them is Comm/Messages.cpp, once.
//
// Between two processes each channel is a queue: the k-th receive from a peer
// gets the k-th send of that peer. Nobody receives from "anyone".
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_WIRE_H
#define CLEAVE_RUNTIME_WIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Changes whenever this header does.
#define CLEAVE_WIRE_VERSION 2u

typedef struct cleave_wire cleave_wire;

/// Collectives and transfers mix in any order, and neither may wait behind the
/// other: a queue each.
enum { CLEAVE_CHANNEL_COLLECTIVE, CLEAVE_CHANNEL_TRANSFER, CLEAVE_NUM_CHANNELS };

/// Messages that fly are known by slots, which the caller numbers from 0. All
/// calls come from one thread at a time. None waits, but for open and close.
typedef struct cleave_wire_api {
  uint32_t version; ///< CLEAVE_WIRE_VERSION
  const char *name;

  /// Joins the other processes. Not 0 when it cannot; `message` says why.
  int32_t (*open)(cleave_wire **wire, uint32_t *rank, uint32_t *size, char *message, size_t room);

  /// Copies `bytes` of process 0 to all others; all call it, before any message.
  int32_t (*broadcast)(cleave_wire *wire, void *data, uint64_t bytes);

  /// Makes room for slots [0, slots), and for sends and receives to fly in each of
  /// them. Nothing flies.
  int32_t (*reserve)(cleave_wire *wire, uint32_t slots);

  /// `tag` is equal at both ends and another for the next message, so that a lost
  /// message is not mistaken for the one behind it. The memory stays as it is until
  /// the slot is done.
  int32_t (*send)(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel, uint32_t tag,
                  const void *data, uint64_t bytes);
  int32_t (*receive)(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel,
                     uint32_t tag, void *data, uint64_t bytes);

  /// Moves what flies; 1 when all of the slots [first, first + count) are done or
  /// empty, 0 when not, negative when the wire is broken.
  int32_t (*test)(cleave_wire *wire, uint32_t first, uint32_t count);

  /// Takes back what is awaited, and gives what was sent a moment to arrive; 1 when
  /// nothing flies any more.
  int32_t (*withdraw)(cleave_wire *wire);

  /// Why the last call failed.
  const char *(*error)(const cleave_wire *wire);

  /// With `failed`, waits for nobody, and leaves what flies.
  void (*close)(cleave_wire *wire, int32_t failed);
} cleave_wire_api;

/// What a plug-in exports.
const cleave_wire_api *cleave_wire_get(void);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_WIRE_H
