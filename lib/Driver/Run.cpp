//===- Run.cpp - a session and the tensors around it ----------------------===//

#include "cleave/Driver/Compile.h"

#include "cleave/Support/Failure.h"

#include "Memory.h"

using namespace cleave;

static llvm::Error toError(const cleave_error &error) {
  if (error.status == CLEAVE_FAILED)
    return llvm::make_error<Failure>(error.message);
  return llvm::createStringError(error.message);
}

llvm::Expected<std::unique_ptr<Runner>> Runner::create(std::unique_ptr<CompiledProgram> program,
                                                       unsigned threads, bool timing) {
  std::unique_ptr<Runner> runner(new Runner);
  runner->compiled = std::move(program);
  uint64_t bytes = 0;
  for (uint32_t rank = 0; rank < runner->program()->num_ranks; ++rank) {
    const cleave_rank_program &own =
        runner->program()->programs[runner->program()->class_of_rank[rank]];
    bytes += own.param_bytes + own.arena_bytes;
  }
  if (llvm::Error error = requireMemory("weights and activations", bytes))
    return std::move(error);
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.threads = threads;
  options.timing = timing;
  cleave_error error;
  if (cleave_session_create(runner->program(), &options, &runner->handle, &error) != CLEAVE_OK)
    return toError(error);
  for (uint32_t i = 0; i < runner->program()->num_outputs; ++i) {
    const cleave_value &value = runner->program()->outputs[i];
    runner->results.emplace_back(
        value.name, Tensor(static_cast<cleave_type>(value.type), {value.dims, value.num_dims}));
  }
  return runner;
}

Runner::~Runner() { cleave_session_destroy(handle); }

llvm::Error Runner::run(const NamedTensors &inputs) {
  std::vector<cleave_input> bound;
  for (uint32_t i = 0; i < program()->num_inputs; ++i) {
    const cleave_value &value = program()->inputs[i];
    auto found = inputs.find(value.name);
    if (found == inputs.end())
      return llvm::createStringError("input \"%s\" is missing", value.name);
    const Tensor &tensor = found->second;
    llvm::ArrayRef<int64_t> want(value.dims, value.num_dims);
    if (tensor.type != value.type)
      return llvm::createStringError("input \"%s\" wants %s, got: %s", value.name,
                                     cleave_type_name(value.type), cleave_type_name(tensor.type));
    if (llvm::ArrayRef(tensor.dims) != want)
      return llvm::createStringError("input \"%s\" wants the shape %s, got: %s", value.name,
                                     shapeText(want).c_str(), shapeText(tensor.dims).c_str());
    bound.push_back({tensor.bytes.data(), tensor.bytes.size()});
  }
  std::vector<cleave_output> into;
  for (auto &[name, tensor] : results)
    into.push_back({tensor.bytes.data(), tensor.bytes.size()});
  cleave_error error;
  if (cleave_session_run(handle, bound.data(), into.data(), &error) != CLEAVE_OK)
    return toError(error);
  return llvm::Error::success();
}
