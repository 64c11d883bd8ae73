//===- Columns.h - what lies along one dimension --------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_COLUMNS_H
#define CLEAVE_LIB_TARGET_EMIT_COLUMNS_H

#include "Roots.h"

namespace cleave::emit {

/// The first operand of a root as [outer, length, inner] around the one dimension that the
/// root works along, if it has such.
struct ColumnSizes {
  explicit ColumnSizes(mlir::Operation *root);
  int64_t count() const { return outer * inner; }
  int64_t outer = 1, length = 1, inner = 1;
};

/// How its elements are read and compared.
class Columns : public ColumnSizes {
public:
  Columns(Emitter &emitter, mlir::Operation *root);

  /// The first element of the column at `column` of [outer, inner], in a tensor whose columns
  /// have `size`; the next is `inner` further.
  Index start(const Index &column, int64_t size);
  /// An element as `compute`.
  Value pull(const Index &at, int64_t lanes);
  /// What goes behind all others, by greatness or by smallness.
  Value bound(bool isLeast, int64_t lanes);
  /// Whether x goes in front of y; what is no number never does.
  Value precedes(bool isMax, bool orEqual, Value x, Value y);
  /// The same in an order of all values: NaN is greater than any number.
  Value outranks(bool isMax, bool orEqual, Value x, Value y);
  /// What nothing is in front of in that order.
  Value front(bool isMax, int64_t lanes);

  Type element, compute;
  bool isSigned;

private:
  Emitter &e;
  Value input;
};

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_COLUMNS_H
