//===- Product.h - what all products share --------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_CPU_PRODUCT_H
#define CLEAVE_LIB_TARGET_CPU_PRODUCT_H

#include "Roots.h"
#include "Tile.h"

namespace cleave::cpu {

struct ProductSizes {
  int64_t batch, m, n, k;
};

/// Where the elements of both operands come from.
struct ProductOperands {
  using Pull = std::function<Value(const Index &, const Index &, const Index &)>;
  using Trace =
      std::function<std::optional<Emitter::Leaf>(const Index &, const Index &, const Index &)>;
  /// By batch, row, k and by batch, k, column.
  Pull pullA, pullB;
  /// The same places in memory, if they lie there; nothing for what is computed.
  Trace traceA, traceB;
};

/// c[b, m, n] = Σk a[b, m, k] * b[b, k, n] in f32, with what follows the root.
void emitProduct(Emitter &emitter, mlir::Operation *root, ProductSizes sizes,
                 const ProductOperands &operands);

/// The same in any type, one result element at a time.
void emitSums(Emitter &emitter, mlir::Operation *root, ProductSizes sizes,
              const ProductOperands &operands);

/// Whether `type` is computed in f32.
bool isProductType(Type tensor);

} // namespace cleave::cpu

#endif // CLEAVE_LIB_TARGET_CPU_PRODUCT_H
