//===- Plugin.h - finds the wire of an MPI --------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_PROCESS_PLUGIN_H
#define CLEAVE_RUNTIME_PROCESS_PLUGIN_H

#include "cleave/Runtime/Process.h"
#include "cleave/Runtime/Wire.h"

namespace cleave::runtime {

/// Loads libcleave-mpi-openmpi.so or libcleave-mpi-mpich.so: from the folder that
/// CLEAVE_PLUGINS names, beside the program, in ../lib of it, or where the system
/// looks. Stays loaded.
int32_t loadMpi(uint32_t launcher, const cleave_wire_api *&api, cleave_error *error);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_PLUGIN_H
