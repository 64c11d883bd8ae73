//===- Harness.cpp - runs nn functions and says what they should give -----===//

#include "Harness.h"

#include "cleave/Runtime/Session.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Rt/Rt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <cmath>
#include <fstream>
#include <random>

using namespace mlir;
using namespace cleave;
using namespace cleave::test;

static MLIRContext &context() {
  static MLIRContext instance;
  instance.loadDialect<dist::DistDialect, func::FuncDialect, nn::NnDialect, rt::RtDialect>();
  return instance;
}

static HostTensor drawn(RankedTensorType type, const Draw &draw, std::mt19937_64 &random) {
  HostTensor tensor(type);
  std::uniform_real_distribution<double> real(draw.low, draw.high);
  std::uniform_int_distribution<int64_t> integer(draw.least, draw.most);
  for (double &x : tensor.floats)
    x = real(random);
  for (int64_t &x : tensor.ints)
    x = type.getElementType().isInteger(1) ? integer(random) & 1 : integer(random);
  tensor.round();
  return tensor;
}

static HostTensor read(nn::WeightOp weight) {
  std::ifstream file(weight.getFile().str(), std::ios::binary);
  std::vector<char> bytes(weight.getLength());
  file.seekg(weight.getOffset());
  file.read(bytes.data(), bytes.size());
  return HostTensor::fromBytes(cast<RankedTensorType>(weight.getType()), bytes);
}

static std::vector<HostTensor> expected(func::FuncOp main, const std::vector<HostTensor> &inputs,
                                        std::string &error) {
  DenseMap<Value, HostTensor> values;
  for (auto [argument, input] : llvm::zip_equal(main.getArguments(), inputs))
    values[argument] = input;
  for (Operation &op : main.getBody().front().without_terminator()) {
    if (auto weight = dyn_cast<nn::WeightOp>(op)) {
      values[weight] = read(weight);
      continue;
    }
    std::vector<const HostTensor *> operands;
    for (Value operand : op.getOperands())
      operands.push_back(&values[operand]);
    auto results = evaluate(&op, operands);
    if (failed(results)) {
      error = "not evaluated: " + op.getName().getStringRef().str();
      return {};
    }
    for (auto [value, result] : llvm::zip_equal(op.getResults(), *results))
      values[value] = result;
  }
  std::vector<HostTensor> outputs;
  for (Value value : main.getBody().front().getTerminator()->getOperands())
    outputs.push_back(values[value]);
  return outputs;
}

/// Runs on one rank; `outputs` come in with their types.
static std::string execute(ModuleOp source, const Machine &machine,
                           const std::vector<HostTensor> &inputs, std::vector<HostTensor> &outputs,
                           int runs = 1) {
  OwningOpRef<ModuleOp> module = source.clone();
  auto compiled = machine.compile(*module);
  if (!compiled)
    return "not compiled: " + llvm::toString(compiled.takeError());
  cleave_error error = {};
  cleave_session *session = nullptr;
  if (cleave_session_create((*compiled)->program(), nullptr, &session, &error) != CLEAVE_OK)
    return std::string("not loaded: ") + error.message;

  std::vector<std::vector<char>> in, out;
  std::vector<cleave_input> inputList;
  std::vector<cleave_output> outputList;
  for (const HostTensor &tensor : inputs) {
    in.push_back(tensor.toBytes());
    inputList.push_back({in.back().data(), in.back().size()});
  }
  for (const HostTensor &tensor : outputs) {
    out.push_back(tensor.toBytes());
    outputList.push_back({out.back().data(), out.back().size()});
  }
  int32_t status = CLEAVE_OK;
  bool isSame = true;
  for (int run = 0; run < runs && status == CLEAVE_OK; ++run) {
    std::vector<std::vector<char>> before = out;
    for (std::vector<char> &bytes : out)
      std::fill(bytes.begin(), bytes.end(), char(0x7b));
    status = cleave_session_run(session, inputList.data(), outputList.data(), &error);
    isSame &= run == 0 || before == out;
  }
  cleave_session_destroy(session);
  if (status != CLEAVE_OK)
    return error.message;
  if (!isSame)
    return "two runs differ";
  for (auto [tensor, bytes] : llvm::zip_equal(outputs, out))
    tensor = HostTensor::fromBytes(tensor.type, bytes);
  return "";
}

static std::string compare(const HostTensor &want, const HostTensor &got, const Check &check) {
  double absolute = check.absolute, relative = check.relative;
  Type element = want.type.getElementType();
  if (element.isF16())
    relative = absolute = std::max(relative, 2e-3);
  if (element.isBF16())
    relative = absolute = std::max(relative, 1.6e-2);
  auto wrong = [](int64_t i, auto w, auto g) {
    return "element " + std::to_string(i) + ": want " + std::to_string(w) + ", got " +
           std::to_string(g);
  };
  for (int64_t i = 0; i < want.size(); ++i) {
    if (!want.isFloat()) {
      if (want.ints[i] != got.ints[i])
        return wrong(i, want.ints[i], got.ints[i]);
      continue;
    }
    double w = want.floats[i], g = got.floats[i];
    bool isEqual = w == g || (std::isnan(w) && std::isnan(g)) ||
                   std::abs(w - g) <= absolute + relative * std::abs(w);
    if (!isEqual)
      return wrong(i, w, g);
  }
  return "";
}

std::string cleave::test::differs(const std::string &function, const Check &check) {
  for (const Machine &machine : machines())
    if (std::string wrong = differsOn(machine, function, check); !wrong.empty())
      return "on " + machine.name + ": " + wrong;
  return "";
}

std::string cleave::test::differsOn(const Machine &machine, const std::string &function,
                                    const Check &check) {
  auto module = parseSourceString<ModuleOp>(function, &context());
  if (!module)
    return "not parsed";
  auto main = module->lookupSymbol<func::FuncOp>("main");
  std::mt19937_64 random(check.seed);
  std::vector<HostTensor> inputs, got;
  for (Type type : main.getArgumentTypes())
    inputs.push_back(drawn(cast<RankedTensorType>(type), check.draw, random));
  std::string error;
  std::vector<HostTensor> want = expected(main, inputs, error);
  if (!error.empty())
    return error;
  for (Type type : main.getResultTypes())
    got.emplace_back(cast<RankedTensorType>(type));
  error = execute(*module, machine, inputs, got, check.runs);
  for (size_t i = 0; i < want.size() && error.empty(); ++i)
    if (std::string wrong = compare(want[i], got[i], check); !wrong.empty())
      error = "output " + std::to_string(i) + ", " + wrong;
  return error;
}

std::string cleave::test::runFault(const std::string &function,
                                   const std::vector<HostTensor> &inputs) {
  auto module = parseSourceString<ModuleOp>(function, &context());
  if (!module)
    return "not parsed";
  std::vector<HostTensor> got;
  for (Type type : module->lookupSymbol<func::FuncOp>("main").getResultTypes())
    got.emplace_back(cast<RankedTensorType>(type));
  std::string message;
  for (const Machine &machine : machines()) {
    std::string own = execute(*module, machine, inputs, got);
    if (!message.empty() && own != message)
      return "";
    message = own;
  }
  return message;
}
