//===- Search.cpp - from a graph and a mesh to the best cut ---------------===//
//
// Variables: for each op its strategy, for each value with several readers (or
// an output, or a cache) the state in which it is kept. Tables: the price of a
// strategy, and of moving a value from its producer to where it is kept, and
// from there to a reader. What is kept whole everyone may slice for free, so one
// collective for all readers is found exactly.
//
// An output that extends an input (a cache) is tied to it: the next step finds
// it as this step leaves it.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Sharding/Search.h"

#include "Eliminate.h"
#include "Strategies.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include <numeric>

namespace cleave {
#define GEN_PASS_DEF_SEARCH
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

dist::MeshAttr cleave::parseMesh(MLIRContext *context, StringRef text,
                                 std::string &error) {
  SmallVector<StringAttr> names;
  SmallVector<int64_t> sizes;
  SmallVector<StringRef> entries;
  if (!text.empty())
    text.split(entries, ',');
  for (StringRef entry : entries) {
    auto [name, number] = entry.split('=');
    int64_t size;
    bool known = !name.empty() && llvm::all_of(name, [](char c) {
      return std::isalnum(c) || c == '_';
    });
    if (!known || number.getAsInteger(10, size) || size < 1 || size > 4096) {
      error = ("an axis is name=size, with a size of 1 to 4096, got: " + entry).str();
      return nullptr;
    }
    StringAttr axis = StringAttr::get(context, name);
    if (llvm::is_contained(names, axis)) {
      error = ("axis named twice: " + name).str();
      return nullptr;
    }
    names.push_back(axis);
    sizes.push_back(size);
  }
  return dist::MeshAttr::get(context, names, sizes);
}

static bool isDataAxis(StringRef name) {
  return name == "dp" || name == "sp" || name == "cp";
}

/// Size of the sub-axis that few kv heads ask of an axis of `size`: the largest
/// leading factor of a weight that divides it and is followed by one that fills
/// the rest. 0 where nothing asks.
static int64_t subAxisSize(DimNames &names, func::FuncOp func, int64_t size) {
  int64_t best = 0;
  for (auto weight : func.getOps<nn::WeightOp>()) {
    int64_t rank = cast<RankedTensorType>(weight.getType()).getRank();
    for (int64_t d = 0; rank > 1 && d < rank; ++d) {
      auto factors = names.dimension(weight.getResult(), d);
      if (factors.size() < 2)
        continue;
      int64_t outer = factors[0]->size, inner = factors[1]->size;
      if (outer > 1 && outer < size && size % outer == 0 && outer * inner >= size)
        best = std::max(best, outer);
    }
  }
  return best;
}

static SmallVector<Axis> axesOf(DimNames &names, func::FuncOp func,
                                dist::MeshAttr mesh) {
  SmallVector<Axis> axes;
  for (auto [i, name] : llvm::enumerate(mesh.getNames())) {
    int64_t size = mesh.getSizes()[i];
    unsigned parent = i;
    bool holds = !isDataAxis(name);
    if (size == 1)
      continue;
    int64_t outer = holds ? subAxisSize(names, func, size) : 0;
    if (!outer) {
      axes.push_back({name, size, holds, parent});
      continue;
    }
    axes.push_back({dist::subAxis(mesh, name, 1, outer), outer, holds, parent});
    axes.push_back(
        {dist::subAxis(mesh, name, outer, size / outer), size / outer, holds, parent});
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// The sum of tables
//===----------------------------------------------------------------------===//

/// Outputs that extend an input, and that input.
static llvm::MapVector<Value, Value> findCaches(func::FuncOp func) {
  llvm::MapVector<Value, Value> caches;
  Operation *terminator = func.getBody().front().getTerminator();
  for (Value output : terminator->getOperands()) {
    Operation *op = output.getDefiningOp();
    if (!isa_and_nonnull<nn::ConcatOp, nn::CacheUpdateOp>(op))
      continue;
    Value input = op->getOperand(0);
    if (isa<BlockArgument>(input))
      caches[output] = input;
  }
  return caches;
}

namespace {

class SearchProblem {
public:
  SearchProblem(func::FuncOp func, DimNames &names, ArrayRef<Axis> axes,
                const SearchRequest &request)
      : func(func), names(names), axes(axes), machine(request.machine),
        strategies(names, axes, request.machine, func, request.pins),
        caches(findCaches(func)) {}

  /// Nothing if the tables grow too large.
  std::optional<Problem::Solution> solve(const Held &held);
  /// What the last solution chose.
  ArrayRef<int> choices(Operation *op) {
    return chosen.at(op)->choices;
  }
  /// Writes the last solution onto the ops.
  void annotate(dist::MeshAttr mesh);
  ArrayRef<Operation *> ops() { return strategies.ops(); }
  /// Whether the last solution cuts anything over `axis`.
  bool cuts(unsigned axis);

private:
  struct Reader {
    Operation *op;
    unsigned operand;
  };
  struct Kept {
    unsigned variable;
    std::vector<State> states;
  };

  void addOps(const Held &held);
  void addValues();
  void addValue(Value value, ArrayRef<Reader> readers, bool isOutput, bool isLight);
  void tieCaches();
  void tieWeights();
  DenseSet<Value> lightValues();

  Problem::Table moveTable(Value value, unsigned fromSet, const Projection *from,
                           ArrayRef<State> fromStates, unsigned toSet,
                           const Projection *to, ArrayRef<State> toStates);
  const Projection &readerStates(const Reader &reader) {
    return sets.at(reader.op)->projections[reader.operand];
  }

  func::FuncOp func;
  DimNames &names;
  ArrayRef<Axis> axes;
  const Machine &machine;
  Strategies strategies;
  llvm::MapVector<Value, Value> caches;

  std::optional<Problem> problem;
  DenseMap<Operation *, unsigned> variables;
  DenseMap<Operation *, const StrategySet *> sets;
  DenseMap<Value, Kept> kept;
  DenseMap<Value, SmallVector<Reader, 2>> readersOf;
  std::unordered_map<std::string, Problem::Table> tables;

  DenseMap<Operation *, const Strategy *> chosen;
  DenseMap<Value, State> keptState;
};

} // namespace

void SearchProblem::addOps(const Held &held) {
  std::unordered_map<unsigned, Problem::Table> prices;
  for (Operation *op : strategies.ops()) {
    const StrategySet &set = strategies.of(op, held);
    sets[op] = &set;
    unsigned variable = variables[op] = problem->addVariable(set.strategies.size());
    auto [it, isNew] = prices.try_emplace(set.id);
    if (isNew) {
      std::vector<int64_t> values;
      for (const Strategy &strategy : set.strategies)
        values.push_back(strategy.price);
      it->second = problem->makeTable(std::move(values));
    }
    problem->addTable({variable}, it->second);
    for (auto [i, operand] : llvm::enumerate(op->getOperands()))
      readersOf[operand].push_back({op, static_cast<unsigned>(i)});
  }
}

/// The prices of moving `value` between two lists of states; a projection spreads
/// a list over the strategies of an op.
Problem::Table SearchProblem::moveTable(Value value, unsigned fromSet,
                                        const Projection *from,
                                        ArrayRef<State> fromStates, unsigned toSet,
                                        const Projection *to,
                                        ArrayRef<State> toStates) {
  const ValueInfo &about = strategies.info(value);
  std::string key;
  auto append = [&](uint64_t number) {
    key.append(reinterpret_cast<const char *>(&number), sizeof number);
  };
  append(static_cast<uint64_t>(about.bytes));
  for (auto [size, amount] : about.shares) {
    append(size);
    append(amount);
  }
  append(~0ull);
  append(fromSet);
  append(toSet);
  for (State state : fromStates)
    append(state);
  append(~0ull);
  for (State state : toStates)
    append(state);
  auto it = tables.find(key);
  if (it != tables.end())
    return it->second;

  std::vector<int64_t> prices;
  for (State a : fromStates)
    for (State b : toStates)
      prices.push_back(movePrice(machine, a, b, about.shares, axes, about.bytes));
  auto indexOf = [](const Projection *projection, ArrayRef<State> states) {
    if (projection)
      return projection->index;
    std::vector<unsigned> all(states.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
  };
  std::vector<unsigned> rows = indexOf(from, fromStates), columns = indexOf(to, toStates);
  std::vector<int64_t> values;
  values.reserve(rows.size() * columns.size());
  for (unsigned row : rows)
    for (unsigned column : columns)
      values.push_back(prices[row * toStates.size() + column]);
  Problem::Table table = problem->makeTable(std::move(values));
  tables.emplace(std::move(key), table);
  return table;
}

/// Values with many readers and nothing heavy behind them: masks, rope tables. As
/// variables they would stand in every table of every layer; kept whole, every
/// reader slices them free of charge.
DenseSet<Value> SearchProblem::lightValues() {
  constexpr size_t kManyReaders = 4;
  DenseSet<Value> heavy, light;
  for (Operation *op : strategies.ops()) {
    bool isHeavy = names.rule(op).flops > 0 || isa<nn::GatherOp>(op) ||
                   llvm::any_of(op->getOperands(),
                                [&](Value operand) { return heavy.contains(operand); });
    for (Value result : op->getResults())
      if (isHeavy)
        heavy.insert(result);
      else if (readersOf[result].size() >= kManyReaders)
        light.insert(result);
  }
  return light;
}

void SearchProblem::addValue(Value value, ArrayRef<Reader> readers, bool isOutput,
                             bool isLight) {
  Operation *producer = value.getDefiningOp();
  const StrategySet *source = producer ? sets.at(producer) : nullptr;
  const Projection *given = nullptr;
  if (source)
    given = &source->projections[producer->getNumOperands() +
                                 cast<OpResult>(value).getResultNumber()];

  if (source && readers.size() == 1 && !isOutput) {
    const Projection &taken = readerStates(readers.front());
    problem->addTable({variables.at(producer), variables.at(readers.front().op)},
                      moveTable(value, source->id, given, given->states,
                                sets.at(readers.front().op)->id, &taken, taken.states));
    return;
  }

  std::vector<State> states = {0};
  auto addStates = [&](const Projection &projection) {
    for (State state : projection.states)
      if (!llvm::is_contained(states, state))
        states.push_back(state);
  };
  if (!isLight) {
    if (given)
      addStates(*given);
    for (const Reader &reader : readers)
      addStates(readerStates(reader));
  }
  unsigned variable = problem->addVariable(states.size());
  if (given)
    problem->addTable({variables.at(producer), variable},
                      moveTable(value, source->id, given, given->states, 0, nullptr,
                                states));
  for (const Reader &reader : readers) {
    const Projection &taken = readerStates(reader);
    problem->addTable({variable, variables.at(reader.op)},
                      moveTable(value, 0, nullptr, states, sets.at(reader.op)->id,
                                &taken, taken.states));
  }
  // The caller gets outputs whole, but for caches, which stay where they are.
  if (isOutput && !caches.contains(value))
    problem->addTable({variable},
                      moveTable(value, 0, nullptr, states, 0, nullptr, {State(0)}));
  kept[value] = {variable, std::move(states)};
}

void SearchProblem::addValues() {
  DenseSet<Value> light = lightValues(), outputs, extended;
  for (Value output : func.getBody().front().getTerminator()->getOperands())
    outputs.insert(output);
  for (auto [output, input] : caches)
    extended.insert(input);
  for (Value argument : func.getArguments())
    if (extended.contains(argument))
      addValue(argument, readersOf[argument], false, false);
  for (Operation *op : strategies.ops())
    for (Value result : op->getResults())
      if (!readersOf[result].empty() || outputs.contains(result))
        addValue(result, readersOf[result], outputs.contains(result),
                 light.contains(result) && !caches.contains(result));
}

void SearchProblem::tieCaches() {
  for (auto [output, input] : caches) {
    auto after = kept.find(output), before = kept.find(input);
    if (after == kept.end() || before == kept.end())
      continue;
    const ValueInfo &about = strategies.info(output);
    const Shares &shares = strategies.info(input).shares;
    constexpr int64_t kNever = 1000000000000000;
    std::vector<int64_t> prices;
    for (State left : after->second.states) {
      std::optional<State> state = strategies.translate(output, left, input);
      for (State found : before->second.states)
        prices.push_back(!state            ? kNever
                         : *state == found ? 0
                                           : movePrice(machine, *state, found, shares,
                                                       axes, about.bytes));
    }
    problem->addTable({after->second.variable, before->second.variable},
                      problem->makeTable(std::move(prices)));
  }
}

/// A weight with two readers is held, and paid for, once if both cut it alike.
void SearchProblem::tieWeights() {
  constexpr double kWorthTying = 1e4;
  llvm::MapVector<Operation *, SmallVector<Reader, 2>> uses;
  for (Operation *op : strategies.ops())
    for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
      nn::WeightOp root = strategies.info(operand).root;
      if (root && strategies.info(operand).bytes ==
                      strategies.info(root.getResult()).bytes)
        uses[root].push_back({op, static_cast<unsigned>(i)});
    }
  for (auto &[root, readers] : uses) {
    Value weight = root->getResult(0);
    if (strategies.info(weight).bytes < kWorthTying)
      continue;
    for (auto [first, second] : llvm::zip(readers, llvm::drop_begin(readers))) {
      if (first.op == second.op)
        continue;
      auto rootStates = [&](const Reader &reader) {
        std::vector<std::optional<State>> states;
        for (const Strategy &strategy : sets.at(reader.op)->strategies)
          states.push_back(strategies.translate(reader.op->getOperand(reader.operand),
                                                strategy.states[reader.operand], weight));
        return states;
      };
      auto left = rootStates(first), right = rootStates(second);
      std::vector<int64_t> prices;
      for (auto [i, a] : llvm::enumerate(left)) {
        const Strategy &strategy = sets.at(first.op)->strategies[i];
        int64_t once = picoseconds(
            strategies.holdSeconds(first.op, first.op->getOperand(first.operand),
                                   strategy.states[first.operand]));
        for (auto &b : right)
          prices.push_back(a && a == b ? -once : 0);
      }
      problem->addTable({variables.at(first.op), variables.at(second.op)},
                        problem->makeTable(std::move(prices)));
    }
  }
}

std::optional<Problem::Solution> SearchProblem::solve(const Held &held) {
  problem.emplace();
  variables.clear();
  sets.clear();
  kept.clear();
  readersOf.clear();
  tables.clear();
  addOps(held);
  addValues();
  tieCaches();
  tieWeights();
  std::optional<Problem::Solution> solution = problem->solve();
  if (!solution)
    return std::nullopt;
  for (Operation *op : strategies.ops())
    chosen[op] = &sets.at(op)->strategies[solution->values[variables.at(op)]];
  keptState.clear();
  for (auto &[value, entry] : kept)
    keptState[value] = entry.states[solution->values[entry.variable]];
  return solution;
}

//===----------------------------------------------------------------------===//
// The answer
//===----------------------------------------------------------------------===//

bool SearchProblem::cuts(unsigned axis) {
  return llvm::any_of(strategies.ops(), [&](Operation *op) {
    return llvm::any_of(chosen.at(op)->states,
                        [&](State state) { return at(state, axis) >= kCut; });
  });
}

void SearchProblem::annotate(dist::MeshAttr mesh) {
  Builder builder(func.getContext());
  llvm::MapVector<StringAttr, SmallVector<Attribute>> weights;
  for (Operation *op : strategies.ops()) {
    const Strategy &strategy = *chosen.at(op);
    SmallVector<Attribute> operands, results, heldAt;
    for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
      operands.push_back(strategies.sharding(operand, strategy.states[number]));
      if (dist::ShardingAttr cut =
              strategies.rootSharding(operand, strategy.states[number])) {
        auto &list = weights[nn::WeightOp(strategies.info(operand).root).getNameAttr()];
        if (!llvm::is_contained(list, Attribute(cut)))
          list.push_back(cut);
      }
    }
    for (auto [i, result] : llvm::enumerate(op->getResults())) {
      State given = strategy.states[op->getNumOperands() + i];
      auto it = keptState.find(result);
      results.push_back(strategies.sharding(result, given));
      heldAt.push_back(strategies.sharding(result, it == keptState.end() ? given : it->second));
    }
    op->setAttr(kOperandShardings, builder.getArrayAttr(operands));
    op->setAttr(kResultShardings, builder.getArrayAttr(results));
    if (heldAt != results)
      op->setAttr(kHeldShardings, builder.getArrayAttr(heldAt));
  }
  for (auto [i, argument] : llvm::enumerate(func.getArguments())) {
    auto it = keptState.find(argument);
    if (it != keptState.end())
      func.setArgAttr(i, kHeldShardings, strategies.sharding(argument, it->second));
  }
  SmallVector<NamedAttribute> byName;
  for (auto &[name, shardings] : weights)
    byName.push_back({name, builder.getArrayAttr(shardings)});
  auto module = func->getParentOfType<ModuleOp>();
  module->setAttr(dist::kMesh, mesh);
  module->setAttr(kWeightShardings, builder.getDictionaryAttr(byName));
}

/// One axis at a time, the others held, until nothing changes; data axes first.
static std::optional<Problem::Solution> descend(SearchProblem &search,
                                                ArrayRef<Axis> axes) {
  constexpr unsigned kRounds = 4;
  SmallVector<unsigned> parents;
  for (bool holds : {false, true})
    for (const Axis &axis : axes)
      if (axis.holdsWeights == holds && !llvm::is_contained(parents, axis.parent))
        parents.push_back(axis.parent);
  Held held;
  for (Operation *op : search.ops())
    held[op].assign(axes.size(), kNothing);

  std::optional<Problem::Solution> best;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::optional<int64_t> before =
        best ? std::optional<int64_t>(best->cost) : std::nullopt;
    for (unsigned parent : parents) {
      for (auto &[op, choices] : held)
        for (auto [a, axis] : llvm::enumerate(axes))
          if (axis.parent == parent)
            choices[a] = std::nullopt;
      best = search.solve(held);
      if (!best)
        return std::nullopt;
      for (auto &[op, choices] : held)
        for (auto [a, choice] : llvm::enumerate(search.choices(op)))
          choices[a] = choice;
    }
    if (before == best->cost)
      break;
  }
  return best;
}

FailureOr<SearchReport> cleave::searchShardings(func::FuncOp func,
                                                const SearchRequest &request) {
  DimNames names;
  if (failed(names.run(func)))
    return failure();
  SmallVector<Axis> axes = axesOf(names, func, request.mesh);
  if (axes.size() > kMaxAxes)
    return func.emitError("a mesh is searched over up to ")
           << kMaxAxes << " axes and sub-axes, got: " << request.mesh;

  SearchProblem search(func, names, axes, request);
  std::optional<Problem::Solution> solution = search.solve(Held());
  if (!solution)
    solution = descend(search, axes);
  if (!solution)
    return func.emitError("the tables of the search grow too large over ")
           << request.mesh << "; use fewer axes";
  search.annotate(request.mesh);

  for (auto [i, name] : llvm::enumerate(request.mesh.getNames())) {
    bool cut = request.mesh.getSizes()[i] == 1;
    for (auto [a, axis] : llvm::enumerate(axes))
      cut |= axis.parent == i && search.cuts(a);
    if (!cut)
      func.emitWarning("axis \"")
          << name.getValue() << "\" of size " << request.mesh.getSizes()[i]
          << " cuts nothing: "
          << (isDataAxis(name)
                  ? "no dimension other than those of weights is as large, or cutting "
                    "one would cost more than it saves"
                  : "no dimension of a weight is as large, or cutting one would cost "
                    "more than it saves");
  }
  return SearchReport{solution->cost,
                      names.getNumNames(),
                      static_cast<unsigned>(solution->values.size()),
                      solution->computedSteps,
                      solution->width,
                      solution->largestTable};
}

namespace {

struct Search : cleave::impl::SearchBase<Search> {
  using SearchBase::SearchBase;

  void runOnOperation() override {
    std::string error;
    SearchRequest request;
    request.mesh = parseMesh(&getContext(), mesh, error);
    if (!request.mesh) {
      getOperation().emitError(error);
      return signalPassFailure();
    }
    if (pinned)
      request.pins = getOperation()->getAttrOfType<DictionaryAttr>(kWeightShardings);
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (failed(searchShardings(func, request)))
        return signalPassFailure();
  }
};

} // namespace
