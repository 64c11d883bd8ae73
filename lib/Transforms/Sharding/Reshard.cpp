//===- Reshard.cpp - from one sharding of a tensor to another -------------===//
//
// Dimensions that change are opened, so that each factor of a product is a
// dimension of its own; then, what is whole is sliced, partial sums are scattered
// or reduced, cuts that move do so by all-to-all, and what is left is gathered:
//
//   [2, 8 over "tp" * 16]  ->  [2, 128]
//   reshape 2x64 to 2x4x16, all_gather dim 1, reshape 2x8x16 to 2x128
//
// A cut of a concatenation cuts each of its segments: its members' parts are
// packed one behind the other for the collective, and put in order after it.
//
//===----------------------------------------------------------------------===//

#include "Reshard.h"

#include <numeric>

using namespace mlir;
using namespace cleave;
using cleave::nn::typeOf;
using namespace cleave::sharding;
using dist::ExtentAttr;
using dist::ShardingAttr;

using Axes = SmallVector<StringAttr, 2>;

//===----------------------------------------------------------------------===//
// Small movement
//===----------------------------------------------------------------------===//

RankedTensorType Reshard::localType(Type type, ShardingAttr sharding) {
  return RankedTensorType::get(sharding.getLocalShape(mesh, rank),
                               cast<RankedTensorType>(type).getElementType());
}

ArrayAttr Reshard::axesAttr(ArrayRef<StringAttr> axes) {
  SmallVector<StringAttr> joined = dist::joinAxes(mesh, axes);
  return builder.getArrayAttr(SmallVector<Attribute>(joined.begin(), joined.end()));
}

SmallVector<int64_t> Reshard::groupOf(ArrayRef<StringAttr> axes) {
  for (auto &group : mesh.getGroups(axes))
    if (llvm::is_contained(group, rank))
      return group;
  llvm_unreachable("every rank is in a group");
}

SmallVector<int64_t> Reshard::counts(ExtentAttr extent, ArrayRef<StringAttr> axes) {
  SmallVector<int64_t> out;
  for (int64_t member : groupOf(axes))
    out.push_back(extent.getLocalSize(mesh, member));
  return out;
}

Value Reshard::reshape(Value value, ArrayRef<int64_t> shape, Location loc) {
  RankedTensorType type = RankedTensorType::get(shape, typeOf(value).getElementType());
  return type == value.getType() ? value : nn::ReshapeOp::create(builder, loc, type, value);
}

Value Reshard::slice(Value value, int64_t dim, int64_t start, int64_t size, Location loc) {
  ArrayRef<int64_t> shape = typeOf(value).getShape();
  if (shape[dim] == size)
    return value;
  SmallVector<int64_t> starts(shape.size(), 0), sizes(shape), steps(shape.size(), 1);
  starts[dim] = start;
  sizes[dim] = size;
  return nn::SliceOp::create(builder, loc, value, starts, sizes, steps);
}

Value Reshard::concat(ValueRange values, int64_t dim, Location loc) {
  SmallVector<Value> kept;
  for (Value value : values)
    if (typeOf(value).getDimSize(dim) != 0)
      kept.push_back(value);
  if (kept.size() == 1)
    return kept.front();
  return nn::ConcatOp::create(builder, loc, kept.empty() ? SmallVector<Value>{values[0]} : kept,
                              dim);
}

//===----------------------------------------------------------------------===//
// Trees: a part of a dimension, by structure
//===----------------------------------------------------------------------===//

/// Calls `inner` on the factor of a product that differs, as a dimension of its
/// own; `size` says how large a factor is in `value`, `after` in the result.
static Value throughProduct(Reshard &reshard, Value value, int64_t dim, ExtentAttr from,
                            ExtentAttr to, function_ref<int64_t(ExtentAttr)> size, Location loc,
                            function_ref<Value(Value, int64_t, ExtentAttr, ExtentAttr)> inner) {
  for (auto [i, parts] : llvm::enumerate(llvm::zip(from.getParts(), to.getParts()))) {
    auto [a, b] = parts;
    if (a == b)
      continue;
    SmallVector<int64_t> shape(typeOf(value).getShape()), opened(shape);
    int64_t outer = 1, own = size(a);
    for (ExtentAttr before : from.getParts().take_front(i))
      outer *= size(before);
    int64_t rest = 1;
    for (ExtentAttr behind : from.getParts().drop_front(i + 1))
      rest *= size(behind);
    opened.erase(opened.begin() + dim);
    opened.insert(opened.begin() + dim, {outer, own, rest});
    Value result = inner(reshard.reshape(value, opened, loc), dim + 1, a, b);
    shape[dim] = outer * typeOf(result).getDimSize(dim + 1) * rest;
    return reshard.reshape(result, shape, loc);
  }
  return value;
}

/// The axes that `to` has at its end beyond those of `from`.
static Axes addedAxes(ExtentAttr from, ExtentAttr to) {
  ArrayRef<StringAttr> added = to.getAxes().drop_front(from.getAxes().size());
  return Axes(added.begin(), added.end());
}

/// This rank's part of dimension `dim`, which is as `from` says, by slices alone.
Value Reshard::sliceTree(Value value, int64_t dim, ExtentAttr from, ExtentAttr to, Location loc) {
  if (from == to)
    return value;
  if (from.isLeaf()) {
    Axes axes = addedAxes(from, to);
    SmallVector<int64_t> shape(typeOf(value).getShape());
    shape[dim] = localSize(to);
    auto type = RankedTensorType::get(shape, typeOf(value).getElementType());
    return dist::SliceOp::create(builder, loc, type, value, dim, axesAttr(axes), counts(to, axes));
  }
  if (from.isProduct())
    return throughProduct(
        *this, value, dim, from, to, [&](ExtentAttr part) { return localSize(part); }, loc,
        [&](Value v, int64_t d, ExtentAttr a, ExtentAttr b) { return sliceTree(v, d, a, b, loc); });
  SmallVector<Value> segments;
  int64_t begin = 0;
  for (auto [a, b] : llvm::zip(from.getParts(), to.getParts())) {
    int64_t size = localSize(a);
    segments.push_back(sliceTree(slice(value, dim, begin, size, loc), dim, a, b, loc));
    begin += size;
  }
  return concat(segments, dim, loc);
}

/// As sliceTree, for the known rank `memberRank` of the group: static slices.
Value Reshard::memberPart(Value value, int64_t dim, ExtentAttr from, ExtentAttr to,
                          int64_t memberRank, Location loc) {
  if (from == to)
    return value;
  if (from.isLeaf()) {
    int64_t begin = 0;
    Axes axes = addedAxes(from, to);
    for (int64_t other : groupOf(axes)) {
      if (other == memberRank)
        break;
      begin += to.getLocalSize(mesh, other);
    }
    return slice(value, dim, begin, to.getLocalSize(mesh, memberRank), loc);
  }
  if (from.isProduct())
    return throughProduct(
        *this, value, dim, from, to, [&](ExtentAttr part) { return localSize(part); }, loc,
        [&](Value v, int64_t d, ExtentAttr a, ExtentAttr b) {
          return memberPart(v, d, a, b, memberRank, loc);
        });
  SmallVector<Value> segments;
  int64_t begin = 0;
  for (auto [a, b] : llvm::zip(from.getParts(), to.getParts())) {
    int64_t size = localSize(a);
    segments.push_back(memberPart(slice(value, dim, begin, size, loc), dim, a, b, memberRank, loc));
    begin += size;
  }
  return concat(segments, dim, loc);
}

/// From the members' parts of a dimension, cut as `from`, to the dimension as `to`.
Value Reshard::mergeMembers(ArrayRef<Value> pieces, int64_t dim, ExtentAttr from, ExtentAttr to,
                            ArrayRef<int64_t> ranks, Location loc) {
  if (from == to)
    return pieces.front();
  if (from.isLeaf())
    return concat(pieces, dim, loc);
  if (from.isProduct()) {
    size_t at = 0;
    while (from.getParts()[at] == to.getParts()[at])
      ++at;
    int64_t outer = 1, rest = 1;
    for (ExtentAttr before : from.getParts().take_front(at))
      outer *= localSize(before);
    for (ExtentAttr behind : from.getParts().drop_front(at + 1))
      rest *= localSize(behind);
    SmallVector<Value> opened;
    for (auto [piece, member] : llvm::zip(pieces, ranks)) {
      SmallVector<int64_t> shape(typeOf(piece).getShape());
      shape.erase(shape.begin() + dim);
      shape.insert(shape.begin() + dim,
                   {outer, from.getParts()[at].getLocalSize(mesh, member), rest});
      opened.push_back(reshape(piece, shape, loc));
    }
    Value merged =
        mergeMembers(opened, dim + 1, from.getParts()[at], to.getParts()[at], ranks, loc);
    SmallVector<int64_t> shape(typeOf(pieces.front()).getShape());
    shape[dim] = outer * typeOf(merged).getDimSize(dim + 1) * rest;
    return reshape(merged, shape, loc);
  }
  SmallVector<Value> segments;
  SmallVector<int64_t> begins(pieces.size(), 0);
  for (auto [a, b] : llvm::zip(from.getParts(), to.getParts())) {
    SmallVector<Value> own;
    for (auto [i, piece] : llvm::enumerate(pieces)) {
      int64_t size = a.getLocalSize(mesh, ranks[i]);
      own.push_back(slice(piece, dim, begins[i], size, loc));
      begins[i] += size;
    }
    segments.push_back(mergeMembers(own, dim, a, b, ranks, loc));
  }
  return concat(segments, dim, loc);
}

/// Of a dimension as `from`, the parts of all members one behind the other.
Value Reshard::packByMember(Value value, int64_t dim, ExtentAttr from, ExtentAttr to,
                            ArrayRef<int64_t> ranks, Location loc) {
  if (from.isLeaf())
    return value;
  SmallVector<Value> parts;
  for (int64_t member : ranks)
    parts.push_back(memberPart(value, dim, from, to, member, loc));
  return concat(parts, dim, loc);
}

/// The way back.
Value Reshard::unpackByMember(Value value, int64_t dim, ExtentAttr from, ExtentAttr to,
                              ArrayRef<int64_t> ranks, Location loc) {
  if (from.isLeaf())
    return value;
  SmallVector<Value> pieces;
  int64_t begin = 0;
  for (int64_t member : ranks) {
    int64_t size = from.getLocalSize(mesh, member);
    pieces.push_back(slice(value, dim, begin, size, loc));
    begin += size;
  }
  return mergeMembers(pieces, dim, from, to, ranks, loc);
}

//===----------------------------------------------------------------------===//
// Changes
//===----------------------------------------------------------------------===//

/// Dimension `dim` loses or gains `axes`, the cut that ends a leaf's list.
struct Reshard::Change {
  size_t dim;
  Axes axes;
  ExtentAttr target; ///< what the dimension becomes, other changes included
};

/// A tensor with the dimensions that change opened, and how it is cut now.
struct Reshard::Opened {
  Value value;
  SmallVector<ExtentAttr> extents;
  Axes partial;
};

using LeafFn = function_ref<ExtentAttr(ExtentAttr from, ExtentAttr to)>;

/// A tree with each pair of leaves of two trees of one structure mapped.
static ExtentAttr mapLeaves(ExtentAttr from, ExtentAttr to, LeafFn map) {
  if (from.isLeaf())
    return map(from, to);
  SmallVector<ExtentAttr> parts;
  for (auto [a, b] : llvm::zip(from.getParts(), to.getParts()))
    parts.push_back(mapLeaves(a, b, map));
  return ExtentAttr::get(from.getContext(), from.getIsConcat(), parts);
}

static ExtentAttr withAxes(ExtentAttr leaf, ArrayRef<StringAttr> axes) {
  return ExtentAttr::get(leaf.getContext(), leaf.getSize(), axes);
}

/// `extent` with the structure of `model`, where it is whole and has none.
static ExtentAttr structuredLike(ExtentAttr extent, ExtentAttr model) {
  if (!extent.isLeaf() || model.isLeaf() || extent.isCut())
    return extent;
  return mapLeaves(model, model, [](ExtentAttr leaf, ExtentAttr) { return withAxes(leaf, {}); });
}

/// Whether cutting by `more` after `fewer`, a prefix of it, gives the same parts: between
/// the sub-axes of one axis only where it divides them.
static bool nests(dist::MeshAttr mesh, int64_t size, ArrayRef<StringAttr> fewer,
                  ArrayRef<StringAttr> more) {
  if (fewer.size() > more.size() || more.take_front(fewer.size()) != fewer)
    return false;
  SmallVector<StringAttr> first = dist::joinAxes(mesh, fewer), all = dist::joinAxes(mesh, more);
  return ArrayRef(all).take_front(first.size()) == ArrayRef(first) ||
         size % *mesh.getGroupSize(more) == 0;
}

/// The cut between two: what gathers lead to and slices start from.
static ExtentAttr meeting(dist::MeshAttr mesh, ExtentAttr from, ExtentAttr to) {
  return mapLeaves(from, to, [&](ExtentAttr a, ExtentAttr b) {
    if (nests(mesh, a.getSize(), a.getAxes(), b.getAxes()))
      return a;
    if (nests(mesh, a.getSize(), b.getAxes(), a.getAxes()))
      return b;
    return withAxes(a, {});
  });
}

/// The different lists of axes by which leaves of `more` are cut beyond `fewer`.
static SmallVector<Axes> differences(ExtentAttr fewer, ExtentAttr more) {
  SmallVector<Axes> out;
  mapLeaves(fewer, more, [&](ExtentAttr a, ExtentAttr b) {
    Axes added = addedAxes(a, b);
    if (!added.empty() && !llvm::is_contained(out, added))
      out.push_back(added);
    return a;
  });
  return out;
}

/// `from` with those leaves as `to` that differ by just `axes`.
static ExtentAttr applied(ExtentAttr from, ExtentAttr to, ArrayRef<StringAttr> axes) {
  return mapLeaves(from, to, [&](ExtentAttr a, ExtentAttr b) {
    bool grows = a.getAxes().size() < b.getAxes().size();
    return ArrayRef(grows ? addedAxes(a, b) : addedAxes(b, a)) == axes ? b : a;
  });
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

static void annotate(Operation *op, const Cause &cause) {
  op->setAttr(kReason, StringAttr::get(op->getContext(), cause.reason));
}

static RankedTensorType withSize(Value value, int64_t dim, int64_t size) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape[dim] = size;
  return RankedTensorType::get(shape, typeOf(value).getElementType());
}

void Reshard::applySlice(Opened &state, const Change &change, const Cause &cause) {
  ExtentAttr &extent = state.extents[change.dim];
  ExtentAttr to = applied(extent, change.target, change.axes);
  state.value = sliceTree(state.value, change.dim, extent, to, cause.loc);
  extent = to;
}

void Reshard::applyScatter(Opened &state, const Change &change, const Cause &cause) {
  ExtentAttr &extent = state.extents[change.dim];
  ExtentAttr to = applied(extent, change.target, change.axes);
  Value packed = packByMember(state.value, change.dim, extent, to, groupOf(change.axes), cause.loc);
  auto scatter = dist::ReduceScatterOp::create(
      builder, cause.loc, withSize(packed, change.dim, localSize(to)), dist::ReductionKind::Sum,
      packed, change.dim, axesAttr(change.axes), counts(to, change.axes));
  annotate(scatter, cause);
  state.value = scatter;
  extent = to;
}

void Reshard::applyGather(Opened &state, const Change &change, const Cause &cause) {
  ExtentAttr &extent = state.extents[change.dim];
  ExtentAttr to = applied(extent, change.target, change.axes);
  auto gather = [&](Value part, ExtentAttr a, ExtentAttr b) -> Value {
    SmallVector<int64_t> sizes = counts(a, change.axes);
    int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t(0));
    auto op = dist::AllGatherOp::create(builder, cause.loc, withSize(part, change.dim, total), part,
                                        change.dim, axesAttr(change.axes), sizes);
    annotate(op, cause);
    return unpackByMember(op, change.dim, a, b, groupOf(change.axes), cause.loc);
  };
  if (extent.isLeaf()) {
    state.value = gather(state.value, extent, to);
    extent = to;
    return;
  }

  // Only the segments that change travel.
  SmallVector<Value> segments, moving;
  SmallVector<ExtentAttr> movingFrom, movingTo;
  int64_t begin = 0;
  for (auto [a, b] : llvm::zip(extent.getParts(), to.getParts())) {
    segments.push_back(slice(state.value, change.dim, begin, localSize(a), cause.loc));
    begin += localSize(a);
    if (a == b)
      continue;
    moving.push_back(segments.back());
    movingFrom.push_back(a);
    movingTo.push_back(b);
  }
  MLIRContext *context = builder.getContext();
  Value whole =
      gather(concat(moving, change.dim, cause.loc), ExtentAttr::get(context, true, movingFrom),
             ExtentAttr::get(context, true, movingTo));
  begin = 0;
  for (auto [segment, a, b] : llvm::zip(segments, extent.getParts(), to.getParts())) {
    if (a == b)
      continue;
    segment = slice(whole, change.dim, begin, localSize(b), cause.loc);
    begin += localSize(b);
  }
  state.value = concat(segments, change.dim, cause.loc);
  extent = to;
}

void Reshard::applyAllToAll(Opened &state, const Change &gather, const Change &split,
                            const Cause &cause) {
  ExtentAttr &gathered = state.extents[gather.dim], &cut = state.extents[split.dim];
  ExtentAttr whole = applied(gathered, gather.target, gather.axes);
  ExtentAttr part = applied(cut, split.target, split.axes);
  SmallVector<int64_t> ranks = groupOf(split.axes);
  SmallVector<int64_t> splits = counts(part, split.axes), concats = counts(gathered, split.axes);
  Value packed = packByMember(state.value, split.dim, cut, part, ranks, cause.loc);
  SmallVector<int64_t> shape(typeOf(packed).getShape());
  shape[split.dim] = localSize(part);
  shape[gather.dim] = std::accumulate(concats.begin(), concats.end(), int64_t(0));
  auto op = dist::AllToAllOp::create(
      builder, cause.loc, RankedTensorType::get(shape, typeOf(packed).getElementType()), packed,
      split.dim, gather.dim, axesAttr(split.axes), splits, concats);
  annotate(op, cause);
  state.value = unpackByMember(op, gather.dim, gathered, whole, ranks, cause.loc);
  gathered = whole;
  cut = part;
}

/// A whole value counts once in a sum: the first member keeps it, others hold 0.
void Reshard::keepOnFirst(Opened &state, ArrayRef<StringAttr> axes, Location loc) {
  SmallVector<int64_t> ones(*mesh.getGroupSize(axes), 1);
  auto scalar = RankedTensorType::get({}, builder.getI64Type());
  Value member = dist::OffsetOp::create(builder, loc, scalar, axesAttr(axes), ones);
  Value first =
      nn::ConstantOp::create(builder, loc, cast<ElementsAttr>(builder.getZeroAttr(scalar)));
  Value isFirst = nn::CompareOp::create(builder, loc, nn::CompareKind::Eq, member, first);
  auto zeroType = RankedTensorType::get({}, typeOf(state.value).getElementType());
  Value zero = nn::ConstantOp::create(builder, loc, zeroType,
                                      cast<ElementsAttr>(builder.getZeroAttr(zeroType)));
  state.value = nn::SelectOp::create(builder, loc, isFirst, state.value, zero);
}

//===----------------------------------------------------------------------===//
// The whole way
//===----------------------------------------------------------------------===//

/// The factors of a product in which two shardings differ, or the extent itself.
static void open(ExtentAttr from, ExtentAttr to, SmallVectorImpl<ExtentAttr> &outFrom,
                 SmallVectorImpl<ExtentAttr> &outTo) {
  if (from == to || !from.isProduct()) {
    outFrom.push_back(from);
    outTo.push_back(to);
    return;
  }
  for (auto [a, b] : llvm::zip(from.getParts(), to.getParts()))
    open(a, b, outFrom, outTo);
}

static bool intersects(ArrayRef<StringAttr> a, ArrayRef<StringAttr> b) {
  return llvm::any_of(a, [&](StringAttr axis) { return llvm::is_contained(b, axis); });
}

Value Reshard::convert(Value local, ShardingAttr from, ShardingAttr to, const Cause &cause) {
  if (from == to)
    return local;
  SmallVector<ExtentAttr> target;
  Opened state;
  for (auto [a, b] : llvm::zip(from.getDims(), to.getDims())) {
    ExtentAttr source = structuredLike(a, b);
    open(source, structuredLike(b, source), state.extents, target);
  }
  SmallVector<int64_t> shape;
  for (ExtentAttr extent : state.extents)
    shape.push_back(localSize(extent));
  state.value = reshape(local, shape, cause.loc);

  SmallVector<Change> gathers, slices;
  for (auto [dim, a, b] : llvm::enumerate(state.extents, target)) {
    ExtentAttr middle = meeting(mesh, a, b);
    for (Axes &axes : differences(middle, a))
      gathers.push_back({dim, axes, middle});
    for (Axes &axes : differences(middle, b))
      slices.push_back({dim, axes, b});
  }
  Axes leaving, entering;
  for (StringAttr axis : from.getPartial())
    if (!llvm::is_contained(to.getPartial(), axis))
      leaving.push_back(axis);
  for (StringAttr axis : to.getPartial())
    if (!llvm::is_contained(from.getPartial(), axis))
      entering.push_back(axis);

  auto isBlocked = [&](const Change &slice) {
    return llvm::any_of(gathers, [&](const Change &gather) {
      return gather.dim == slice.dim || intersects(gather.axes, slice.axes);
    });
  };
  auto takeSlices = [&](function_ref<bool(const Change &)> when,
                        function_ref<void(const Change &)> apply) {
    llvm::erase_if(slices, [&](const Change &slice) {
      if (!when(slice))
        return false;
      apply(slice);
      return true;
    });
  };

  // Slices are free and leave less to move.
  takeSlices(
      [&](const Change &slice) { return !isBlocked(slice) && !intersects(slice.axes, leaving); },
      [&](const Change &slice) { applySlice(state, slice, cause); });
  takeSlices(
      [&](const Change &slice) {
        return !isBlocked(slice) && llvm::all_of(slice.axes, [&](StringAttr axis) {
          return llvm::is_contained(leaving, axis);
        });
      },
      [&](const Change &slice) {
        applyScatter(state, slice, cause);
        llvm::erase_if(leaving,
                       [&](StringAttr axis) { return llvm::is_contained(slice.axes, axis); });
      });
  if (!leaving.empty()) {
    auto reduce =
        dist::AllReduceOp::create(builder, cause.loc, state.value.getType(),
                                  dist::ReductionKind::Sum, state.value, axesAttr(leaving));
    annotate(reduce, cause);
    state.value = reduce;
  }
  takeSlices(
      [&](const Change &slice) {
        bool ownGather =
            llvm::any_of(gathers, [&](const Change &gather) { return gather.dim == slice.dim; });
        auto *partner =
            llvm::find_if(gathers, [&](const Change &gather) { return gather.axes == slice.axes; });
        return !ownGather && partner != gathers.end();
      },
      [&](const Change &slice) {
        auto *partner =
            llvm::find_if(gathers, [&](const Change &gather) { return gather.axes == slice.axes; });
        applyAllToAll(state, *partner, slice, cause);
        gathers.erase(partner);
      });
  for (const Change &gather : gathers)
    applyGather(state, gather, cause);
  for (const Change &slice : slices)
    applySlice(state, slice, cause);
  if (!entering.empty())
    keepOnFirst(state, entering, cause.loc);
  return reshape(state.value, to.getLocalShape(mesh, rank), cause.loc);
}
