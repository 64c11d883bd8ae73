//===- MeshAxes.h - what the axes of a mesh are for -----------*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_MESHAXES_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_MESHAXES_H

#include "SearchProblem.h"

namespace cleave::sharding {

/// The axes of `mesh` that a search decides on: those of more than one rank
/// whose name has a meaning, in sub-axes where kv heads are fewer than ranks.
llvm::SmallVector<Axis> searchedAxes(DimNames &names, mlir::func::FuncOp func, dist::MeshAttr mesh);

/// What the model calls dimension `dim` of an input; empty where its size is fixed or
/// follows from others.
llvm::StringRef openDim(mlir::func::FuncOp func, mlir::BlockArgument input, int64_t dim);

/// Why the axis `name` of `size` ranks cuts nothing of `func`, and what helps.
std::string whyIdle(mlir::func::FuncOp func, const SearchRequest &request, DimNames &names,
                    mlir::StringAttr name, int64_t size);

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_MESHAXES_H
