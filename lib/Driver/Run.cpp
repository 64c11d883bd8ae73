//===- Run.cpp - a session and the tensors around it ----------------------===//

#include "cleave/Driver/Compile.h"

#include "cleave/Support/Failure.h"

#include "Memory.h"

using namespace cleave;

static llvm::Error sessionError(const cleave_error &error) {
  if (error.status == CLEAVE_FAILED)
    return llvm::make_error<Failure>(error.message);
  return llvm::createStringError(error.message);
}

llvm::Expected<std::unique_ptr<Runner>> Runner::create(std::unique_ptr<RunnableProgram> program,
                                                       const cleave_session_options &options) {
  std::unique_ptr<Runner> runner(new Runner);
  runner->runnable = std::move(program);
  uint64_t bytes = 0;
  for (uint32_t rank = 0; rank < runner->program()->num_ranks; ++rank) {
    const cleave_rank_program &own =
        runner->program()->programs[runner->program()->class_of_rank[rank]];
    // What is mapped takes no memory that the system could not have back, what is on a GPU
    // none at all.
    if (runner->program()->device != CLEAVE_DEVICE_CUDA)
      bytes += own.arena_bytes + (runner->program()->params ? 0 : own.param_bytes);
  }
  if (llvm::Error error = requireMemory("weights and activations", bytes))
    return std::move(error);
  cleave_error error;
  if (cleave_session_create(runner->program(), &options, &runner->handle, &error) != CLEAVE_OK)
    return sessionError(error);
  for (uint32_t i = 0; i < runner->program()->num_outputs; ++i) {
    const cleave_value &value = runner->program()->outputs[i];
    runner->results.emplace_back(value.name,
                                 Tensor(static_cast<cleave_type>(value.type),
                                        std::span<const int64_t>(value.dims, value.num_dims)));
  }
  return runner;
}

Runner::~Runner() { cleave_session_destroy(handle); }

llvm::Error Runner::run(const NamedTensors &inputs) {
  std::vector<cleave_input> bound;
  if (llvm::Error error = toError(runtime::bindInputs(*program(), inputs, bound)))
    return error;
  std::vector<cleave_output> into;
  for (auto &[name, tensor] : results)
    into.push_back({tensor.bytes.data(), tensor.bytes.size()});
  cleave_error error;
  if (cleave_session_run(handle, bound.data(), into.data(), &error) != CLEAVE_OK)
    return sessionError(error);
  return llvm::Error::success();
}
