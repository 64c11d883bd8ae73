//===- Common.h - what the subcommands share ------------------*- C++ -*-===//

#ifndef CLEAVE_TOOLS_CLEAVE_COMMON_H
#define CLEAVE_TOOLS_CLEAVE_COMMON_H

#include "cleave/Driver/Compile.h"

#include <CLI/CLI.hpp>

#include <chrono>

namespace cleave {

/// What a person may say of a model, its sizes and its inputs.
struct ModelOptions {
  std::string model, mesh, inputs, target, precision;
  std::vector<std::string> dims;
  uint64_t seed = 0;
  unsigned threads = 0;
  bool strict = false;

  /// Adds the options to `app`; `meshWanted` makes --mesh obligatory.
  void addTo(CLI::App &app, bool meshWanted);
};

/// A model up to `nn`, with its inputs at hand.
struct LoadedModel {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  NamedTensors inputs;
  /// Names, in the model's order.
  std::vector<std::string> outputs;
};

/// Checks the options, imports the model, binds its sizes by the inputs and --dim, and
/// draws inputs where none are given.
llvm::Expected<LoadedModel> load(Compilation &compilation, const ModelOptions &options);

/// Shards `module`. Warnings and notes are printed; with --strict the first warning is
/// an error.
llvm::Error shard(Compilation &compilation, mlir::ModuleOp module, llvm::StringRef mesh,
                  const ModelOptions &options);

/// A copy of `module` sharded over `mesh` and compiled, with a session.
llvm::Expected<std::unique_ptr<Runner>> prepare(Compilation &compilation,
                                                mlir::ModuleOp module, llvm::StringRef mesh,
                                                const ModelOptions &options);

/// Prints `text` as `cleave: …`, on the standard error.
void note(llvm::StringRef text);
/// Prints the message as `cleave: …` and answers `status`.
int fail(llvm::Error error, int status = 2);

/// On a terminal, shows the phase once a second has passed.
class Progress {
public:
  explicit Progress(Compilation &compilation);
  ~Progress();

private:
  bool shown = false;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
};

/// Milliseconds since `begin`.
double millisecondsSince(std::chrono::steady_clock::time_point begin);

// Each adds its subcommand; the status it ends with is written to `status`.
void addBench(CLI::App &app, int &status);
void addCheck(CLI::App &app, int &status);
void addExplain(CLI::App &app, int &status);
void addInspect(CLI::App &app, int &status);
void addRun(CLI::App &app, int &status);

} // namespace cleave

#endif // CLEAVE_TOOLS_CLEAVE_COMMON_H
