//===- PipelinePlan.cpp - what each stage does, in which order ------------===//

#include "PipelinePlan.h"

#include "cleave/Transforms/Sharding/Search.h"

#include "Nn/Nn.h"
#include "Nn/ShardingRule.h"

#include "llvm/ADT/SetVector.h"

#include <cmath>
#include <set>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

SmallVector<func::FuncOp> sharding::classFunctions(ModuleOp module) {
  SmallVector<func::FuncOp> functions;
  if (auto main = module.lookupSymbol<func::FuncOp>("main"))
    return {main};
  while (auto next = module.lookupSymbol<func::FuncOp>(("main_" + Twine(functions.size())).str()))
    functions.push_back(next);
  return functions;
}

/// Number of the op of the whole program for which `op` was made.
static size_t numberOf(Operation *op) { return op->getAttrOfType<IntegerAttr>(kMadeFor).getInt(); }

bool sharding::isFreeView(Operation *op) {
  auto ruled = dyn_cast_or_null<nn::ShardingRuleOpInterface>(op);
  return ruled && op->getNumOperands() == 1 && ruled.getShardingRule().isView &&
         nn::bytesOf(op->getOperand(0)) <= nn::bytesOf(op->getResult(0));
}

//===----------------------------------------------------------------------===//
// What belongs to no stage
//===----------------------------------------------------------------------===//

struct PipelinePlan::Ops {
  func::FuncOp function;
  DenseSet<Operation *> free;

  auto body() const { return func::FuncOp(function).getBody().front().without_terminator(); }
};

DenseSet<Operation *> PipelinePlan::findFree(func::FuncOp function) const {
  // A table that is looked up is held by each stage that looks it up.
  constexpr double kTableBytes = 4e6;
  DenseSet<Operation *> free, loaded;
  DenseMap<Operation *, double> seconds;
  for (Operation &op : function.getBody().front().without_terminator()) {
    bool isFree = !isa<dist::CollectiveOpInterface>(op), isLoaded = isFree;
    double own = localSeconds(machine, mesh, &op), sent = 0;
    for (Value operand : op.getOperands()) {
      Operation *producer = operand.getDefiningOp();
      isLoaded &= producer && loaded.contains(producer);
      isFree &= !producer || free.contains(producer);
      if (producer && loaded.contains(producer))
        isFree &= nn::bytesOf(operand) <= kTableBytes;
      else if (producer)
        own += seconds.lookup(producer);
    }
    for (Value result : op.getResults())
      sent += transferSeconds(machine, nn::bytesOf(result));
    if (isLoaded)
      loaded.insert(&op);
    if (!isLoaded && !(isFree && own <= sent))
      continue;
    free.insert(&op);
    seconds[&op] = isLoaded ? 0 : own;
  }
  return free;
}

//===----------------------------------------------------------------------===//
// Cuts
//===----------------------------------------------------------------------===//

/// What has to travel where `value` is read: itself, or what it is a view of.
static Value sourceOf(Value value, const DenseSet<Operation *> &free) {
  Operation *op = value.getDefiningOp();
  while (op && !free.contains(op) && isFreeView(op)) {
    value = op->getOperand(0);
    op = value.getDefiningOp();
  }
  return value;
}

StageCosts PipelinePlan::costs(ArrayRef<Ops> all) const {
  size_t count = 0;
  for (const Ops &ops : all)
    for (Operation &op : ops.body())
      count = std::max(count, numberOf(&op) + 1);
  StageCosts costs{std::vector<double>(count, 0), std::vector<double>(count, 0)};
  for (const Ops &ops : all) {
    std::vector<double> own(count, 0);
    for (Operation &op : ops.body())
      if (!ops.free.contains(&op))
        own[numberOf(&op)] += localSeconds(machine, mesh, &op);
    for (size_t i = 0; i < count; ++i)
      costs.seconds[i] = std::max(costs.seconds[i], own[i]);
  }

  const Ops &first = all.front();
  DenseMap<Value, size_t> last;
  for (Operation &op : first.body())
    if (!first.free.contains(&op))
      for (Value operand : op.getOperands())
        last[sourceOf(operand, first.free)] = numberOf(&op);
  std::vector<double> begins(count + 1, 0), ends(count + 1, 0);
  for (auto [value, reader] : last) {
    Operation *producer = value.getDefiningOp();
    if (!producer || first.free.contains(producer))
      continue;
    double seconds = transferSeconds(machine, nn::bytesOf(value));
    begins[numberOf(producer) + 1] += seconds;
    ends[reader] += seconds;
  }
  double alive = 0;
  for (size_t i = 0; i < count; ++i) {
    alive += begins[i];
    costs.transfers[i] = alive;
    alive -= ends[i];
  }
  return costs;
}

ChunkedFunction PipelinePlan::chunked(const Ops &ops, ArrayRef<size_t> cuts) const {
  ChunkedFunction out;
  out.function = ops.function;
  out.numStages = stages;
  out.chunks.resize(numChunks);
  for (Operation &op : ops.body()) {
    if (ops.free.contains(&op))
      continue;
    // Of chunks that begin at one op all but the last are empty.
    int64_t chunk = llvm::upper_bound(cuts, numberOf(&op)) - cuts.begin() - 1;
    out.chunks[chunk].push_back(&op);
    out.chunkOf[&op] = chunk;
  }
  addCrossings(out, ops);
  return out;
}

void PipelinePlan::addCrossings(ChunkedFunction &function, const Ops &ops) const {
  function.wanted.resize(numChunks);
  function.crossings.resize(numChunks);
  std::map<int64_t, llvm::MapVector<Value, llvm::SetVector<int64_t>>> crossing;
  auto want = [&](Value value, int64_t chunk) {
    for (;;) {
      Operation *producer = value.getDefiningOp();
      if (!producer || ops.free.contains(producer) || function.stageOf(value) == chunk % stages)
        return;
      if (!isFreeView(producer))
        break;
      value = producer->getOperand(0);
    }
    if (!llvm::is_contained(function.wanted[chunk], value))
      function.wanted[chunk].push_back(value);
    crossing[function.chunkOf.lookup(value.getDefiningOp())][value].insert(chunk % stages);
  };
  for (int64_t chunk = 0; chunk < numChunks; ++chunk)
    for (Operation *op : function.chunks[chunk])
      for (Value operand : op->getOperands())
        want(operand, chunk);
  for (auto &[chunk, values] : crossing)
    for (auto &[value, readers] : values)
      function.crossings[chunk].push_back(
          {value, SmallVector<int64_t>(readers.begin(), readers.end())});
}

int64_t ChunkedFunction::stageOf(Value value) const {
  Operation *producer = value.getDefiningOp();
  auto found = producer ? chunkOf.find(producer) : chunkOf.end();
  return found == chunkOf.end() ? 0 : found->second % numStages;
}

LogicalResult PipelinePlan::cut(ArrayRef<func::FuncOp> classes, int64_t numMicros,
                                ArrayRef<int64_t> classOfRank, bool strict) {
  std::vector<Ops> all;
  for (func::FuncOp function : classes)
    all.push_back({function, findFree(function)});
  StageCosts line = costs(all);
  // With fewer batches in flight than stages it would be best to have one stage.
  double batches = std::max(numMicros, stages);
  std::vector<size_t> cuts(numChunks, 0);
  if (numChunks > 1)
    cuts = chooseCuts(line, numChunks, batches);
  for (const Ops &ops : all)
    functions.push_back(chunked(ops, cuts));

  std::vector<std::vector<double>> seconds(numChunks, std::vector<double>(numMicros, 0));
  std::vector<std::vector<double>> transfers = seconds;
  int64_t ranks = classOfRank.size() / numMicros;
  for (auto [number, function] : llvm::enumerate(functions))
    for (int64_t chunk = 0; chunk < numChunks; ++chunk) {
      double own = 0, moved = 0;
      for (Operation *op : function.chunks[chunk])
        own += localSeconds(machine, mesh, op);
      for (Value value : function.wanted[chunk])
        moved += transferSeconds(machine, nn::bytesOf(value));
      for (auto [i, ofRank] : llvm::enumerate(classOfRank))
        if (ofRank == static_cast<int64_t>(number)) {
          seconds[chunk][i / ranks] = std::max(seconds[chunk][i / ranks], own);
          transfers[chunk][i / ranks] = std::max(transfers[chunk][i / ranks], moved);
        }
    }
  schedule = makeSchedule(stages, seconds, transfers);
  return reportIdle(strict);
}

/// One message for all stages that have no op.
LogicalResult PipelinePlan::reportIdle(bool strict) const {
  const ChunkedFunction &first = functions.front();
  std::set<int64_t> busy;
  std::set<size_t> places; ///< between which it may be cut
  for (auto [op, chunk] : first.chunkOf) {
    busy.insert(chunk % stages);
    places.insert(numberOf(op));
  }
  int64_t idle = stages - static_cast<int64_t>(busy.size()), stage = 0;
  if (stages == 1 || idle == 0)
    return success();
  while (busy.contains(stage))
    ++stage;
  func::FuncOp function = first.function;
  InFlightDiagnostic report = function.getContext()->getDiagEngine().emit(
      function.getLoc(), strict ? DiagnosticSeverity::Error : DiagnosticSeverity::Warning);
  if (idle == 1)
    report << "stage " << stage << " of " << stages << " has";
  else
    report << idle << " of " << stages << " stages have";
  report << " nothing to compute: ";
  if (static_cast<int64_t>(places.size()) < numChunks)
    report << places.size() << " of the model's ops cost more to repeat than to move, by the times "
           << "of a CPU core, too few for " << numChunks << " chunks";
  else
    report << "more cuts would not make the slowest stage faster, by the times of a CPU core";
  report << "; make \"" << dist::kStageAxis << "\" smaller";
  return failure(strict);
}

//===----------------------------------------------------------------------===//
// Actions
//===----------------------------------------------------------------------===//

/// A list for each pair of stages, the sender first.
template <typename List> using ByPair = std::map<std::pair<int64_t, int64_t>, List>;

/// What each stage sends to each other, in its order.
ByPair<std::deque<PipelinePlan::Parcel>>
PipelinePlan::parcels(ArrayRef<const ChunkedFunction *> micros) const {
  ByPair<std::deque<Parcel>> out;
  for (const Slot &slot : schedule)
    for (const ChunkedFunction::Crossing &crossing : micros[slot.micro]->crossings[slot.chunk])
      for (int64_t peer : crossing.stages)
        out[{slot.chunk % stages, peer}].push_back({slot.micro, crossing.value});
  return out;
}

PipelinePlan::ActionLists PipelinePlan::actions(ArrayRef<const ChunkedFunction *> micros,
                                                size_t depth) const {
  ActionLists lists(stages);
  ByPair<std::deque<Parcel>> coming = parcels(micros);
  ByPair<std::deque<std::vector<Parcel>>> flying; // a list a block
  std::set<std::tuple<int64_t, int64_t, const void *>> here;
  auto land = [&](std::pair<int64_t, int64_t> pair, size_t left) {
    for (auto &batches = flying[pair]; batches.size() > left; batches.pop_front())
      for (auto &[micro, value] : batches.front())
        lists[pair.first].push_back({Action::Wait, micro, 0, value, pair.second});
  };
  for (const Slot &slot : schedule) {
    int64_t stage = slot.chunk % stages;
    const ChunkedFunction &function = *micros[slot.micro];
    std::vector<Action> &own = lists[stage];
    // What a peer sends arrives in its order: also what is wanted later.
    for (Value value : function.wanted[slot.chunk])
      for (int64_t peer = function.stageOf(value);
           !here.contains({stage, slot.micro, value.getAsOpaquePointer()});) {
        std::deque<Parcel> &queue = coming[{peer, stage}];
        auto [micro, next] = queue.front();
        queue.pop_front();
        here.insert({stage, micro, next.getAsOpaquePointer()});
        own.push_back({Action::Receive, micro, 0, next, peer});
      }
    own.push_back({Action::Compute, slot.micro, slot.chunk, {}, 0});
    std::map<int64_t, std::vector<Parcel>> leaving; // by peer
    for (const ChunkedFunction::Crossing &crossing : function.crossings[slot.chunk])
      for (int64_t peer : crossing.stages)
        leaving[peer].push_back({slot.micro, crossing.value});
    for (auto &[peer, batch] : leaving) {
      land({stage, peer}, depth - 1);
      for (auto &[micro, value] : batch)
        own.push_back({Action::Send, micro, 0, value, peer});
      flying[{stage, peer}].push_back(std::move(batch));
    }
  }
  for (auto &[pair, batches] : flying)
    land(pair, 0);
  return lists;
}

/// Runs the transfers of all stages; false where they wait for each other.
static bool ends(const std::vector<std::vector<Action>> &lists) {
  struct Queue {
    size_t sent = 0, received = 0, ended = 0;
  };
  ByPair<Queue> queues;
  int64_t stages = lists.size();
  std::vector<size_t> next(stages, 0);
  auto mayGo = [&](int64_t stage, const Action &action) {
    if (action.kind == Action::Compute)
      return true;
    Queue &in = queues[{action.peer, stage}], &out = queues[{stage, action.peer}];
    switch (action.kind) {
    case Action::Receive: return in.received < in.sent && ++in.received;
    case Action::Wait: return out.ended < out.received && ++out.ended;
    default: return ++out.sent > 0;
    }
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int64_t stage = 0; stage < stages; ++stage)
      for (; next[stage] < lists[stage].size() && mayGo(stage, lists[stage][next[stage]]);
           moved = true)
        ++next[stage];
  }
  for (int64_t stage = 0; stage < stages; ++stage)
    if (next[stage] < lists[stage].size())
      return false;
  return true;
}

PipelinePlan::ActionLists PipelinePlan::actions(ArrayRef<const ChunkedFunction *> micros) const {
  // With all waits at the end no send holds anything up.
  for (size_t depth = 1;; ++depth)
    if (ActionLists lists = actions(micros, depth); ends(lists) || depth >= schedule.size())
      return lists;
}

ArrayAttr PipelinePlan::scheduleAttr(OpBuilder &builder) const {
  SmallVector<Attribute> blocks;
  auto nanoseconds = [](double seconds) { return std::llround(seconds * 1e9); };
  for (int64_t stage = 0; stage < stages; ++stage)
    for (const Slot &slot : schedule)
      if (slot.chunk % stages == stage)
        blocks.push_back(dist::BlockAttr::get(builder.getContext(), stage, slot.chunk, slot.micro,
                                              nanoseconds(slot.begin), nanoseconds(slot.end)));
  return builder.getArrayAttr(blocks);
}
