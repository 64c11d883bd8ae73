//===- Digest.h - whether two ranks mean the same program -----*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_DIGEST_H
#define CLEAVE_RUNTIME_CORE_DIGEST_H

#include "cleave/Runtime/Program.h"

#include <vector>

namespace cleave::runtime {

/// A command of a list, or the end of one: rank by rank, `load` before `main`.
struct Mark {
  uint32_t rank;
  bool load;
  uint32_t index;
  uint64_t hash;
};

std::vector<Mark> marksOf(const cleave_program &program);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_DIGEST_H
