//===- Draw.cpp - inputs that a model can read ----------------------------===//

#include "cleave/Driver/Compile.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/APFloat.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace mlir;
using namespace cleave;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

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

static cleave_type runtimeType(Type type) {
  if (type.isF32()) return CLEAVE_F32;
  if (type.isF64()) return CLEAVE_F64;
  if (type.isF16()) return CLEAVE_F16;
  if (type.isBF16()) return CLEAVE_BF16;
  bool isUnsigned = type.isUnsignedInteger();
  switch (type.getIntOrFloatBitWidth()) {
  case 1: return CLEAVE_BOOL;
  case 8: return isUnsigned ? CLEAVE_U8 : CLEAVE_I8;
  case 16: return isUnsigned ? CLEAVE_U16 : CLEAVE_I16;
  case 32: return isUnsigned ? CLEAVE_U32 : CLEAVE_I32;
  default: return isUnsigned ? CLEAVE_U64 : CLEAVE_I64;
  }
}

/// The bits of `value` in the float type `type`.
static uint64_t bitsOf(double value, FloatType type) {
  llvm::APFloat number(value);
  bool lossy;
  number.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &lossy);
  return number.bitcastToAPInt().getZExtValue();
}

NamedTensors cleave::drawInputs(ModuleOp module, uint64_t seed) {
  NamedTensors inputs;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments()) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
    RankedTensorType type = typeOf(argument);
    Tensor tensor(runtimeType(type.getElementType()), type.getShape());
    uint64_t width = cleave_type_bytes(tensor.type);
    // Each input has a stream of its own, so that adding one changes no other.
    std::mt19937_64 random(seed * 1000003 + argument.getArgNumber());
    std::optional<int64_t> extent = indexedExtent(argument);
    for (int64_t i = 0; i < tensor.size(); ++i) {
      uint64_t bits = extent && *extent > 0 ? random() % *extent : 1;
      if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
        // Box and Muller's transform, the same on every library.
        double u = (random() >> 11) * 0x1p-53 + 0x1p-54, v = (random() >> 11) * 0x1p-53;
        bits = bitsOf(std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v), floatType);
      }
      std::memcpy(tensor.bytes.data() + i * width, &bits, width);
    }
    inputs[name.str()] = std::move(tensor);
  }
  return inputs;
}
