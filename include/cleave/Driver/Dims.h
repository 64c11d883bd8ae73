//===- Dims.h - sizes for the symbolic dimensions of a model --*- C++ -*-===//

#ifndef CLEAVE_DRIVER_DIMS_H
#define CLEAVE_DRIVER_DIMS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Error.h"

#include <map>
#include <string>
#include <vector>

namespace cleave {

/// A dimension of an input: its size, or -1 and the name by which it goes. One
/// without a name goes by the input's and its number: `tokens.1`.
struct ModelDim {
  int64_t size;
  std::string name;
};

struct ModelInput {
  std::string name;
  mlir::Type elementType;
  std::vector<ModelDim> dims;
};

/// The inputs of the imported model `module`; fails for one that is no tensor of
/// known rank.
llvm::Expected<std::vector<ModelInput>> modelInputs(mlir::ModuleOp module);

/// Fails unless `name` is that of a symbolic dimension, or a word of one that is an
/// expression.
llvm::Error checkDimName(llvm::ArrayRef<ModelInput> inputs, llvm::StringRef name);

/// What an unnamed size is by default, where no input says it.
struct DimDefaults {
  int64_t batch = 1, sequence = 16, past = 16;
};

/// Sizes of all symbolic dimensions: those in `given` (from --dim and from the
/// shapes of input tensors), then names that are sums and products of known ones,
/// then defaults by what a name says: batch, past, total (a past and a sequence),
/// anything else a sequence.
std::map<std::string, int64_t> bindDims(llvm::ArrayRef<ModelInput> inputs,
                                        std::map<std::string, int64_t> given,
                                        const DimDefaults &defaults = {});

/// The dimension of an input that a cache has grown along, and the one that says by how
/// much.
struct CacheDims {
  std::string past, sequence;
};

/// The cache of `main`, a graph that no phase has sharded yet: an output that is like an
/// input but for one dimension, which is longer by another. Nothing if there is none.
std::optional<CacheDims> findCache(mlir::func::FuncOp main);

/// The sizes of one decode step: a batch of `batch`, one token, 1024 before it; what
/// an encoder reads is as long as `sizes` says. Without a `cache`, names say what a past
/// and a sequence are; nothing unless the inputs have both, of symbolic size.
std::optional<std::map<std::string, int64_t>>
decodeDims(llvm::ArrayRef<ModelInput> inputs, const std::map<std::string, int64_t> &sizes,
           int64_t batch, const std::optional<CacheDims> &cache = std::nullopt);

/// Adds to `sizes` what `shape` says of the dimensions of `input`. Fails if it has
/// another rank, another fixed size, or contradicts what is known.
llvm::Error bindShape(const ModelInput &input, llvm::ArrayRef<int64_t> shape,
                      std::map<std::string, int64_t> &sizes);

} // namespace cleave

#endif // CLEAVE_DRIVER_DIMS_H
