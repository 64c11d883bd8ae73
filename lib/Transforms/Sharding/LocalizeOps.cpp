//===- LocalizeOps.cpp - an op on the parts of its operands ---------------===//
//
// Most ops do on parts what they do on wholes. Those that speak of positions or
// counts are here: they get the part's own, or a mask with the identity of what
// combines the parts (0 for a sum).
//
//===----------------------------------------------------------------------===//

#include "LocalizeOps.h"

#include <limits>
#include <numeric>

using namespace mlir;
using namespace cleave;
using cleave::nn::typeOf;
using namespace cleave::sharding;
using dist::ExtentAttr;

namespace {

class Localizer {
public:
  Localizer(OpBuilder &builder, Reshard &reshard, const LocalOp &local)
      : builder(builder), reshard(reshard), local(local), loc(local.op->getLoc()) {}

  FailureOr<SmallVector<Value>> run();

private:
  SmallVector<Value> clone(ArrayRef<Value> operands);
  FailureOr<Value> slice(nn::SliceOp op);
  Value reduce(nn::ReduceOp op);
  Value argReduce(nn::ArgReduceOp op);
  Value softmax(nn::SoftmaxOp op);
  Value lookUp(nn::GatherOp op);
  Value conv(nn::ConvOp op);
  Value attention(nn::AttentionOp op);

  ExtentAttr taken(unsigned operand, int64_t dim) { return local.taken[operand].getDims()[dim]; }
  Value scalar(Type elementType, double value);
  Value positions(ExtentAttr extent, Type elementType);
  Value allReduce(dist::ReductionKind kind, Value value, ArrayRef<StringAttr> axes);

  OpBuilder &builder;
  Reshard &reshard;
  const LocalOp &local;
  Location loc;
};

} // namespace

/// Adds the axes that cut an extent, at any of its leaves.
static void addCutAxes(ExtentAttr extent, SmallVectorImpl<StringAttr> &axes) {
  for (StringAttr axis : extent.getAxes())
    if (!llvm::is_contained(axes, axis))
      axes.push_back(axis);
  for (ExtentAttr part : extent.getParts())
    addCutAxes(part, axes);
}

static SmallVector<StringAttr> cutAxes(ExtentAttr extent) {
  SmallVector<StringAttr> axes;
  addCutAxes(extent, axes);
  return axes;
}

/// The op itself, on other operands, with results of local types.
SmallVector<Value> Localizer::clone(ArrayRef<Value> operands) {
  OperationState state(loc, local.op->getName());
  state.addOperands(operands);
  for (auto [result, sharding] : llvm::zip(local.op->getResults(), local.given))
    state.addTypes(reshard.localType(result.getType(), sharding));
  for (NamedAttribute attribute : local.op->getAttrs())
    if (!attribute.getName().getValue().starts_with("dist."))
      state.attributes.push_back(attribute);
  Operation *clone = builder.create(state);
  return SmallVector<Value>(clone->getResults());
}

Value Localizer::scalar(Type elementType, double value) {
  auto type = RankedTensorType::get({}, elementType);
  Attribute attribute =
      isa<FloatType>(elementType)
          ? Attribute(builder.getFloatAttr(elementType, value))
          : Attribute(builder.getIntegerAttr(elementType, static_cast<int64_t>(value)));
  return nn::ConstantOp::create(builder, loc, type, DenseElementsAttr::get(type, attribute));
}

/// Which indices of a dimension this rank holds, as a vector.
Value Localizer::positions(ExtentAttr extent, Type elementType) {
  auto i64 = RankedTensorType::get({extent.getSize()}, builder.getI64Type());
  auto all = llvm::to_vector(llvm::seq<int64_t>(0, extent.getSize()));
  Value whole =
      nn::ConstantOp::create(builder, loc, i64, DenseElementsAttr::get(i64, ArrayRef(all)));
  MLIRContext *context = builder.getContext();
  Value part = reshard.convert(whole, dist::ShardingAttr::getReplicated(context, extent.getSize()),
                               dist::ShardingAttr::get(context, extent, {}), {loc, ""});
  if (elementType == builder.getI64Type())
    return part;
  return nn::CastOp::create(builder, loc,
                            RankedTensorType::get(typeOf(part).getShape(), elementType), part);
}

Value Localizer::allReduce(dist::ReductionKind kind, Value value, ArrayRef<StringAttr> axes) {
  auto op =
      dist::AllReduceOp::create(builder, loc, value.getType(), kind, value, reshard.axesAttr(axes));
  op->setAttr(kReason, builder.getStringAttr(local.op->getName().stripDialect() +
                                             " runs along a dimension that is cut"));
  return op;
}

//===----------------------------------------------------------------------===//
// Positions
//===----------------------------------------------------------------------===//

/// How many of the first `index` indices of `extent` this rank holds; nothing
/// if the boundary falls into a cut.
static std::optional<int64_t> localBoundary(Reshard &reshard, ExtentAttr extent, int64_t index) {
  if (index == 0)
    return 0;
  if (index == extent.getSize())
    return reshard.localSize(extent);
  if (!extent.isCut())
    return index;
  if (extent.isLeaf())
    return std::nullopt;
  if (extent.getIsConcat()) {
    int64_t before = 0;
    for (ExtentAttr part : extent.getParts()) {
      if (index <= part.getSize()) {
        std::optional<int64_t> inside = localBoundary(reshard, part, index);
        return inside ? std::optional(before + *inside) : std::nullopt;
      }
      index -= part.getSize();
      before += reshard.localSize(part);
    }
    return std::nullopt;
  }
  ExtentAttr outer = extent.getParts().front();
  ExtentAttr rest = ExtentAttr::get(extent.getContext(), false, extent.getParts().drop_front());
  int64_t rows = index / rest.getSize(), behind = index % rest.getSize();
  std::optional<int64_t> whole = localBoundary(reshard, outer, rows);
  std::optional<int64_t> inside = localBoundary(reshard, rest, behind);
  if (!whole || !inside || (behind && outer.isCut()))
    return std::nullopt;
  return *whole * reshard.localSize(rest) + *inside;
}

FailureOr<Value> Localizer::slice(nn::SliceOp op) {
  SmallVector<int64_t> starts(op.getStarts()),
      sizes = local.given.front().getLocalShape(reshard.getMesh(), reshard.getRank());
  for (auto [dim, start] : llvm::enumerate(starts)) {
    ExtentAttr extent = taken(0, dim);
    if (op.getSteps()[dim] != 1 || !extent.isCut())
      continue;
    std::optional<int64_t> moved = localBoundary(reshard, extent, start);
    if (!moved)
      return op.emitOpError("takes a slice that begins inside a part of dimension ")
             << dim << ", cut as " << local.taken.front().str();
    start = *moved;
  }
  return Value(
      nn::SliceOp::create(builder, loc, local.operands.front(), starts, sizes, op.getSteps()));
}

/// Rows of this rank's part of a table, and 0 for indices of other parts. A
/// wild index stays wild, so that the run faults as it would uncut.
Value Localizer::lookUp(nn::GatherOp op) {
  int64_t axis = op.getAxis();
  ExtentAttr extent = taken(0, axis);
  RankedTensorType result = reshard.localType(op.getType(), local.given.front());
  int64_t held = reshard.localSize(extent), all = extent.getSize();
  Value zero = scalar(result.getElementType(), 0);
  if (held == 0)
    return nn::BroadcastOp::create(builder, loc, result, zero);

  Value indices = local.operands[1];
  Type type = typeOf(indices).getElementType();
  auto compare = [&](nn::CompareKind kind, Value lhs, double rhs) -> Value {
    return nn::CompareOp::create(builder, loc, kind, lhs, scalar(type, rhs));
  };
  auto inRange = [&](Value index, int64_t size) -> Value {
    return nn::AndOp::create(builder, loc, compare(nn::CompareKind::Ge, index, 0),
                             compare(nn::CompareKind::Lt, index, size));
  };
  Value index = indices;
  if (!op.getAbsolute()) {
    Value wrapped = nn::AddOp::create(builder, loc, indices, scalar(type, all));
    index = nn::SelectOp::create(builder, loc, compare(nn::CompareKind::Lt, indices, 0), wrapped,
                                 indices);
  }
  SmallVector<StringAttr> axes = cutAxes(extent);
  Value begin =
      dist::OffsetOp::create(builder, loc, RankedTensorType::get({}, builder.getI64Type()),
                             reshard.axesAttr(axes), reshard.counts(extent, axes));
  if (type != builder.getI64Type())
    begin = nn::CastOp::create(builder, loc, RankedTensorType::get({}, type), begin);
  Value own = nn::SubOp::create(builder, loc, index, begin);
  Value inside = inRange(own, held);
  Value other =
      nn::SelectOp::create(builder, loc, inRange(index, all), scalar(type, 0), scalar(type, held));
  Value safe = nn::SelectOp::create(builder, loc, inside, own, other);
  Value rows = nn::GatherOp::create(builder, loc, local.operands[0], safe, axis);

  SmallVector<int64_t> shape(typeOf(inside).getShape());
  shape.append(typeOf(local.operands[0]).getRank() - axis - 1, 1);
  return nn::SelectOp::create(builder, loc, reshard.reshape(inside, shape, loc), rows, zero);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

static dist::ReductionKind reductionOf(nn::ReduceKind kind) {
  switch (kind) {
  case nn::ReduceKind::Sum:
  case nn::ReduceKind::Mean: return dist::ReductionKind::Sum;
  case nn::ReduceKind::Max: return dist::ReductionKind::Max;
  case nn::ReduceKind::Min: return dist::ReductionKind::Min;
  case nn::ReduceKind::Prod: return dist::ReductionKind::Prod;
  }
  llvm_unreachable("five kinds");
}

/// A mean divides by the count of the whole; a maximum is combined at once.
Value Localizer::reduce(nn::ReduceOp op) {
  int64_t count = 1;
  SmallVector<StringAttr> axes;
  for (int64_t dim : op.getDims()) {
    count *= taken(0, dim).getSize();
    addCutAxes(taken(0, dim), axes);
  }
  Value input = local.operands.front();
  if (axes.empty())
    return clone(input).front();
  Type type = op.getType().getElementType();
  if (op.getKind() == nn::ReduceKind::Mean) {
    Value sum = nn::ReduceOp::create(builder, loc, nn::ReduceKind::Sum, input, op.getDims());
    return nn::DivOp::create(builder, loc, sum, scalar(type, count));
  }
  Value part = nn::ReduceOp::create(builder, loc, op.getKind(), input, op.getDims());
  if (op.getKind() == nn::ReduceKind::Sum)
    return part;
  return allReduce(reductionOf(op.getKind()), part, axes);
}

/// Each rank's best and its index are gathered, and the best of them taken:
/// ranks hold rising runs of indices, so of equals the first stays the first.
Value Localizer::argReduce(nn::ArgReduceOp op) {
  int64_t dim = op.getDim();
  ExtentAttr extent = taken(0, dim);
  Value input = local.operands.front();
  if (!extent.isCut())
    return clone(input).front();

  SmallVector<StringAttr> axes = cutAxes(extent);
  SmallVector<int64_t> counts;
  for (int64_t held : reshard.counts(extent, axes))
    counts.push_back(std::min<int64_t>(held, 1));
  int64_t parts = std::accumulate(counts.begin(), counts.end(), int64_t(0));

  // A rank without elements has no best to give.
  SmallVector<int64_t> shape(typeOf(input).getShape());
  Value index, value = input;
  auto i64 = builder.getI64Type();
  if (shape[dim] == 0) {
    index = nn::CastOp::create(builder, loc, RankedTensorType::get(shape, i64), input);
  } else {
    index = nn::ArgReduceOp::create(builder, loc, op.getKind(), input, dim, op.getLast());
    value = nn::GatherElementsOp::create(builder, loc, input, index, dim);
    Value begin = dist::OffsetOp::create(builder, loc, RankedTensorType::get({}, i64),
                                         reshard.axesAttr(axes), reshard.counts(extent, axes));
    index = nn::AddOp::create(builder, loc, index, begin);
  }
  auto gather = [&](Value part) -> Value {
    SmallVector<int64_t> whole(typeOf(part).getShape());
    whole[dim] = parts;
    auto op = dist::AllGatherOp::create(builder, loc,
                                        RankedTensorType::get(whole, typeOf(part).getElementType()),
                                        part, dim, reshard.axesAttr(axes), counts);
    op->setAttr(kReason,
                builder.getStringAttr("the best of each rank's part, and where it stands"));
    return op;
  };
  Value values = gather(value), indices = gather(index);
  Value best = nn::ArgReduceOp::create(builder, loc, op.getKind(), values, dim, op.getLast());
  return nn::GatherElementsOp::create(builder, loc, indices, best, dim);
}

Value Localizer::softmax(nn::SoftmaxOp op) {
  int64_t dim = op.getDim();
  ExtentAttr extent = taken(0, dim);
  Value input = local.operands.front();
  if (!extent.isCut())
    return clone(input).front();
  SmallVector<StringAttr> axes = cutAxes(extent);
  RankedTensorType type = typeOf(input);
  auto wide = RankedTensorType::get(type.getShape(), builder.getF32Type());
  if (wide != type)
    input = nn::CastOp::create(builder, loc, wide, input);
  Value most = allReduce(dist::ReductionKind::Max,
                         nn::ReduceOp::create(builder, loc, nn::ReduceKind::Max, input, dim), axes);
  Value shifted = nn::ExpOp::create(builder, loc, nn::SubOp::create(builder, loc, input, most));
  Value sum =
      allReduce(dist::ReductionKind::Sum,
                nn::ReduceOp::create(builder, loc, nn::ReduceKind::Sum, shifted, dim), axes);
  Value result = nn::DivOp::create(builder, loc, shifted, sum);
  return wide == type ? result : Value(nn::CastOp::create(builder, loc, type, result));
}

//===----------------------------------------------------------------------===//
// Contractions
//===----------------------------------------------------------------------===//

Value Localizer::conv(nn::ConvOp op) {
  int64_t groups = op.getGroups();
  if (groups > 1) {
    // Channels are (groups, …), and only whole groups are given to a rank.
    int64_t channels = typeOf(local.operands[0]).getDimSize(1);
    groups = channels / std::max<int64_t>(1, typeOf(local.operands[1]).getDimSize(1));
  }
  RankedTensorType result = reshard.localType(op.getType(), local.given.front());
  // Without a channel there is nothing to compute, but what brought the operand here
  // has to be waited for as on the other ranks.
  if (groups == 0) {
    Value none = reshard.reshape(local.operands[0], result.getShape(), loc);
    return none.getType() == result ? none : nn::CastOp::create(builder, loc, result, none);
  }
  return nn::ConvOp::create(builder, loc, local.operands[0], local.operands[1], op.getStrides(),
                            op.getDilations(), op.getLow(), op.getHigh(), groups);
}

/// A rank with a part of the rows of q spells its rows of the causal mask out.
Value Localizer::attention(nn::AttentionOp op) {
  ExtentAttr rows = taken(0, 2);
  if (!op.getCausal() || !rows.isCut())
    return clone(local.operands).front();

  auto i64 = builder.getI64Type();
  Value query = local.operands[0], key = local.operands[1], value = local.operands[2];
  int64_t keys = typeOf(key).getDimSize(2);
  Value last = positions(rows, i64);
  last = reshard.reshape(last, {typeOf(last).getDimSize(0), 1}, loc);
  Value lengths = op.getLengths() ? local.operands.back() : Value();
  Value offset = scalar(i64, static_cast<int64_t>(op.getOffset()));
  if (lengths) {
    Value ends = lengths;
    if (typeOf(ends).getElementType() != i64)
      ends = nn::CastOp::create(builder, loc, RankedTensorType::get(typeOf(ends).getShape(), i64),
                                ends);
    ends = reshard.reshape(ends, {typeOf(ends).getDimSize(0), 1, 1, 1}, loc);
    offset = nn::SubOp::create(builder, loc, ends, scalar(i64, rows.getSize()));
  }
  last = nn::AddOp::create(builder, loc, last, offset);
  Value columns = positions(ExtentAttr::get(builder.getContext(), keys), i64);
  Value mask = nn::CompareOp::create(builder, loc, nn::CompareKind::Le, columns, last);
  if (op.getMask()) {
    Value given = local.operands[3];
    Type type = typeOf(given).getElementType();
    mask =
        type.isInteger(1)
            ? Value(nn::AndOp::create(builder, loc, given, mask))
            : Value(nn::SelectOp::create(builder, loc, mask, given,
                                         scalar(type, -std::numeric_limits<double>::infinity())));
  }
  return nn::AttentionOp::create(builder, loc, query, key, value, mask, lengths, op.getScaleAttr(),
                                 op.getSoftcapAttr(), UnitAttr(), builder.getI64IntegerAttr(0),
                                 op.getEmptyRowsAttr());
}

//===----------------------------------------------------------------------===//
// Dispatch
//===----------------------------------------------------------------------===//

FailureOr<SmallVector<Value>> Localizer::run() {
  if (auto op = dyn_cast<nn::SliceOp>(local.op)) {
    FailureOr<Value> result = slice(op);
    if (failed(result))
      return failure();
    return SmallVector<Value>{*result};
  }
  if (auto op = dyn_cast<nn::ReduceOp>(local.op))
    return SmallVector<Value>{reduce(op)};
  if (auto op = dyn_cast<nn::ArgReduceOp>(local.op))
    return SmallVector<Value>{argReduce(op)};
  if (auto op = dyn_cast<nn::SoftmaxOp>(local.op))
    return SmallVector<Value>{softmax(op)};
  if (auto op = dyn_cast<nn::ConvOp>(local.op))
    return SmallVector<Value>{conv(op)};
  if (auto op = dyn_cast<nn::AttentionOp>(local.op))
    return SmallVector<Value>{attention(op)};
  if (auto op = dyn_cast<nn::GatherOp>(local.op))
    if (taken(0, op.getAxis()).isCut())
      return SmallVector<Value>{lookUp(op)};
  return clone(local.operands);
}

FailureOr<SmallVector<Value>> sharding::localizeOp(OpBuilder &builder, Reshard &reshard,
                                                   const LocalOp &local) {
  return Localizer(builder, reshard, local).run();
}
