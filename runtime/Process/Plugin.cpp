//===- Plugin.cpp - finds the wire of an MPI ------------------------------===//

#include "Plugin.h"

#include "../Core/Error.h"
#include "../Host/Library.h"

#include <dlfcn.h>

using namespace cleave::runtime;

int32_t cleave::runtime::loadMpi(uint32_t launcher, const cleave_wire_api *&api,
                                 cleave_error *error) {
  const char *mpi = launcher == CLEAVE_LAUNCHER_MPICH ? "mpich" : "openmpi";
  std::string name = std::string("libcleave-mpi-") + mpi + ".so";
  std::string problem;
  // MPI loads parts of its own that look for its symbols.
  void *library = openPlugin(name, RTLD_NOW | RTLD_GLOBAL, problem);
  if (!library)
    return fail(
        error, CLEAVE_REFUSED,
        "the plug-in %s cannot be loaded: %.400s; build Cleave where this MPI is installed, "
        "say with CLEAVE_PLUGINS where it is, or set CLEAVE_WIRE=sockets",
        name.c_str(), problem.c_str());
  auto get = reinterpret_cast<decltype(&cleave_wire_get)>(dlsym(library, "cleave_wire_get"));
  api = get ? get() : nullptr;
  if (!api || api->version != CLEAVE_WIRE_VERSION)
    return fail(error, CLEAVE_REFUSED,
                "the plug-in %s is of another version than this runtime's %u, got: %u; build both "
                "from one tree",
                name.c_str(), CLEAVE_WIRE_VERSION, api ? api->version : 0);
  return CLEAVE_OK;
}
