//===- Evaluate.cpp - asks the family of an op ----------------------------===//

#include "Evaluate.h"

#include "Nn/Nn.h"

using namespace mlir;
using namespace cleave;

FailureOr<std::vector<HostTensor>> cleave::evaluate(Operation *op, Operands operands) {
  std::vector<HostTensor> results;
  for (Type type : op->getResultTypes())
    results.emplace_back(cast<RankedTensorType>(type));

  if (auto constant = dyn_cast<nn::ConstantOp>(op)) {
    results[0] = HostTensor::fromAttr(constant.getValue());
    return results;
  }

  for (auto family : {evaluateElementwise, evaluateMovement, evaluateRows, evaluateContraction})
    if (std::optional<LogicalResult> known = family(op, operands, results)) {
      if (failed(*known))
        return failure();
      for (HostTensor &result : results)
        result.round();
      return results;
    }
  op->emitError("has no meaning on host tensors");
  return failure();
}
