//===- Threads.h - all ranks in one process -------------------*- C++ -*-===//
//
// Ranks read each other's memory. Every collective is: all say where their
// bytes are and meet; each does its share; all meet again, after which inputs
// may be overwritten. A sender says where its bytes are, and the receiver copies.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_COMM_THREADS_H
#define CLEAVE_RUNTIME_COMM_THREADS_H

#include "../Core/Groups.h"
#include "Communicator.h"

#include <memory>

namespace cleave::runtime {

/// `program` and `groups` must outlive it. With `checks`, what ranks read of each
/// other carries a seal.
std::unique_ptr<Communicator> createThreads(const cleave_program &program, const Groups &groups,
                                            bool checks);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMM_THREADS_H
