//===- Search.h - from a graph and a mesh to the best cut -----*- C++ -*-===//

#ifndef CLEAVE_TRANSFORMS_SHARDING_SEARCH_H
#define CLEAVE_TRANSFORMS_SHARDING_SEARCH_H

#include "Dist/Dist.h"
#include "cleave/Transforms/Sharding/Machine.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace cleave {

/// Names of the attributes in which a search leaves its decision.
inline constexpr llvm::StringLiteral kOperandShardings = "dist.operands";
inline constexpr llvm::StringLiteral kResultShardings = "dist.results";
inline constexpr llvm::StringLiteral kHeldShardings = "dist.held";
inline constexpr llvm::StringLiteral kWeightShardings = "dist.weights";
/// The names that are cut, each a dictionary: `size`, `axes`, `role`, the `weights` and
/// `values` that share it, and the `first` of them.
inline constexpr llvm::StringLiteral kCuts = "dist.cuts";
/// On a localised module: name -> shardings of weights and cut inputs.
inline constexpr llvm::StringLiteral kTensorShardings = "dist.tensors";

/// Micro-batches are an axis of the mesh in which they are searched and localised, the
/// outermost one, that no user can name.
inline constexpr llvm::StringLiteral kMicroBatchAxis = "micro-batch";

/// On an op of a localised module that has stages or micro-batches: the number of the op
/// of the whole program for which it was made.
inline constexpr llvm::StringLiteral kMadeFor = "dist.made_for";

/// Whether ranks of `mesh` run the model in stages, or in micro-batches.
bool isPipelined(dist::MeshAttr mesh);

/// `text` as `dp=2,tp=4`; on failure the reason is in `error`.
dist::MeshAttr parseMesh(mlir::MLIRContext *context, llvm::StringRef text, std::string &error);

struct SearchRequest {
  dist::MeshAttr mesh;
  Machine machine = {};
  /// Weight name -> list of shardings of which its readers take one: weights have
  /// one layout, that of decoding, and other sizes follow it. May be null.
  mlir::DictionaryAttr pins = nullptr;
  /// An axis that cuts nothing is an error, not a warning.
  bool strict = false;
  /// Parts of the batch, the leading dimension of all outputs, that are computed one
  /// after the other; fewer where it has not as many indices, which is a warning.
  int64_t microBatches = 1;
};

struct SearchReport {
  int64_t cost = 0; ///< ps
  unsigned names = 0, variables = 0, computedSteps = 0, width = 0;
  double largestTable = 0;
};

/// Writes the best decision onto the ops of `func`.
mlir::FailureOr<SearchReport> searchShardings(mlir::func::FuncOp func, SearchRequest request);

/// How a search would cut the weights of `decode`, a model bound to the sizes of
/// one decode step: the pins for searches at its other sizes. `decode` gets the
/// attributes of the decision. Idle axes are no news here.
mlir::FailureOr<mlir::DictionaryAttr> findWeightCuts(mlir::func::FuncOp decode,
                                                     SearchRequest request);

} // namespace cleave

#endif // CLEAVE_TRANSFORMS_SHARDING_SEARCH_H
