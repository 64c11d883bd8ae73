//===- Common.h - what the subcommands share ------------------*- C++ -*-===//

#ifndef CLEAVE_TOOLS_CLEAVE_COMMON_H
#define CLEAVE_TOOLS_CLEAVE_COMMON_H

#include "cleave/Driver/Compile.h"
#include "cleave/Runtime/CommandLine.h"

#include <CLI/CLI.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace cleave {

/// What a person may say of a model, its sizes and its inputs.
struct ModelOptions {
  std::string model, mesh, inputs, target;
  std::vector<std::string> dims;
  uint64_t seed = 0;
  unsigned threads = 0;
  bool strict = false;
  int64_t microBatches = 1, virtualStages = 1;
  bool unharmed = false; ///< by CLEAVE_FAULT
  bool eager = false;

  /// Whether a program over `mesh` is cut at all, by rank or in time.
  bool isCut(llvm::StringRef mesh) const {
    return !Compilation::isOneRank(mesh) || microBatches > 1 || virtualStages > 1;
  }
  /// What --target says; the cores of this machine where it says nothing.
  llvm::Expected<Target> parseTarget() const;
  /// Of `run` and `bench`: where the timeline of the last run goes.
  std::string trace;
  bool draws = true; ///< inputs that are not given

  /// What they mean for a session, which times each command if `timing` is set.
  cleave_session_options sessionOptions(bool timing) const;

  /// What is written, by its flag.
  std::vector<std::pair<const char *, const std::string *>> results;

  /// Adds an option that names a file to write. `path` stays where it is.
  void addResult(CLI::App &app, const char *flag, std::string &path, const char *what);
  /// Adds the options to `app`; `meshWanted` makes --mesh obligatory.
  void addTo(CLI::App &app, bool meshWanted, const char *what = "an ONNX file");
};

/// A model up to `nn`, with its inputs at hand.
struct LoadedModel {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  NamedTensors inputs;
  /// Names, in the model's order.
  std::vector<std::string> outputs;
  /// Sizes that nobody gave, as in `batch=16, sequence=16`.
  std::string guessed;
};

/// Fails if this machine cannot run what --target says, before anything is made for it.
llvm::Error requireTarget(const ModelOptions &options);

/// Checks the options, imports the model, binds its sizes by the inputs and --dim, and
/// draws inputs where none are given.
llvm::Expected<LoadedModel> load(Compilation &compilation, const ModelOptions &options);

/// Shards `module`. Warnings and notes are printed; with --strict the first warning is
/// an error.
llvm::Error shard(Compilation &compilation, mlir::ModuleOp module, llvm::StringRef mesh,
                  const ModelOptions &options);

/// A copy of `module` sharded over `mesh` and compiled, with a session, which times each
/// command if `timing` is set.
llvm::Expected<std::unique_ptr<Runner>> prepare(Compilation &compilation, mlir::ModuleOp module,
                                                llvm::StringRef mesh, const ModelOptions &options,
                                                bool timing = false);

/// `path` is to hold `text` and nothing else; where that fails, what it held before.
llvm::Error writeText(llvm::StringRef path, llvm::StringRef text);

/// Adds --eager.
void addEager(CLI::App &app, ModelOptions &options);

/// Adds --trace.
void addTrace(CLI::App &app, ModelOptions &options);

/// Writes the last run of `runner`, which times its commands, to where --trace says.
llvm::Error writeTrace(const Runner &runner, const ModelOptions &options);

/// An artifact with a session, and the inputs that a person gave.
struct OpenedArtifact {
  std::unique_ptr<Runner> runner;
  NamedTensors inputs;
  std::string mesh;
};

/// Opens the artifact that `options` name; `timing` has its session time each command.
/// Refuses those among them, and `phase`, that were for the compiler to decide.
llvm::Expected<OpenedArtifact> openArtifact(const ModelOptions &options, const std::string &phase,
                                            bool timing);

/// Prints `text` as `cleave: …`, on the standard error.
void note(llvm::StringRef text);

/// `error` with the file that it is about in front.
llvm::Error inFile(llvm::StringRef path, llvm::Error error);

/// An option that names a file or a folder; an empty name is refused.
CLI::Option *addPath(CLI::App &app, const char *flag, std::string &path, const char *what);

/// Fails if results are to go to `path`, and the model has none.
llvm::Error requireOutputs(const LoadedModel &model, const std::string &flag,
                           const std::string &path);

/// Prints the message as `cleave: …` and answers the exit status: 1 for a Failure, where
/// the request may be good and Cleave or the run is not; 2 for all else, a request that
/// cannot be met.
int fail(llvm::Error error);

/// On a terminal, shows the phase and the seconds since the beginning, from the first on.
class Progress {
public:
  explicit Progress(Compilation &compilation);
  ~Progress();
  /// Before something else is printed: takes the line away, or `end`s it for good.
  static void clear();
  static void end();

private:
  void watch();
  void stop();

  static Progress *current;
  std::mutex mutex;
  std::condition_variable changed;
  std::string phase;
  bool over = false, shown = false;
  std::thread watcher;
};

/// Milliseconds since `begin`.
double millisecondsSince(std::chrono::steady_clock::time_point begin);

// Each adds its subcommand; the status it ends with is written to `status`.
void addBench(CLI::App &app, int &status);
void addCheck(CLI::App &app, int &status);
void addCompile(CLI::App &app, int &status);
void addExplain(CLI::App &app, int &status);
void addInspect(CLI::App &app, int &status);
void addRun(CLI::App &app, int &status);

} // namespace cleave

#endif // CLEAVE_TOOLS_CLEAVE_COMMON_H
