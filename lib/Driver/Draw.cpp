//===- Draw.cpp - inputs that a model can read ----------------------------===//

#include "cleave/Analysis/Evaluate.h"
#include "cleave/Driver/Compile.h"
#include "cleave/Support/ElementType.h"

#include "Memory.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include "llvm/Support/Parallel.h"

#include <cmath>
#include <random>

using namespace mlir;
using namespace cleave;
using cleave::nn::typeOf;

/// The largest element of a constant of integers; nothing for anything else.
static std::optional<int64_t> largestOf(Value value) {
  auto constant = value.getDefiningOp<nn::ConstantOp>();
  if (!constant || !isa<IntegerType>(nn::elementOf(value)))
    return std::nullopt;
  std::vector<int64_t> elements = HostTensor::fromAttr(constant.getValue()).ints;
  if (elements.empty())
    return std::nullopt;
  return *llvm::max_element(elements);
}

/// The smallest extent that `value` indexes, itself or moved, cast, or with a constant
/// added as positions have their offset; nothing if it indexes none. What is left out is
/// checked when the model runs.
static std::optional<int64_t> indexedExtent(Value value) {
  std::optional<int64_t> extent;
  // An index that counts from the end has the extent added, and no room is left.
  auto note = [&](std::optional<int64_t> found, int64_t offset = 0) {
    if (found && *found - offset > 0 && (!extent || *found - offset < *extent))
      extent = *found - offset;
  };
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    unsigned operand = use.getOperandNumber();
    if (auto gather = dyn_cast<nn::GatherOp>(user); gather && operand == 1)
      note(typeOf(gather.getData()).getDimSize(gather.getAxis()));
    else if (auto gather = dyn_cast<nn::GatherElementsOp>(user); gather && operand == 1)
      note(typeOf(gather.getData()).getDimSize(gather.getAxis()));
    else if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::CastOp, nn::SliceOp>(user) ||
             (isa<nn::SelectOp>(user) && operand > 0))
      note(indexedExtent(user->getResult(0)));
    else if (isa<nn::AddOp>(user)) {
      if (std::optional<int64_t> offset = largestOf(user->getOperand(1 - operand)))
        note(indexedExtent(user->getResult(0)), std::max<int64_t>(*offset, 0));
    } else if (isa<nn::CacheUpdateOp>(user) && operand == 2)
      note(1);
  }
  return extent;
}

/// Elements that are drawn from one stream.
static constexpr int64_t kBlock = 1 << 16;

/// Fills `bytes` with elements of `type`, one block after the other. `seed` is that of the
/// block.
static void drawBlock(RankedTensorType type, std::optional<int64_t> extent, uint64_t seed,
                      char *bytes) {
  HostTensor drawn(type);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < drawn.floats.size(); i += 2) {
    // Box and Muller's transform, the same on every library.
    double u = (random() >> 11) * 0x1p-53 + 0x1p-54, v = (random() >> 11) * 0x1p-53;
    double radius = std::sqrt(-2 * std::log(u)), angle = 2 * M_PI * v;
    drawn.floats[i] = radius * std::cos(angle);
    if (i + 1 < drawn.floats.size())
      drawn.floats[i + 1] = radius * std::sin(angle);
  }
  for (int64_t &value : drawn.ints)
    value = extent && *extent > 0 ? random() % *extent : 1;
  llvm::copy(drawn.toBytes(), bytes);
}

llvm::Expected<NamedTensors> cleave::drawInputs(ModuleOp module, uint64_t seed) {
  NamedTensors inputs;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  uint64_t bytes = 0;
  for (Type type : main.getArgumentTypes()) {
    auto tensor = cast<RankedTensorType>(type);
    bytes += tensor.getNumElements() * cleave_type_bytes(*runtimeType(tensor.getElementType()));
  }
  if (llvm::Error error = requireMemory("the inputs", bytes))
    return std::move(error);
  for (BlockArgument argument : main.getArguments()) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
    RankedTensorType type = typeOf(argument);
    Tensor tensor(*runtimeType(type.getElementType()), type.getShape());
    std::optional<int64_t> extent = indexedExtent(argument);
    int64_t elements = type.getNumElements(), width = elements ? tensor.bytes.size() / elements : 0;
    auto whole = RankedTensorType::get({kBlock}, type.getElementType());
    auto last = RankedTensorType::get({elements % kBlock}, type.getElementType());
    // Each block of each input has a stream of its own, so that adding one changes no other.
    llvm::parallelFor(0, llvm::divideCeil(elements, kBlock), [&](size_t block) {
      int64_t first = int64_t(block) * kBlock;
      uint64_t stream = (seed * 1000003 + argument.getArgNumber()) * 1000003 + block;
      drawBlock(first + kBlock <= elements ? whole : last, extent, stream,
                tensor.bytes.data() + first * width);
    });
    inputs[name.str()] = std::move(tensor);
  }
  return inputs;
}
