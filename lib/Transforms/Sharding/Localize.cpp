//===- Localize.cpp - one program a class of ranks ------------------------===//
//
// Each op is built anew on the parts of its operands; where a value is kept, or
// taken, under another sharding than it is given, it is resharded once for all
// who want it so. What follows from weights and constants alone is built whole,
// and sliced where it is read, as near to the weight as the slice commutes.
//
//   %y = nn.matmul %x, %w            %v = dist.slice %w dim 0 over ["tp"] …
//        k cut over "tp"       =>    %p = nn.matmul %x', %v
//                                    %y = dist.all_reduce sum %p over ["tp"]
//
//===----------------------------------------------------------------------===//

#include "LocalizeOps.h"
#include "cleave/Transforms/Sharding/Passes.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

#include <map>

namespace cleave {
#define GEN_PASS_DEF_LOCALIZE
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;
using dist::ExtentAttr;
using dist::ShardingAttr;

//===----------------------------------------------------------------------===//
// Rank classes
//===----------------------------------------------------------------------===//

/// Calls `visit` with every sharding that stands on `func`.
static void forEachSharding(func::FuncOp func, function_ref<void(ShardingAttr)> visit) {
  func.walk([&](Operation *op) {
    for (StringRef name : {kOperandShardings, kResultShardings, kHeldShardings})
      if (auto list = op->getAttrOfType<ArrayAttr>(name))
        for (auto sharding : list.getAsRange<ShardingAttr>())
          visit(sharding);
  });
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (auto held = func.getArgAttrOfType<ShardingAttr>(i, kHeldShardings))
      visit(held);
}

static void collectLeaves(ExtentAttr extent, llvm::SetVector<ExtentAttr> &leaves) {
  if (extent.isLeaf() && extent.isCut())
    leaves.insert(extent);
  for (ExtentAttr part : extent.getParts())
    collectLeaves(part, leaves);
}

/// Ranks for which every cut gives as much to them and to those with whom they gather it
/// are of one class.
static SmallVector<int64_t> classesOf(func::FuncOp func, dist::MeshAttr mesh) {
  llvm::DenseSet<ShardingAttr> seen;
  llvm::SetVector<ExtentAttr> leaves;
  forEachSharding(func, [&](ShardingAttr sharding) {
    if (seen.insert(sharding).second)
      for (ExtentAttr extent : sharding.getDims())
        collectLeaves(extent, leaves);
  });
  int64_t ranks = mesh.getNumRanks();
  std::vector<std::vector<int64_t>> signatures(ranks);
  for (ExtentAttr leaf : leaves) {
    SmallVector<int64_t> sizes;
    for (int64_t rank = 0; rank < ranks; ++rank)
      signatures[rank].push_back(sizes.emplace_back(leaf.getLocalSize(mesh, rank)));
    for (size_t i = 1; i < leaf.getAxes().size(); ++i)
      for (ArrayRef<int64_t> group : mesh.getGroups(leaf.getAxes().drop_front(i)))
        for (int64_t rank : group)
          for (int64_t other : group)
            signatures[rank].push_back(sizes[other]);
  }
  std::map<std::vector<int64_t>, int64_t> numbers;
  SmallVector<int64_t> classes;
  for (std::vector<int64_t> &signature : signatures)
    classes.push_back(numbers.try_emplace(std::move(signature), numbers.size()).first->second);
  return classes;
}

//===----------------------------------------------------------------------===//
// One class
//===----------------------------------------------------------------------===//

namespace {

class ClassBuilder {
public:
  ClassBuilder(func::FuncOp source, func::FuncOp target, dist::MeshAttr mesh, int64_t rank)
      : source(source), builder(target.getContext(), &tagger), reshard(builder, mesh, rank) {
    tagger.isWanted = isPipelined(mesh);
    Block *entry = target.addEntryBlock();
    builder.setInsertionPointToStart(entry);
    for (auto [i, argument] : llvm::enumerate(source.getArguments())) {
      whole[argument] = entry->getArgument(i);
      if (auto held = source.getArgAttrOfType<ShardingAttr>(i, kHeldShardings))
        keep(argument, replicated(argument), entry->getArgument(i), held, {argument.getLoc(), ""});
    }
  }

  LogicalResult run();

private:
  struct Local {
    Value value;
    ShardingAttr sharding;
  };

  LogicalResult localize(Operation *op);
  void keep(Value value, ShardingAttr given, Value local, ShardingAttr held, const Cause &cause);
  /// What this rank holds of `value` under `sharding`.
  Value take(Value value, ShardingAttr sharding, Location loc, StringRef reader);
  Value takeSource(Value value, ShardingAttr sharding, Location loc);
  Value wholeSource(Value value);
  ShardingAttr replicated(Value value) {
    return ShardingAttr::getReplicated(value.getContext(),
                                       cast<RankedTensorType>(value.getType()).getShape());
  }
  std::string axesText(ArrayRef<StringAttr> axes);
  Cause causeOf(Value value, ShardingAttr from, ShardingAttr to, Location loc, StringRef reader);

  LogicalResult addPart(unsigned number, Value value, ShardingAttr sharding);
  /// What of the sharding of a result the caller puts together: its micro-batches.
  static ShardingAttr inTime(ShardingAttr sharding);

  /// Says of each op for which op of the source it was made, as a number.
  struct Tagger final : OpBuilder::Listener {
    void notifyOperationInserted(Operation *op, OpBuilder::InsertPoint) override {
      if (isWanted)
        op->setAttr(kMadeFor, Builder(op->getContext()).getI64IntegerAttr(number));
    }
    bool isWanted = false;
    int64_t number = 0;
  };

  func::FuncOp source;
  Tagger tagger;
  OpBuilder builder;
  Reshard reshard;
  /// Of arguments, weights and constants.
  DenseMap<Value, Value> whole;
  DenseMap<Value, Local> kept;
  DenseMap<std::pair<Value, Attribute>, Value> taken;
};

} // namespace

ShardingAttr ClassBuilder::inTime(ShardingAttr sharding) {
  std::function<ExtentAttr(ExtentAttr)> keep = [&](ExtentAttr extent) {
    MLIRContext *context = extent.getContext();
    if (extent.isLeaf())
      return llvm::is_contained(extent.getAxes(), StringAttr::get(context, kMicroBatchAxis))
                 ? ExtentAttr::get(context, extent.getSize(),
                                   StringAttr::get(context, kMicroBatchAxis))
                 : ExtentAttr::get(context, extent.getSize());
    return ExtentAttr::get(context, extent.getIsConcat(),
                           llvm::map_to_vector(extent.getParts(), keep));
  };
  return ShardingAttr::get(sharding.getContext(), llvm::map_to_vector(sharding.getDims(), keep),
                           {});
}

/// The axes that cut an extent, and those of all dimensions.
static void addAxes(ExtentAttr extent, SmallVectorImpl<StringAttr> &axes) {
  for (StringAttr axis : extent.getAxes())
    if (!llvm::is_contained(axes, axis))
      axes.push_back(axis);
  for (ExtentAttr part : extent.getParts())
    addAxes(part, axes);
}

/// Why `value`, which is as `from` says, travels to be as `to` says for `reader`.
Cause ClassBuilder::causeOf(Value value, ShardingAttr from, ShardingAttr to, Location loc,
                            StringRef reader) {
  Operation *producer = value.getDefiningOp();
  StringRef made = producer ? producer->getName().stripDialect() : "an input";
  SmallVector<StringAttr> leaving, before, after;
  for (StringAttr axis : from.getPartial())
    if (!llvm::is_contained(to.getPartial(), axis))
      leaving.push_back(axis);
  if (producer && !leaving.empty()) {
    bool looksUp = isa<nn::GatherOp>(producer);
    return {producer->getLoc(),
            (made + (looksUp ? " looks up a table cut over " : " sums along what is cut over ") +
             axesText(leaving) + ", so each rank has a part of the sum")
                .str()};
  }
  for (ExtentAttr extent : from.getDims())
    addAxes(extent, before);
  for (ExtentAttr extent : to.getDims())
    addAxes(extent, after);
  if (after.empty())
    return {loc, (made + " gives it cut over " + axesText(before) + ", and it is needed whole by " +
                  reader)
                     .str()};
  return {loc,
          (made + " gives it as " + from.getNormalized(reshard.getMesh()).str() +
           ", and it is taken as " + to.getNormalized(reshard.getMesh()).str() + " by " + reader)
              .str()};
}

std::string ClassBuilder::axesText(ArrayRef<StringAttr> axes) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::interleaveComma(dist::joinAxes(reshard.getMesh(), axes), os,
                        [&](StringAttr axis) { os << axis.getValue(); });
  return text;
}

static bool isEqual(ShardingAttr a, ShardingAttr b) {
  return a == b || a.getNormalized() == b.getNormalized();
}

void ClassBuilder::keep(Value value, ShardingAttr given, Value local, ShardingAttr held,
                        const Cause &cause) {
  kept[value] = {isEqual(given, held) ? local : reshard.convert(local, given, held, cause), held};
}

/// A weight, a constant, or what follows from them alone, whole.
Value ClassBuilder::wholeSource(Value value) {
  if (Value known = whole.lookup(value))
    return known;
  Operation *op = value.getDefiningOp();
  IRMapping mapping;
  for (Value operand : op->getOperands())
    mapping.map(operand, wholeSource(operand));
  Operation *clone = builder.clone(*op, mapping);
  for (auto [from, to] : llvm::zip(op->getResults(), clone->getResults()))
    whole[from] = to;
  return whole.lookup(value);
}

/// A part of such a value: the slice is taken as near to the weight as it commutes, so
/// that no rank touches more of the file than it holds.
Value ClassBuilder::takeSource(Value value, ShardingAttr sharding, Location loc) {
  Operation *op = value.getDefiningOp();
  if (op && op->getNumOperands() > 0)
    if (auto operands = sourceShardings(op, sharding, reshard.getMesh())) {
      IRMapping mapping;
      for (auto [operand, cut] : llvm::zip_equal(op->getOperands(), *operands))
        mapping.map(operand, take(operand, cut, loc, ""));
      Operation *part = builder.clone(*op, mapping);
      part->getResult(0).setType(reshard.localType(value.getType(), sharding));
      return part->getResult(0);
    }
  auto constant = dyn_cast_or_null<nn::ConstantOp>(op);
  auto splat = constant ? dyn_cast<SplatElementsAttr>(constant.getValue()) : nullptr;
  if (splat && sharding.getPartial().empty()) {
    RankedTensorType type = reshard.localType(value.getType(), sharding);
    return nn::ConstantOp::create(builder, op->getLoc(), type, splat.resizeSplat(type));
  }
  return reshard.convert(wholeSource(value), replicated(value), sharding, {loc, ""});
}

Value ClassBuilder::take(Value value, ShardingAttr sharding, Location loc, StringRef reader) {
  auto entry = kept.find(value);
  if (entry != kept.end() && isEqual(entry->second.sharding, sharding))
    return entry->second.value;
  if (entry == kept.end() && sharding.isReplicated())
    return wholeSource(value);
  Value &known = taken[{value, sharding}];
  if (known)
    return known;
  Value built;
  if (entry == kept.end()) {
    built = takeSource(value, sharding, loc);
  } else {
    const Local &held = entry->second;
    built = reshard.convert(held.value, held.sharding, sharding,
                            causeOf(value, held.sharding, sharding, loc, reader));
  }
  return taken[{value, sharding}] = built;
}

/// Who reads a value, in a word.
static std::string readersOf(Value value) {
  Operation *first = value.use_empty() ? nullptr : *value.user_begin();
  if (!first || first->hasTrait<OpTrait::IsTerminator>())
    return "the caller";
  return value.hasOneUse() ? first->getName().stripDialect().str() : "its readers";
}

LogicalResult ClassBuilder::localize(Operation *op) {
  auto read = [&](StringRef name) {
    SmallVector<ShardingAttr, 4> out;
    if (auto list = op->getAttrOfType<ArrayAttr>(name))
      out.append(list.getAsRange<ShardingAttr>().begin(), list.getAsRange<ShardingAttr>().end());
    return out;
  };
  LocalOp local{op, {}, read(kOperandShardings), read(kResultShardings)};
  SmallVector<ShardingAttr, 4> held = read(kHeldShardings);
  if (held.empty())
    held = local.given;
  if (local.taken.size() != op->getNumOperands() || local.given.size() != op->getNumResults() ||
      held.size() != op->getNumResults())
    return op->emitOpError("has no sharding for each operand and result; run "
                           "--shard-search first");
  for (auto [operand, sharding] : llvm::zip(op->getOperands(), local.taken))
    local.operands.push_back(take(operand, sharding, op->getLoc(), op->getName().stripDialect()));

  FailureOr<SmallVector<Value>> results = localizeOp(builder, reshard, local);
  if (failed(results))
    return failure();
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    RankedTensorType expected = reshard.localType(result.getType(), local.given[i]);
    if ((*results)[i].getType() != expected)
      return op->emitOpError("gives ") << (*results)[i].getType() << " on a rank that should hold "
                                       << expected << " by its sharding " << local.given[i];
    keep(result, local.given[i], (*results)[i], held[i],
         causeOf(result, local.given[i], held[i], op->getLoc(), readersOf(result)));
  }
  return success();
}

/// Says of which output result `number` is a part; where it begins depends on the
/// micro-batches before it.
LogicalResult ClassBuilder::addPart(unsigned number, Value value, ShardingAttr sharding) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> indices;
  for (auto [i, extent] : llvm::enumerate(sharding.getDims()))
    if (i == 0)
      indices = extent.getLocalIndices(reshard.getMesh(), reshard.getRank());
    else if (extent.isCut())
      return emitError(value.getLoc()) << "the batch does not lead output " << number
                                       << " of the model; leave --micro-batches out";
  if (!indices.empty() &&
      indices.back() - indices.front() + 1 != static_cast<int64_t>(indices.size()))
    return emitError(value.getLoc()) << "the rows of a micro-batch are apart in output " << number
                                     << " of the model; leave --micro-batches out";
  auto target = cast<func::FuncOp>(builder.getInsertionBlock()->getParentOp());
  target.setResultAttr(number, dist::kPart,
                       dist::PartAttr::get(value.getContext(), number, 0, type));
  return success();
}

LogicalResult ClassBuilder::run() {
  Block &body = source.getBody().front();
  for (Operation &op : body.without_terminator()) {
    // What no operand of the run reaches is made where it is read.
    bool isSource = llvm::all_of(op.getOperands(), [&](Value operand) {
      return !isa<BlockArgument>(operand) && !kept.contains(operand);
    });
    if (!isSource && failed(localize(&op)))
      return failure();
    ++tagger.number;
  }
  SmallVector<Value> results;
  Operation *terminator = body.getTerminator();
  for (auto [i, value] : llvm::enumerate(terminator->getOperands())) {
    Operation *producer = value.getDefiningOp();
    auto entry = kept.find(value);
    ShardingAttr wanted = entry == kept.end() ? replicated(value) : inTime(entry->second.sharding);
    results.push_back(
        take(value, wanted, producer ? producer->getLoc() : value.getLoc(), "the caller"));
    if (tagger.isWanted && failed(addPart(i, value, wanted)))
      return failure();
  }
  func::ReturnOp::create(builder, terminator->getLoc(), results);
  auto target = cast<func::FuncOp>(builder.getInsertionBlock()->getParentOp());
  target.setFunctionType(builder.getFunctionType(target.getArgumentTypes(), TypeRange(results)));
  return success();
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

/// Name -> sharding of weights and inputs, as reports show it.
static void recordTensors(ModuleOp module, func::FuncOp func) {
  Builder builder(module.getContext());
  NamedAttrList tensors(module->getAttrOfType<DictionaryAttr>(kWeightShardings));
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    auto name = func.getArgAttrOfType<StringAttr>(i, "onnx.name");
    auto held = func.getArgAttrOfType<ShardingAttr>(i, kHeldShardings);
    if (name && held)
      tensors.set(name, builder.getArrayAttr({held.getNormalized()}));
  }
  module->setAttr(kTensorShardings, tensors.getDictionary(module.getContext()));
}

namespace {

struct Localize : cleave::impl::LocalizeBase<Localize> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto mesh = module->getAttrOfType<dist::MeshAttr>(dist::kMesh);
    auto source = module.lookupSymbol<func::FuncOp>("main");
    if (!mesh || !source) {
      module.emitError("has no mesh or no function main; run --shard-search first");
      return signalPassFailure();
    }
    recordTensors(module, source);
    SmallVector<int64_t> classes = classesOf(source, mesh);
    int64_t count = *llvm::max_element(classes) + 1;
    OpBuilder builder(source);
    source.setName("whole");
    for (int64_t number = 0; number < count; ++number) {
      std::string name = count == 1 ? "main" : "main_" + std::to_string(number);
      auto target = func::FuncOp::create(builder, source.getLoc(), name, source.getFunctionType());
      target->setDiscardableAttrs(source->getDiscardableAttrDictionary());
      for (unsigned i = 0; i < source.getNumArguments(); ++i) {
        NamedAttrList attributes(source.getArgAttrDict(i));
        attributes.erase(kHeldShardings);
        target.setArgAttrs(i, attributes);
      }
      for (unsigned i = 0; i < source.getNumResults(); ++i)
        target.setResultAttrs(i, source.getResultAttrDict(i));
      int64_t rank = llvm::find(classes, number) - classes.begin();
      if (failed(ClassBuilder(source, target, mesh, rank).run()))
        return signalPassFailure();
    }
    source.erase();
    module->setAttr(dist::kClasses, builder.getDenseI64ArrayAttr(classes));
    module->removeAttr(kWeightShardings);
  }
};

} // namespace
