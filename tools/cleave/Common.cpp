//===- Common.cpp - what the subcommands share ----------------------------===//

#include "Common.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <unistd.h>

using namespace mlir;
using namespace cleave;

void ModelOptions::addTo(CLI::App &app, bool meshWanted) {
  app.add_option("model", model, "an ONNX file")->required();
  auto *axes = app.add_option("--mesh", mesh, "named axes of ranks, as in tp=4");
  if (meshWanted)
    axes->required();
  app.add_option("--inputs", inputs, "an .npz, or a folder of .npy files");
  app.add_option("--dim", dims, "the size of a symbolic dimension, as in batch=2");
  app.add_option("--seed", seed, "draws the inputs that are not given");
  app.add_option("--threads", threads, "cores to use, however many ranks; default: all");
  app.add_flag("--strict", strict, "warnings are errors");
}

int cleave::fail(llvm::Error error, int status) {
  llvm::errs() << "cleave: " << llvm::toString(std::move(error)) << "\n";
  return status;
}

llvm::Error cleave::shard(Compilation &compilation, ModuleOp module, llvm::StringRef mesh,
                          const ModelOptions &options) {
  if (llvm::Error error = compilation.shard(module, mesh, options.strict))
    return error;
  for (const std::string &warning : compilation.warnings)
    llvm::errs() << "cleave: warning: " << warning << "\n";
  return llvm::Error::success();
}

/// The product of the axes `dp`, each rank of which has a batch of its own.
static int64_t dataRanks(llvm::StringRef mesh) {
  int64_t ranks = 1, size;
  for (llvm::StringRef axis : llvm::split(mesh, ','))
    if (axis.consume_front("dp=") && !axis.getAsInteger(10, size))
      ranks *= size;
  return ranks;
}

llvm::Expected<LoadedModel> cleave::load(Compilation &compilation, const ModelOptions &options) {
  auto named = [&](llvm::Error error) {
    return llvm::createStringError(options.model + ": " + llvm::toString(std::move(error)));
  };
  if (llvm::Error error = compilation.checkMesh(options.mesh))
    return std::move(error);
  LoadedModel result;
  llvm::Expected<OwningOpRef<ModuleOp>> module = compilation.import(options.model);
  if (!module)
    return named(module.takeError());
  result.module = std::move(*module);
  llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(*result.module);
  if (!inputs)
    return named(inputs.takeError());

  std::map<std::string, int64_t> given;
  for (llvm::StringRef dim : options.dims) {
    auto [name, size] = dim.rsplit('=');
    int64_t value;
    if (name.empty() || size.getAsInteger(10, value) || value < 0)
      return llvm::createStringError("--dim wants name=size, got: \"" + dim + "\"");
    given[name.str()] = value;
  }
  if (!options.inputs.empty()) {
    llvm::Expected<NamedTensors> tensors = readTensors(options.inputs);
    if (!tensors)
      return tensors.takeError();
    for (const ModelInput &input : *inputs) {
      auto tensor = tensors->find(input.name);
      if (tensor == tensors->end())
        return llvm::createStringError("input \"" + input.name + "\" is missing from \"" +
                                       options.inputs + "\"");
      if (llvm::Error error = bindShape(input, tensor->second.dims, given))
        return std::move(error);
    }
    for (const auto &[name, tensor] : *tensors)
      if (llvm::none_of(*inputs, [&](const ModelInput &input) { return input.name == name; }))
        return llvm::createStringError("the model has no input \"" + name + "\"");
    result.inputs = std::move(*tensors);
  }
  std::map<std::string, int64_t> sizes = bindDims(*inputs, given);
  std::optional<std::map<std::string, int64_t>> decode =
      decodeDims(*inputs, sizes, dataRanks(options.mesh));
  OwningOpRef<ModuleOp> imported;
  if (decode && !options.mesh.empty())
    imported = result.module->clone();
  if (llvm::Error error = compilation.graph(*result.module, sizes))
    return named(std::move(error));
  if (imported)
    compilation.decodeFirst(*result.module, *imported, *decode, options.mesh);
  if (options.inputs.empty())
    result.inputs = drawInputs(*result.module, options.seed);
  return result;
}

llvm::Expected<std::unique_ptr<Runner>> cleave::prepare(Compilation &compilation,
                                                        ModuleOp module, llvm::StringRef mesh,
                                                        const ModelOptions &options) {
  OwningOpRef<ModuleOp> copy = module.clone();
  if (llvm::Error error = shard(compilation, *copy, mesh, options))
    return std::move(error);
  llvm::Expected<std::unique_ptr<CompiledProgram>> program =
      compilation.compile(*copy, options.threads);
  if (!program)
    return program.takeError();
  compilation.onPhase("loading weights");
  return Runner::create(std::move(*program), options.threads);
}

Progress::Progress(Compilation &compilation) {
  if (!::isatty(STDERR_FILENO))
    return;
  compilation.onPhase = [this](llvm::StringRef phase) {
    if (millisecondsSince(begin) < 1000)
      return;
    shown = true;
    llvm::errs() << "\r\033[K" << phase << " …";
  };
}

Progress::~Progress() {
  if (shown)
    llvm::errs() << "\r\033[K";
}

double cleave::millisecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}
