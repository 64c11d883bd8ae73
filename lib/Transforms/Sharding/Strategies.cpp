//===- Strategies.cpp - what an op may choose, and its price --------------===//
//
// An axis may take a factor of the op, nothing, or let partial sums pass where
// the op is linear. The choice fixes the state of each operand and result:
//
//   matmul, k:        lhs cut at k, rhs cut at k -> partial
//   add, (lhs, rhs):  partial, partial           -> partial
//
// The price is time (roofline), extra collectives, and on axes that hold weights
// the weights held.
//
//===----------------------------------------------------------------------===//

#include "Strategies.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

static Value valueAt(Operation *op, unsigned number) {
  unsigned operands = op->getNumOperands();
  return number < operands ? op->getOperand(number) : op->getResult(number - operands);
}

static unsigned numValues(Operation *op) { return op->getNumOperands() + op->getNumResults(); }

Strategies::Strategies(DimNames &names, ArrayRef<Axis> axes, const Machine &machine,
                       func::FuncOp func, DictionaryAttr pins)
    : names(names), axes(axes), machine(machine), pins(pins) {
  describe(func);
}

/// Bytes of the weights that `value` is computed from in one step; 0 if it is one.
double Strategies::weightBytes(Value value) {
  Operation *op = value.getDefiningOp();
  double bytes = 0;
  if (op && !isa<nn::WeightOp>(op))
    for (Value operand : op->getOperands())
      if (info(operand).origin == Origin::Weight)
        bytes += info(operand).bytes;
  return bytes;
}

/// The weight that stands for all: the only one, or the one beside which the others are
/// small, as scales beside quantised weights.
nn::WeightOp Strategies::rootOf(ArrayRef<nn::WeightOp> weights) {
  if (weights.size() == 1 || llvm::is_contained(weights, nullptr))
    return weights.size() == 1 ? weights.front() : nullptr;
  nn::WeightOp largest;
  double most = 0, all = 0;
  for (nn::WeightOp weight : weights) {
    double bytes = info(weight.getResult()).bytes;
    all += bytes;
    if (bytes > most)
      largest = weight, most = bytes;
  }
  return 3 * most > 2 * all ? largest : nullptr;
}

void Strategies::describe(func::FuncOp func) {
  auto add = [&](Value value, Origin origin, nn::WeightOp root) {
    auto type = cast<RankedTensorType>(value.getType());
    Shares shares;
    for (const Cut &cut : names.cuts(value))
      shares.push_back({cut.name->size, cut.held});
    double count = static_cast<double>(type.getNumElements());
    double bytes = count * nn::elementBytes(type.getElementType());
    // Weights are held and read as what they are computed from if that is less (Load.h).
    double read = origin == Origin::Weight ? weightBytes(value) : 0;
    if (read > 0 && read * 8 >= count)
      bytes = std::min(bytes, read);
    infos[value] = std::make_unique<ValueInfo>(ValueInfo{origin, bytes, std::move(shares), root});
  };
  for (Value argument : func.getArguments())
    add(argument, Origin::Input, nullptr);
  for (Operation &op : func.getBody().front().without_terminator()) {
    Origin origin = isa<nn::WeightOp>(&op) ? Origin::Weight : Origin::Constant;
    SmallVector<nn::WeightOp, 2> roots;
    if (auto weight = dyn_cast<nn::WeightOp>(&op))
      roots.push_back(weight);
    for (Value operand : op.getOperands()) {
      const ValueInfo &from = info(operand);
      origin = std::max(origin, from.origin == Origin::Input ? Origin::Activation : from.origin);
      if (from.origin == Origin::Weight && !llvm::is_contained(roots, from.root))
        roots.push_back(from.root);
    }
    nn::WeightOp root = origin == Origin::Weight ? rootOf(roots) : nullptr;
    for (Value result : op.getResults())
      add(result, origin, root);
    if (origin == Origin::Activation)
      active.push_back(&op);
  }
  for (Operation *op : active)
    for (Value operand : op->getOperands()) {
      const ValueInfo &from = info(operand);
      if (from.origin == Origin::Weight && cast<RankedTensorType>(operand.getType()).getRank() > 1)
        largestWeight = std::max(largestWeight, from.bytes);
    }
}

//===----------------------------------------------------------------------===//
// Choices
//===----------------------------------------------------------------------===//

bool Strategies::cutsWeight(Operation *op, const CutFactor &factor) {
  return llvm::any_of(factor.places, [&](auto place) {
    return place.first < op->getNumOperands() &&
           info(op->getOperand(place.first)).origin == Origin::Weight;
  });
}

/// All choices, an entry an axis.
SmallVector<SmallVector<int, 2>> Strategies::choicesOf(Operation *op, const Held &held) {
  ArrayRef<CutFactor> factors = names.factors(op);
  const nn::ShardingRule &rule = names.rule(op);
  SmallVector<int> linear;
  for (auto [set, operands] : llvm::enumerate(rule.linearIn))
    if (llvm::all_of(operands, [&](int64_t operand) {
          return info(op->getOperand(operand)).origin == Origin::Activation;
        }))
      linear.push_back(linearChoice(set));
  auto it = held.find(op);

  SmallVector<SmallVector<int, 2>> out = {{}};
  for (unsigned a = 0; a < axes.size();) {
    unsigned width = 1;
    while (a + width < axes.size() && axes[a + width].parent == axes[a].parent)
      ++width;
    int64_t whole = 1;
    for (unsigned i = 0; i < width; ++i)
      whole *= axes[a + i].size;
    // A factor smaller than the axis leaves ranks without a part, which is still
    // better than all of it on all of them.
    auto fits = [&](int choice, int64_t members) {
      return choice < 0 || factors[choice].size >= members;
    };

    SmallVector<int> single = {kNothing};
    for (unsigned f = 0; f < factors.size(); ++f)
      if (axes[a].holdsWeights || !cutsWeight(op, factors[f]))
        single.push_back(f);
    single.append(linear);

    // Of sub-axes: alike, or a factor too small for all of the axis on the first
    // and anything else on the second.
    SmallVector<SmallVector<int, 2>> local;
    for (int choice : single)
      if (width == 1 || fits(choice, whole))
        local.push_back(SmallVector<int, 2>(width, choice));
    if (width == 2)
      for (int first : single)
        if (first >= 0 && !fits(first, whole) && fits(first, axes[a].size))
          for (int second : single)
            if (second != first && second >= kNothing && fits(second, axes[a + 1].size))
              local.push_back({first, second});
    if (it != held.end() && it->second[a]) {
      SmallVector<int, 2> fixed;
      for (unsigned i = 0; i < width; ++i)
        fixed.push_back(*it->second[a + i]);
      local = {fixed};
    }

    SmallVector<SmallVector<int, 2>> product;
    for (auto &prefix : out)
      for (auto &suffix : local) {
        product.push_back(prefix);
        product.back().append(suffix);
      }
    out = std::move(product);
    a += width;
  }
  return out;
}

Strategy Strategies::strategy(Operation *op, ArrayRef<int> choices) {
  ArrayRef<CutFactor> factors = names.factors(op);
  Strategy out{SmallVector<State, 4>(numValues(op), 0), 0,
               SmallVector<int, 2>(choices.begin(), choices.end())};
  unsigned operands = op->getNumOperands();
  for (auto [axis, choice] : llvm::enumerate(choices)) {
    if (choice == kNothing)
      continue;
    auto set = [&](unsigned value, AxisState state) {
      out.states[value] = with(out.states[value], axis, state);
    };
    if (choice < kNothing) {
      for (int64_t operand : names.rule(op).linearIn[-2 - choice])
        set(operand, kPartial);
      for (unsigned value = operands; value < numValues(op); ++value)
        set(value, kPartial);
      continue;
    }
    const CutFactor &factor = factors[choice];
    if (factor.kind == nn::FactorKind::Reduction || factor.kind == nn::FactorKind::Lookup)
      for (unsigned value = operands; value < numValues(op); ++value)
        set(value, kPartial);
    for (auto [value, cut] : factor.places)
      set(value, kCut + cut);
  }
  out.price = picoseconds(seconds(op, choices, out.states));
  return out;
}

//===----------------------------------------------------------------------===//
// Prices
//===----------------------------------------------------------------------===//

double Strategies::holdSeconds(Operation *op, Value weight, State state) {
  const ValueInfo &from = info(weight);
  int64_t rank = cast<RankedTensorType>(weight.getType()).getRank();
  // Vectors and small tables are free: a price on them would buy collectives.
  constexpr double kLeastMatrix = 0.005, kLeastTable = 0.2, kLeastFloor = 0.05;
  bool heavy = names.rule(op).flops > 0;
  if (from.origin != Origin::Weight || rank < 2 ||
      from.bytes < (heavy ? kLeastMatrix : kLeastTable) * largestWeight)
    return 0;
  State held = 0;
  bool anyHolds = false, cut = false;
  for (auto [a, axis] : llvm::enumerate(axes))
    if (axis.holdsWeights) {
      anyHolds = true;
      held = with(held, a, at(state, a));
      cut |= at(state, a) >= kCut;
    }
  if (!anyHolds)
    return 0;
  double floor =
      !cut && from.bytes > kLeastFloor * largestWeight ? machine.floor * machine.latency : 0;
  return machine.hold * from.bytes / machine.memory * largestShare(held, from.shares, axes) + floor;
}

double Strategies::seconds(Operation *op, ArrayRef<int> choices, ArrayRef<State> states) {
  const nn::ShardingRule &rule = names.rule(op);
  ArrayRef<CutFactor> factors = names.factors(op);

  double share = 1, extra = 0;
  for (auto [a, choice] : llvm::enumerate(choices)) {
    if (choice < 0 || llvm::is_contained(choices.take_front(a), choice))
      continue;
    const CutFactor &factor = factors[choice];
    int64_t members = 1;
    for (auto [other, axis] : llvm::zip(choices, axes))
      members *= other == choice ? axis.size : 1;
    share *= largestPart(factor.size, factor.held, members);
    for (int64_t bytes : factor.extraBytes)
      extra += collectiveSeconds(machine, MoveKind::AllReduce, bytes, members);
  }

  double traffic = 0, hold = 0, written = 0;
  bool looksUp = llvm::any_of(
      rule.factors, [](const nn::Factor &factor) { return factor.kind == nn::FactorKind::Lookup; });
  for (auto [number, state] : llvm::enumerate(states)) {
    Value value = valueAt(op, number);
    const ValueInfo &about = info(value);
    double bytes = about.bytes;
    // A gather reads the rows that it takes, not the table.
    if (looksUp && number == 0)
      bytes = std::min(bytes, info(op->getResult(0)).bytes);
    traffic += bytes * largestShare(state, about.shares, axes);
    if (number < op->getNumOperands())
      hold += holdSeconds(op, value, state);
    else
      written += about.bytes;
  }
  // Chains fuse: about half of what elementwise ops move never reaches memory.
  if (rule.flops == 0)
    traffic *= rule.isView ? 0 : 0.5;
  double work = rule.flops ? static_cast<double>(rule.flops) : (rule.isView ? 0 : written * 0.25);
  return std::max(work * share / machine.flops, traffic / machine.memory) + hold + extra;
}

//===----------------------------------------------------------------------===//
// Sets
//===----------------------------------------------------------------------===//

/// All that strategies and prices depend on, as bytes.
std::string Strategies::signature(Operation *op, const Held &held) {
  std::string key = op->getName().getStringRef().str();
  auto append = [&](int64_t value) {
    key.append(reinterpret_cast<const char *>(&value), sizeof value);
  };
  const nn::ShardingRule &rule = names.rule(op);
  append(rule.flops);
  append(rule.isView);
  for (auto &set : rule.linearIn) {
    append(set.size());
    for (int64_t operand : set)
      append(operand);
  }
  for (unsigned number = 0; number < numValues(op); ++number) {
    Value value = valueAt(op, number);
    const ValueInfo &about = info(value);
    append(static_cast<int64_t>(about.origin));
    append(static_cast<int64_t>(about.bytes));
    append(cast<RankedTensorType>(value.getType()).getRank());
    append(about.shares.size());
    for (auto [size, amount] : about.shares) {
      append(size);
      append(amount);
    }
    if (nn::WeightOp root = about.root; pins && root)
      append(reinterpret_cast<intptr_t>(pins.get(root.getName()).getImpl()));
  }
  for (const CutFactor &factor : names.factors(op)) {
    append(static_cast<int64_t>(factor.kind));
    append(factor.size);
    append(factor.held);
    append(factor.places.size());
    for (auto [value, cut] : factor.places)
      append(int64_t(value) << 32 | cut);
    append(factor.extraBytes.size());
    for (int64_t bytes : factor.extraBytes)
      append(bytes);
  }
  if (auto it = held.find(op); it != held.end())
    for (std::optional<int> choice : it->second)
      append(choice.value_or(1 << 20));
  return key;
}

const StrategySet &Strategies::of(Operation *op, const Held &held) {
  auto [it, isNew] = memo.try_emplace(signature(op, held));
  if (!isNew)
    return *it->second;
  it->second = std::make_unique<StrategySet>();
  StrategySet &set = *it->second;
  set.id = memo.size();
  std::vector<Strategy> unpinned;
  for (ArrayRef<int> choices : choicesOf(op, held)) {
    Strategy found = strategy(op, choices);
    bool meets = meetsPins(op, found);
    (meets ? set.strategies : unpinned).push_back(std::move(found));
  }
  // A pin that no strategy meets says nothing about this op.
  if (set.strategies.empty())
    set.strategies = std::move(unpinned);

  for (unsigned number = 0; number < numValues(op); ++number) {
    Projection projection;
    for (const Strategy &strategy : set.strategies) {
      State state = strategy.states[number];
      auto found = llvm::find(projection.states, state);
      projection.index.push_back(found - projection.states.begin());
      if (found == projection.states.end())
        projection.states.push_back(state);
    }
    set.projections.push_back(std::move(projection));
  }
  return set;
}

//===----------------------------------------------------------------------===//
// Names of states
//===----------------------------------------------------------------------===//

dist::ShardingAttr Strategies::sharding(Value value, State state) {
  Marks marks;
  SmallVector<StringAttr> partial;
  for (auto [a, axis] : llvm::enumerate(axes)) {
    AxisState here = at(state, a);
    if (here == kPartial)
      partial.push_back(axis.name);
    else if (here >= kCut)
      marks.push_back({static_cast<unsigned>(here - kCut), axis.name});
  }
  return names.sharding(value, marks, partial);
}

std::optional<State> Strategies::translate(Value from, State state, Value to) {
  State out = 0;
  ArrayRef<Cut> source = names.cuts(from), target = names.cuts(to);
  for (unsigned a = 0; a < axes.size(); ++a) {
    AxisState here = at(state, a);
    if (here >= kCut) {
      const Cut &cut = source[here - kCut];
      auto *same = llvm::find_if(
          target, [&](const Cut &other) { return other.name == cut.name && other.dim == cut.dim; });
      // A transposed weight holds the name in another dimension.
      if (same == target.end())
        same = llvm::find_if(target, [&](const Cut &other) { return other.name == cut.name; });
      if (same == target.end())
        return std::nullopt;
      here = kCut + (same - target.begin());
    }
    out = with(out, a, here);
  }
  return out;
}

dist::ShardingAttr Strategies::rootSharding(Value value, State state) {
  nn::WeightOp root = info(value).root;
  if (!root)
    return nullptr;
  std::optional<State> there = translate(value, state, root.getResult());
  return there ? sharding(root.getResult(), *there).getNormalized() : nullptr;
}

bool Strategies::meetsPins(Operation *op, const Strategy &strategy) {
  if (!pins)
    return true;
  for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
    nn::WeightOp root = info(operand).root;
    auto allowed = root ? pins.getAs<ArrayAttr>(root.getName()) : nullptr;
    if (!allowed)
      continue;
    dist::ShardingAttr cut = rootSharding(operand, strategy.states[number]);
    if (cut && !llvm::is_contained(allowed, Attribute(cut)))
      return false;
  }
  return true;
}
