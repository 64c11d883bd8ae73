//===- Functions.h - what images call ---------------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_SIMT_FUNCTIONS_H
#define CLEAVE_RUNTIME_SIMT_FUNCTIONS_H

#include "cleave/Runtime/SimtAbi.h"

namespace cleave::simt::device {

#define CLEAVE_SIMT_FUNCTION(name, result, parameters) result name parameters;
#include "cleave/Runtime/SimtFunctions.def"
#undef CLEAVE_SIMT_FUNCTION

} // namespace cleave::simt::device

#endif // CLEAVE_RUNTIME_SIMT_FUNCTIONS_H
