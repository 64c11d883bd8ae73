//===- Index.h - addresses as sums of loop variables ----------*- C++ -*-===//
//
// An index is a constant plus multiples of symbols: loop variables, and values
// computed at run time whose range is known. As long as an address stays such a
// sum, loads are contiguous or strided and cost no arithmetic.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_EMIT_INDEX_H
#define CLEAVE_LIB_TARGET_EMIT_INDEX_H

#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <utility>

namespace cleave::emit {

/// Symbols are numbers of Emitter's table.
using Symbol = int;

class Index {
public:
  Index(int64_t constant = 0) : constant(constant) {}
  static Index of(Symbol symbol, int64_t factor = 1) {
    Index index;
    if (factor != 0)
      index.terms.push_back({symbol, factor});
    return index;
  }

  Index operator+(const Index &other) const;
  Index operator-(const Index &other) const { return *this + other * -1; }
  Index operator*(int64_t factor) const;
  bool operator==(const Index &other) const {
    return constant == other.constant && terms == other.terms;
  }
  bool operator<(const Index &other) const {
    return std::tie(constant, terms) < std::tie(other.constant, other.terms);
  }

  bool isConstant() const { return terms.empty(); }
  int64_t factor(Symbol symbol) const;

  int64_t constant;
  llvm::SmallVector<std::pair<Symbol, int64_t>, 4> terms; ///< by symbol, no zeros
};

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_INDEX_H
