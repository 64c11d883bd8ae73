//===- Dist.h - the dist dialect ------------------------------*- C++ -*-===//

#ifndef CLEAVE_DIALECTS_DIST_DIST_H
#define CLEAVE_DIALECTS_DIST_DIST_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace cleave::dist {

/// What connects the ranks; every collective writes to it.
struct Network : mlir::SideEffects::Resource::Base<Network> {
  llvm::StringRef getName() final { return "network"; }
};

} // namespace cleave::dist

#include "Dist/DistDialect.h.inc"
#include "Dist/DistEnums.h.inc"
#include "Dist/DistInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "Dist/DistAttrs.h.inc"

#define GET_OP_CLASSES
#include "Dist/DistOps.h.inc"

namespace cleave::dist {

/// Names of the attributes that the phase hands on.
inline constexpr llvm::StringLiteral kMesh = "dist.mesh";
/// On a localised module: class of each rank; class i is @main_i, or @main alone.
inline constexpr llvm::StringLiteral kClasses = "dist.classes";

/// On a result of a class function: a #dist.part, where results are not the outputs.
inline constexpr llvm::StringLiteral kPart = "dist.part";
/// On a module of stages: its schedule, and the stage of each class.
inline constexpr llvm::StringLiteral kSchedule = "dist.schedule";
inline constexpr llvm::StringLiteral kStages = "dist.stages";
/// The axis of a mesh whose ranks are stages.
inline constexpr llvm::StringLiteral kStageAxis = "pp";

/// Which part of n indices a member of p holds.
struct Part {
  int64_t begin, size;
};
Part partOf(int64_t n, int64_t p, int64_t member);
/// The sizes of all p parts.
llvm::SmallVector<int64_t> partSizes(int64_t n, int64_t p);

/// `a`, then `b`, neighbouring sub-axes of one axis joined: tp:(1)2, tp:(2)2
/// of tp=4 is tp.
llvm::SmallVector<mlir::StringAttr> joinAxes(MeshAttr mesh, llvm::ArrayRef<mlir::StringAttr> axes);
/// The part of size `size` of `axis` with a part of size `outer` outside it.
mlir::StringAttr subAxis(MeshAttr mesh, mlir::StringAttr axis, int64_t outer, int64_t size);

llvm::SmallVector<mlir::StringAttr> axisList(mlir::ArrayAttr axes);

} // namespace cleave::dist

#endif // CLEAVE_DIALECTS_DIST_DIST_H
