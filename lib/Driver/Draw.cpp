//===- Draw.cpp - inputs that a model can read ----------------------------===//

#include "cleave/Analysis/Evaluate.h"
#include "cleave/Driver/Compile.h"
#include "cleave/Support/ElementType.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <cmath>
#include <random>

using namespace mlir;
using namespace cleave;
using cleave::nn::typeOf;

/// The smallest extent that `value`, or what is made of it without arithmetic,
/// indexes; nothing if it indexes none.
static std::optional<int64_t> indexedExtent(Value value) {
  std::optional<int64_t> extent;
  auto note = [&](std::optional<int64_t> found) {
    if (found && (!extent || *found < *extent))
      extent = found;
  };
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (auto gather = dyn_cast<nn::GatherOp>(user); gather && use.getOperandNumber() == 1)
      note(typeOf(gather.getData()).getDimSize(gather.getAxis()));
    else if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::CastOp, nn::SliceOp>(user))
      note(indexedExtent(user->getResult(0)));
    else if (isa<nn::CacheUpdateOp>(user) && use.getOperandNumber() == 2)
      note(1);
  }
  return extent;
}

NamedTensors cleave::drawInputs(ModuleOp module, uint64_t seed) {
  NamedTensors inputs;
  auto main = module.lookupSymbol<func::FuncOp>("main");
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
