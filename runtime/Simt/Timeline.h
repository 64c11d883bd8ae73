//===- Timeline.h - which work of the device comes before which -*- C++ -*-===//
//
// Vector clocks of streams. Work is a number in a chain: that of its stream, or of nodes
// of a graph that follow each other. What it knows of are the last numbers of all chains
// that are done before it begins, whichever way the machine goes about it: by the order
// of a stream, by events, by edges of graphs, and since the host had waited when it asked
// for the work. Threads of the host are one here, as nobody sees how they meet.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_TIMELINE_H
#define CLEAVE_RUNTIME_SIMT_TIMELINE_H

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace cleave::simt {

/// The last numbers by chain.
using Knowledge = std::map<uint32_t, uint64_t>;

void learn(Knowledge &known, const Knowledge &other);

class Timeline {
public:
  uint32_t newChain();
  /// Its work is done. The next who wants a chain goes on with it, so that what is known
  /// does not grow with all that ever was.
  void endChain(uint32_t chain) { ended.insert(chain); }
  /// Begins the next work of `chain`, which knows `known`, and then itself.
  void begin(uint32_t chain, Knowledge &known);
  /// Blocks from `first` on belong to the work that runs, which is called `name`.
  void addBlocks(uint64_t first, const std::string &name);
  /// Does the work that runs know of that with `block`?
  bool knows(uint64_t block) const;
  const std::string &nameOf(uint64_t block) const { return *of(block).name; }
  /// Numbers of blocks begin anew.
  void forgetBlocks();

private:
  struct Piece {
    uint64_t first; ///< block
    uint32_t chain;
    uint64_t number;
    const std::string *name;
  };
  const Piece &of(uint64_t block) const;

  uint32_t numChains = 0;
  std::set<uint32_t> ended;
  std::map<uint32_t, uint64_t> numbers; ///< that were begun, by chain
  std::vector<Piece> pieces;            ///< by their first blocks
  std::set<std::string> names;
  uint32_t chain = 0;
  Knowledge known; ///< of the work that runs
  // The piece that was asked for last.
  mutable uint64_t knownFrom = 0, knownTo = 0;
  mutable bool isKnown = false;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_TIMELINE_H
