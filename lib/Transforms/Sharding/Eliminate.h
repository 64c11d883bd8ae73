//===- Eliminate.h - exact minimum of a sum of tables ---------*- C++ -*-===//
//
// Variables with small domains, tables over one or two of them, and the
// assignment with the least sum, found by eliminating one variable after the
// other in the order of least table size.
//
// Tables are hash-consed, with their minimum taken out, and an elimination is
// memoised by the tables it reads. So equal layers cost one layer: the message
// between layers reaches a fixed point, and no repeat has to be found first.
//
// Source: Bertelè and Brioschi, Nonserial Dynamic Programming, 1972.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_ELIMINATE_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_ELIMINATE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace cleave::sharding {

class Problem {
public:
  using Variables = llvm::SmallVector<unsigned, 4>;
  static constexpr unsigned kNone = ~0u;

  /// A variable with values 0 … size - 1; of equal sums the lowest value wins.
  unsigned addVariable(unsigned size);
  /// A table's contents, to be placed as often as it occurs.
  struct Table {
    int64_t minimum;
    unsigned number; ///< kNone where all values are equal
  };
  Table makeTable(std::vector<int64_t> values);
  /// Adds `table` over different `variables`, row-major.
  void addTable(Variables variables, Table table);

  struct Solution {
    int64_t cost;
    std::vector<unsigned> values;
    unsigned steps, computedSteps, width;
    double largestTable;
  };
  /// Nothing if a table would grow beyond `limit` entries.
  std::optional<Solution> solve(double limit = 3e7);

private:
  struct Placed {
    Variables variables;
    unsigned table;
  };
  struct Step {
    unsigned variable;
    Variables others;
    unsigned choice; ///< into `choices`: the best value for each of the others'
  };
  struct Result {
    int64_t minimum;
    unsigned table, choice; ///< table is kNone where nothing is left to say
  };

  unsigned intern(std::vector<int64_t> values);
  void place(Variables variables, unsigned table);
  Step eliminate(unsigned variable, Variables others);
  Result combine(unsigned variable, const Variables &others, llvm::ArrayRef<unsigned> placedTables);

  std::vector<unsigned> domain;
  std::vector<Placed> placed;
  std::vector<std::vector<unsigned>> tablesOf; ///< of a variable, into `placed`
  std::vector<std::vector<int64_t>> tables;
  std::unordered_map<std::string, unsigned> interned;
  std::unordered_map<std::string, Result> memo;
  std::vector<std::vector<unsigned>> choices;
  int64_t base = 0;
  unsigned computed = 0;
};

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_ELIMINATE_H
