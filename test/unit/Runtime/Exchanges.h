//===- Exchanges.h - what every communicator must do ----------*- C++ -*-===//
//
// One property for all collectives: whatever the ranks, the groups, the type,
// the reduction and the counts, zeros among them, every member holds what the
// definition says, bit for bit, and the counters say what a ring would send.
// One for transfers: whatever flies between whom, it arrives, in order.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_EXCHANGES_H
#define CLEAVE_TEST_UNIT_RUNTIME_EXCHANGES_H

#include "cleave/Runtime/Session.h"

namespace cleave::test {

struct Engine {
  uint32_t threads;
  bool checks;
  /// One rank of those that run this same check with the same numbers drawn; null:
  /// all ranks are threads.
  cleave_process *process;
  bool gpu = false; ///< ranks are on simulated GPUs
};

// Each draws a program with RapidCheck, runs it, and compares.
void checkCollective(const Engine &engine, uint8_t op, uint8_t type);
void checkTransfers(const Engine &engine, uint8_t type);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_EXCHANGES_H
