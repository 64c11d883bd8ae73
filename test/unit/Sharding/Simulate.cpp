//===- Simulate.cpp - runs nn and dist programs, rank by rank -------------===//

#include "Simulate.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

HostTensor test::randomTensor(RankedTensorType type, uint64_t seed, int64_t bound) {
  HostTensor tensor(type);
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 0x1234567ull;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    if (tensor.isFloat())
      tensor.floats[i] = static_cast<double>(state >> 40) / (1 << 23) - 1;
    else
      tensor.ints[i] = static_cast<int64_t>((state >> 33) % bound);
  }
  tensor.round();
  return tensor;
}

//===----------------------------------------------------------------------===//
// Parts of tensors
//===----------------------------------------------------------------------===//

static int64_t product(ArrayRef<int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t(1), std::multiplies<>());
}

/// Copies `size` indices of dimension `dim`, from `begin` of `from` to `at` of `to`.
static void copyRange(const HostTensor &from, int64_t begin, HostTensor &to, int64_t at,
                      int64_t dim, int64_t size) {
  ArrayRef<int64_t> a = from.shape(), b = to.shape();
  int64_t outer = product(a.take_front(dim)), inner = product(a.drop_front(dim + 1));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < size * inner; ++i) {
      int64_t source = (o * a[dim] + begin) * inner + i;
      int64_t target = (o * b[dim] + at) * inner + i;
      if (from.isFloat())
        to.floats[target] = from.floats[source];
      else
        to.ints[target] = from.ints[source];
    }
}

static HostTensor sliceOf(const HostTensor &tensor, int64_t dim, int64_t begin, int64_t size) {
  SmallVector<int64_t> shape(tensor.shape());
  shape[dim] = size;
  HostTensor part(RankedTensorType::get(shape, tensor.type.getElementType()));
  copyRange(tensor, begin, part, 0, dim, size);
  return part;
}

static HostTensor concatOf(ArrayRef<HostTensor> parts, int64_t dim) {
  SmallVector<int64_t> shape(parts.front().shape());
  shape[dim] = 0;
  for (const HostTensor &part : parts)
    shape[dim] += part.shape()[dim];
  HostTensor whole(RankedTensorType::get(shape, parts.front().type.getElementType()));
  int64_t at = 0;
  for (const HostTensor &part : parts) {
    copyRange(part, 0, whole, at, dim, part.shape()[dim]);
    at += part.shape()[dim];
  }
  return whole;
}

static HostTensor combine(ArrayRef<HostTensor> parts, dist::ReductionKind kind) {
  HostTensor total = parts.front();
  auto step = [&](auto &a, auto b) {
    switch (kind) {
    case dist::ReductionKind::Sum: a += b; break;
    case dist::ReductionKind::Max: a = std::max(a, b); break;
    case dist::ReductionKind::Min: a = std::min(a, b); break;
    case dist::ReductionKind::Prod: a *= b; break;
    }
  };
  for (const HostTensor &part : parts.drop_front())
    for (int64_t i = 0; i < total.size(); ++i)
      if (total.isFloat())
        step(total.floats[i], part.floats[i]);
      else
        step(total.ints[i], part.ints[i]);
  total.round();
  return total;
}

static int64_t before(ArrayRef<int64_t> counts, int64_t member) {
  return std::accumulate(counts.begin(), counts.begin() + member, int64_t(0));
}

//===----------------------------------------------------------------------===//
// Ranks
//===----------------------------------------------------------------------===//

namespace {

class Rank {
public:
  Rank(func::FuncOp func, dist::MeshAttr mesh, int64_t rank, const Tensors &inputs)
      : mesh(mesh), rank(rank), next(func.getBody().front().begin()) {
    for (auto [argument, input] : llvm::zip(func.getArguments(), inputs))
      env[argument] = input;
  }

  /// Runs up to the next collective, or the end.
  LogicalResult advance();
  /// The collective it waits in; null at the end.
  Operation *waiting() { return isa<dist::CollectiveOpInterface>(*next) ? &*next : nullptr; }
  const HostTensor &operand() { return env.at(next->getOperand(0)); }
  void resume(HostTensor result) {
    env[next->getResult(0)] = std::move(result);
    ++next;
  }
  Tensors results() {
    Tensors out;
    for (Value value : next->getOperands())
      out.push_back(env.at(value));
    return out;
  }

private:
  dist::MeshAttr mesh;
  int64_t rank;
  Block::iterator next;
  DenseMap<Value, HostTensor> env;
};

} // namespace

LogicalResult Rank::advance() {
  for (; !next->hasTrait<OpTrait::IsTerminator>() && !waiting(); ++next) {
    Operation *op = &*next;
    if (auto weight = dyn_cast<nn::WeightOp>(op)) {
      env[weight.getResult()] =
          randomTensor(cast<RankedTensorType>(weight.getType()), weight.getOffset() + 7);
      continue;
    }
    if (auto slice = dyn_cast<dist::SliceOp>(op)) {
      int64_t member = mesh.getMember(dist::axisList(slice.getAxes()), rank);
      HostTensor part = sliceOf(env.at(slice.getInput()), slice.getDim(),
                                before(slice.getCounts(), member), slice.getCounts()[member]);
      if (part.type != slice.getType())
        return op->emitOpError("gives ") << part.type << " on rank " << rank;
      env[slice.getResult()] = std::move(part);
      continue;
    }
    if (auto offset = dyn_cast<dist::OffsetOp>(op)) {
      HostTensor at(offset.getType());
      at.ints[0] =
          before(offset.getCounts(), mesh.getMember(dist::axisList(offset.getAxes()), rank));
      env[offset.getResult()] = std::move(at);
      continue;
    }
    SmallVector<const HostTensor *> operands;
    for (Value operand : op->getOperands())
      operands.push_back(&env.find(operand)->second);
    FailureOr<std::vector<HostTensor>> results = evaluate(op, operands);
    if (failed(results))
      return failure();
    for (auto [value, result] : llvm::zip(op->getResults(), *results))
      env[value] = std::move(result);
  }
  return success();
}

/// The results of a collective, a member each, from what the members bring.
static SmallVector<HostTensor> meet(Operation *op, ArrayRef<HostTensor> parts) {
  SmallVector<HostTensor> out;
  int64_t members = parts.size();
  if (auto reduce = dyn_cast<dist::AllReduceOp>(op)) {
    out.assign(members, combine(parts, reduce.getKind()));
  } else if (auto gather = dyn_cast<dist::AllGatherOp>(op)) {
    out.assign(members, concatOf(parts, gather.getDim()));
  } else if (auto scatter = dyn_cast<dist::ReduceScatterOp>(op)) {
    HostTensor total = combine(parts, scatter.getKind());
    for (int64_t m = 0; m < members; ++m)
      out.push_back(
          sliceOf(total, scatter.getDim(), before(scatter.getCounts(), m), scatter.getCounts()[m]));
  } else if (auto blocks = dyn_cast<dist::ExchangeOp>(op)) {
    for (int64_t m = 0; m < members; ++m) {
      SmallVector<HostTensor> pieces;
      for (int64_t from = 0; from < members; ++from) {
        ArrayRef<int64_t> row = blocks.getCounts().slice(from * members, members);
        pieces.push_back(sliceOf(parts[from], 0, before(row, m), row[m]));
      }
      out.push_back(concatOf(pieces, 0));
    }
  } else {
    auto exchange = cast<dist::AllToAllOp>(op);
    for (int64_t m = 0; m < members; ++m) {
      SmallVector<HostTensor> pieces;
      for (const HostTensor &part : parts)
        pieces.push_back(sliceOf(part, exchange.getSplit(), before(exchange.getSplits(), m),
                                 exchange.getSplits()[m]));
      out.push_back(concatOf(pieces, exchange.getConcat()));
    }
  }
  return out;
}

FailureOr<Tensors> test::runWhole(func::FuncOp func, const Tensors &inputs) {
  Rank rank(func, dist::MeshAttr::get(func.getContext(), {}, {}), 0, inputs);
  if (failed(rank.advance()))
    return failure();
  return rank.results();
}

FailureOr<std::vector<Tensors>> test::runRanks(ModuleOp module, const Tensors &inputs) {
  auto mesh = module->getAttrOfType<dist::MeshAttr>(dist::kMesh);
  ArrayRef<int64_t> classes = module->getAttrOfType<DenseI64ArrayAttr>(dist::kClasses).asArrayRef();
  bool alone = llvm::all_of(classes, [](int64_t number) { return number == 0; });
  std::vector<Rank> ranks;
  for (auto [rank, number] : llvm::enumerate(classes)) {
    std::string name = alone ? "main" : "main_" + std::to_string(number);
    ranks.emplace_back(module.lookupSymbol<func::FuncOp>(name), mesh, rank, inputs);
  }
  while (true) {
    for (Rank &rank : ranks)
      if (failed(rank.advance()))
        return failure();
    Operation *first = ranks.front().waiting();
    if (!first)
      break;
    auto axes = cast<dist::CollectiveOpInterface>(first).getGroupAxes();
    for (ArrayRef<int64_t> group : mesh.getGroups(axes)) {
      SmallVector<HostTensor> parts;
      for (int64_t member : group) {
        Operation *op = ranks[member].waiting();
        if (!op || op->getName() != first->getName() ||
            cast<dist::CollectiveOpInterface>(op).getGroupAxes() != axes)
          return first->emitOpError("is not what rank ") << member << " waits in";
        parts.push_back(ranks[member].operand());
      }
      SmallVector<HostTensor> results = meet(ranks[group.front()].waiting(), parts);
      for (auto [member, result] : llvm::zip(group, results)) {
        Operation *op = ranks[member].waiting();
        if (result.type != op->getResult(0).getType())
          return op->emitOpError("gives ") << result.type << " on rank " << member;
        ranks[member].resume(std::move(result));
      }
    }
  }
  std::vector<Tensors> results;
  for (Rank &rank : ranks)
    results.push_back(rank.results());
  return results;
}
