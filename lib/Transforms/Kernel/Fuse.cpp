//===- Fuse.cpp - nn ops become kernels, and kernels launches -------------===//
//
// Why: what a kernel reads and writes is its cost, so chains are computed where
// their values are at hand; and what is equal is compiled once.
//
//   %a = nn.matmul %x, %w                %c = rt.launch @kernel_0(%x, %w, %b)
//   %b1 = nn.add %a, %b          =>
//   %c = nn.gelu erf %b1                 func private @kernel_0(…) { the three ops }
//
//===----------------------------------------------------------------------===//

#include "Grouping.h"

#include "cleave/Transforms/Kernel/Passes.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

#include <map>

namespace cleave {
#define GEN_PASS_DEF_FUSE
#include "cleave/Transforms/Kernel/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave::kernel;
namespace nn = cleave::nn;
namespace rt = cleave::rt;

static void eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

/// As one slice where that takes neighbours.
static void mergeSlices(nn::SliceOp outer) {
  auto inner = outer.getInput().getDefiningOp<nn::SliceOp>();
  if (!inner)
    return;
  SmallVector<int64_t> starts, steps;
  for (size_t dim = 0; dim < outer.getSizes().size(); ++dim) {
    starts.push_back(inner.getStarts()[dim] + outer.getStarts()[dim] * inner.getSteps()[dim]);
    steps.push_back(inner.getSteps()[dim] * outer.getSteps()[dim]);
  }
  OpBuilder builder(outer);
  auto merged = nn::SliceOp::create(builder, outer.getLoc(), inner.getInput(), starts,
                                    outer.getSizes(), steps);
  if (!nn::viewOffset(merged))
    return merged.erase();
  outer.replaceAllUsesWith(merged.getResult());
  outer.erase();
}

/// Whether another slice differs in nothing but where it begins.
static bool hasSibling(nn::SliceOp slice) {
  return llvm::any_of(slice.getInput().getUsers(), [&](Operation *user) {
    auto other = dyn_cast<nn::SliceOp>(user);
    return other && other.getSizes() == slice.getSizes() && other.getSteps() == slice.getSteps() &&
           other.getStarts() != slice.getStarts();
  });
}

/// As the slice at the start of a piece: of what lies from its first element to its last.
/// The piece is a view, and filled up to the shape of the whole, of which no more is read.
static void shiftSlice(nn::SliceOp slice) {
  if (nn::viewOffset(slice) ||
      llvm::any_of(slice.getSteps(), [](int64_t step) { return step < 0; }))
    return;
  Value whole = slice.getInput();
  RankedTensorType type = nn::typeOf(whole);
  int64_t count = type.getNumElements(), begin = 0, span = 1, stride = 1;
  for (int64_t dim = type.getRank(); dim-- > 0; stride *= type.getDimSize(dim)) {
    begin += slice.getStarts()[dim] * stride;
    span += (slice.getSizes()[dim] - 1) * slice.getSteps()[dim] * stride;
  }
  OpBuilder b(slice);
  Location loc = slice.getLoc();
  const int64_t zero = 0, one = 1, rest = count - span;
  SmallVector<int64_t> starts(type.getRank(), 0);
  auto scalar = RankedTensorType::get({}, type.getElementType());
  Value frame = nn::ConstantOp::create(b, loc, scalar, cast<ElementsAttr>(b.getZeroAttr(scalar)));
  Value flat = nn::ReshapeOp::create(b, loc, type.clone(ArrayRef(count)), whole);
  Value piece = nn::SliceOp::create(b, loc, flat, ArrayRef(begin), ArrayRef(span), ArrayRef(one));
  Value filled = nn::PadOp::create(b, loc, piece, frame, ArrayRef(zero), ArrayRef(rest));
  Value shaped = nn::ReshapeOp::create(b, loc, type, filled);
  slice.replaceAllUsesWith(
      nn::SliceOp::create(b, loc, shaped, starts, slice.getSizes(), slice.getSteps()).getResult());
}

/// As what a kernel gives.
static Value stored(nn::ConstantOp constant) {
  OpBuilder builder(constant->getContext());
  builder.setInsertionPointAfter(constant);
  return nn::BroadcastOp::create(builder, constant.getLoc(), constant.getType(), constant);
}

/// A constant that a command or the caller wants is what a kernel gives.
static void materializeConstants(Block &block) {
  for (auto constant : llvm::to_vector(block.getOps<nn::ConstantOp>()))
    for (OpOperand &use : llvm::make_early_inc_range(constant->getUses()))
      if (use.getOwner()->getName().getDialectNamespace() != "nn")
        use.set(stored(constant));
}

/// Of parts of one size it is then their places that say where they begin, and not the
/// kernels that read them.
static void separateParts(Block &block) {
  auto slices = [&] { return llvm::to_vector(block.getOps<nn::SliceOp>()); };
  llvm::for_each(slices(), mergeSlices);
  DenseMap<Value, Value> tables;
  for (nn::SliceOp part : llvm::filter_to_vector(slices(), hasSibling)) {
    Value &table = tables[part.getInput()];
    if (auto constant = part.getInput().getDefiningOp<nn::ConstantOp>(); constant && !table)
      table = stored(constant);
    if (table)
      part.getInputMutable().assign(table);
    if (table || isa<BlockArgument>(part.getInput()))
      shiftSlice(part);
  }
}

namespace {

/// A group in the order of its ops, with what it takes and gives.
struct Region {
  SmallVector<Operation *> ops; ///< constants included
  SmallVector<Value> inputs;
  SmallVector<Value> outputs;
};

/// What a body computes, as words: equal words, equal kernels.
using Key = std::vector<const void *>;

struct Kernels {
  explicit Kernels(ModuleOp module) : module(module), builder(module.getContext()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  func::FuncOp get(const Region &region) {
    auto [entry, isNew] = known.try_emplace(key(region));
    if (isNew)
      entry->second = build(region);
    return entry->second;
  }

private:
  static Key key(const Region &region) {
    Key words;
    DenseMap<Value, const void *> numbers;
    auto number = [](size_t n) { return reinterpret_cast<const void *>(n); };
    auto define = [&](Value value) {
      numbers[value] = number(numbers.size());
      words.push_back(value.getType().getAsOpaquePointer());
    };
    llvm::for_each(region.inputs, define);
    for (Operation *op : region.ops) {
      words.push_back(op->getName().getAsOpaquePointer());
      words.push_back(op->getAttrDictionary().getAsOpaquePointer());
      words.push_back(number(op->getNumOperands()));
      for (Value operand : op->getOperands())
        words.push_back(numbers.lookup(operand));
      llvm::for_each(op->getResults(), define);
    }
    for (Value output : region.outputs)
      words.push_back(numbers.lookup(output));
    return words;
  }

  func::FuncOp build(const Region &region) {
    auto types = [](ArrayRef<Value> values) {
      return llvm::map_to_vector(values, [](Value v) { return v.getType(); });
    };
    Location loc = region.ops.back()->getLoc();
    OpBuilder::InsertionGuard guard(builder);
    auto function =
        func::FuncOp::create(builder, loc, ("kernel_" + Twine(known.size() - 1)).str(),
                             builder.getFunctionType(types(region.inputs), types(region.outputs)));
    function.setPrivate();
    function->setAttr(rt::kKernel, builder.getUnitAttr());
    Block *body = function.addEntryBlock();
    IRMapping mapping;
    mapping.map(region.inputs, body->getArguments());
    builder.setInsertionPointToStart(body);
    for (Operation *op : region.ops)
      builder.clone(*op, mapping);
    func::ReturnOp::create(builder, loc, llvm::map_to_vector(region.outputs, [&](Value v) {
                             return mapping.lookup(v);
                           }));
    return function;
  }

  ModuleOp module;
  OpBuilder builder;
  std::map<Key, func::FuncOp> known;
};

/// Rewrites one function, groups in an order that their operands allow.
struct Rewriter {
  Rewriter(func::FuncOp function, Kernels &kernels)
      : block(function.getBody().front()), kernels(kernels), builder(function.getContext()) {}

  void run(int64_t alignment) {
    eraseDead(block);
    separateParts(block);
    eraseDead(block);
    materializeConstants(block);
    Grouping grouping(block, alignment);
    SmallVector<Operation *> original;
    for (Operation &op : block)
      original.push_back(&op);
    builder.setInsertionPointToEnd(&block);
    for (Operation *op : original)
      emit(op, grouping);
    for (Operation *op : llvm::reverse(original))
      op->erase();
  }

private:
  void emit(Operation *op, const Grouping &grouping) {
    if (!done.insert(op).second)
      return;
    Group *group = grouping.of(op);
    if (!group)
      return emitAlone(op, grouping);
    done.insert(group->ops.begin(), group->ops.end());
    Region region = regionOf(*group);
    for (Value input : region.inputs)
      if (Operation *producer = input.getDefiningOp())
        emit(producer, grouping);

    func::FuncOp kernel = kernels.get(region);
    SmallVector<Value> inputs =
        llvm::map_to_vector(region.inputs, [&](Value v) { return mapping.lookupOrDefault(v); });
    auto launch = rt::LaunchOp::create(builder, group->root->getLoc(), kernel.getResultTypes(),
                                       kernel.getName(), inputs);
    mapping.map(region.outputs, launch.getResults());
  }

  void emitAlone(Operation *op, const Grouping &grouping) {
    if (isa<nn::ConstantOp>(op))
      return;
    // What an early group wants may stand behind what others wait for.
    if (Operation *earlier = grouping.commandBefore(op))
      emit(earlier, grouping);
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        emit(producer, grouping);
    builder.clone(*op, mapping);
  }

  Region regionOf(const Group &group) {
    SmallVector<Operation *> ops(group.ops.begin(), group.ops.end());
    llvm::sort(ops, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    // Where constants stand in the block has nothing to do with what is computed.
    llvm::SetVector<Operation *> members;
    for (Operation *op : ops)
      for (Value operand : op->getOperands())
        if (auto constant = operand.getDefiningOp<nn::ConstantOp>())
          members.insert(constant);
    members.insert(ops.begin(), ops.end());
    Region region;
    region.ops.assign(members.begin(), members.end());

    llvm::SetVector<Value> inputs;
    for (Operation *op : region.ops) {
      for (Value operand : op->getOperands())
        if (!operand.getDefiningOp() || !members.contains(operand.getDefiningOp()))
          inputs.insert(operand);
      if (isa<nn::ConstantOp>(op))
        continue;
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(),
                         [&](Operation *user) { return !members.contains(user); }))
          region.outputs.push_back(result);
    }
    // An op of several results gives all or none.
    if (group.root->getNumResults() > 1)
      region.outputs.assign(group.root->result_begin(), group.root->result_end());
    region.inputs = inputs.takeVector();
    return region;
  }

  Block &block;
  Kernels &kernels;
  OpBuilder builder;
  IRMapping mapping;
  llvm::DenseSet<Operation *> done;
};

struct Fuse : cleave::impl::FuseBase<Fuse> {
  using FuseBase::FuseBase;

  void runOnOperation() override {
    Kernels kernels(getOperation());
    for (auto main : llvm::to_vector(getOperation().getOps<func::FuncOp>())) {
      auto load = main->getAttrOfType<FlatSymbolRefAttr>(rt::kLoad);
      if (!load)
        continue;
      auto loader = getOperation().lookupSymbol<func::FuncOp>(load.getValue());
      Rewriter(main, kernels).run(alignment);
      Rewriter(loader, kernels).run(alignment);
    }
  }
};

} // namespace
