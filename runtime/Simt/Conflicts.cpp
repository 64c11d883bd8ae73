//===- Conflicts.cpp - how often shared memory takes longer ---------------===//

#include "Conflicts.h"

#include <algorithm>
#include <bit>

using namespace cleave::simt;

/// How far a lane runs ahead of the others, and how far they may stay behind.
static constexpr uint32_t ahead = 1024, most = 4 * ahead;

bool Conflicts::note(uint32_t warp, uint32_t lane, uint32_t offset, const cleave_simt_site *site) {
  Open &open = warps[warp][site];
  uint32_t time = open.times[lane]++;
  if (time < open.closed)
    return false;
  if (time - open.closed >= open.groups.size())
    open.groups.emplace_back();
  Group &group = open.groups[time - open.closed];
  group.mask |= 1u << lane;
  group.offsets[lane] = offset;
  // Lanes come in order, so the first group is whole before the others are.
  if (group.mask == ~0u || open.groups.size() > most) {
    close(open.groups.front(), *site);
    open.groups.pop_front();
    ++open.closed;
  }
  return open.groups.size() > ahead && open.groups.size() % ahead == 0;
}

void Conflicts::meet(uint32_t warp) {
  for (auto &[site, open] : warps[warp]) {
    for (const Group &group : open.groups)
      close(group, *site);
    open = Open();
  }
}

/// As many lanes go together as 128 bytes serve: 32, 16 or 8.
void Conflicts::close(const Group &group, const cleave_simt_site &site) {
  ++count->accesses;
  uint32_t bytes = std::bit_floor(std::min({site.bytes, site.align, 16u}));
  uint32_t together = bytes <= 4 ? 32 : 128 / bytes;
  for (uint32_t piece = 0; piece < site.bytes; piece += bytes)
    for (uint32_t first = 0; first < 32; first += together) {
      uint32_t words[32], numWords = 0, inBank[32] = {}, wavefronts = 0;
      for (uint32_t lane = first; lane < first + together; ++lane)
        if (group.mask >> lane & 1)
          for (uint32_t byte = 0; byte < bytes; byte += 4)
            words[numWords++] = (group.offsets[lane] + piece + byte) / 4;
      std::sort(words, words + numWords);
      uint32_t *end = std::unique(words, words + numWords);
      for (uint32_t *word = words; word != end; ++word)
        wavefronts = std::max(wavefronts, ++inBank[*word % 32]);
      count->extra += wavefronts ? wavefronts - 1 : 0;
    }
}

bool Conflicts::take(const std::string &name, Count &result) {
  auto found = counts.find(name);
  if (found == counts.end())
    return false;
  result = found->second;
  found->second = Count();
  return true;
}
