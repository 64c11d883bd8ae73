//===- Verify.cpp - what must hold of onnx ops, by constraint number ------===//

#include "Onnx/Onnx.h"

using namespace mlir;
using namespace cleave::onnx;

LogicalResult GraphOp::verify() {
  Block &block = getBody().front();
  auto output = dyn_cast_or_null<OutputOp>(block.empty() ? nullptr : &block.back());
  // C1
  if (!output || getInputs().size() != block.getNumArguments() ||
      getOutputs().size() != output.getNumOperands() ||
      getOutputTypes().size() != output.getNumOperands())
    return emitOpError("names ") << getInputs().size() << " inputs and " << getOutputs().size()
                                 << " outputs, got: " << block.getNumArguments() << " and "
                                 << (output ? output.getNumOperands() : 0);
  return success();
}

LogicalResult NodeOp::verify() {
  // C1
  if (getOutputs().size() != getNumResults())
    return emitOpError("names ") << getOutputs().size() << " outputs, got: " << getNumResults()
                                 << " results";
  return success();
}
