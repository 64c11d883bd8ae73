//===- SearchCuts.cpp - which dimensions a decision cuts ------------------===//
//
// A decision stands on thousands of values, but what was cut is a few names: the
// heads, the inner dimension of each layer, the vocabulary. What a name is called
// follows from the ops that read it, never from the names of weights.
//
//===----------------------------------------------------------------------===//

#include "SearchProblem.h"

#include "cleave/Support/NodeName.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

SmallVector<std::string> sharding::inputDims(func::FuncOp func, BlockArgument argument) {
  return nn::dimNames(func.getArgAttr(argument.getArgNumber(), nn::kShape),
                      func->getAttr(nn::kSymbols), nn::typeOf(argument).getRank());
}

namespace {

/// A name with what it is to the ops around it.
class Roles {
public:
  Roles(func::FuncOp func, DimNames &names, Strategies &strategies)
      : func(func), names(names), strategies(strategies) {
    ArrayRef<Operation *> ops = strategies.ops();
    for (Operation *op : ops)
      if (auto attention = dyn_cast<nn::AttentionOp>(op))
        addHeads(attention);
    for (Operation *op : ops)
      if (auto gather = dyn_cast<nn::GatherOp>(op))
        addTable(gather);
    for (Operation *op : ops)
      if (names.rule(op).flops > 0)
        addProduct(op);
    addInputs();
    addOutputs();
  }

  StringRef of(const DimName *name) const {
    if (auto role = known.find(name); role != known.end())
      return role->second;
    if (summed.contains(name) && made.contains(name))
      return "inner";
    return last.contains(name) ? tableSizes.contains(name->size) ? "vocabulary" : "output" : "";
  }

private:
  void addHeads(nn::AttentionOp op) {
    auto queries = names.dimension(op.getQuery(), 1), keys = names.dimension(op.getKey(), 1);
    for (const DimName *name : queries)
      known.try_emplace(name, "heads");
    if (queries.size() > 1)
      for (const DimName *name : keys)
        known[name] = "kv heads";
  }

  void addTable(nn::GatherOp op) {
    if (!op.getData().getDefiningOp())
      return;
    tableSizes.insert(nn::typeOf(op.getData()).getDimSize(op.getAxis()));
    for (int64_t dim = 0; dim < nn::typeOf(op.getData()).getRank(); ++dim)
      for (const DimName *name : names.dimension(op.getData(), dim))
        known.try_emplace(name,
                          dim == static_cast<int64_t>(op.getAxis()) ? "vocabulary" : "hidden");
  }

  /// What a product with one weight makes and one with another sums; and what chooses
  /// among several weights in one tensor.
  void addProduct(Operation *op) {
    for (const CutFactor &factor : names.factors(op))
      for (auto [number, cut] : factor.places) {
        Value value = number < op->getNumOperands() ? op->getOperand(number) : Value();
        if (!value || strategies.info(value).origin != Origin::Weight)
          continue;
        const Cut &place = names.cuts(value)[cut];
        if (isa<nn::MatmulOp>(op) && place.dim < nn::typeOf(value).getRank() - 2)
          known.try_emplace(place.name, "experts");
        bool isSum = factor.kind == nn::FactorKind::Reduction;
        (isSum ? summed : made).insert(place.name);
      }
  }

  /// What the model itself calls a dimension of an input.
  void addInputs() {
    for (BlockArgument argument : func.getArguments())
      for (auto [i, name] : llvm::enumerate(inputDims(func, argument)))
        if (auto factors = names.dimension(argument, i); !name.empty() && factors.size() == 1)
          known.try_emplace(factors.front(), name);
  }

  /// The last dimension of an output is what a head of the model chooses from.
  void addOutputs() {
    for (Value output : func.getBody().front().getTerminator()->getOperands())
      if (int64_t rank = nn::typeOf(output).getRank())
        for (const DimName *name : names.dimension(output, rank - 1))
          if (made.contains(name))
            last.insert(name);
  }

  func::FuncOp func;
  DimNames &names;
  Strategies &strategies;
  DenseMap<const DimName *, std::string> known;
  DenseSet<const DimName *> summed, made, last;
  DenseSet<int64_t> tableSizes;
};

/// A name that is cut over some axes.
struct Entry {
  const DimName *name;
  llvm::SmallDenseSet<Value, 8> values;
  llvm::SmallSetVector<Operation *, 4> weights;
  std::string first; ///< a weight and its dimension, else an input, else a node
};

} // namespace

static std::string placeOf(StringRef name, int64_t dim) {
  return (name + " dim " + Twine(dim)).str();
}

void SearchProblem::recordCuts(dist::MeshAttr mesh) {
  llvm::MapVector<std::pair<const DimName *, Attribute>, Entry> entries;
  Builder builder(func.getContext());
  auto note = [&](Value value, State state) {
    const ValueInfo &about = strategies.info(value);
    nn::WeightOp root = about.root;
    if (about.origin == Origin::Constant || (about.origin == Origin::Weight && !root))
      return;
    llvm::SmallMapVector<AxisState, SmallVector<StringAttr, 2>, 2> axesOf;
    for (auto [a, axis] : llvm::enumerate(axes))
      if (at(state, a) >= kCut)
        axesOf[at(state, a)].push_back(axis.name);
    for (auto &[number, cutAxes] : axesOf) {
      const Cut &cut = names.cuts(value)[number - kCut];
      SmallVector<StringAttr> joined = dist::joinAxes(mesh, cutAxes);
      Attribute key = builder.getArrayAttr(SmallVector<Attribute>(joined.begin(), joined.end()));
      Entry &entry = entries[{cut.name, key}];
      entry.name = cut.name;
      if (root) {
        if (entry.weights.empty())
          entry.first = placeOf(root.getName(), cut.dim);
        entry.weights.insert(root);
        continue;
      }
      entry.values.insert(value);
      if (!entry.first.empty())
        continue;
      auto argument = dyn_cast<BlockArgument>(value);
      auto name = argument ? func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name")
                           : nullptr;
      entry.first = placeOf(name ? name.getValue() : nodeName(value.getLoc()), cut.dim);
    }
  };
  for (Operation *op : strategies.ops()) {
    const Strategy &strategy = *chosen.at(op);
    for (auto [i, operand] : llvm::enumerate(op->getOperands()))
      note(operand, strategy.states[i]);
    for (auto [i, result] : llvm::enumerate(op->getResults()))
      note(result, strategy.states[op->getNumOperands() + i]);
  }

  Roles roles(func, names, strategies);
  SmallVector<Attribute> cuts;
  for (auto &[key, entry] : entries)
    cuts.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr("axes", key.second),
         builder.getNamedAttr("first", builder.getStringAttr(entry.first)),
         builder.getNamedAttr("role", builder.getStringAttr(roles.of(entry.name))),
         builder.getNamedAttr("size", builder.getI64IntegerAttr(entry.name->size)),
         builder.getNamedAttr("values", builder.getI64IntegerAttr(entry.values.size())),
         builder.getNamedAttr("weights", builder.getI64IntegerAttr(entry.weights.size()))}));
  func->getParentOfType<ModuleOp>()->setAttr(kCuts, builder.getArrayAttr(cuts));
}
