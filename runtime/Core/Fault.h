//===- Fault.h - makes a rank fail where one asks for it ------*- C++ -*-===//
//
// CLEAVE_FAULT=rank=2,command=17,kind=kill makes rank 2 fail at command 17 of `main`,
// in each run, and shows how the rest of the job takes it:
//
//   kill     the process dies; on threads, the rank ends as if its kernel had failed
//   stall    the rank never goes on
//   delay    it goes on `ms` later (100 where none is given), and nothing is wrong
//   drop     what it sends does not arrive
//   corrupt  what it sends arrives as other bytes
//   diverge  it sends as of another command than the one that is due
//
// The last three take the first command from there on that sends to another rank.
// While the variable is set all messages are checked, as with `checks` of a session.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_CORE_FAULT_H
#define CLEAVE_RUNTIME_CORE_FAULT_H

#include "../Comm/Communicator.h"
#include "Groups.h"

namespace cleave::runtime {

struct Fault {
  enum Kind : uint8_t { None, Kill, Stall, Delay, Drop, Corrupt, Diverge } kind = None;
  uint32_t rank = 0;
  uint32_t command = 0;
  uint32_t ms = 100;

  /// What the communicator does of it.
  Tamper tamper() const {
    return kind == Drop      ? Tamper::Drop
           : kind == Corrupt ? Tamper::Corrupt
           : kind == Diverge ? Tamper::Diverge
                             : Tamper::None;
  }

  bool strikes(uint32_t r, uint32_t index, bool load) const {
    return kind != None && !load && r == rank && index == command;
  }
};

/// Reads the variable; refuses what it cannot make sense of, or not do.
int32_t readFault(const cleave_program &program, const Groups &groups, Fault &fault,
                  cleave_error *error);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_FAULT_H
