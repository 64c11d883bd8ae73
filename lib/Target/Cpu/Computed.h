//===- Computed.h - right operands made of numbers on the way -*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_COMPUTED_H
#define CLEAVE_LIB_TARGET_CPU_COMPUTED_H

#include "../Emit/Roots.h"

namespace cleave::cpu {

/// A right operand that arithmetic makes of what is held: weights of few bits, of bytes, of
/// halves. Few rows take it as it comes, from registers; many read it from scratch.
class ComputedOperand {
public:
  ComputedOperand(emit::Emitter &emitter, const emit::Product &product);

  /// Whether vectors of panels of `width` columns are made of vectors and of what all lanes
  /// share, at addresses that are sums.
  bool isReadable(int64_t width) const;

  /// The element of the left operand in a row, at a k that is computed when run plus one that
  /// is known here.
  using Left = std::function<emit::Value(int64_t row, emit::Value k, int64_t plus)>;
  /// Σk of `rows` rows times the columns of a panel: rows * vectors sums, by row.
  llvm::SmallVector<emit::Value> multiply(const Left &left, int64_t rows, const emit::Index &batch,
                                          const emit::Index &panel, int64_t width) const;
  /// Rows k0, a multiple of 8, to k1 of a panel into scratch, where row 0 begins at `base`.
  void store(int64_t base, int64_t k0, int64_t k1, const emit::Index &batch,
             const emit::Index &panel, int64_t width) const;

private:
  struct Streams;
  struct Walk;

  /// Whether `right` is, through views, a product by what is smaller.
  void findFactor();

  emit::Emitter &e;
  const emit::ProductOperands &operands;
  emit::ProductSizes sizes;
  emit::Value right; ///< null where it is no such operand
  /// What it is made of, by number of the kernel's argument.
  llvm::SmallVector<emit::Value> sources;
  /// unscaled * factor, if there is a factor.
  emit::Value scaled, unscaled, factor;
};

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_COMPUTED_H
