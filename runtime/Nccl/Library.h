//===- Library.h - NCCL, found when it is wanted --------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_NCCL_LIBRARY_H
#define CLEAVE_RUNTIME_NCCL_LIBRARY_H

#include <nccl.h>

#include <string>

namespace cleave::runtime {

/// The functions of NCCL, by their own names. Nothing of it is linked.
struct Nccl {
#define CLEAVE_NCCL_FUNCTION(NAME) decltype(&::NAME) NAME;
#include "Functions.def"
  int version;

  /// Whether ranks may have parts of their memory in each other's reach.
  bool hasWindows() const {
    return ncclMemAlloc && ncclMemFree && ncclCommWindowRegister && ncclCommWindowDeregister;
  }
};

/// As in `2.28.9`.
std::string ncclVersionText(int version);

/// NCCL, or what the simulator has in its place, as long as this process; null, with the
/// remedy, where there is none that serves.
const Nccl *openNccl(bool simulated, std::string &problem);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_NCCL_LIBRARY_H
