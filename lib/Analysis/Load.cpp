//===- Load.cpp - what a session computes once ----------------------------===//

#include "cleave/Analysis/Load.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

using namespace mlir;
using namespace cleave;

/// The ops of `function` whose operands are all known at load.
static llvm::SetVector<Operation *> knownAtLoad(func::FuncOp function) {
  llvm::SetVector<Operation *> known;
  for (Operation &op : function.getBody().front()) {
    if (isa<nn::WeightOp, nn::ConstantOp>(op)) {
      known.insert(&op);
      continue;
    }
    bool isMovable = isa<dist::SliceOp>(op) ||
                     (isa<nn::NnDialect>(op.getDialect()) && !isa<nn::BroadcastOp>(op));
    if (isMovable && llvm::all_of(op.getOperands(), [&](Value operand) {
          Operation *producer = operand.getDefiningOp();
          return producer && known.contains(producer);
        }))
      known.insert(&op);
  }
  return known;
}

/// Bytes up to which a value is held at any rate: it costs less than computing it again.
static constexpr int64_t kSmallBytes = 64 << 10;

/// Whether a kernel that reads the result of `op` can as well compute it.
static bool isComputedInPlace(Operation *op) {
  return isa<nn::ElementwiseOpInterface>(op) ||
         isa<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::BroadcastOp, dist::SliceOp>(op);
}

/// Bytes of weights that each value has to be computed from, at least: of weights their own,
/// of a part of one what it holds.
static DenseMap<Value, int64_t> bytesRead(const llvm::SetVector<Operation *> &known) {
  DenseMap<Value, int64_t> bytes;
  for (Operation *op : known) {
    int64_t read = 0;
    llvm::SmallDenseSet<Value, 4> seen;
    for (Value operand : op->getOperands())
      if (seen.insert(operand).second)
        read += bytes.lookup(operand);
    for (Value result : op->getResults())
      bytes[result] =
          isa<nn::WeightOp>(op) ? nn::bytesOf(result) : std::min(read, nn::bytesOf(result));
  }
  return bytes;
}

/// Takes out of `known` what makes weights larger: main computes it wherever it is read, and
/// holds what it is computed from. Weights of two bytes that become floats of four stay as
/// small as weights of four bits. An element has to be read from a bit or more of weights:
/// what repeats (a mask, a table of positions) is no weight, and is held.
static void keepNarrow(llvm::SetVector<Operation *> &known) {
  DenseMap<Value, int64_t> bytesOfWeights = bytesRead(known);
  DenseMap<Operation *, int64_t> limits;
  auto isUsedOutside = [&](Operation *op) {
    return llvm::any_of(op->getUsers(), [&](Operation *user) { return !known.contains(user); });
  };
  const SmallVector<Operation *> ops(known.begin(), known.end());
  for (Operation *op : llvm::reverse(ops)) {
    if (isa<nn::WeightOp, nn::ConstantOp>(op) || !isComputedInPlace(op) || !isUsedOutside(op))
      continue;
    Value value = op->getResult(0);
    int64_t bytes = nn::bytesOf(value);
    // What main computes a value from may be as large as all that the value reads.
    int64_t read = bytesOfWeights.lookup(value), most = std::max(limits.lookup(op), read);
    if (bytes <= most || bytes <= kSmallBytes || nn::typeOf(value).getNumElements() > read * 8)
      continue;
    known.remove(op);
    for (Value operand : op->getOperands()) {
      int64_t &limit = limits[operand.getDefiningOp()];
      limit = std::max(limit, most);
    }
  }
}

llvm::SetVector<Operation *> cleave::opsAtLoad(func::FuncOp function) {
  llvm::SetVector<Operation *> known = knownAtLoad(function);
  keepNarrow(known);
  return known;
}
