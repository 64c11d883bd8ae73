//===- Library.cpp - NCCL, found when it is wanted ------------------------===//

#include "Library.h"

#include "../Host/Library.h"

#include <dlfcn.h>
#include <mutex>

using namespace cleave::runtime;

/// The first whose communicators can be split without blocking.
static constexpr int oldest = NCCL_VERSION(2, 18, 1);

std::string cleave::runtime::ncclVersionText(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

static bool load(bool simulated, Nccl &nccl, std::string &problem) {
  void *library = simulated ? openPlugin("libcleave-simt.so", RTLD_NOW | RTLD_LOCAL, problem)
                            : dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    problem = "this machine has no NCCL, " + (simulated ? problem : dlerror()) +
              "; install the package nvidia-nccl-cu13 and name its folder in LD_LIBRARY_PATH";
    return false;
  }
  problem.clear();
#define CLEAVE_NCCL_OPTIONAL(NAME)                                                                 \
  nccl.NAME = reinterpret_cast<decltype(nccl.NAME)>(dlsym(library, #NAME));
#define CLEAVE_NCCL_FUNCTION(NAME)                                                                 \
  CLEAVE_NCCL_OPTIONAL(NAME)                                                                       \
  if (!nccl.NAME)                                                                                  \
    problem = "NCCL is too old, it has no " #NAME;
#include "Functions.def"
  if (problem.empty() &&
      (nccl.ncclGetVersion(&nccl.version) != ncclSuccess || nccl.version < oldest))
    problem = "NCCL is too old, " + ncclVersionText(nccl.version);
  if (!problem.empty())
    problem += "; install " + ncclVersionText(oldest) + " or newer";
  return problem.empty();
}

const Nccl *cleave::runtime::openNccl(bool simulated, std::string &problem) {
  static std::mutex mutex;
  static Nccl libraries[2];
  static bool isOpen[2];
  std::lock_guard lock(mutex);
  if (!isOpen[simulated])
    isOpen[simulated] = load(simulated, libraries[simulated], problem);
  return isOpen[simulated] ? &libraries[simulated] : nullptr;
}
