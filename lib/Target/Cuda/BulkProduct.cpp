//===- BulkProduct.cpp - products whose operands come in boxes ------------===//
//
// The products of TensorProduct that groups of warps multiply, where both operands lie in
// memory as matrices with strides: then a GPU brings boxes of them by itself (cleave_map), and
// one thread does nothing but ask for them.
//
//            full[s]: the boxes of stage s are there
//   producer ---------------------------------------> two groups, 64 rows of a tile each
//            <---------------------------------------
//            empty[s]: all warps have multiplied what was in stage s
//
// Stages follow each other from tile to tile, so that those of the next are filled while the
// sums of one are stored. Each warp stores its own 16 rows, through a slab of shared memory
// that is no stage. Groups take over the registers that the producer does not want.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "Roots.h"
#include "Tiles.h"
#include "WarpGroup.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;
using emit::Outputs;
using emit::Symbol;

namespace {

constexpr int64_t kGroups = kGroupTileRows / kGroupRows;
constexpr int64_t kConsumerWarps = kGroups * kGroupWarps, kConsumers = kConsumerWarps * kWarp;
/// Registers are given and taken by whole groups, so the producer is one.
constexpr int64_t kThreads = kConsumers + kGroupWarps * kWarp;
/// Of a thread. All begin with 168, a 384th of those of a multiprocessor.
constexpr uint32_t kProducerRegisters = 40, kConsumerRegisters = 232;
constexpr int64_t kMostShared = 227 << 10;
constexpr int64_t kBarrierBytes = 8;
/// Rows of a warp, and the columns of them that it stores at a time.
constexpr int64_t kWarpRows = 16, kSlabColumns = 32;
/// Floats from row to row, each a quarter of all banks further than the one before.
constexpr int64_t kSlabStride = kSlabColumns + kMatrix;

/// An operand as [batch, outer, k], outer being rows of c for A and columns for B.
struct Operand {
  bool isDeep; ///< whether K runs along the rows of `map`, or down
  cleave_map map;
  Value pointer;   ///< to the map
  SharedTile tile; ///< of a step
  int64_t base;    ///< of the tile in a stage
  bool hasBatches() const { return map.num_dims > 2; }
};

/// Of one of the operands.
Type elementOf(const emit::Product &product, unsigned number) {
  return getElementTypeOrSelf(product.root->getOperand(number).getType());
}

/// What brings tiles of `outer` rows of an operand with these sizes; nothing where its elements
/// do not lie in memory as a GPU copies them.
std::optional<Operand> operandOf(Emitter &e, const emit::ProductOperands::Trace &trace,
                                 std::array<int64_t, 3> sizes, Type element, int64_t outer) {
  Value any = e.indexConstant(0);
  Symbol batch = e.symbol(any, sizes[0]), row = e.symbol(any, sizes[1]),
         depth = e.symbol(any, sizes[2]);
  std::optional<Emitter::Leaf> leaf = trace(Index::of(batch), Index::of(row), Index::of(depth));
  if (!leaf || leaf->element != element || leaf->at.constant < 0)
    return std::nullopt;
  for (auto [symbol, factor] : leaf->at.terms)
    if (factor < 0 || !llvm::is_contained({batch, row, depth}, symbol))
      return std::nullopt;
  const int64_t bytes = element.getIntOrFloatBitWidth() / 8, panel = kPanel * 2 / bytes;
  constexpr int64_t align = 16;
  auto strideOf = [&](Symbol symbol) { return bytes * leaf->at.factor(symbol); };
  Operand operand = {};
  operand.isDeep = strideOf(depth) == bytes;
  // Bytes are multiplied along K only.
  if (!operand.isDeep && (strideOf(row) != bytes || bytes == 1))
    return std::nullopt;
  bool hasBatches = sizes[0] > 1 && strideOf(batch) > 0;
  int64_t stride = strideOf(operand.isDeep ? row : depth);
  int64_t offset = bytes * leaf->at.constant;
  if (stride == 0 || stride % align || offset % align || (hasBatches && strideOf(batch) % align))
    return std::nullopt;
  auto number = [](int64_t x) { return static_cast<uint64_t>(x); };
  cleave_map &map = operand.map;
  map.buffer = leaf->argument;
  map.element_bytes = static_cast<uint32_t>(bytes);
  map.num_dims = hasBatches ? 3 : 2;
  map.swizzle = 2 * kPanel;
  map.offset = number(offset);
  const int64_t along = sizes[operand.isDeep ? 2 : 1], down = sizes[operand.isDeep ? 1 : 2];
  const uint64_t all[] = {number(along), number(down), number(sizes[0])};
  const uint64_t strides[] = {number(bytes), number(stride), number(strideOf(batch))};
  const uint32_t box[] = {uint32_t(panel), uint32_t(operand.isDeep ? outer : kPanel), 1};
  for (unsigned i = 0; i < map.num_dims; ++i) {
    map.sizes[i] = all[i];
    map.strides[i] = strides[i];
    map.box[i] = box[i];
  }
  operand.tile =
      operand.isDeep ? SharedTile{outer, kPanel, kPanel} : SharedTile{kPanel, outer, kPanel};
  return operand;
}

std::optional<std::pair<Operand, Operand>> operandsOf(Emitter &e, const emit::Product &product,
                                                      int64_t columns, const Chip &chip) {
  const emit::ProductSizes &sizes = product.sizes;
  for (unsigned i : {0, 1})
    if (factorOf(product.root, i, chip) != elementOf(product, i))
      return std::nullopt;
  auto traceB = [&](const Index &batch, const Index &n, const Index &k) {
    return product.operands.traceB(batch, k, n);
  };
  auto left = operandOf(e, product.operands.traceA, {sizes.batch, sizes.m, sizes.k},
                        elementOf(product, 0), kGroupTileRows);
  auto right =
      operandOf(e, traceB, {sizes.batch, sizes.n, sizes.k}, elementOf(product, 1), columns);
  if (!left || !right)
    return std::nullopt;
  right->base = left->tile.bytes();
  return std::pair(*left, *right);
}

struct BulkProduct {
  BulkProduct(Emitter &e, const emit::Product &product, ThreadBlock &block, const Chip &chip)
      : e(e), b(e.builder), loc(e.loc), sizes(product.sizes), block(block),
        outputs(e.kernel, product.root), element(elementOf(product, 0)), words(e, element),
        columns(groupColumns(sizes, element, chip)),
        warps(e, block, element, elementOf(product, 1)),
        group(e, warps, element, elementOf(product, 1)) {
    std::tie(left, right) = *operandsOf(e, product, columns, chip);
  }

  void run() {
    Type pointer = LLVM::LLVMPointerType::get(b.getContext());
    for (Operand *operand : {&left, &right}) {
      unsigned number = e.target.getNumArguments();
      LogicalResult isInserted = e.target.insertArgument(number, pointer, {}, loc);
      assert(succeeded(isInserted) && "a function of our own");
      (void)isInserted;
      operand->pointer = e.target.getArgument(number);
    }
    stageBytes = left.tile.bytes() + right.tile.bytes();
    constexpr int64_t slabFloats = kConsumerWarps * kWarpRows * kSlabStride;
    constexpr int64_t rounding = 64;
    stages = (kMostShared - slabFloats * 4 - rounding) / (stageBytes + 2 * kBarrierBytes);
    memory = e.reserve(stages * stageBytes / 4);
    slabs = e.reserve(slabFloats);
    barriers = e.reserve(stages * 2 * kBarrierBytes / 4);
    makeBarriers();
    e.either(warps.isBelow(warps.warp, kConsumerWarps), [&] { consume(); }, [&] { produce(); });
  }

private:
  Value equals(Value x, int64_t y) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, warps.number(y));
  }

  //===--- stages ---===//

  Value byteOf(Value stage) { return warps.add(warps.times(stage, stageBytes), memory * 4); }
  Value full(Value stage) {
    return warps.pointer(warps.add(warps.times(stage, kBarrierBytes), barriers * 4));
  }
  Value empty(Value stage) {
    return warps.pointer(
        warps.add(warps.times(stage, kBarrierBytes), barriers * 4 + stages * kBarrierBytes));
  }

  /// All threads see them behind this.
  void makeBarriers() {
    e.when(equals(warps.thread, 0), [&] {
      for (int64_t i = 0; i < stages; ++i) {
        NVVM::MBarrierInitOp::create(b, loc, full(warps.number(i)), warps.number(1), Value());
        NVVM::MBarrierInitOp::create(b, loc, empty(warps.number(i)), warps.number(kConsumerWarps),
                                     Value());
      }
      NVVM::FenceMbarrierInitOp::create(b, loc);
    });
    block.sync();
  }

  /// Waits for the end of a phase with this parity.
  void wait(Value barrier, Value parity) {
    // How long a thread sleeps at most before it looks again, in nanoseconds.
    constexpr int64_t patience = 10'000'000;
    NVVM::MBarrierTryWaitParityOp::create(b, loc, barrier, parity, warps.number(patience));
  }

  /// The stage behind one, and the parity of its phase: they change each time round.
  std::pair<Value, Value> next(Value stage, Value parity) {
    Value isLast = equals(stage, stages - 1);
    Value other = arith::SelectOp::create(b, loc, isLast, warps.number(0), warps.add(stage, 1));
    Value turned = arith::ExtUIOp::create(b, loc, b.getI32Type(), isLast);
    return {other, warps.flip(parity, turned)};
  }

  /// Calls `body` with the tiles of this block and with the stage and parity of their first
  /// steps; it returns those behind the last.
  void walk(function_ref<SmallVector<Value>(const TilePlace &, ValueRange)> body) {
    int64_t down = ceilDiv(sizes.m, kGroupTileRows), across = ceilDiv(sizes.n, columns);
    int64_t tiles = sizes.batch * down * across;
    Value step =
        gpu::GridDimOp::create(b, loc, b.getIndexType(), gpu::Dimension::x, b.getIndexAttr(tiles));
    Value none = warps.number(0);
    e.loop(block.number, e.indexConstant(tiles), step, {none, none},
           [&](Value number, ValueRange turn) {
             Index at = Index::of(e.symbol(number, tiles));
             return body(placeOf(e, at, sizes.batch, down, across), turn);
           });
  }

  /// Elements of K in a step.
  int64_t depth() const { return kPanel * perHalf(element); }
  int64_t steps() const { return ceilDiv(sizes.k, depth()); }

  void setRegisters(uint32_t count, NVVM::SetMaxRegisterAction action) {
    NVVM::SetMaxRegisterOp::create(b, loc, count, action);
  }

  //===--- bringing ---===//

  void produce() {
    setRegisters(kProducerRegisters, NVVM::SetMaxRegisterAction::decrease);
    e.when(equals(warps.thread, kConsumers), [&] {
      walk([&](const TilePlace &place, ValueRange turn) {
        Value batch = warps.number(place.batch);
        Value row = warps.number(place.row * kGroupTileRows);
        Value column = warps.number(place.column * columns);
        return e.loop(e.indexConstant(0), e.indexConstant(steps()), 1, turn,
                      [&](Value number, ValueRange turn) {
                        Value stage = turn[0], parity = turn[1];
                        // Before the first phase has ended, the one before it has.
                        wait(empty(stage), warps.flip(parity, 1));
                        Value barrier = full(stage), to = byteOf(stage);
                        // Of whole boxes: what lies behind an edge counts as well.
                        NVVM::MBarrierArriveExpectTxOp::create(
                            b, loc, b.getI64Type(), barrier, warps.number(stageBytes),
                            NVVM::MemScopeKind::CTA, /*relaxed=*/false, Value());
                        Value k = arith::IndexCastOp::create(b, loc, b.getI32Type(), number);
                        k = warps.times(k, depth());
                        bring(left, batch, row, k, to, barrier);
                        bring(right, batch, column, k, to, barrier);
                        auto [other, turned] = next(stage, parity);
                        return SmallVector<Value>{other, turned};
                      });
      });
    });
  }

  /// Has a step of an operand come to a stage. Panels that lie behind each other are boxes.
  void bring(const Operand &operand, Value batch, Value outer, Value k, Value stage,
             Value barrier) {
    int64_t boxes = operand.isDeep ? 1 : operand.tile.columns / kPanel;
    Type cluster = LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace);
    for (int64_t i = 0; i < boxes; ++i) {
      Value from = warps.add(outer, i * kPanel);
      SmallVector<Value> corner = {operand.isDeep ? k : from, operand.isDeep ? from : k};
      if (operand.hasBatches())
        corner.push_back(batch);
      Value to = warps.pointer(warps.add(stage, operand.base + i * operand.tile.panelBytes()));
      to = LLVM::AddrSpaceCastOp::create(b, loc, cluster, to);
      NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
          b, loc, to, operand.pointer, corner, barrier, /*im2colOffsets=*/ValueRange(),
          /*multicastMask=*/Value(), /*l2CacheHint=*/Value(), NVVM::TMALoadMode::TILE,
          /*isCTAOnly=*/false, NVVM::CTAGroupKindAttr(), /*predicate=*/Value());
    }
  }

  //===--- multiplying ---===//

  void consume() {
    setRegisters(kConsumerRegisters, NVVM::SetMaxRegisterAction::increase);
    // Rows of the left operand that are the group's, which are a panel or as many rows of one.
    Value own = warps.times(group.number(), kGroupRows * 2 * kPanel);
    isSpeaker = equals(warps.lane, 0);
    walk([&](const TilePlace &place, ValueRange turn) {
      size_t numSums = columns / 2;
      SmallVector<Value> carried(numSums, words.zero(1));
      carried.append({turn[0], turn[1], turn[0]});
      auto step = [&](Value number, ValueRange values) {
        Value stage = values[numSums], parity = values[numSums + 1], last = values[numSums + 2];
        wait(full(stage), parity);
        Value at = byteOf(stage);
        WarpGroup::Operand a = group.describe(left.tile, left.isDeep, warps.add(at, own));
        WarpGroup::Operand c = group.describe(right.tile, right.isDeep, warps.add(at, right.base));
        ValueRange before = values.take_front(numSums);
        SmallVector<Value> after;
        if (warps.addsCoarsely()) {
          // The other group multiplies while this one adds.
          after = words.add(before, group.wait(0, group.multiply(a, c, kPanel, columns)));
          release(stage, {});
        } else {
          after = group.multiply(a, c, kPanel, before);
          // This one goes on; the one before has ended.
          group.wait(1);
          Value isLater =
              arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, number, e.indexConstant(0));
          release(last, isLater);
        }
        auto [other, turned] = next(stage, parity);
        after.append({other, turned, stage});
        return after;
      };
      SmallVector<Value> all =
          e.loop(e.indexConstant(0), e.indexConstant(steps()), 1, carried, step);
      if (!warps.addsCoarsely()) {
        group.wait(0);
        release(all[numSums + 2], {});
      }
      store(place, ArrayRef(all).take_front(numSums));
      return SmallVector<Value>{all[numSums], all[numSums + 1]};
    });
  }

  /// A warp has done with a stage, where `condition` holds.
  void release(Value stage, Value condition) {
    Value speaks = isSpeaker;
    if (condition)
      speaks = arith::AndIOp::create(b, loc, speaks, condition);
    e.when(speaks,
           [&] { NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), empty(stage), Value()); });
  }

  //===--- what follows ---===//

  void store(const TilePlace &place, ArrayRef<Value> sums) {
    Value slab = warps.times(warps.warp, kWarpRows * kSlabStride);
    Index memory = warps.index(slab, kConsumerWarps * kWarpRows * kSlabStride);
    Value own =
        arith::IndexCastOp::create(b, loc, b.getIndexType(), warps.times(warps.warp, kWarpRows));
    Index firstRow = place.row * kGroupTileRows +
                     Index::of(e.symbol(own, kGroupTileRows - kWarpRows + 1, kWarpRows));
    constexpr int64_t sumsOfSlab = kSlabColumns / 2;
    for (int64_t first = 0; first < columns; first += kSlabColumns) {
      Index firstColumn = place.column * columns + first;
      block.syncWarp();
      warps.spill(sums.slice(first / kSlabColumns * sumsOfSlab, sumsOfSlab), slabs, memory,
                  kSlabStride);
      block.syncWarp();
      e.team = block.warp();
      e.nest(
          kWarpRows * kSlabColumns,
          [&](const Index &at) {
            auto [row, column] = e.divide(at, kSlabColumns);
            Index from = memory + row * kSlabStride + column;
            inside(e, sizes, place.batch, firstRow + row, firstColumn + column,
                   [&](const Index &to) {
                     Value sum = e.loadScratch(slabs, from, e.lanesOf(from));
                     outputs.storeBehind(e, words.ofWords(sum), to);
                   });
          },
          Emitter::Tail::Exact, /*allowVectors=*/sizes.n % kLanes == 0);
      e.team.reset();
    }
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  emit::ProductSizes sizes;
  ThreadBlock &block;
  Outputs outputs;
  Type element; ///< of the left operand
  Accumulator words;
  int64_t columns; ///< of a tile
  Fragments warps;
  WarpGroup group;
  Operand left, right;
  int64_t stages = 0, stageBytes = 0, memory = 0, slabs = 0, barriers = 0;
  Value isSpeaker; ///< of its warp
};

} // namespace

std::optional<Launch>
cleave::cuda::launchBulkProduct(Emitter &emitter, const emit::Product &product, const Chip &chip) {
  const emit::ProductSizes &sizes = product.sizes;
  int64_t columns = groupColumns(sizes, elementOf(product, 0), chip);
  auto operands = columns ? operandsOf(emitter, product, columns, chip) : std::nullopt;
  if (!operands)
    return std::nullopt;
  Launch launch;
  launch.blocks = sizes.batch * ceilDiv(sizes.m, kGroupTileRows) * ceilDiv(sizes.n, columns);
  launch.threads = kThreads;
  launch.resident = 1;
  launch.maps = {operands->first.map, operands->second.map};
  return launch;
}

void cleave::cuda::emitBulkProduct(Emitter &emitter, const emit::Product &product,
                                   ThreadBlock &block, const Chip &chip) {
  BulkProduct(emitter, product, block, chip).run();
}
