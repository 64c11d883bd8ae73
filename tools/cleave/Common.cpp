//===- Common.cpp - what the subcommands share ----------------------------===//

#include "Common.h"

#include "cleave/Driver/Trace.h"
#include "cleave/Support/Failure.h"
#include "cleave/Support/PendingFile.h"

#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <set>
#include <unistd.h>

using namespace mlir;
using namespace cleave;

CLI::Option *cleave::addPath(CLI::App &app, const char *flag, std::string &path, const char *what) {
  return app.add_option(flag, path, what)->check(runtime::fileNameError);
}

void ModelOptions::addResult(CLI::App &app, const char *flag, std::string &path, const char *what) {
  addPath(app, flag, path, what);
  results.emplace_back(flag, &path);
}

/// Refuses where a result would be written over what is read, `more` among it.
static llvm::Error checkResults(const ModelOptions &options,
                                const std::vector<runtime::NamedFile> &more = {}) {
  std::vector<runtime::NamedFile> results;
  for (auto [flag, path] : options.results)
    results.push_back({flag, *path});
  std::vector<runtime::NamedFile> read = {{"the model", options.model},
                                          {"--inputs", options.inputs}};
  llvm::append_range(read, more);
  return toError(runtime::checkResults(results, read));
}

/// The files that hold the tensors of the imported `module`.
static std::vector<runtime::NamedFile> weightFiles(ModuleOp module) {
  std::set<std::string> paths;
  module->walk([&](Operation *op) {
    op->getAttrDictionary().walk(
        [&](onnx::DataAttr data) { paths.insert(data.getFile().getValue().str()); });
  });
  std::vector<runtime::NamedFile> files;
  for (const std::string &path : paths)
    files.push_back({"its weights", path});
  return files;
}

/// CLI11 takes a sign for an unsigned number and wraps.
static std::string seedError(const std::string &text) {
  uint64_t seed;
  return llvm::StringRef(text).getAsInteger(10, seed)
             ? "wants a whole number from 0 to 2^64 - 1, got: " + text
             : "";
}

void ModelOptions::addTo(CLI::App &app, bool meshWanted, const char *what) {
  app.add_option("model", model, what)->required();
  auto *axes = app.add_option("--mesh", mesh, "named axes of ranks, as in tp=4");
  if (meshWanted)
    axes->required();
  addPath(app, "--inputs", inputs, "an .npz, a folder of .npy files, or a test_data_set_N");
  app.add_option("--dim", dims, "the size of a symbolic dimension, as in batch=2");
  app.add_option("--seed", seed, "draws the inputs where --inputs gives none")
      ->capture_default_str()
      ->check(seedError);
  app.add_option("--threads", threads, "cores to use, however many ranks; default: all")
      ->check(CLI::Range(1, 4096));
  app.add_option("--target", target,
                 "what runs it: cpu, cuda or simt, the last two with "
                 "chips as in cuda:sm_80,sm_90a; default: cpu");
  app.add_option("--micro-batches", microBatches,
                 "parts of the batch that follow each other through the stages of pp")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("--virtual-stages", virtualStages, "chunks of the model a stage of pp")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_flag("--strict", strict, "warnings are errors");
}

cleave_session_options ModelOptions::sessionOptions(bool timing) const {
  cleave_session_options session = CLEAVE_SESSION_OPTIONS;
  session.threads = threads;
  session.timing = timing;
  session.unharmed = unharmed;
  session.eager = eager;
  return session;
}

llvm::Expected<Target> ModelOptions::parseTarget() const {
  llvm::Expected<Target> parsed = cleave::parseTarget(target.empty() ? "cpu" : target);
  if (parsed)
    parsed->threads = threads;
  return parsed;
}

void cleave::note(llvm::StringRef text) {
  Progress::clear();
  runtime::printLine("cleave: " + text.str());
}

int cleave::fail(llvm::Error error) {
  int status = error.isA<Failure>() ? 1 : 2;
  Progress::end();
  note(llvm::toString(std::move(error)));
  return status;
}

llvm::Error cleave::shard(Compilation &compilation, ModuleOp module, llvm::StringRef mesh,
                          const ModelOptions &options) {
  llvm::Expected<Target> target = options.parseTarget();
  if (!target)
    return target.takeError();
  bool areGpus = target->kind != Target::Cpu;
  if (llvm::Error error =
          compilation.shard(module, {mesh.str(), options.strict, options.microBatches,
                                     options.virtualStages, areGpus}))
    return error;
  for (const std::string &message : std::exchange(compilation.messages, {}))
    note(message);
  return llvm::Error::success();
}

llvm::Error cleave::inFile(llvm::StringRef path, llvm::Error error) {
  if (error.isA<Failure>())
    return error;
  return llvm::createStringError(path + ": " + llvm::toString(std::move(error)));
}

/// The product of the axes `dp`, each rank of which has a batch of its own.
static int64_t dataRanks(llvm::StringRef mesh) {
  int64_t ranks = 1, size;
  for (llvm::StringRef axis : llvm::split(mesh, ','))
    if (axis.consume_front("dp=") && !axis.getAsInteger(10, size))
      ranks *= size;
  return ranks;
}

llvm::Error cleave::requireTarget(const ModelOptions &options) {
  llvm::Expected<Target> target = options.parseTarget();
  if (!target)
    return target.takeError();
  uint32_t device = target->kind == Target::Cuda   ? CLEAVE_DEVICE_CUDA
                    : target->kind == Target::Simt ? CLEAVE_DEVICE_SIMT
                                                   : CLEAVE_DEVICE_CPU;
  cleave_error error;
  if (cleave_device_check(device, &error) != CLEAVE_OK)
    return llvm::createStringError(error.message);
  return llvm::Error::success();
}

/// The sizes that --dim gives.
static llvm::Expected<std::map<std::string, int64_t>> givenDims(const ModelOptions &options,
                                                                llvm::ArrayRef<ModelInput> inputs) {
  std::map<std::string, int64_t> given;
  for (llvm::StringRef dim : options.dims) {
    auto [name, size] = dim.rsplit('=');
    int64_t value;
    if (name.empty() || size.getAsInteger(10, value) || value < 0)
      return llvm::createStringError("--dim wants name=size, got: \"" + dim + "\"");
    if (llvm::Error error = checkDimName(inputs, name))
      return std::move(error);
    if (!given.try_emplace(name.str(), value).second)
      return llvm::createStringError("--dim gives \"" + name + "\" a size twice; leave one out");
  }
  return given;
}

/// `error` with those of `sizes` behind it that are 0: ordinary for a past, and more than
/// most models take for a batch.
static llvm::Error withEmptySizes(llvm::Error error, const std::map<std::string, int64_t> &sizes) {
  std::string text;
  for (const auto &[name, size] : sizes)
    if (size == 0)
      text += (text.empty() ? "; \"" : " and \"") + name + "\" is 0";
  if (text.empty() || error.isA<Failure>())
    return error;
  return llvm::createStringError(llvm::toString(std::move(error)) + text +
                                 ", which the model may not take: try 1 or more with --dim");
}

/// Reads --inputs and adds their sizes to `dims`.
static llvm::Expected<NamedTensors> givenInputs(const ModelOptions &options, ModuleOp module,
                                                llvm::ArrayRef<ModelInput> inputs,
                                                std::map<std::string, int64_t> &dims) {
  std::vector<std::string> names;
  for (const ModelInput &input : inputs)
    names.push_back(input.name);
  llvm::append_range(names, replaceableInputs(module));
  llvm::Expected<NamedTensors> tensors = readNamed(options.inputs, "input", names);
  if (!tensors)
    return tensors.takeError();
  for (const ModelInput &input : inputs) {
    auto tensor = tensors->find(input.name);
    if (tensor == tensors->end())
      return llvm::createStringError("input \"" + input.name + "\" is missing from \"" +
                                     options.inputs + "\"");
    if (llvm::Error error = bindShape(input, tensor->second.dims, dims))
      return std::move(error);
  }
  replaceInputs(module, *tensors);
  return tensors;
}

/// Of the open dimensions that `given` does not have, as the graph wants them.
static std::string guessedSizes(llvm::ArrayRef<ModelInput> inputs, func::FuncOp main,
                                const std::map<std::string, int64_t> &given) {
  std::map<std::string, int64_t> sizes;
  for (const ModelInput &input : inputs) {
    // An input that a constant stands for is no argument.
    auto isIts = [&](BlockArgument argument) {
      auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
      return name && name.getValue() == input.name;
    };
    auto argument = llvm::find_if(main.getArguments(), isIts);
    if (argument == main.getArguments().end())
      continue;
    for (auto [dim, size] : llvm::zip(input.dims, nn::shapeOf(*argument)))
      // What others add up to has been given with them.
      if (dim.size < 0 && !given.count(dim.name) && dim.name.find(' ') == dim.name.npos)
        sizes[dim.name] = size;
  }
  std::string text;
  for (const auto &[name, size] : sizes)
    text += (text.empty() ? "" : ", ") + name + "=" + std::to_string(size);
  return text;
}

llvm::Expected<LoadedModel> cleave::load(Compilation &compilation, const ModelOptions &options) {
  auto named = [&](llvm::Error error) { return inFile(options.model, std::move(error)); };
  if (isArtifact(options.model))
    return llvm::createStringError("\"" + options.model +
                                   "\" is a folder, as an artifact is; give the model it is of");
  if (llvm::Expected<Target> target = options.parseTarget(); !target)
    return target.takeError();
  if (llvm::Error error = compilation.checkMesh(options.mesh))
    return std::move(error);
  if (llvm::Error error = checkResults(options))
    return std::move(error);
  LoadedModel result;
  llvm::Expected<OwningOpRef<ModuleOp>> module = compilation.import(options.model);
  if (!module)
    return named(module.takeError());
  result.module = std::move(*module);
  if (llvm::Error error = checkResults(options, weightFiles(*result.module)))
    return std::move(error);
  llvm::Expected<std::vector<ModelInput>> inputs = modelInputs(*result.module);
  if (!inputs)
    return named(inputs.takeError());

  auto graph = *result.module->getOps<onnx::GraphOp>().begin();
  for (llvm::StringRef name : graph.getOutputs().getAsValueRange<StringAttr>())
    result.outputs.push_back(name.str());
  llvm::Expected<std::map<std::string, int64_t>> dims = givenDims(options, *inputs);
  if (!dims)
    return dims.takeError();
  if (!options.inputs.empty()) {
    llvm::Expected<NamedTensors> tensors = givenInputs(options, *result.module, *inputs, *dims);
    if (!tensors)
      return tensors.takeError();
    result.inputs = std::move(*tensors);
  }
  std::map<std::string, int64_t> sizes = bindDims(*inputs, *dims);
  OwningOpRef<ModuleOp> imported;
  if (!Compilation::isOneRank(options.mesh))
    imported = result.module->clone();
  if (llvm::Error error = compilation.graph(*result.module, *dims, sizes))
    return named(withEmptySizes(std::move(error), sizes));
  auto main = result.module->lookupSymbol<func::FuncOp>("main");
  result.guessed = guessedSizes(*inputs, main, *dims);
  auto cache = findCache(main);
  auto decode = decodeDims(*inputs, sizes, dataRanks(options.mesh), cache);
  if (imported && decode)
    compilation.decodeFirst(*result.module, *imported, *decode, options.mesh);
  if (llvm::Error error = checkIndices(indexRanges(*result.module), result.inputs))
    return std::move(error);
  if (options.inputs.empty() && options.draws) {
    compilation.onPhase("drawing inputs");
    llvm::Expected<NamedTensors> drawn = drawInputs(*result.module, options.seed);
    if (!drawn)
      return drawn.takeError();
    result.inputs = std::move(*drawn);
  }
  return result;
}

/// Says too what makes the session slower than it was meant to be.
static llvm::Expected<std::unique_ptr<Runner>>
createRunner(std::unique_ptr<RunnableProgram> program, const ModelOptions &options, bool timing) {
  llvm::Expected<std::unique_ptr<Runner>> runner =
      Runner::create(std::move(program), options.sessionOptions(timing));
  if (runner)
    if (llvm::StringRef remark = cleave_session_remark((*runner)->session()); !remark.empty())
      note("warning: " + remark.str());
  return runner;
}

llvm::Expected<OpenedArtifact> cleave::openArtifact(const ModelOptions &options,
                                                    const std::string &phase, bool timing) {
  const std::pair<const char *, bool> decided[] = {{"--mesh", !options.mesh.empty()},
                                                   {"--dim", !options.dims.empty()},
                                                   {"--target", !options.target.empty()},
                                                   {"--micro-batches", options.microBatches != 1},
                                                   {"--virtual-stages", options.virtualStages != 1},
                                                   {"--stop-after", !phase.empty()}};
  for (auto [flag, given] : decided)
    if (given)
      return llvm::createStringError(
          "\"%s\" is an artifact: what %s says was decided when it was compiled; leave it out, or "
          "compile the model again",
          options.model.c_str(), flag);
  llvm::Expected<std::unique_ptr<ArtifactProgram>> program = openArtifact(options.model);
  if (!program)
    return program.takeError();
  std::vector<runtime::NamedFile> weights;
  for (const cleave_file &file :
       llvm::ArrayRef((*program)->program()->files, (*program)->program()->num_files))
    weights.push_back({"its weights", file.path});
  if (llvm::Error error = checkResults(options, weights))
    return std::move(error);
  OpenedArtifact opened;
  opened.mesh = (*program)->mesh();
  std::vector<std::string> names;
  for (const cleave_value &value :
       llvm::ArrayRef((*program)->program()->inputs, (*program)->program()->num_inputs))
    names.push_back(value.name);
  if (options.inputs.empty() && !names.empty())
    return llvm::createStringError("\"" + options.model +
                                   "\" is an artifact, which draws no inputs; give a file with "
                                   "--inputs that holds \"" +
                                   llvm::join(names, "\", \"") + "\"");
  if (!options.inputs.empty()) {
    llvm::Expected<NamedTensors> tensors = readNamed(options.inputs, "input", names);
    if (!tensors)
      return tensors.takeError();
    opened.inputs = std::move(*tensors);
  }
  if (llvm::Error error = checkIndices((*program)->indices(), opened.inputs))
    return std::move(error);
  llvm::Expected<std::unique_ptr<Runner>> runner =
      createRunner(std::move(*program), options, timing);
  if (!runner)
    return runner.takeError();
  opened.runner = std::move(*runner);
  return opened;
}

llvm::Error cleave::requireOutputs(const LoadedModel &model, const std::string &flag,
                                   const std::string &path) {
  if (path.empty() || !model.outputs.empty())
    return llvm::Error::success();
  return llvm::createStringError(flag + " \"" + path +
                                 "\": the model has no outputs to write; leave the flag out");
}

llvm::Expected<std::unique_ptr<Runner>> cleave::prepare(Compilation &compilation, ModuleOp module,
                                                        llvm::StringRef mesh,
                                                        const ModelOptions &options, bool timing) {
  OwningOpRef<ModuleOp> copy = module.clone();
  if (options.isCut(mesh))
    if (llvm::Error error = shard(compilation, *copy, mesh, options))
      return std::move(error);
  llvm::Expected<Target> target = options.parseTarget();
  if (!target)
    return target.takeError();
  llvm::Expected<std::unique_ptr<CompiledProgram>> program = compilation.compile(*copy, *target);
  if (!program)
    return program.takeError();
  compilation.onPhase("loading weights");
  return createRunner(std::move(*program), options, timing);
}

llvm::Error cleave::writeText(llvm::StringRef path, llvm::StringRef text) {
  PendingFile file(path);
  if (llvm::Error error = file.open())
    return error;
  if (llvm::Error error = file.write(text))
    return error;
  if (llvm::Error error = file.keep())
    return error;
  note("wrote " + path.str());
  return llvm::Error::success();
}

void cleave::addEager(CLI::App &app, ModelOptions &options) {
  app.add_flag("--eager", options.eager,
               "on GPUs, launches each command by itself and makes no CUDA graphs");
}

void cleave::addTrace(CLI::App &app, ModelOptions &options) {
  options.addResult(app, "--trace", options.trace,
                    "a JSON to write: the commands of the last run as a timeline, for Perfetto");
}

llvm::Error cleave::writeTrace(const Runner &runner, const ModelOptions &options) {
  std::string title = llvm::sys::path::filename(options.model).str();
  if (!Compilation::isOneRank(options.mesh))
    title += " over " + options.mesh;
  return writeText(options.trace, traceText(*runner.program(), runner.session(), title));
}

Progress *Progress::current = nullptr;

Progress::Progress(Compilation &compilation) {
  if (!::isatty(STDERR_FILENO))
    return;
  current = this;
  compilation.onPhase = [this](llvm::StringRef name) {
    std::lock_guard lock(mutex);
    phase = name.str();
  };
  watcher = std::thread([this] { watch(); });
}

void Progress::watch() {
  std::unique_lock lock(mutex);
  for (int seconds = 1; !changed.wait_for(lock, std::chrono::seconds(1), [this] { return over; });
       ++seconds) {
    llvm::errs() << "\r\033[K" << phase << " … " << seconds << " s";
    shown = true;
  }
  if (shown)
    llvm::errs() << "\r\033[K";
}

Progress::~Progress() { stop(); }

void Progress::stop() {
  if (!watcher.joinable())
    return;
  {
    std::lock_guard lock(mutex);
    over = true;
  }
  changed.notify_one();
  watcher.join();
  current = nullptr;
}

void Progress::clear() {
  if (!current)
    return;
  std::lock_guard lock(current->mutex);
  if (std::exchange(current->shown, false))
    llvm::errs() << "\r\033[K";
}

void Progress::end() {
  if (current)
    current->stop();
}

double cleave::millisecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}
