//===- Conflicts.h - how often shared memory takes longer -------*- C++ -*-===//
//
// Shared memory has 32 banks of 4 bytes. Lanes of a warp that want different words of one
// bank wait for each other: each time is one wavefront more. Lanes run apart here, so the
// k-th time that each of them comes by an instruction since they last met is taken for one
// access of the warp.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_CONFLICTS_H
#define CLEAVE_RUNTIME_SIMT_CONFLICTS_H

#include "cleave/Runtime/SimtAbi.h"

#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace cleave::simt {

class Conflicts {
public:
  struct Count {
    uint64_t extra = 0; ///< wavefronts beyond those that any addresses need
    uint64_t accesses = 0;
  };

  void beginKernel(const std::string &name) { count = &counts[name]; }
  void beginBlock(size_t numWarps) { warps.assign(numWarps, {}); }
  /// A lane that accesses the bytes of `site` at `offset` in shared memory. Whether it is
  /// far enough ahead of the others to let them come after.
  bool note(uint32_t warp, uint32_t lane, uint32_t offset, const cleave_simt_site *site);
  /// The lanes of a warp meet: what some have not done they never do.
  void meet(uint32_t warp);
  /// What is known of a kernel, which is then forgotten; false for none.
  bool take(const std::string &name, Count &result);

private:
  struct Group {
    uint32_t mask = 0, offsets[32];
  };
  /// Of an instruction: the accesses that not all lanes have come to.
  struct Open {
    uint32_t times[32] = {}, closed = 0; ///< how often each lane came; how many are counted
    std::deque<Group> groups;
  };

  void close(const Group &group, const cleave_simt_site &site);

  std::map<std::string, Count> counts;
  Count *count = nullptr;
  std::vector<std::unordered_map<const cleave_simt_site *, Open>> warps;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_CONFLICTS_H
