//===- LocalizeSources.cpp - a slice of what follows from weights ---------===//
//
// What a rank needs of a value that is computed from weights alone it computes
// from parts of them, wherever the slice commutes:
//
//   slice (reshape (rem (div %w, 16), 16))   =>   reshape (rem (div (slice %w), 16), 16)
//
//===----------------------------------------------------------------------===//

#include "LocalizeOps.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using dist::ExtentAttr;
using dist::ShardingAttr;

/// Appends the runs of indices that `extent` is a product of; fails for a concatenation.
static LogicalResult addLeaves(ExtentAttr extent, SmallVectorImpl<ExtentAttr> &leaves) {
  if (extent.isLeaf()) {
    leaves.push_back(extent);
    return success();
  }
  if (extent.getIsConcat())
    return failure();
  for (ExtentAttr part : extent.getParts())
    if (failed(addLeaves(part, leaves)))
      return failure();
  return success();
}

/// `leaf` as a product of `major`, which keeps the cut, and the rest; fails where parts do
/// not end with blocks of the rest.
static FailureOr<std::pair<ExtentAttr, ExtentAttr>> splitLeaf(ExtentAttr leaf, int64_t major,
                                                              dist::MeshAttr mesh) {
  if (major == 0 || leaf.getSize() % major != 0)
    return failure();
  int64_t minor = leaf.getSize() / major;
  MLIRContext *context = leaf.getContext();
  ExtentAttr outer = ExtentAttr::get(context, major, leaf.getAxes());
  for (int64_t rank = 0; leaf.isCut() && rank < mesh.getNumRanks(); ++rank)
    if (outer.getLocalSize(mesh, rank) * minor != leaf.getLocalSize(mesh, rank))
      return failure();
  return std::pair(outer, ExtentAttr::get(context, minor));
}

/// The extents of a tensor of `shape` whose elements, under another shape, have those of `dims`.
static FailureOr<SmallVector<ExtentAttr>> regroup(ArrayRef<ExtentAttr> dims,
                                                  ArrayRef<int64_t> shape, dist::MeshAttr mesh) {
  SmallVector<ExtentAttr> leaves, result;
  for (ExtentAttr extent : dims)
    if (failed(addLeaves(extent, leaves)))
      return failure();
  size_t next = 0;
  for (int64_t size : shape) {
    SmallVector<ExtentAttr> parts;
    int64_t rest = size;
    while (rest > 1) {
      if (next == leaves.size())
        return failure();
      ExtentAttr leaf = leaves[next];
      if (leaf.getSize() > rest) {
        auto split = splitLeaf(leaf, rest, mesh);
        if (failed(split))
          return failure();
        leaf = split->first;
        leaves[next] = split->second;
      } else {
        ++next;
      }
      if (leaf.getSize() == 0 || rest % leaf.getSize() != 0)
        return failure();
      rest /= leaf.getSize();
      if (leaf.getSize() > 1)
        parts.push_back(leaf);
    }
    MLIRContext *context = dims.front().getContext();
    result.push_back(parts.empty() ? ExtentAttr::get(context, size)
                                   : ExtentAttr::get(context, /*isConcat=*/false, parts));
  }
  return result;
}

static ArrayRef<int64_t> shapeOf(Value value) { return nn::typeOf(value).getShape(); }

/// Of an operand that broadcasts to the result.
static SmallVector<ExtentAttr> ofBroadcast(Value operand, ArrayRef<int64_t> shape,
                                           ArrayRef<ExtentAttr> dims) {
  SmallVector<ExtentAttr> result;
  ArrayRef<int64_t> own = shapeOf(operand);
  for (auto [i, size] : llvm::enumerate(own)) {
    size_t at = shape.size() - own.size() + i;
    result.push_back(size == shape[at] ? dims[at] : ExtentAttr::get(operand.getContext(), size));
  }
  return result;
}

std::optional<SmallVector<ShardingAttr>>
cleave::sharding::sourceShardings(Operation *op, ShardingAttr sharding, dist::MeshAttr mesh) {
  ArrayRef<ExtentAttr> dims = sharding.getDims();
  auto with = [&](ArrayRef<ExtentAttr> extents) {
    return ShardingAttr::get(op->getContext(), extents, sharding.getPartial());
  };
  if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
    SmallVector<ExtentAttr> from(dims);
    for (auto [to, source] : llvm::enumerate(transpose.getPermutation()))
      from[source] = dims[to];
    return SmallVector<ShardingAttr>{with(from)};
  }
  if (isa<nn::CastOp>(op))
    return SmallVector<ShardingAttr>{sharding};
  // A part of a sum is not what these ops make of parts of sums.
  if (!sharding.getPartial().empty())
    return std::nullopt;
  if (isa<nn::ElementwiseOpInterface>(op)) {
    SmallVector<ShardingAttr> result;
    for (Value operand : op->getOperands())
      result.push_back(with(ofBroadcast(operand, shapeOf(op->getResult(0)), dims)));
    return result;
  }
  if (auto reshape = dyn_cast<nn::ReshapeOp>(op); reshape && !dims.empty()) {
    auto from = regroup(dims, shapeOf(reshape.getInput()), mesh);
    if (succeeded(from))
      return SmallVector<ShardingAttr>{with(*from)};
  }
  return std::nullopt;
}
