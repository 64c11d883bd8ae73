//===- Verify.cpp - what must hold of dist ops, by constraint number ------===//

#include "Dist/Dist.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SmallSet.h"

#include <numeric>

using namespace mlir;
using namespace cleave::dist;

// C1 of every op with axes
static LogicalResult verifyAxes(Operation *op, ArrayAttr axes) {
  if (axes.empty())
    return op->emitOpError("runs over no axis");
  llvm::SmallSet<StringRef, 4> seen;
  for (StringRef axis : axes.getAsValueRange<StringAttr>())
    if (!seen.insert(axis).second)
      return op->emitOpError("names an axis twice, got: \"") << axis << "\"";

  // The mesh is known once the op stands in a module that names one.
  auto module = op->getParentOfType<ModuleOp>();
  auto mesh = module ? module->getAttrOfType<MeshAttr>(kMesh) : nullptr;
  if (mesh && !mesh.getGroupSize(axisList(axes)))
    return op->emitOpError("names an axis that ") << mesh << " lacks, got: " << axes;
  return success();
}

/// `power` is 1 for a count a member, 2 for one a pair of members.
static LogicalResult verifyCounts(Operation *op, ArrayAttr axes, ArrayRef<int64_t> counts,
                                  unsigned power = 1) {
  for (int64_t count : counts)
    if (count < 0)
      return op->emitOpError("has a negative count: ") << count;
  auto module = op->getParentOfType<ModuleOp>();
  auto mesh = module ? module->getAttrOfType<MeshAttr>(kMesh) : nullptr;
  std::optional<int64_t> members = mesh ? mesh.getGroupSize(axisList(axes)) : std::nullopt;
  if (members &&
      (power == 1 ? *members : *members * *members) != static_cast<int64_t>(counts.size()))
    return op->emitOpError("has ") << counts.size() << " counts for a group of " << *members;
  return success();
}

/// `whole` and `part` differ at `dim` alone, where `part` has one of the counts
/// and `whole` their sum.
static LogicalResult verifyPart(Operation *op, RankedTensorType whole, RankedTensorType part,
                                int64_t dim, ArrayAttr axes, ArrayRef<int64_t> counts) {
  // C2
  if (dim < 0 || dim >= whole.getRank())
    return op->emitOpError("has no dimension ") << dim << ", got: " << whole;
  // C3
  if (failed(verifyCounts(op, axes, counts)))
    return failure();
  int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t(0));
  if (total != whole.getDimSize(dim))
    return op->emitOpError("has counts that sum to ")
           << total << " at a dimension of " << whole.getDimSize(dim);
  // C4
  bool equal = whole.getRank() == part.getRank() && whole.getElementType() == part.getElementType();
  for (int64_t d = 0; equal && d < whole.getRank(); ++d)
    equal = d == dim ? llvm::is_contained(counts, part.getDimSize(d))
                     : whole.getDimSize(d) == part.getDimSize(d);
  if (!equal)
    return op->emitOpError("does not relate ") << whole << " to its part " << part;
  return success();
}

LogicalResult SliceOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  return verifyPart(*this, getInput().getType(), getType(), getDim(), getAxes(), getCounts());
}

LogicalResult OffsetOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  // C2
  return verifyCounts(*this, getAxes(), getCounts());
}

LogicalResult AllReduceOp::verify() {
  // C1
  return verifyAxes(*this, getAxes());
}

LogicalResult AllGatherOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  return verifyPart(*this, getType(), getInput().getType(), getDim(), getAxes(), getCounts());
}

LogicalResult ReduceScatterOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  return verifyPart(*this, getInput().getType(), getType(), getDim(), getAxes(), getCounts());
}

LogicalResult AllToAllOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  // C2
  RankedTensorType input = getInput().getType(), result = getType();
  int64_t split = getSplit(), concat = getConcat(), rank = input.getRank();
  if (split == concat || split < 0 || concat < 0 || split >= rank || concat >= rank)
    return emitOpError("needs two dimensions of ") << input << ", got: " << split << ", " << concat;
  // C3
  if (failed(verifyCounts(*this, getAxes(), getSplits())) ||
      failed(verifyCounts(*this, getAxes(), getConcats())))
    return failure();
  auto sum = [](ArrayRef<int64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), int64_t(0));
  };
  if (result.getRank() != rank || input.getDimSize(split) != sum(getSplits()) ||
      result.getDimSize(concat) != sum(getConcats()))
    return emitOpError("has counts that sum to ")
           << sum(getSplits()) << " and " << sum(getConcats()) << " between " << input << " and "
           << result;
  // C4
  bool equal = input.getElementType() == result.getElementType() &&
               llvm::is_contained(getSplits(), result.getDimSize(split)) &&
               llvm::is_contained(getConcats(), input.getDimSize(concat));
  for (int64_t d = 0; equal && d < rank; ++d)
    equal = d == split || d == concat || input.getDimSize(d) == result.getDimSize(d);
  if (!equal)
    return emitOpError("does not lead from ") << input << " to " << result;
  return success();
}

LogicalResult ExchangeOp::verify() {
  // C1
  if (failed(verifyAxes(*this, getAxes())))
    return failure();
  // C2
  int64_t entries = getCounts().size(), members = 1;
  while (members * members < entries)
    ++members;
  if (entries == 0 || members * members != entries)
    return emitOpError("has counts that are no square, got: ") << entries;
  if (failed(verifyCounts(*this, getAxes(), getCounts(), /*power=*/2)))
    return failure();
  // C3
  RankedTensorType input = getInput().getType(), result = getType();
  bool fits = input.getElementType() == result.getElementType();
  auto isMember = [&](int64_t member) {
    int64_t sent = 0, received = 0;
    for (int64_t other = 0; other < members; ++other) {
      sent += getCounts()[member * members + other];
      received += getCounts()[other * members + member];
    }
    return sent == input.getDimSize(0) && received == result.getDimSize(0);
  };
  if (!fits || llvm::none_of(llvm::seq<int64_t>(members), isMember))
    return emitOpError("is no member's part of the exchange, got: ") << input << " to " << result;
  return success();
}

static LogicalResult verifyTransfer(Operation *op, ArrayAttr axes, int64_t peer) {
  // C1
  if (failed(verifyAxes(op, axes)))
    return failure();
  // C2
  auto module = op->getParentOfType<ModuleOp>();
  auto mesh = module ? module->getAttrOfType<MeshAttr>(kMesh) : nullptr;
  if (peer < 0 || (mesh && peer >= *mesh.getGroupSize(axisList(axes))))
    return op->emitOpError("has no such peer, got: ") << peer;
  return success();
}

LogicalResult SendOp::verify() { return verifyTransfer(*this, getAxes(), getPeer()); }
LogicalResult RecvOp::verify() { return verifyTransfer(*this, getAxes(), getPeer()); }
LogicalResult WaitOp::verify() { return verifyTransfer(*this, getAxes(), getPeer()); }
