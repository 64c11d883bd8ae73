//===- Inputs.cpp - tensors that a person gives, by name ------------------===//

#include "cleave/Driver/Compile.h"
#include "cleave/Frontend/DataSet.h"
#include "cleave/Support/NodeName.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace cleave;

llvm::Expected<NamedTensors> cleave::readNamed(llvm::StringRef path, llvm::StringRef kind,
                                               llvm::ArrayRef<std::string> names) {
  llvm::Expected<NamedTensors> tensors =
      llvm::sys::fs::is_directory(path) && isDataSet(path, kind) ? readDataSet(path, kind, names)
                                                                 : readTensors(path);
  if (!tensors)
    return tensors.takeError();
  for (const auto &[name, tensor] : *tensors)
    if (!llvm::is_contained(names, name))
      return llvm::createStringError("the model has no " + kind + " \"" + name + "\", which \"" +
                                     path + "\" holds");
  return tensors;
}

/// The gather with the fewest rows that reads all of `value`, moved or cast at most.
static nn::GatherOp gatherOf(Value value) {
  nn::GatherOp found;
  auto rows = [](nn::GatherOp gather) {
    return nn::typeOf(gather.getData()).getDimSize(gather.getAxis());
  };
  for (OpOperand &use : value.getUses()) {
    auto gather = dyn_cast<nn::GatherOp>(use.getOwner());
    if (gather && use.getOperandNumber() != 1)
      continue;
    if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::CastOp>(use.getOwner()))
      gather = gatherOf(use.getOwner()->getResult(0));
    if (gather && (!found || rows(gather) < rows(found)))
      found = gather;
  }
  return found;
}

llvm::Error cleave::checkIndices(ModuleOp module, const NamedTensors &inputs) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments()) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
    nn::GatherOp gather = gatherOf(argument);
    auto given = inputs.find(name.str());
    if (!gather || given == inputs.end())
      continue;
    auto rows = static_cast<double>(nn::typeOf(gather.getData()).getDimSize(gather.getAxis()));
    for (int64_t i = 0; i < given->second.size(); ++i)
      if (double index = given->second.at(i); index < -rows || index >= rows)
        return llvm::createStringError(
            "input \"%s\" holds %.0f, and node \"%s\" takes indices from %.0f to %.0f",
            name.str().c_str(), index, nodeName(gather.getLoc()).str().c_str(), -rows, rows - 1);
  }
  return llvm::Error::success();
}
