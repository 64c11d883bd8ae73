//===- Timeline.cpp - which work of the device comes before which ---------===//

#include "Timeline.h"

#include <algorithm>

using namespace cleave::simt;

void cleave::simt::learn(Knowledge &known, const Knowledge &other) {
  for (auto [chain, number] : other)
    known[chain] = std::max(known[chain], number);
}

uint32_t Timeline::newChain() {
  return ended.empty() ? numChains++ : ended.extract(ended.begin()).value();
}

void Timeline::begin(uint32_t next, Knowledge &knowledge) {
  chain = next;
  knowledge[chain] = ++numbers[chain];
  known = knowledge;
  knownFrom = knownTo = 0;
}

void Timeline::addBlocks(uint64_t first, const std::string &name) {
  pieces.push_back({first, chain, numbers[chain], &*names.insert(name).first});
  knownFrom = knownTo = 0;
}

const Timeline::Piece &Timeline::of(uint64_t block) const {
  auto next =
      std::upper_bound(pieces.begin(), pieces.end(), block,
                       [](uint64_t wanted, const Piece &piece) { return wanted < piece.first; });
  knownFrom = std::prev(next)->first;
  knownTo = next == pieces.end() ? ~uint64_t(0) : next->first;
  return *std::prev(next);
}

bool Timeline::knows(uint64_t block) const {
  if (block < knownFrom || block >= knownTo) {
    const Piece &piece = of(block);
    auto last = known.find(piece.chain);
    isKnown = last != known.end() && piece.number <= last->second;
  }
  return isKnown;
}

void Timeline::forgetBlocks() {
  pieces.clear();
  knownFrom = knownTo = 0;
}
