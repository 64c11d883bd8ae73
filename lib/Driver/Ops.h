//===- Ops.h - whom a command of a program concerns -----------*- C++ -*-===//

#ifndef CLEAVE_LIB_DRIVER_OPS_H
#define CLEAVE_LIB_DRIVER_OPS_H

#include "cleave/Runtime/Program.h"

namespace cleave {

enum class OpKind { Local, Collective, Transfer };

inline OpKind kindOf(uint8_t op) {
  switch (op) {
#define CLEAVE_COMMAND(ENUM, NAME)                                                                 \
  case CLEAVE_OP_##ENUM: return OpKind::Local;
#define CLEAVE_COLLECTIVE(ENUM, NAME)                                                              \
  case CLEAVE_OP_##ENUM: return OpKind::Collective;
#define CLEAVE_TRANSFER(ENUM, NAME)                                                                \
  case CLEAVE_OP_##ENUM: return OpKind::Transfer;
#include "cleave/Runtime/Commands.def"
  }
  return OpKind::Local;
}

} // namespace cleave

#endif // CLEAVE_LIB_DRIVER_OPS_H
