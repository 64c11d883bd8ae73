//===- Kernel.cpp - a function of nn ops becomes what a thread does -------===//

#include "Kernel.h"

#include "Fragments.h"
#include "Roots.h"
#include "Transpose.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

/// Blocks beyond which threads take a second turn.
static constexpr int64_t kMostBlocks = 1 << 16;
static constexpr int64_t kElementThreads = 256;

Launch cleave::cuda::launchElements(int64_t elements) {
  int64_t steps = ceilDiv(elements, kLanes);
  int64_t threads = std::min<int64_t>(llvm::alignTo(steps, kWarp), kElementThreads);
  return {ceilDiv(steps, threads), threads, 0};
}

/// Of the operands.
static Type elementOf(Operation *root) {
  return getElementTypeOrSelf(root->getOperand(0).getType());
}

static bool isTiled(Operation *root) {
  if (!isa<nn::MatmulOp, nn::ConvOp>(root) || emit::hasOneFilter(root))
    return false;
  return emit::isProductType(root->getOperand(0).getType()) || elementOf(root).isInteger(8);
}

static int64_t elementsOf(func::FuncOp kernel) {
  int64_t most = 0;
  for (Type type : kernel.getResultTypes())
    most = std::max(most, cast<RankedTensorType>(type).getNumElements());
  return most;
}

static emit::ProductSizes sizesOf(Operation *root) {
  if (auto conv = dyn_cast<nn::ConvOp>(root))
    return emit::sizesOf(conv);
  return emit::sizesOf(cast<nn::MatmulOp>(root));
}

static emit::Product productOf(Emitter &emitter, Operation *root) {
  if (auto conv = dyn_cast<nn::ConvOp>(root))
    return emit::productOf(emitter, conv);
  return emit::productOf(emitter, cast<nn::MatmulOp>(root));
}

/// Two at a time.
static Value roundToBf16(OpBuilder &b, Location loc, Value x) {
  int64_t lanes = cast<VectorType>(x.getType()).getNumElements();
  auto one = [&](int64_t i) {
    return vector::ExtractOp::create(b, loc, x, ArrayRef<int64_t>{i}).getResult();
  };
  SmallVector<Value> words;
  for (int64_t i = 0; i < lanes; i += 2)
    words.push_back(packBf16(b, loc, one(i), one(i + 1)));
  auto type = VectorType::get({lanes / 2}, b.getI32Type());
  Value all = vector::FromElementsOp::create(b, loc, type, words);
  return vector::BitCastOp::create(b, loc, VectorType::get({lanes}, b.getI16Type()), all);
}

static emit::Machine machineOf(const Chip &chip) {
  emit::Machine machine;
  machine.lanes = kLanes;
  machine.isParallel = true;
  machine.alignment = kAlignment;
  if (chip.hasTensorCores)
    machine.roundToBf16 = roundToBf16;
  return machine;
}

/// Whether tensor cores take the operands of a tiled product as they are.
static bool isTensorProduct(Operation *root, const Chip &chip) {
  Type element = factorOf(root, 0, chip);
  return chip.hasTensorCores && (element.isF16() || element.isBF16() || isOfBytes(element)) &&
         sizesOf(root).k > 0;
}

static Launch launchOfTensorProduct(func::FuncOp kernel, Operation *root, const Chip &chip) {
  Launch launch;
  if (chip.hasGroups) {
    // What it writes is thrown away: only where the operands lie is looked at.
    OwningOpRef<ModuleOp> module = emit::makeBody(kernel, machineOf(chip), kSharedSpace);
    Emitter emitter(kernel, *module->getOps<func::FuncOp>().begin(), machineOf(chip));
    if (auto bulk = launchBulkProduct(emitter, productOf(emitter, root), chip))
      launch = *bulk;
  }
  if (launch.maps.empty())
    launch = launchTensorProduct(sizesOf(root), root, chip);
  launch.multipliesByteFloats = nn::isByteFloat(factorOf(root, 0, chip));
  return launch;
}

/// How the results are read decides, which only an emitter tells; this one emits nothing.
static Launch launchWithoutRoot(func::FuncOp kernel, const Chip &chip) {
  OwningOpRef<ModuleOp> module = emit::makeBody(kernel, machineOf(chip), kSharedSpace);
  Emitter emitter(kernel, *module->getOps<func::FuncOp>().begin(), machineOf(chip));
  return Transposes(emitter).launch();
}

Launch cleave::cuda::launchOf(func::FuncOp kernel, const Chip &chip) {
  Operation *root = emit::rootOf(kernel);
  int64_t elements = elementsOf(kernel);
  if (elements == 0)
    return {};
  if (root && isTiled(root))
    return isTensorProduct(root, chip) ? launchOfTensorProduct(kernel, root, chip)
                                       : launchProduct(sizesOf(root), chip);
  if (auto attention = dyn_cast_or_null<nn::AttentionOp>(root))
    return isTensorAttention(attention, chip) ? launchTensorAttention(attention, chip)
                                              : launchAttention(attention, chip);
  Launch launch = launchElements(elements);
  if (!root)
    launch = launchWithoutRoot(kernel, chip);
  else if (emit::rowLength(root))
    launch = launchRows(root);
  else if (isLongColumns(root, chip))
    launch = launchLongColumns(root);
  else if (auto sums = launchColumnSums(root, chip))
    return *sums;
  launch.blocks = std::min(launch.blocks, kMostBlocks);
  return launch;
}

static void emitRoot(Emitter &emitter, Operation *root, ThreadBlock &block, const Chip &chip) {
  llvm::TypeSwitch<Operation *>(root)
      .Case<nn::MatmulOp, nn::ConvOp>([&](auto op) {
        emit::Product product = emit::productOf(emitter, op);
        if (!block.launch.maps.empty())
          return emitBulkProduct(emitter, product, block, chip);
        if (isTiled(op))
          return isTensorProduct(op, chip) ? emitTensorProduct(emitter, product, block, chip)
                                           : emitProduct(emitter, product, block, chip);
        emitter.team = block.grid();
        emit::emitSums(emitter, product);
      })
      .Case([&](nn::AttentionOp op) {
        isTensorAttention(op, chip) ? emitTensorAttention(emitter, op, block, chip)
                                    : emitAttention(emitter, op, block, chip);
      })
      .Case([&](nn::ScatterNdOp op) { emitScatterNd(emitter, op, block); })
      .Case([&](nn::CacheUpdateOp op) { emitCacheUpdate(emitter, op, block); })
      .Default([&](Operation *op) {
        if (emit::rowLength(op))
          return emitRows(emitter, op, block);
        if (isLongColumns(op, chip))
          return emitLongColumns(emitter, op, block);
        if (launchColumnSums(op, chip))
          return emitColumnSums(emitter, op, block, chip);
        emitter.team = block.grid();
        emit::emitColumns(emitter, op);
      });
}

DeviceLoops cleave::cuda::emitLoops(func::FuncOp kernel, const Chip &chip, Launch launch,
                                    const emit::Workspace &workspace) {
  Operation *root = emit::rootOf(kernel);
  DeviceLoops loops{emit::makeBody(kernel, machineOf(chip), kSharedSpace, workspace),
                    std::move(launch)};
  loops.launch.workspace = workspace;
  loops.launch.isEarly = chip.beginsEarly;
  Emitter emitter(kernel, *loops.module->getOps<func::FuncOp>().begin(), machineOf(chip));
  ThreadBlock block(emitter, loops.launch);
  if (elementsOf(kernel) == 0) {
    // Nothing is computed.
  } else if (root) {
    emitRoot(emitter, root, block, chip);
  } else {
    Transposes(emitter).emit(block);
  }
  func::ReturnOp::create(emitter.builder, emitter.loc);
  loops.launch.sharedBytes = emitter.scratchBytes();
  return loops;
}
