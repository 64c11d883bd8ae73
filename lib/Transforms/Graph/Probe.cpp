//===- Probe.cpp - what a part of a graph computes ------------------------===//

#include "Probe.h"

#include "mlir/IR/IRMapping.h"

#include <cmath>

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

std::optional<double> cleave::scalarOf(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant || typeOf(value).getNumElements() != 1)
    return std::nullopt;
  HostTensor tensor = HostTensor::fromAttr(constant.getValue());
  return tensor.isFloat() ? tensor.floats[0] : static_cast<double>(tensor.ints[0]);
}

static bool isElementwise(Operation *op) {
  return isa<AddOp, SubOp, MulOp, DivOp, PowOp, NegOp, AbsOp, ExpOp, SqrtOp, RsqrtOp, ReciprocalOp,
             TanhOp, ErfOp, SigmoidOp, CastOp, MaxOp, MinOp, IsNanOp, NotOp, CompareOp, SelectOp>(
      op);
}

SmallVector<Value> cleave::possibleRoots(Value anchor) {
  SmallVector<Value> roots = {anchor};
  for (size_t i = 0; i < roots.size() && roots.size() < 8; ++i) {
    Operation *op = roots[i].getDefiningOp();
    if (!op || !isElementwise(op))
      continue;
    for (Value operand : op->getOperands())
      if (typeOf(operand).getShape() == typeOf(anchor).getShape() && !scalarOf(operand) &&
          !llvm::is_contained(roots, operand))
        roots.push_back(operand);
  }
  return roots;
}

static bool isLastDimReduction(Operation *op) {
  auto reduce = dyn_cast<ReduceOp>(op);
  return reduce && reduce.getDims().size() == 1 &&
         reduce.getDims()[0] == typeOf(reduce.getInput()).getRank() - 1;
}

Probe::Probe(Value root, bool reductions, unsigned limit) : root(root) {
  DenseSet<Value> known = {root};
  SmallVector<Value> work = {root};
  auto follows = [&](Operation *op) {
    if (!isElementwise(op) && !(reductions && isLastDimReduction(op)))
      return false;
    return llvm::all_of(op->getOperands(), [&](Value operand) {
      return known.contains(operand) || scalarOf(operand);
    });
  };
  // An op may wait for a second operand, so users are asked again as values come.
  while (!work.empty() && closure.size() < limit) {
    Value value = work.pop_back_val();
    for (Operation *user : value.getUsers())
      if (user->getBlock() == root.getParentBlock() && user->getNumResults() == 1 &&
          !known.contains(user->getResult(0)) && follows(user) && closure.size() < limit) {
        known.insert(user->getResult(0));
        closure.push_back(user);
        work.insert(work.begin(), user->getResult(0));
        work.push_back(value);
      }
  }
  llvm::sort(closure, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
}

SmallVector<Value> Probe::candidates() const {
  SmallVector<Value> values;
  for (Operation *op : llvm::reverse(closure))
    if (typeOf(op->getResult(0)).getShape() == typeOf(root).getShape())
      values.push_back(op->getResult(0));
  return values;
}

HostValues Probe::run(ArrayRef<double> row) const {
  // A scalar has no row.
  if (typeOf(root).getRank() == 0)
    return HostValues();
  MLIRContext *context = root.getContext();
  SmallVector<int64_t> shape(typeOf(root).getRank(), 1);
  shape.back() = row.size();

  Block scratch;
  OpBuilder b(context);
  b.setInsertionPointToEnd(&scratch);
  IRMapping mapping;
  HostValues values;
  HostTensor input(RankedTensorType::get(shape, typeOf(root).getElementType()));
  input.floats.assign(row.begin(), row.end());
  input.round();
  mapping.map(root, scratch.addArgument(input.type, root.getLoc()));
  values[root] = std::move(input);

  for (Operation *op : closure) {
    SmallVector<const HostTensor *> operands;
    for (Value operand : op->getOperands()) {
      if (!values.count(operand)) {
        auto constant = operand.getDefiningOp<ConstantOp>();
        mapping.map(operand, b.clone(*constant)->getResult(0));
        values[operand] = HostTensor::fromAttr(constant.getValue());
      }
    }
    for (Value operand : op->getOperands())
      operands.push_back(&values[operand]);
    // The row is shorter than the real one, so types are inferred anew.
    Operation *clone = b.clone(*op, mapping);
    SmallVector<Type> types;
    if (auto inference = dyn_cast<InferTypeOpInterface>(clone)) {
      if (failed(inference.inferReturnTypes(context, op->getLoc(), clone->getOperands(),
                                            clone->getAttrDictionary(),
                                            clone->getPropertiesStorage(), {}, types)))
        return HostValues();
    } else {
      types.push_back(RankedTensorType::get(typeOf(clone->getOperand(0)).getShape(),
                                            typeOf(op->getResult(0)).getElementType()));
    }
    clone->getResult(0).setType(types[0]);
    FailureOr<std::vector<HostTensor>> results = evaluate(clone, operands);
    if (failed(results))
      return HostValues();
    values[op->getResult(0)] = std::move(results->front());
  }
  return values;
}

bool cleave::areClose(ArrayRef<double> a, ArrayRef<double> b, double tolerance) {
  if (a.size() != b.size())
    return false;
  for (auto [x, y] : llvm::zip(a, b))
    if (!(std::abs(x - y) <= tolerance * std::max(1.0, std::abs(y))))
      return false;
  return true;
}

double cleave::toleranceOf(Type type) {
  // Some ten roundings of a value near one.
  return type.isF32() || type.isF64() ? 2e-6 : type.isF16() ? 1e-2 : 8e-2;
}
