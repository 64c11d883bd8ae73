//===- PlanMemory.cpp - every value gets a place --------------------------===//
//
// Why: no memory is taken while a program runs, and what is not needed at one
// time may lie at one place.
//
//   %a = rt.launch @k0(%x)      {rt.places = [#rt.place<arena 0 at 0 length 256>]}
//   %b = rt.launch @k1(%a)      {rt.places = [#rt.place<arena 0 at 256 length 256>]}
//   %c = rt.launch @k2(%b)      {rt.places = [#rt.place<output 0 at 0 length 256>]}
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Kernel/Passes.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/MathExtras.h"

namespace cleave {
#define GEN_PASS_DEF_PLANMEMORY
#include "cleave/Transforms/Kernel/Passes.h.inc"
} // namespace cleave

using namespace mlir;
namespace nn = cleave::nn;
namespace rt = cleave::rt;

static constexpr int64_t kAlignment = 64;

static Value storageOf(Value value) { return nn::storageOf(value).value; }

static bool isCommand(Operation *op) {
  return !nn::viewOffset(op) && !isa<nn::WeightOp>(op) && !op->hasTrait<OpTrait::IsTerminator>();
}

namespace {

/// Bytes of the arena, needed by the commands from `begin` to `end`.
struct Block {
  Operation *op;
  int64_t result; ///< -1: scratch
  int64_t bytes, begin, end;
  int64_t offset = 0;
};

struct Planner {
  Planner(func::FuncOp function, bool isLoad, bool areBeside)
      : function(function), isLoad(isLoad), areBeside(areBeside), builder(function.getContext()) {}

  void run() {
    separateReturns();
    placeReturns();
    collectBlocks();
    int64_t arena = assignOffsets();
    for (const Block &block : blocks)
      setPlace(block.op, block.result, place(rt::Space::Arena, 0, block.offset, block.bytes));
    for (Operation &op : function.getBody().front())
      if (isCommand(&op) && op.getNumResults() > 0)
        op.setAttr(rt::kPlaces, builder.getArrayAttr(places.lookup(&op)));
    if (counters)
      function->setAttr(rt::kCounters, place(rt::Space::Arena, 0, 0, counters));
    function->setAttr(rt::kArena, builder.getI64IntegerAttr(arena));
    if (isLoad)
      function->setAttr(rt::kParams, builder.getI64IntegerAttr(params));
  }

private:
  Attribute place(rt::Space space, int64_t index, int64_t offset, int64_t bytes) {
    return rt::PlaceAttr::get(builder.getContext(), space, index, offset, bytes);
  }

  void setPlace(Operation *op, int64_t result, Attribute where) {
    if (result < 0) {
      op->setAttr(rt::kScratch, where);
      return;
    }
    auto &list = places[op];
    list.resize(op->getNumResults());
    list[result] = where;
  }

  /// Each returned value is then all of what holds it, and the only returned one of its
  /// command.
  void separateReturns() {
    Operation *end = function.getBody().front().getTerminator();
    builder.setInsertionPoint(end);
    DenseSet<Value> returned;
    for (OpOperand &use : end->getOpOperands()) {
      Value storage = storageOf(use.get());
      Operation *producer = storage.getDefiningOp();
      if (producer && isCommand(producer) && nn::bytesOf(storage) == nn::bytesOf(use.get()) &&
          returned.insert(storage).second)
        continue;
      Value copy = rt::CopyOp::create(builder, use.get().getLoc(), use.get().getType(), use.get());
      use.set(copy);
      returned.insert(copy);
    }
  }

  void placeReturns() {
    Operation *end = function.getBody().front().getTerminator();
    for (OpOperand &use : end->getOpOperands()) {
      auto result = cast<OpResult>(storageOf(use.get()));
      int64_t bytes = nn::bytesOf(result);
      Attribute where;
      if (isLoad) {
        where = place(rt::Space::Param, 0, params, bytes);
        params += llvm::alignTo(bytes, kAlignment);
      } else {
        where = outputPlace(use.getOperandNumber(), bytes);
      }
      setPlace(result.getOwner(), result.getResultNumber(), where);
      placed.insert(result);
    }
  }

  /// A result is an output, or as `dist.part` says, a part of one.
  Attribute outputPlace(unsigned result, int64_t bytes) {
    auto part = function.getResultAttrOfType<cleave::dist::PartAttr>(result, cleave::dist::kPart);
    if (!part)
      return place(rt::Space::Output, result, 0, bytes);
    RankedTensorType whole = part.getWhole();
    int64_t row = nn::elementBytes(whole.getElementType());
    for (int64_t size : whole.getShape().drop_front(std::min<int64_t>(whole.getRank(), 1)))
      row *= size;
    return place(rt::Space::Output, part.getOutput(), part.getBegin() * row, bytes);
  }

  void collectBlocks() {
    DenseMap<Value, size_t> blockOf;
    int64_t time = 0;
    for (Operation &op : function.getBody().front()) {
      ++time;
      auto keep = [&](Value value) {
        if (auto it = blockOf.find(storageOf(value)); it != blockOf.end())
          blocks[it->second].end = time;
      };
      for (Value operand : op.getOperands()) {
        keep(operand);
        if (Operation *collective = awaited(operand))
          keep(collective->getOperand(0));
      }
      if (!isCommand(&op))
        continue;
      for (OpResult result : op.getResults()) {
        if (placed.contains(result))
          continue;
        blockOf[result] = blocks.size();
        blocks.push_back({&op, result.getResultNumber(), nn::bytesOf(result), time, time});
      }
      if (int64_t scratch = wantedBy(&op, rt::kScratch))
        blocks.push_back({&op, -1, scratch, time, time});
      // They keep their places, since they are cleared together.
      if (int64_t bytes = wantedBy(&op, rt::kCounters)) {
        op.setAttr(rt::kCounters, place(rt::Space::Arena, 0, counters, bytes));
        counters += llvm::alignTo(bytes, kAlignment);
      }
    }
  }

  /// The collective that the first reader of its result waits for, which until then reads
  /// its operand.
  Operation *awaited(Value operand) {
    Operation *producer = storageOf(operand).getDefiningOp();
    bool waits = areBeside && isa_and_nonnull<cleave::dist::CollectiveOpInterface>(producer) &&
                 ended.insert(producer).second;
    return waits ? producer : nullptr;
  }

  /// What the kernel of a launch says.
  int64_t wantedBy(Operation *op, StringRef name) {
    auto launch = dyn_cast<rt::LaunchOp>(op);
    if (!launch)
      return 0;
    auto kernel = SymbolTable::lookupNearestSymbolFrom(launch, launch.getKernelAttr());
    auto bytes = kernel->getAttrOfType<IntegerAttr>(name);
    return bytes ? bytes.getInt() : 0;
  }

  int64_t assignOffsets() {
    SmallVector<Block *> order = llvm::map_to_vector(blocks, [](Block &b) { return &b; });
    llvm::sort(order, [](Block *a, Block *b) {
      return a->bytes != b->bytes ? a->bytes > b->bytes : a < b;
    });
    int64_t total = counters;
    SmallVector<Block *> fixed; // by offset
    for (Block *block : order) {
      int64_t offset = counters;
      for (Block *other : fixed) {
        bool meets = block->begin <= other->end && other->begin <= block->end;
        if (!meets)
          continue;
        if (offset + block->bytes <= other->offset)
          break;
        offset = std::max<int64_t>(offset, llvm::alignTo(other->offset + other->bytes, kAlignment));
      }
      block->offset = offset;
      total = std::max<int64_t>(total, offset + block->bytes);
      auto at =
          llvm::upper_bound(fixed, block, [](Block *a, Block *b) { return a->offset < b->offset; });
      fixed.insert(at, block);
    }
    return llvm::alignTo(total, kAlignment);
  }

  func::FuncOp function;
  bool isLoad, areBeside;
  OpBuilder builder;
  int64_t params = 0, counters = 0; ///< bytes
  std::vector<Block> blocks;
  DenseSet<Value> placed;
  DenseSet<Operation *> ended; ///< collectives
  DenseMap<Operation *, SmallVector<Attribute>> places;
};

struct PlanMemory : cleave::impl::PlanMemoryBase<PlanMemory> {
  using PlanMemoryBase::PlanMemoryBase;

  void runOnOperation() override {
    for (auto main : getOperation().getOps<func::FuncOp>()) {
      auto load = main->getAttrOfType<FlatSymbolRefAttr>(rt::kLoad);
      if (!load)
        continue;
      auto loader = getOperation().lookupSymbol<func::FuncOp>(load.getValue());
      Planner(main, /*isLoad=*/false, areBeside).run();
      Planner(loader, /*isLoad=*/true, areBeside).run();
    }
  }
};

} // namespace
