//===- SearchProblem.cpp - a graph as a sum of tables ---------------------===//

#include "SearchProblem.h"

#include <numeric>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

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
    // A cache may be made longer, or turned, before it is extended.
    while (isa_and_nonnull<nn::PadOp, nn::TransposeOp, nn::CastOp>(input.getDefiningOp()))
      input = input.getDefiningOp()->getOperand(0);
    if (isa<BlockArgument>(input))
      caches[output] = input;
  }
  return caches;
}

SearchProblem::SearchProblem(func::FuncOp func, DimNames &names, ArrayRef<Axis> axes,
                             const SearchRequest &request)
    : func(func), names(names), axes(axes), machine(request.machine),
      strategies(names, axes, request.machine, func, request.pins), caches(findCaches(func)) {}

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

/// The prices of moving `value` between two lists of states; a projection
/// spreads a list over the strategies of an op.
Problem::Table SearchProblem::moveTable(Value value, unsigned fromSet, const Projection *from,
                                        ArrayRef<State> fromStates, unsigned toSet,
                                        const Projection *to, ArrayRef<State> toStates) {
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

/// Values with many readers and nothing heavy behind them: masks, rope tables.
/// As variables they would stand in every table of every layer; kept whole,
/// every reader slices them free of charge.
DenseSet<Value> SearchProblem::lightValues() {
  constexpr size_t kManyReaders = 4;
  DenseSet<Value> heavy, light;
  for (Operation *op : strategies.ops()) {
    bool isHeavy =
        names.rule(op).flops > 0 || isa<nn::GatherOp>(op) ||
        llvm::any_of(op->getOperands(), [&](Value operand) { return heavy.contains(operand); });
    for (Value result : op->getResults())
      if (isHeavy)
        heavy.insert(result);
      else if (readersOf[result].size() >= kManyReaders)
        light.insert(result);
  }
  return light;
}

void SearchProblem::addValue(Value value, ArrayRef<Reader> readers, bool isOutput, bool isLight) {
  Operation *producer = value.getDefiningOp();
  const StrategySet *source = producer ? sets.at(producer) : nullptr;
  const Projection *given = nullptr;
  if (source)
    given =
        &source->projections[producer->getNumOperands() + cast<OpResult>(value).getResultNumber()];

  if (source && readers.size() == 1 && !isOutput) {
    const Projection &taken = readerStates(readers.front());
    problem->addTable({variables.at(producer), variables.at(readers.front().op)},
                      moveTable(value, source->id, given, given->states,
                                sets.at(readers.front().op)->id, &taken, taken.states));
    return;
  }

  std::vector<State> states = {0};
  auto addStates = [&](const Projection &projection) {
    for (State state : projection.states) {
      // Micro-batches are never put together.
      for (auto [a, axis] : llvm::enumerate(axes))
        if (isLight && !axis.isInTime)
          state = with(state, a, kReplicated);
      if (!llvm::is_contained(states, state))
        states.push_back(state);
    }
  };
  if (given)
    addStates(*given);
  for (const Reader &reader : readers)
    addStates(readerStates(reader));
  unsigned variable = problem->addVariable(states.size());
  if (given)
    problem->addTable({variables.at(producer), variable},
                      moveTable(value, source->id, given, given->states, 0, nullptr, states));
  for (const Reader &reader : readers) {
    const Projection &taken = readerStates(reader);
    problem->addTable(
        {variable, variables.at(reader.op)},
        moveTable(value, 0, nullptr, states, sets.at(reader.op)->id, &taken, taken.states));
  }
  // The caller gets outputs whole, but for caches, which stay where they are. What
  // a micro-batch makes is put where it belongs.
  if (isOutput && !caches.contains(value)) {
    std::vector<State> inOneBatch = states;
    for (auto [a, axis] : llvm::enumerate(axes))
      for (State &state : inOneBatch)
        state = axis.isInTime ? with(state, a, kReplicated) : state;
    problem->addTable({variable}, moveTable(value, 0, nullptr, inOneBatch, 0, nullptr, {State(0)}));
  }
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
        prices.push_back(!state ? kNever
                         : *state == found
                             ? 0
                             : movePrice(machine, *state, found, shares, axes, about.bytes));
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
      if (root && strategies.info(operand).bytes == strategies.info(root.getResult()).bytes)
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
        int64_t once = picoseconds(strategies.holdSeconds(
            first.op, first.op->getOperand(first.operand), strategy.states[first.operand]));
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

std::optional<int64_t> SearchProblem::cutDimension(BlockArgument argument, unsigned axis) {
  for (const Reader &reader : readersOf[argument]) {
    AxisState state = at(chosen.at(reader.op)->states[reader.operand], axis);
    if (state >= kCut)
      return names.cuts(argument)[state - kCut].dim;
  }
  return std::nullopt;
}

void SearchProblem::annotate(dist::MeshAttr mesh) {
  Builder builder(func.getContext());
  llvm::MapVector<StringAttr, SmallVector<Attribute>> weights;
  for (Operation *op : strategies.ops()) {
    const Strategy &strategy = *chosen.at(op);
    SmallVector<Attribute> operands, results, heldAt;
    for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
      operands.push_back(strategies.sharding(operand, strategy.states[number]));
      if (dist::ShardingAttr cut = strategies.rootSharding(operand, strategy.states[number])) {
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
  recordCuts(mesh);
}
