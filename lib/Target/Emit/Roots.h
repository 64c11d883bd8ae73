//===- Roots.h - what the emitters of all targets share -------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_ROOTS_H
#define CLEAVE_LIB_TARGET_EMIT_ROOTS_H

#include "Emitter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace cleave::emit {

/// Fails, with a message that names `target`, where `kernel` holds what cannot be stored.
mlir::LogicalResult checkKernel(mlir::func::FuncOp kernel, llvm::StringRef target);

/// Memory of a launch beside its operands.
struct Workspace {
  int64_t floats = 0;
  int64_t counters = 0; ///< words that are 0 when a list of commands begins; 0: there is neither
};

/// A function `body` in a module of its own, with the arguments that an Emitter wants;
/// scratch lies in memory space `scratchSpace`.
mlir::OwningOpRef<mlir::ModuleOp> makeBody(mlir::func::FuncOp kernel, const Machine &machine,
                                           unsigned scratchSpace = 0,
                                           const Workspace &workspace = {});

/// The op that decides how a kernel is computed; null for a kernel without one.
mlir::Operation *rootOf(mlir::func::FuncOp kernel);

/// The results of a kernel, by what they depend on.
struct Outputs {
  explicit Outputs(mlir::func::FuncOp kernel, mlir::Operation *root);

  /// Stores what the root's value leads to, at `at` of the root's result.
  void storeBehind(Emitter &emitter, const Index &at) const;
  /// The same where that element of the root is `value`.
  void storeBehind(Emitter &emitter, Value value, const Index &at) const;
  /// Stores what leads to the root, at `at` of its first operand.
  void storeInFront(Emitter &emitter, const Index &at) const;

  mlir::Operation *root, *end;
  mlir::SmallVector<unsigned> behind, inFront;
};

/// Where an element of `result` lies behind the movement that follows.
Index pushed(Emitter &emitter, Value result, Index at);

/// Result `number` of a kernel without a root, in one nest.
void emitResult(Emitter &emitter, unsigned number);
/// All of them.
void emitElementwise(Emitter &emitter);
/// Reductions along any dimension of any type.
void emitColumns(Emitter &emitter, mlir::Operation *root);

/// Whether `root` reduces contiguous rows of floats, in f32, and how long they are.
std::optional<int64_t> rowLength(mlir::Operation *root);

struct ProductSizes {
  int64_t batch, m, n, k;
};

/// Where the elements of both operands come from.
struct ProductOperands {
  using Pull = std::function<Value(const Index &, const Index &, const Index &)>;
  using Trace =
      std::function<std::optional<Emitter::Leaf>(const Index &, const Index &, const Index &)>;
  /// By batch, row, k and by batch, k, column. Bytes come as i32.
  Pull pullA, pullB;
  /// The same places in memory, if they lie there; nothing for what is computed.
  Trace traceA, traceB;
};

/// c[b, m, n] = Σk a[b, m, k] * b[b, k, n], where c is the result of `root` row by row.
struct Product {
  mlir::Operation *root;
  ProductSizes sizes;
  ProductOperands operands;
};

ProductSizes sizesOf(nn::MatmulOp root);
ProductSizes sizesOf(nn::ConvOp root);
Product productOf(Emitter &emitter, nn::MatmulOp root);
Product productOf(Emitter &emitter, nn::ConvOp root);

/// An element of `tensor` as it is multiplied: bytes as the i32 that they are added up in.
Value pullFactor(Emitter &emitter, Value tensor, const Index &at);
/// Whether `tensor` is multiplied in f32.
bool isProductType(Type tensor);
/// A convolution with one filter a group, as depthwise ones: nothing is gained by keeping
/// windows that are read once.
bool hasOneFilter(mlir::Operation *root);
/// A product of any type, one element at a time.
void emitSums(Emitter &emitter, const Product &product);

/// How many keys the row of `query` sees by position, as i64 in [0, keys].
Value buildSeenKeys(Emitter &emitter, nn::AttentionOp op, const Index &batch, const Index &query);
/// A score with its softcap and mask; `place` is that of [batch, head, query, key].
Value buildScore(Emitter &emitter, nn::AttentionOp op, Value x, const Index &place);

/// e^x for x <= 0, 0 below the smallest normal number.
Value buildDecay(Emitter &emitter, Value x);

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_ROOTS_H
