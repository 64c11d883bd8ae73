//===- Draw.cpp - inputs that a model can read ----------------------------===//

#include "cleave/Analysis/Evaluate.h"
#include "cleave/Driver/Compile.h"
#include "cleave/Support/ElementType.h"

#include "Memory.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

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

llvm::Expected<NamedTensors> cleave::drawInputs(ModuleOp module, uint64_t seed) {
  NamedTensors inputs;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  uint64_t elements = 0;
  for (Type type : main.getArgumentTypes())
    elements += cast<RankedTensorType>(type).getNumElements();
  // A double or a 64-bit integer each while they are drawn.
  if (llvm::Error error = requireMemory("the inputs", elements * sizeof(double)))
    return std::move(error);
  for (BlockArgument argument : main.getArguments()) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
    HostTensor drawn(typeOf(argument));
    // Each input has a stream of its own, so that adding one changes no other.
    std::mt19937_64 random(seed * 1000003 + argument.getArgNumber());
    std::optional<int64_t> extent = indexedExtent(argument);
    for (double &value : drawn.floats) {
      // Box and Muller's transform, the same on every library.
      double u = (random() >> 11) * 0x1p-53 + 0x1p-54, v = (random() >> 11) * 0x1p-53;
      value = std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
    }
    for (int64_t &value : drawn.ints)
      value = extent && *extent > 0 ? random() % *extent : 1;
    Tensor tensor(*runtimeType(drawn.type.getElementType()), drawn.shape());
    tensor.bytes = drawn.toBytes();
    inputs[name.str()] = std::move(tensor);
  }
  return inputs;
}
