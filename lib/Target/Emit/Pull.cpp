//===- Pull.cpp - the value of a tensor at an index -----------------------===//

#include "Emitter.h"

#include "Dist/Dist.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

Value Emitter::pull(Value tensor, const Index &at) {
  if (auto it = defined.find(tensor); it != defined.end())
    return it->second(at);
  if (auto argument = dyn_cast<BlockArgument>(tensor))
    return load(argument.getArgNumber(), at);
  auto key = std::make_pair(tensor.getAsOpaquePointer(), at);
  if (auto it = memo.values.find(key); it != memo.values.end())
    return it->second;
  Value result = pullOp(tensor.getDefiningOp(), tensor, at);
  memo.values[key] = result;
  return result;
}

Value Emitter::memberOffset(Operation *op, ArrayAttr axes, ArrayRef<int64_t> counts) {
  auto module = kernel->getParentOfType<ModuleOp>();
  auto mesh = module->getAttrOfType<dist::MeshAttr>(dist::kMesh);
  // The rank, row-major over the axes, and a table by rank.
  Index rank;
  for (auto [axis, size] : llvm::enumerate(mesh.getSizes())) {
    Value coordinate = memref::LoadOp::create(builder, loc, coordinates, indexConstant(axis));
    coordinate = arith::IndexCastOp::create(builder, loc, builder.getIndexType(), coordinate);
    rank = rank * size + Index::of(symbol(coordinate, size));
  }
  SmallVector<StringAttr> names = dist::axisList(axes);
  SmallVector<int64_t> offsets;
  for (int64_t r = 0; r < mesh.getNumRanks(); ++r) {
    int64_t member = mesh.getMember(names, r);
    offsets.push_back(std::accumulate(counts.begin(), counts.begin() + member, int64_t(0)));
  }
  auto type = RankedTensorType::get({static_cast<int64_t>(offsets.size())}, builder.getI64Type());
  Value table = globalOf(DenseElementsAttr::get(type, ArrayRef<int64_t>(offsets)));
  Value offset = loadMemory(table, builder.getI64Type(), rank);
  return arith::IndexCastOp::create(builder, loc, builder.getIndexType(), offset);
}

Value Emitter::globalOf(DenseElementsAttr stored) {
  Value &global = globals[stored];
  if (!global) {
    auto type = MemRefType::get({stored.getNumElements()}, stored.getElementType());
    std::string name = "constant_" + std::to_string(globals.size());
    OpBuilder outside(target);
    memref::GlobalOp::create(outside, loc, name, outside.getStringAttr("private"), type, stored,
                             /*constant=*/true, /*alignment=*/outside.getI64IntegerAttr(64));
    outside.setInsertionPointToStart(&target.getBody().front());
    global = memref::GetGlobalOp::create(outside, loc, type, name);
  }
  return global;
}

std::optional<Index> Emitter::through(Operation *op, const Index &at) {
  if (isa<nn::ReshapeOp>(op))
    return at;
  if (auto broadcast = dyn_cast<nn::BroadcastOp>(op))
    return broadcastIndex(at, shape(broadcast.getResult()), shape(broadcast.getInput()));

  if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
    // Dimensions that stay neighbours count as one.
    ArrayRef<int64_t> from = shape(transpose.getInput());
    SmallVector<int64_t> order;
    for (int64_t dim : transpose.getPermutation())
      if (from[dim] != 1)
        order.push_back(dim);
    SmallVector<SmallVector<int64_t>> runs;
    auto follows = [&](int64_t a, int64_t b) {
      for (++a; a < b; ++a)
        if (from[a] != 1)
          return false;
      return a == b;
    };
    for (int64_t dim : order) {
      if (runs.empty() || !follows(runs.back().back(), dim))
        runs.emplace_back();
      runs.back().push_back(dim);
    }
    SmallVector<int64_t> sizes;
    for (auto &run : runs) {
      int64_t size = 1;
      for (int64_t dim : run)
        size *= from[dim];
      sizes.push_back(size);
    }
    SmallVector<Index> indices = delinearize(at, sizes);
    auto source = llvm::to_vector(llvm::seq<size_t>(0, runs.size()));
    llvm::sort(source, [&](size_t a, size_t b) { return runs[a].front() < runs[b].front(); });
    Index flat;
    for (size_t run : source)
      flat = flat * sizes[run] + indices[run];
    return flat;
  }

  if (auto slice = dyn_cast<nn::SliceOp>(op)) {
    // A dimension taken whole counts together with the one in front of it.
    ArrayRef<int64_t> from = shape(slice.getInput()), to = shape(slice.getResult());
    SmallVector<int64_t> fromSizes, toSizes, starts, steps;
    for (size_t dim = 0; dim < from.size(); ++dim) {
      bool isWhole =
          from[dim] == to[dim] && slice.getStarts()[dim] == 0 && slice.getSteps()[dim] == 1;
      if (isWhole && !fromSizes.empty() && steps.back() == 1) {
        fromSizes.back() *= from[dim];
        toSizes.back() *= to[dim];
        starts.back() *= from[dim];
      } else {
        fromSizes.push_back(from[dim]);
        toSizes.push_back(to[dim]);
        starts.push_back(slice.getStarts()[dim]);
        steps.push_back(slice.getSteps()[dim]);
      }
    }
    SmallVector<Index> indices = delinearize(at, toSizes);
    for (size_t i = 0; i < indices.size(); ++i)
      indices[i] = indices[i] * steps[i] + starts[i];
    return linearize(indices, fromSizes);
  }

  if (auto slice = dyn_cast<dist::SliceOp>(op)) {
    ArrayRef<int64_t> from = shape(slice.getInput()), to = shape(slice.getResult());
    int64_t dim = slice.getDim();
    int64_t inner = 1, outer = 1;
    for (int64_t i = 0; i < static_cast<int64_t>(from.size()); ++i)
      (i < dim ? outer : inner) *= i == dim ? 1 : from[i];
    SmallVector<Index> indices = delinearize(at, {outer, to[dim] * inner});
    Value start = dry ? Value() : memberOffset(slice, slice.getAxes(), slice.getCounts());
    Index first = Index::of(opaque(start, 0, from[dim] - to[dim], /*isVector=*/false));
    return linearize({indices[0], indices[1] + first * inner}, {outer, from[dim] * inner});
  }
  return std::nullopt;
}

/// Whether `op` gives the number that a narrower float is in registers anyway.
static bool isWidening(Operation *op) {
  auto cast = dyn_cast<nn::CastOp>(op);
  Type from = cast ? nn::elementOf(cast.getInput()) : Type();
  return cast && nn::elementOf(cast.getResult()).isF32() && isa<FloatType>(from) &&
         from.getIntOrFloatBitWidth() == 16;
}

std::optional<Emitter::Leaf> Emitter::trace(Value tensor, const Index &at) {
  Leaf leaf{0, {}, at};
  auto follow = [&] {
    while (Operation *op = tensor.getDefiningOp()) {
      if (defined.contains(tensor) || isa<dist::SliceOp>(op))
        return;
      if (isWidening(op)) {
        tensor = op->getOperand(0);
        continue;
      }
      std::optional<Index> next = through(op, leaf.at);
      if (!next)
        return;
      leaf.at = *next;
      tensor = op->getOperand(0);
    }
  };
  bool isExact = true;
  if (machine.isParallel) {
    follow();
  } else {
    // No loop can be split, so a division shows as a symbol.
    size_t mark = symbols.size();
    rehearse([&] {
      follow();
      isExact = llvm::all_of(leaf.at.terms,
                             [&](auto term) { return static_cast<size_t>(term.first) < mark; });
    });
  }
  auto argument = dyn_cast<BlockArgument>(tensor);
  if (!argument || !isExact)
    return std::nullopt;
  leaf.argument = argument.getArgNumber();
  leaf.element = cast<RankedTensorType>(tensor.getType()).getElementType();
  return leaf;
}

Value Emitter::pullOp(Operation *op, Value tensor, const Index &at) {
  if (std::optional<Index> source = through(op, at))
    return pull(op->getOperand(0), *source);
  if (isa<nn::ElementwiseOpInterface>(op))
    return pullElementwise(op, at);
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](nn::ConstantOp o) { return pullConstant(o, at); })
      .Case([&](nn::ConcatOp o) { return pullConcat(o, at); })
      .Case([&](nn::PadOp o) { return pullPad(o, at); })
      .Case([&](nn::GatherOp o) { return pullGather(o, at); })
      .Case([&](nn::GatherElementsOp o) { return pullGatherElements(o, at); })
      .Case([&](nn::GatherNdOp o) { return pullGatherNd(o, at); })
      .Case([&](nn::RopeOp o) { return pullRope(o, at); })
      .Case([&](dist::OffsetOp o) -> Value {
        if (dry)
          return {};
        Value offset = memberOffset(o, o.getAxes(), o.getCounts());
        return arith::IndexCastOp::create(builder, loc, builder.getI64Type(), offset);
      })
      .DefaultUnreachable("grouping gives the emitter only what it can pull");
}

Value Emitter::pullElementwise(Operation *op, const Index &at) {
  SmallVector<Value> operands;
  int64_t lanes = 1;
  for (Value operand : op->getOperands()) {
    Index index = broadcastIndex(at, shape(op->getResult(0)), shape(operand));
    operands.push_back(pull(operand, index));
    if (!dry)
      lanes = std::max(lanes, laneCount(operands.back()));
  }
  if (dry)
    return {};
  for (Value &operand : operands)
    operand = broadcast(operand, lanes);
  return cast<nn::ElementwiseOpInterface>(op).buildScalar(builder, operands);
}

/// A dense tensor as the runtime would store it: bools are bytes, integers
/// signless.
static DenseElementsAttr storedElements(DenseElementsAttr dense) {
  Type element = dense.getElementType();
  auto flat = [&](Type type) { return RankedTensorType::get({dense.getNumElements()}, type); };
  Type stored = Emitter::storedType(element);
  if (isa<FloatType>(stored))
    return dense.reshape(flat(element));
  unsigned width = stored.getIntOrFloatBitWidth();
  SmallVector<APInt> bits;
  if (isa<FloatType>(element))
    for (const APFloat &value : dense.getValues<APFloat>())
      bits.push_back(value.bitcastToAPInt());
  else
    for (const APInt &value : dense.getValues<APInt>())
      bits.push_back(value.zext(width));
  return DenseElementsAttr::get(flat(stored), bits);
}

Value Emitter::pullConstant(nn::ConstantOp op, const Index &at) {
  auto dense = cast<DenseElementsAttr>(op.getValue());
  auto [low, high] = range(at);
  if (!dense.isSplat() && low != high)
    separate(at, dense.getNumElements());
  if (dry)
    return {};
  Type element = dense.getElementType();
  // Of no elements none is ever read, but code is written for the place where one would be.
  if (dense.empty())
    return widen(arith::ConstantOp::create(
                     builder, loc, builder.getZeroAttr(storedElements(dense).getElementType())),
                 element);
  if (dense.isSplat() || low == high) {
    DenseElementsAttr one = storedElements(
        dense.isSplat() ? dense.resizeSplat(RankedTensorType::get({1}, element)) : dense);
    auto attr = one.getValues<Attribute>()[dense.isSplat() ? 0 : low];
    Value stored = arith::ConstantOp::create(builder, loc, cast<TypedAttr>(attr));
    return widen(stored, element);
  }
  // Of a few, choosing takes less than loading, and what is done with each is known.
  constexpr int64_t few = 4;
  if (machine.isParallel && dense.getNumElements() <= few)
    return widen(choose(storedElements(dense), at), element);
  return loadMemory(globalOf(storedElements(dense)), element, at);
}

Value Emitter::choose(DenseElementsAttr stored, const Index &at) {
  int64_t lanes = lanesOf(at);
  Value place = lanes > 1 ? vectorValue(at, lanes) : value(at), chosen;
  for (auto [i, attr] : llvm::enumerate(stored.getValues<Attribute>())) {
    Value one = broadcast(arith::ConstantOp::create(builder, loc, cast<TypedAttr>(attr)), lanes);
    if (!chosen) {
      chosen = one;
      continue;
    }
    Value number = broadcast(indexConstant(int64_t(i)), lanes);
    Value isIt = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, place, number);
    chosen = arith::SelectOp::create(builder, loc, isIt, one, chosen);
  }
  return chosen;
}

Value Emitter::select(const Test &test, const std::function<Value()> &yes,
                      const std::function<Value()> &no) {
  if (test.known)
    return *test.known ? yes() : no();
  Value a = yes(), b = no();
  if (dry)
    return {};
  int64_t lanes = std::max({laneCount(a), laneCount(b), laneCount(test.value)});
  a = broadcast(a, lanes);
  b = broadcast(b, lanes);
  return arith::SelectOp::create(builder, loc, broadcast(test.value, lanes), a, b);
}

Value Emitter::pullConcat(nn::ConcatOp op, const Index &at) {
  ArrayRef<int64_t> to = shape(op.getResult());
  int64_t axis = op.getAxis(), inner = 1;
  for (int64_t size : to.drop_front(axis + 1))
    inner *= size;
  auto [outer, place] = divide(at, to[axis] * inner);
  std::function<Value(size_t, Index)> from = [&](size_t number, Index rest) -> Value {
    Value operand = op.getInputs()[number];
    int64_t length = shape(operand)[axis] * inner;
    bool isLast = number + 1 == op.getInputs().size();
    if (length == 0 && !isLast)
      return from(number + 1, rest);
    auto here = [&]() -> Value { return pull(operand, outer * length + clamp(rest, length)); };
    if (isLast)
      return here();
    return select(isBelow(rest, length), here, [&] { return from(number + 1, rest - length); });
  };
  return from(0, place);
}

Value Emitter::pullPad(nn::PadOp op, const Index &at) {
  ArrayRef<int64_t> from = shape(op.getInput()), to = shape(op.getResult());
  SmallVector<Index> indices = delinearize(at, to);
  for (auto [index, low] : llvm::zip_equal(indices, op.getLow()))
    index = index - low;
  auto frame = [&] { return pull(op.getValue(), 0); };
  if (size(op.getInput()) == 0)
    return frame();
  std::function<Value(size_t)> inside = [&](size_t dim) -> Value {
    if (dim == from.size()) {
      SmallVector<Index> clamped;
      for (auto [index, extent] : llvm::zip_equal(indices, from))
        clamped.push_back(clamp(index, extent));
      return pull(op.getInput(), linearize(clamped, from));
    }
    return select(isBelow(indices[dim], 0), frame, [&] {
      return select(isBelow(indices[dim], from[dim]), [&] { return inside(dim + 1); }, frame);
    });
  };
  return inside(0);
}

Index Emitter::checkedIndex(Value wanted, int64_t size, bool allowNegative) {
  Value result;
  if (!dry) {
    int64_t lanes = laneCount(wanted);
    Type i64 = vectorOf(builder.getI64Type(), lanes);
    if (wanted.getType() != i64)
      wanted = arith::ExtSIOp::create(builder, loc, i64, wanted);
    auto constant = [&](int64_t number) {
      Value c = arith::ConstantOp::create(builder, loc, builder.getI64IntegerAttr(number));
      return broadcast(c, lanes);
    };
    Value isNegative =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, wanted, constant(0));
    Value fromEnd = arith::AddIOp::create(builder, loc, wanted, constant(size));
    Value index = wanted;
    if (allowNegative)
      index = arith::SelectOp::create(builder, loc, isNegative, fromEnd, wanted);
    Value wild =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::uge, index, constant(size));
    fault(wild);
    Value safe = arith::SelectOp::create(builder, loc, wild, constant(0), index);
    result =
        arith::IndexCastOp::create(builder, loc, vectorOf(builder.getIndexType(), lanes), safe);
  }
  bool isVector = result && laneCount(result) > 1;
  return Index::of(opaque(result, 0, std::max<int64_t>(size - 1, 0), isVector));
}

Value Emitter::pullGather(nn::GatherOp op, const Index &at) {
  ArrayRef<int64_t> from = shape(op.getData());
  int64_t axis = op.getAxis(), inner = 1, outer = 1;
  for (int64_t dim = 0; dim < static_cast<int64_t>(from.size()); ++dim)
    (dim < axis ? outer : inner) *= dim == axis ? 1 : from[dim];
  SmallVector<Index> indices = delinearize(at, {outer, size(op.getIndices()), inner});
  Index chosen = checkedIndex(pull(op.getIndices(), indices[1]), from[axis], !op.getAbsolute());
  return pull(op.getData(),
              linearize({indices[0], chosen, indices[2]}, {outer, from[axis], inner}));
}

Value Emitter::pullGatherElements(nn::GatherElementsOp op, const Index &at) {
  ArrayRef<int64_t> from = shape(op.getData());
  SmallVector<Index> indices = delinearize(at, shape(op.getResult()));
  indices[op.getAxis()] = checkedIndex(pull(op.getIndices(), at), from[op.getAxis()]);
  return pull(op.getData(), linearize(indices, from));
}

Value Emitter::pullGatherNd(nn::GatherNdOp op, const Index &at) {
  ArrayRef<int64_t> from = shape(op.getData()), tuples = shape(op.getIndices());
  int64_t batchDims = op.getBatchDims(), length = tuples.back();
  int64_t batch = 1, count = 1, inner = 1;
  for (int64_t dim = 0; dim + 1 < static_cast<int64_t>(tuples.size()); ++dim)
    (dim < batchDims ? batch : count) *= tuples[dim];
  for (int64_t size : from.drop_front(batchDims + length))
    inner *= size;
  SmallVector<Index> indices = delinearize(at, {batch, count, inner});
  Index place = indices[0];
  for (int64_t i = 0; i < length; ++i) {
    Index tuple = linearize({indices[0], indices[1]}, {batch, count}) * length + i;
    int64_t extent = from[batchDims + i];
    place = place * extent + checkedIndex(pull(op.getIndices(), tuple), extent);
  }
  return pull(op.getData(), place * inner + indices[2]);
}

Value Emitter::pullRope(nn::RopeOp op, const Index &at) {
  ArrayRef<int64_t> full = shape(op.getInput());
  int64_t width = full.back(), half = shape(op.getCos()).back();
  auto [row, lane] = divide(at, width);
  auto untouched = [&] { return pull(op.getInput(), at); };
  SmallVector<int64_t> leading(full.drop_back());
  SmallVector<int64_t> tableLeading(shape(op.getCos()).drop_back());

  // The side that is not chosen must not leave the tensor either.
  auto turned = [&](const Index &partner, const Index &pair, bool isFirst) -> Value {
    Index other = clamp(partner, size(op.getInput()));
    Index table = broadcastIndex(row, leading, tableLeading) * half + pair;
    Value x = pull(op.getInput(), at), y = pull(op.getInput(), other);
    Value cos = pull(op.getCos(), table), sin = pull(op.getSin(), table);
    if (dry)
      return {};
    int64_t lanes = std::max({laneCount(x), laneCount(y), laneCount(cos), laneCount(sin)});
    for (Value *v : {&x, &y, &cos, &sin})
      *v = broadcast(*v, lanes);
    Value a = arith::MulFOp::create(builder, loc, x, cos);
    Value b = arith::MulFOp::create(builder, loc, y, sin);
    return isFirst ? arith::SubFOp::create(builder, loc, a, b).getResult()
                   : arith::AddFOp::create(builder, loc, a, b).getResult();
  };
  auto pairs = [&, row = row, lane = lane]() -> Value {
    if (op.getInterleaved()) {
      auto [anyPair, side] = divide(lane, 2);
      Index pair = clamp(anyPair, half);
      return select(
          isBelow(side, 1), [&] { return turned(at + 1, pair, true); },
          [&] { return turned(at - 1, pair, false); });
    }
    return select(
        isBelow(lane, half), [&] { return turned(at + half, clamp(lane, half), true); },
        [&] { return turned(at - half, clamp(lane - half, half), false); });
  };
  if (2 * half == width)
    return pairs();
  return select(isBelow(lane, 2 * half), pairs, untouched);
}
