//===- Sockets.h - a wire of stream sockets -------------------*- C++ -*-===//
//
// For launchers without MPI, and for tests. One stream for each pair of
// processes and channel: a stream is a queue, and what has not been asked for
// stays in the kernel, so nothing is buffered here and nothing is allocated.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_SOCKETS_H
#define CLEAVE_RUNTIME_PROCESS_SOCKETS_H

#include "Socket.h"
#include "cleave/Runtime/Wire.h"

#include <vector>

namespace cleave::runtime {

/// Its `open` and `broadcast` are null: who makes it has joined the processes.
const cleave_wire_api *socketsApi();

/// `streams` is [channel][peer]; the own one is empty.
cleave_wire *createSockets(uint32_t size, std::vector<Socket> streams);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_SOCKETS_H
