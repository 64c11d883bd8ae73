//===- Plugin.cpp - finds the wire of an MPI ------------------------------===//

#include "Plugin.h"

#include "../Core/Error.h"

#include <cstdlib>
#include <dlfcn.h>
#include <string>
#include <unistd.h>
#include <vector>

using namespace cleave::runtime;

static std::string folderOfProgram() {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string whole(path, size_t(length > 0 ? length : 0));
  return whole.substr(0, whole.rfind('/'));
}

static std::vector<std::string> placesOf(const std::string &name) {
  if (const char *folder = getenv("CLEAVE_PLUGINS"))
    return {std::string(folder) + "/" + name};
  std::string own = folderOfProgram();
  return {own + "/" + name, own + "/../lib/" + name, name};
}

int32_t cleave::runtime::loadMpi(uint32_t launcher, const cleave_wire_api *&api,
                                 cleave_error *error) {
  const char *mpi = launcher == CLEAVE_LAUNCHER_MPICH ? "mpich" : "openmpi";
  std::string name = std::string("libcleave-mpi-") + mpi + ".so";
  void *library = nullptr;
  std::string problem;
  for (const std::string &place : placesOf(name)) {
    // MPI loads parts of its own that look for its symbols.
    library = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library)
      break;
    // What is wrong with one that is there says more than where none is.
    if (problem.empty() || !access(place.c_str(), R_OK))
      problem = dlerror();
  }
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
