//===- Probe.h - what a part of a graph computes --------------*- C++ -*-===//
//
// A recogniser asks what a sub-graph computes by running it on small data, so it
// need not know how an exporter spelt it.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TRANSFORMS_GRAPH_PROBE_H
#define CLEAVE_LIB_TRANSFORMS_GRAPH_PROBE_H

#include "cleave/Analysis/Evaluate.h"

#include "Nn/Nn.h"

#include "llvm/ADT/MapVector.h"

namespace cleave {

/// The element of a constant that holds one number; nothing for other values.
std::optional<double> scalarOf(mlir::Value value);

/// Values of the shape of `anchor` from which it follows by elementwise ops with
/// scalars: the anchor itself first, then what it was made from.
llvm::SmallVector<mlir::Value> possibleRoots(mlir::Value anchor);

using HostValues = llvm::DenseMap<mlir::Value, HostTensor>;

/// What a root determines together with scalars, row by row.
class Probe {
public:
  /// Collects at most `limit` ops that `root` and scalars determine elementwise and,
  /// with `reductions`, by reductions over the last dimension.
  Probe(mlir::Value root, bool reductions, unsigned limit = 24);

  llvm::ArrayRef<mlir::Operation *> ops() const { return closure; }
  /// Values of the root's shape among the results, the last one first.
  llvm::SmallVector<mlir::Value> candidates() const;
  /// All values, for the root being one row; empty if an op cannot be evaluated.
  HostValues run(llvm::ArrayRef<double> row) const;

private:
  mlir::Value root;
  llvm::SmallVector<mlir::Operation *> closure;
};

/// Whether |a - b| <= tolerance * max(1, |b|) for all elements.
bool areClose(llvm::ArrayRef<double> a, llvm::ArrayRef<double> b, double tolerance);

/// What rounding leaves of equal values that are computed in `type`.
double toleranceOf(mlir::Type type);

} // namespace cleave

#endif // CLEAVE_LIB_TRANSFORMS_GRAPH_PROBE_H
