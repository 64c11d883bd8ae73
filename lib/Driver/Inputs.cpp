//===- Inputs.cpp - tensors that a person gives, by name ------------------===//

#include "cleave/Driver/Compile.h"
#include "cleave/Frontend/DataSet.h"
#include "cleave/Support/NodeName.h"

#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace cleave;

llvm::Expected<NamedTensors> cleave::readNamed(llvm::StringRef path, llvm::StringRef kind,
                                               llvm::ArrayRef<std::string> names) {
  llvm::Expected<NamedTensors> tensors = llvm::sys::fs::is_directory(path) && isDataSet(path, kind)
                                             ? readDataSet(path, kind, names)
                                             : readTensors(path);
  if (!tensors)
    return tensors.takeError();
  for (const auto &[name, tensor] : *tensors)
    if (!llvm::is_contained(names, name))
      return llvm::createStringError("the model has no " + kind + " \"" + name + "\", which \"" +
                                     path + "\" holds");
  return tensors;
}

std::vector<std::string> cleave::replaceableInputs(ModuleOp module) {
  std::vector<std::string> names;
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  for (auto initializer : graph.getBody().front().getOps<onnx::InitializerOp>())
    if (initializer.getInput())
      names.push_back(initializer.getTensor().getName().str());
  return names;
}

void cleave::replaceInputs(ModuleOp module, const NamedTensors &tensors) {
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  Block &body = graph.getBody().front();
  auto names = llvm::to_vector(graph.getInputs());
  for (auto initializer : llvm::to_vector(body.getOps<onnx::InitializerOp>())) {
    StringAttr name = initializer.getTensor().getName();
    if (!initializer.getInput() || !tensors.count(name.str()))
      continue;
    Value input = body.addArgument(initializer.getType(), initializer.getLoc());
    initializer.getResult().replaceAllUsesWith(input);
    initializer.erase();
    names.push_back(name);
  }
  graph.setInputsAttr(ArrayAttr::get(module.getContext(), names));
}

/// The least and the largest index that `gather` takes.
static std::pair<int64_t, int64_t> rangeOf(nn::GatherOp gather) {
  int64_t rows = nn::typeOf(gather.getData()).getDimSize(gather.getAxis());
  return {gather.getAbsolute() ? 0 : -rows, rows - 1};
}

/// The gather of the narrowest range that reads all of `value`, moved or cast at most.
static nn::GatherOp gatherOf(Value value) {
  nn::GatherOp found;
  auto room = [](nn::GatherOp gather) {
    auto [low, high] = rangeOf(gather);
    return std::pair(high, high - low);
  };
  for (OpOperand &use : value.getUses()) {
    auto gather = dyn_cast<nn::GatherOp>(use.getOwner());
    if (gather && use.getOperandNumber() != 1)
      continue;
    if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::CastOp>(use.getOwner()))
      gather = gatherOf(use.getOwner()->getResult(0));
    if (gather && (!found || room(gather) < room(found)))
      found = gather;
  }
  return found;
}

std::map<std::string, runtime::IndexRange> cleave::indexRanges(ModuleOp module) {
  std::map<std::string, runtime::IndexRange> ranges;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments())
    if (nn::GatherOp gather = gatherOf(argument)) {
      auto [from, to] = rangeOf(gather);
      auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
      ranges[name.str()] = {from, to, nodeName(gather.getLoc()).str()};
    }
  return ranges;
}

llvm::Error cleave::checkIndices(const std::map<std::string, runtime::IndexRange> &ranges,
                                 const NamedTensors &inputs) {
  for (const auto &[name, range] : ranges)
    if (auto given = inputs.find(name); given != inputs.end())
      if (llvm::Error error = toError(runtime::checkIndices(name, given->second, range)))
        return error;
  return llvm::Error::success();
}
