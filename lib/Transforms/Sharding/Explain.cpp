//===- Explain.cpp - what travels, why, and what each rank holds ----------===//

#include "ExplainParts.h"
#include "PipelinePlan.h"
#include "Reshard.h"
#include "SearchProblem.h"
#include "cleave/Analysis/Load.h"
#include "cleave/Support/NodeName.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>
#include <numeric>
#include <tuple>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using dist::MeshAttr;
using dist::ShardingAttr;

//===----------------------------------------------------------------------===//
// Cuts
//===----------------------------------------------------------------------===//

static std::vector<ExplainedCut> collectCuts(ArrayAttr names) {
  std::vector<ExplainedCut> out;
  using Key = std::tuple<int64_t, std::vector<std::string>, std::string, std::string>;
  std::map<Key, size_t> places;
  for (auto name : names.getAsRange<DictionaryAttr>()) {
    auto number = [&](StringRef key) { return name.getAs<IntegerAttr>(key).getInt(); };
    ExplainedCut cut{number("size"),
                     {},
                     name.getAs<StringAttr>("role").str(),
                     1,
                     number("weights"),
                     number("values"),
                     name.getAs<StringAttr>("first").str()};
    for (StringAttr axis : name.getAs<ArrayAttr>("axes").getAsRange<StringAttr>())
      cut.axes.push_back(axis.str());
    Key key{cut.size, cut.axes, cut.role, withoutNumbers(cut.first)};
    auto [it, isNew] = places.try_emplace(key, out.size());
    if (isNew) {
      out.push_back(std::move(cut));
      continue;
    }
    ExplainedCut &known = out[it->second];
    ++known.count;
    known.weights += cut.weights;
    known.values += cut.values;
  }
  auto order = [](const ExplainedCut &cut) {
    return std::tuple(-cut.weights, -cut.values, cut.first, cut.axes, cut.size);
  };
  llvm::sort(out,
             [&](const ExplainedCut &a, const ExplainedCut &b) { return order(a) < order(b); });
  return out;
}

//===----------------------------------------------------------------------===//
// Collectives
//===----------------------------------------------------------------------===//

/// Bytes that the members of a group send: the most of one, and the sum.
static std::pair<int64_t, int64_t> sentBy(dist::CollectiveOpInterface op, int64_t group) {
  int64_t most = 0, sum = 0;
  for (int64_t member = 0; member < group; ++member) {
    int64_t bytes = op.getBytesSent(group, member);
    most = std::max(most, bytes);
    sum += bytes;
  }
  return {most, sum};
}

/// The collectives of each class, in order.
using Lists = SmallVector<SmallVector<dist::CollectiveOpInterface>>;

/// What `rank`, whose class runs `list`, sends of each kind.
static std::map<std::string, int64_t> sentOf(ArrayRef<dist::CollectiveOpInterface> list,
                                             MeshAttr mesh, int64_t rank) {
  std::map<std::string, int64_t> sent;
  for (dist::CollectiveOpInterface op : list) {
    SmallVector<StringAttr> axes = op.getGroupAxes();
    sent[op->getName().stripDialect().str()] +=
        op.getBytesSent(*mesh.getGroupSize(axes), mesh.getMember(axes, rank));
  }
  return sent;
}

using CollectiveKey =
    std::tuple<std::string, std::vector<std::string>, int64_t, int64_t, std::string, std::string>;

/// Adds those of a stage, whose classes run `lists`, to `out`.
static void addCollectives(Lists &lists, MeshAttr mesh, std::map<CollectiveKey, size_t> &places,
                           std::vector<ExplainedCollective> &out) {
  for (auto [i, op] : llvm::enumerate(lists.front())) {
    SmallVector<StringAttr> axes = op.getGroupAxes();
    int64_t group = *mesh.getGroupSize(axes);
    ExplainedCollective entry{op->getName().stripDialect().str(), {}, 1, 0, 0,
                              nodeName(op->getLoc()).str(),       ""};
    for (StringAttr axis : axes)
      entry.axes.push_back(axis.str());
    for (auto &list : lists) {
      auto [most, sum] = sentBy(list[i], group);
      entry.bytes = std::max(entry.bytes, most);
      // Who sends to one other rank sends all of it.
      int64_t bound = isa<dist::SendOp>(op) ? most : sum / group;
      if (auto least = list[i]->getAttrOfType<IntegerAttr>(kBound))
        bound = least.getInt();
      entry.bound = std::max(entry.bound, bound);
    }
    if (auto reason = op->getAttrOfType<StringAttr>(kReason))
      entry.reason = reason.str();
    CollectiveKey key{
        entry.kind,  entry.axes, entry.bytes, entry.bound, withoutNumbers(entry.cause),
        entry.reason};
    auto [it, isNew] = places.try_emplace(key, out.size());
    if (isNew)
      out.push_back(std::move(entry));
    else
      ++out[it->second].count;
  }
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Values made at load.
static DenseSet<Value> loadedValues(func::FuncOp func) {
  DenseSet<Value> loaded;
  for (Operation *op : opsAtLoad(func))
    loaded.insert(op->getResults().begin(), op->getResults().end());
  return loaded;
}

static bool readsWeight(Value value) {
  Operation *op = value.getDefiningOp();
  return isa<nn::WeightOp>(op) || llvm::any_of(op->getOperands(), readsWeight);
}

/// Weights and activations of a rank of this class.
static ExplainedRank memoryOf(func::FuncOp func) {
  DenseSet<Value> loaded = loadedValues(func), counted;
  // What follows from these alone is computed wherever it is read, and takes no place.
  DenseSet<Value> unstored = loaded;
  DenseMap<Value, Operation *> lastReader;
  ExplainedRank rank{0, 0, 0, 0, {}};
  for (Operation &op : func.getBody().front())
    for (Value operand : op.getOperands()) {
      lastReader[operand] = &op;
      bool runs = op.getNumResults() == 0 || !loaded.contains(op.getResult(0));
      if (runs && loaded.contains(operand) && counted.insert(operand).second &&
          readsWeight(operand))
        rank.weights += nn::bytesOf(operand);
    }

  int64_t alive = 0;
  for (Operation &op : func.getBody().front().without_terminator()) {
    if (isa<nn::NnDialect>(op.getDialect()) &&
        llvm::all_of(op.getOperands(), [&](Value v) { return unstored.contains(v); }))
      unstored.insert(op.getResults().begin(), op.getResults().end());
    if (op.getNumResults() > 0 && unstored.contains(op.getResult(0)))
      continue;
    for (Value result : op.getResults())
      alive += nn::bytesOf(result);
    rank.activations = std::max(rank.activations, alive);
    SmallPtrSet<Value, 4> done;
    for (Value operand : op.getOperands())
      if (lastReader.lookup(operand) == &op && !isa<BlockArgument>(operand) &&
          !unstored.contains(operand) && done.insert(operand).second)
        alive -= nn::bytesOf(operand);
    for (Value result : op.getResults())
      if (result.use_empty())
        alive -= nn::bytesOf(result);
  }
  return rank;
}

/// What `rank` holds of the inputs that outputs extend.
static int64_t cacheBytes(func::FuncOp func, DictionaryAttr tensors, MeshAttr mesh, int64_t rank) {
  int64_t bytes = 0;
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    auto name = func.getArgAttrOfType<StringAttr>(i, "onnx.name");
    auto held = name ? tensors.getAs<ArrayAttr>(name) : nullptr;
    // Another stage may read it.
    if (!held || func.getArgument(i).use_empty())
      continue;
    auto sharding = cast<ShardingAttr>(held[0]);
    auto type = cast<RankedTensorType>(func.getArgumentTypes()[i]);
    bytes += nn::bytesOf(
        RankedTensorType::get(sharding.getLocalShape(mesh, rank), type.getElementType()));
  }
  return bytes;
}

static void collectSchedule(ModuleOp module, Explanation &out) {
  auto blocks = module->getAttrOfType<ArrayAttr>(dist::kSchedule);
  if (!blocks)
    return;
  std::vector<Slot> slots;
  for (auto block : blocks.getAsRange<dist::BlockAttr>()) {
    out.schedule.push_back(
        {block.getStage(), block.getChunk(), block.getMicro(), block.getBegin(), block.getEnd()});
    slots.push_back({block.getChunk(), block.getMicro(), static_cast<double>(block.getBegin()),
                     static_cast<double>(block.getEnd())});
  }
  out.bubble = bubbleOf(slots, out.stages);
}

/// Without those that follow from others, whose names are sums and products.
static std::map<std::string, int64_t> collectDims(func::FuncOp func) {
  std::map<std::string, int64_t> dims;
  for (BlockArgument argument : func.getArguments())
    for (auto [i, name] : llvm::enumerate(inputDims(func, argument)))
      if (!name.empty() && name.find_first_of(" +*") == name.npos)
        dims[name] = cast<RankedTensorType>(argument.getType()).getDimSize(i);
  return dims;
}

Explanation cleave::collectExplain(ModuleOp module) {
  Explanation out;
  auto mesh = module->getAttrOfType<MeshAttr>(dist::kMesh);
  auto classes = module->getAttrOfType<DenseI64ArrayAttr>(dist::kClasses);
  auto tensors = module->getAttrOfType<DictionaryAttr>(kTensorShardings);
  SmallVector<func::FuncOp> functions = classFunctions(module);
  if (!mesh || !classes || !tensors || functions.empty())
    return out;

  for (auto [name, size] : llvm::zip(mesh.getNames(), mesh.getSizes()))
    out.mesh.push_back({name.str(), size});
  out.dims = collectDims(functions.front());
  if (auto cuts = module->getAttrOfType<ArrayAttr>(kCuts))
    out.cuts = collectCuts(cuts);
  SmallVector<ExplainedRank> memory;
  Lists lists;
  auto stages = module->getAttrOfType<DenseI64ArrayAttr>(dist::kStages);
  for (auto [number, func] : llvm::enumerate(functions)) {
    memory.push_back(memoryOf(func));
    memory.back().stage = stages ? stages[number] : 0;
    lists.emplace_back(func.getOps<dist::CollectiveOpInterface>());
    out.stages = std::max(out.stages, memory.back().stage + 1);
  }
  collectSchedule(module, out);
  for (auto [rank, number] : llvm::enumerate(classes.asArrayRef())) {
    out.ranks.push_back(memory[number]);
    out.ranks.back().caches = cacheBytes(functions[number], tensors, mesh, rank);
    out.ranks.back().sent = sentOf(lists[number], mesh, rank);
  }
  for (NamedAttribute tensor : tensors) {
    ExplainedTensor entry{tensor.getName().str(), {}, ""};
    for (auto sharding : cast<ArrayAttr>(tensor.getValue()).getAsRange<ShardingAttr>()) {
      if (entry.shape.empty())
        for (dist::ExtentAttr dim : sharding.getDims())
          entry.shape.push_back(dim.getSize());
      entry.sharding +=
          (entry.sharding.empty() ? "" : " and ") + sharding.getNormalized(mesh).str();
    }
    out.tensors.push_back(std::move(entry));
  }
  std::map<CollectiveKey, size_t> places;
  for (int64_t stage = 0; stage < out.stages; ++stage) {
    Lists own;
    for (auto [list, rank] : llvm::zip(lists, memory))
      if (rank.stage == stage)
        own.push_back(list);
    if (!own.empty())
      addCollectives(own, mesh, places, out.collectives);
  }
  return out;
}
