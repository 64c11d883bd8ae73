//===- Reshard.h - from one sharding of a tensor to another ---*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_RESHARD_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_RESHARD_H

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/IR/Builders.h"

namespace cleave::sharding {

/// The attribute of a collective that says why it is there.
inline constexpr llvm::StringLiteral kReason = "dist.reason";

/// The bytes that ranks would have to send on average, where a collective sends more on
/// purpose.
inline constexpr llvm::StringLiteral kBound = "dist.bound";

/// What a collective is there for: its location names the node, the text says why.
struct Cause {
  mlir::Location loc;
  std::string reason;
};

/// Builds what leads one rank class, of which `rank` is one, from sharding to
/// sharding: local movement and collectives. Shardings of one tensor have one
/// structure, or are whole where another has structure.
class Reshard {
public:
  Reshard(mlir::OpBuilder &builder, dist::MeshAttr mesh, int64_t rank)
      : builder(builder), mesh(mesh), rank(rank) {}

  mlir::Value convert(mlir::Value local, dist::ShardingAttr from, dist::ShardingAttr to,
                      const Cause &cause);

  /// The type of what the rank holds of a tensor of `type`.
  mlir::RankedTensorType localType(mlir::Type type, dist::ShardingAttr sharding);
  int64_t localSize(dist::ExtentAttr extent) { return extent.getLocalSize(mesh, rank); }
  dist::MeshAttr getMesh() { return mesh; }
  int64_t getRank() { return rank; }
  /// What each member of the rank's group over `axes` holds of `extent`.
  llvm::SmallVector<int64_t> counts(dist::ExtentAttr extent, llvm::ArrayRef<mlir::StringAttr> axes);
  mlir::ArrayAttr axesAttr(llvm::ArrayRef<mlir::StringAttr> axes);

  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape, mlir::Location loc);
  mlir::Value slice(mlir::Value value, int64_t dim, int64_t start, int64_t size,
                    mlir::Location loc);
  mlir::Value concat(mlir::ValueRange values, int64_t dim, mlir::Location loc);

private:
  struct Change;
  struct Opened;

  mlir::Value sliceTree(mlir::Value value, int64_t dim, dist::ExtentAttr from, dist::ExtentAttr to,
                        mlir::Location loc);
  mlir::Value memberPart(mlir::Value value, int64_t dim, dist::ExtentAttr from, dist::ExtentAttr to,
                         int64_t memberRank, mlir::Location loc);
  mlir::Value mergeMembers(llvm::ArrayRef<mlir::Value> pieces, int64_t dim, dist::ExtentAttr from,
                           dist::ExtentAttr to, llvm::ArrayRef<int64_t> ranks, mlir::Location loc);
  mlir::Value packByMember(mlir::Value value, int64_t dim, dist::ExtentAttr from,
                           dist::ExtentAttr to, llvm::ArrayRef<int64_t> ranks, mlir::Location loc);
  mlir::Value unpackByMember(mlir::Value value, int64_t dim, dist::ExtentAttr from,
                             dist::ExtentAttr to, llvm::ArrayRef<int64_t> ranks,
                             mlir::Location loc);

  void applySlice(Opened &state, const Change &change, const Cause &cause);
  void applyScatter(Opened &state, const Change &change, const Cause &cause);
  void applyGather(Opened &state, const Change &change, const Cause &cause);
  void applyAllToAll(Opened &state, const Change &gather, const Change &split, const Cause &cause);
  void keepOnFirst(Opened &state, llvm::ArrayRef<mlir::StringAttr> axes, mlir::Location loc);
  llvm::SmallVector<int64_t> groupOf(llvm::ArrayRef<mlir::StringAttr> axes);

  mlir::OpBuilder &builder;
  dist::MeshAttr mesh;
  int64_t rank;
};

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_RESHARD_H
