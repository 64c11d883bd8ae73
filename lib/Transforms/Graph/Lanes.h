//===- Lanes.h - what the last dimension of a value is made of -*- C++ -*-===//
//
// A rotation is linear in what it turns and acts on each row alike, so what it
// computes can be read off lane by lane, however it is spelt. Lanes are the
// elements of a row: those of the last dimension, or of several trailing ones
// where a reshape has split it, in row-major order.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TRANSFORMS_GRAPH_LANES_H
#define CLEAVE_LIB_TRANSFORMS_GRAPH_LANES_H

#include "Nn/Nn.h"

#include "llvm/ADT/MapVector.h"

namespace cleave {

/// A lane of `table`, whose last `dims` dimensions are its row.
struct TableLane {
  mlir::Value table;
  int64_t dims = 0;
  int64_t lane = 0;

  bool operator==(const TableLane &other) const {
    return table == other.table && dims == other.dims && lane == other.lane;
  }
};

/// Whether both lanes hold equal elements in every row, because they were read from one
/// place, or made alike of lanes that were. Both tables have rows of one shape.
bool areSameLanes(TableLane a, TableLane b);

/// factor * coefficient * root[lane]
struct LaneTerm {
  int64_t lane;
  double factor = 1;
  std::optional<TableLane> coefficient;
};

/// A sum of terms.
using LaneForm = llvm::SmallVector<LaneTerm, 2>;

/// The values that a root determines linearly, row by row: by movement within rows,
/// sums, and products with numbers and at most one other tensor.
class LinearLanes {
public:
  explicit LinearLanes(mlir::Value root);

  mlir::Value getRoot() const { return root; }
  /// The values of the root's type, the last one first.
  llvm::SmallVector<mlir::Value> candidates() const;
  /// A form for each lane of `value`, which is one of the root's values.
  llvm::ArrayRef<LaneForm> forms(mlir::Value value) const { return known.find(value)->second; }

private:
  using Forms = std::vector<LaneForm>;

  std::optional<Forms> follow(mlir::Operation *op) const;
  std::optional<Forms> product(mlir::Value value, mlir::Value factor) const;
  /// How many trailing dimensions of `value` are a row; nothing if its other
  /// dimensions are not the root's.
  std::optional<int64_t> rowDims(mlir::Value value) const;

  mlir::Value root;
  llvm::MapVector<mlir::Value, Forms> known;
};

} // namespace cleave

#endif // CLEAVE_LIB_TRANSFORMS_GRAPH_LANES_H
