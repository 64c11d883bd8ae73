//===- Lanes.cpp - what the last dimension of a value is made of ----------===//

#include "Lanes.h"

#include "Probe.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

/// Ops that may lie between a root and what is recognised, and lanes of a row: a head
/// is not wider.
static constexpr size_t kMaxOps = 32;
static constexpr int64_t kMaxLanes = 512;
/// Terms of a lane: a rotation has two.
static constexpr size_t kMaxTerms = 4;
/// Steps from a table back to where two of its lanes meet.
static constexpr int kMaxSteps = 24;

static SmallVector<int64_t> position(int64_t lane, ArrayRef<int64_t> row) {
  return delinearize(lane, computeStrides(row));
}

static int64_t laneAt(ArrayRef<int64_t> position, ArrayRef<int64_t> row) {
  return linearize(position, computeStrides(row));
}

static ArrayRef<int64_t> rowOf(Value value, int64_t dims) { return shapeOf(value).take_back(dims); }

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

/// Where the operand `value` of a broadcast, implied or not, is read for `lane` of a
/// row of shape `row`.
static TableLane narrowed(Value value, int64_t lane, ArrayRef<int64_t> row) {
  int64_t dims = std::min<int64_t>(row.size(), typeOf(value).getRank());
  ArrayRef<int64_t> own = rowOf(value, dims);
  SmallVector<int64_t> at = position(lane, row);
  at.erase(at.begin(), at.end() - dims);
  for (auto [index, size] : llvm::zip(at, own))
    index = size == 1 ? 0 : index;
  return {value, dims, laneAt(at, own)};
}

/// Where a lane that is only moved comes from, one step back; nothing if it is made here.
static std::optional<TableLane> source(TableLane to) {
  Operation *op = to.table.getDefiningOp();
  if (!op)
    return std::nullopt;
  ArrayRef<int64_t> row = rowOf(to.table, to.dims);
  int64_t outer = typeOf(to.table).getRank() - to.dims;
  if (isa<CastOp>(op))
    return TableLane{op->getOperand(0), to.dims, to.lane};
  if (isa<BroadcastOp>(op))
    return narrowed(op->getOperand(0), to.lane, row);
  if (isa<ReshapeOp>(op)) {
    // Rows stay rows where some trailing dimensions of the operand have their size.
    int64_t size = computeProduct(row), dims = 0, found = 1;
    ArrayRef<int64_t> shape = shapeOf(op->getOperand(0));
    while (found < size && dims < static_cast<int64_t>(shape.size()))
      found *= shape[shape.size() - ++dims];
    return found == size ? std::optional(TableLane{op->getOperand(0), dims, to.lane})
                         : std::nullopt;
  }
  SmallVector<int64_t> at = position(to.lane, row);
  if (auto slice = dyn_cast<SliceOp>(op)) {
    for (auto [dim, index] : llvm::enumerate(at))
      index = slice.getStarts()[outer + dim] + index * slice.getSteps()[outer + dim];
    return TableLane{slice.getInput(), to.dims, laneAt(at, rowOf(slice.getInput(), to.dims))};
  }
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    int64_t axis = concat.getAxis() - outer;
    if (axis < 0)
      return std::nullopt;
    for (Value part : concat.getInputs()) {
      ArrayRef<int64_t> own = rowOf(part, to.dims);
      if (at[axis] < own[axis])
        return TableLane{part, to.dims, laneAt(at, own)};
      at[axis] -= own[axis];
    }
  }
  return std::nullopt;
}

static bool areEqualColumns(ConstantOp constant, int64_t size, int64_t a, int64_t b) {
  HostTensor tensor = HostTensor::fromAttr(constant.getValue());
  for (int64_t row = 0; row + size <= tensor.size(); row += size)
    if (tensor.isFloat() ? tensor.floats[row + a] != tensor.floats[row + b]
                         : tensor.ints[row + a] != tensor.ints[row + b])
      return false;
  return true;
}

/// The dimensions of the rows; in front, those of size 1 say nothing.
static ArrayRef<int64_t> outerOf(TableLane at) {
  return shapeOf(at.table).drop_back(at.dims).drop_while([](int64_t size) { return size == 1; });
}

/// The source of a lane in a table with the same rows in the same order.
static std::optional<TableLane> sourceInRow(TableLane to) {
  std::optional<TableLane> from = source(to);
  // With as many rows, a slice may still turn them round.
  auto slice = to.table.getDefiningOp<SliceOp>();
  bool turns = slice && llvm::any_of(slice.getSteps().drop_back(to.dims),
                                     [](int64_t step) { return step != 1; });
  return from && !turns && outerOf(*from) == outerOf(to) ? from : std::nullopt;
}

static bool areSame(TableLane a, TableLane b, int steps) {
  while (auto from = sourceInRow(a))
    a = *from;
  while (auto from = sourceInRow(b))
    b = *from;
  if (a == b)
    return true;
  if (a.table != b.table || a.dims != b.dims || steps == 0)
    return false;
  // One movement of rows is the same for both.
  if (std::optional<TableLane> from = source(a))
    return areSame(*from, *source(b), steps - 1);
  // One op made both: of lanes that are the same, if it treats lanes alike.
  Operation *op = a.table.getDefiningOp();
  if (!op)
    return false;
  ArrayRef<int64_t> row = rowOf(a.table, a.dims);
  if (auto constant = dyn_cast<ConstantOp>(op))
    return areEqualColumns(constant, computeProduct(row), a.lane, b.lane);
  if (auto gather = dyn_cast<GatherOp>(op)) {
    Value data = gather.getData();
    int64_t outer = typeOf(data).getRank() - a.dims;
    return static_cast<int64_t>(gather.getAxis()) < outer && rowOf(data, a.dims) == row &&
           areSame({data, a.dims, a.lane}, {data, a.dims, b.lane}, steps - 1);
  }
  return isa<ElementwiseOpInterface>(op) && llvm::all_of(op->getOperands(), [&](Value operand) {
           return areSame(narrowed(operand, a.lane, row), narrowed(operand, b.lane, row),
                          steps - 1);
         });
}

bool cleave::areSameLanes(TableLane a, TableLane b) { return areSame(a, b, kMaxSteps); }

//===----------------------------------------------------------------------===//
// Linear forms
//===----------------------------------------------------------------------===//

LinearLanes::LinearLanes(Value root) : root(root) {
  int64_t lanes = typeOf(root).getRank() ? shapeOf(root).back() : 0;
  if (lanes < 2 || lanes > kMaxLanes)
    return;
  Forms identity(lanes);
  for (auto [lane, form] : llvm::enumerate(identity))
    form.push_back({static_cast<int64_t>(lane), 1, std::nullopt});
  known.insert({root, std::move(identity)});

  // Ops in the order of the block, so that operands are known before their users.
  SmallVector<Operation *> work(root.user_begin(), root.user_end());
  auto isLater = [](Operation *a, Operation *b) { return b->isBeforeInBlock(a); };
  std::make_heap(work.begin(), work.end(), isLater);
  while (!work.empty() && known.size() <= kMaxOps) {
    std::pop_heap(work.begin(), work.end(), isLater);
    Operation *op = work.pop_back_val();
    if (op->getNumResults() != 1 || known.contains(op->getResult(0)))
      continue;
    std::optional<Forms> forms = follow(op);
    if (!forms)
      continue;
    known.insert({op->getResult(0), std::move(*forms)});
    for (Operation *user : op->getUsers()) {
      work.push_back(user);
      std::push_heap(work.begin(), work.end(), isLater);
    }
  }
}

SmallVector<Value> LinearLanes::candidates() const {
  SmallVector<Value> values;
  for (const auto &[value, forms] : llvm::reverse(known))
    if (value != root && value.getType() == root.getType())
      values.push_back(value);
  return values;
}

std::optional<int64_t> LinearLanes::rowDims(Value value) const {
  ArrayRef<int64_t> outer = shapeOf(root).drop_back(), shape = shapeOf(value);
  if (shape.size() < outer.size() || shape.take_front(outer.size()) != outer)
    return std::nullopt;
  return shape.size() - outer.size();
}

std::optional<LinearLanes::Forms> LinearLanes::product(Value value, Value factor) const {
  Forms forms = known.find(value)->second;
  std::optional<double> number = scalarOf(factor);
  std::optional<int64_t> dims = rowDims(value);
  for (auto [lane, form] : llvm::enumerate(forms))
    for (LaneTerm &term : form) {
      if (number) {
        term.factor *= *number;
        continue;
      }
      if (term.coefficient)
        return std::nullopt;
      term.coefficient = narrowed(factor, lane, rowOf(value, *dims));
    }
  return forms;
}

/// `a` + sign * `b`, term by term.
static std::optional<LaneForm> sum(LaneForm a, const LaneForm &b, double sign) {
  if (a.size() + b.size() > kMaxTerms)
    return std::nullopt;
  for (LaneTerm term : b) {
    term.factor *= sign;
    a.push_back(term);
  }
  return a;
}

std::optional<LinearLanes::Forms> LinearLanes::follow(Operation *op) const {
  Value result = op->getResult(0);
  auto isKnown = [&](Value value) { return known.contains(value); };
  std::optional<int64_t> dims = rowDims(result);
  if (!dims || !isa<FloatType>(elementOf(result)))
    return std::nullopt;
  auto formsOf = [&](Value value) -> const Forms & { return known.find(value)->second; };

  // Rows of moved lanes: each is where its source lane is.
  if (isa<SliceOp, ReshapeOp, ConcatOp, CastOp>(op)) {
    if (!llvm::all_of(op->getOperands(), isKnown))
      return std::nullopt;
    int64_t outer = typeOf(result).getRank() - *dims;
    if (auto slice = dyn_cast<SliceOp>(op))
      for (int64_t dim = 0; dim < outer; ++dim)
        if (slice.getStarts()[dim] != 0 || slice.getSteps()[dim] != 1)
          return std::nullopt;
    Forms forms;
    int64_t lanes = computeProduct(rowOf(result, *dims));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      std::optional<TableLane> from = source({result, *dims, lane});
      if (!from || rowDims(from->table) != from->dims)
        return std::nullopt;
      forms.push_back(formsOf(from->table)[from->lane]);
    }
    return forms;
  }
  if (isa<NegOp>(op)) {
    Forms forms = formsOf(op->getOperand(0));
    for (LaneForm &form : forms)
      for (LaneTerm &term : form)
        term.factor = -term.factor;
    return forms;
  }
  if (isa<AddOp, SubOp>(op)) {
    Value lhs = op->getOperand(0), rhs = op->getOperand(1);
    if (!isKnown(lhs) || !isKnown(rhs) || shapeOf(lhs) != shapeOf(rhs))
      return std::nullopt;
    Forms forms;
    for (auto [a, b] : llvm::zip(formsOf(lhs), formsOf(rhs))) {
      std::optional<LaneForm> both = sum(a, b, isa<SubOp>(op) ? -1 : 1);
      if (!both)
        return std::nullopt;
      forms.push_back(std::move(*both));
    }
    return forms;
  }
  if (auto mul = dyn_cast<MulOp>(op))
    for (auto [value, factor] :
         {std::pair(mul.getLhs(), mul.getRhs()), std::pair(mul.getRhs(), mul.getLhs())})
      if (isKnown(value) && !isKnown(factor) && shapeOf(value) == shapeOf(result))
        return product(value, factor);
  return std::nullopt;
}
