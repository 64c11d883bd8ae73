//===- Compile.h - from a file to a program -------------------*- C++ -*-===//

#ifndef CLEAVE_DRIVER_COMPILE_H
#define CLEAVE_DRIVER_COMPILE_H

#include "cleave/Driver/Dims.h"
#include "cleave/Driver/Target.h"
#include "cleave/Pipelines/Pipelines.h"
#include "cleave/Runtime/Session.h"
#include "cleave/Support/Tensor.h"
#include "cleave/Target/Program.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <functional>

namespace cleave {

/// The context of one compilation, with all dialects of Cleave. The first error that
/// is diagnosed in it is kept.
class Compilation {
public:
  Compilation();

  mlir::MLIRContext context;
  /// Called with the name of each phase as it begins.
  std::function<void(llvm::StringRef)> onPhase = [](llvm::StringRef) {};

  /// `import`: the model at `path`.
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> import(llvm::StringRef path);
  /// `graph`: nn, with the sizes `dims`, and `guesses` for other dimensions unless the
  /// graph shows that they cannot be.
  llvm::Error graph(mlir::ModuleOp module, const std::map<std::string, int64_t> &dims,
                    const std::map<std::string, int64_t> &guesses);
  /// Decides the layout of the weights of `module`, whose graph is read, for a model
  /// that decodes: cuts a copy of it as `imported`, bound to `dims`, the sizes of one
  /// decode step. Whatever the sizes of `module`, its weights are then cut so. A model
  /// that cannot be bound to these sizes is left to its own, which is worth a note.
  void decodeFirst(mlir::ModuleOp module, mlir::ModuleOp imported,
                   const std::map<std::string, int64_t> &dims, llvm::StringRef mesh);
  /// Whether `mesh` has no axis: there is nothing to shard.
  static bool isOneRank(llvm::StringRef mesh);
  /// Fails unless `mesh` is axes as in `dp=2,tp=4`, empty, or `1` for one rank.
  llvm::Error checkMesh(llvm::StringRef mesh);
  /// `shard`: over such a mesh. An axis that cuts nothing is a warning, or with
  /// `strict` an error.
  llvm::Error shard(mlir::ModuleOp module, ShardOptions options);
  /// `kernel` and `target`.
  llvm::Expected<std::unique_ptr<CompiledProgram>> compile(mlir::ModuleOp module,
                                                           const Target &target);

  /// What is worth saying and no error, oldest first, each with its kind in front:
  /// `warning: …`, `note: …`.
  std::vector<std::string> messages;

private:
  llvm::Error failed();

  std::string firstError;
};

/// A tensor for each argument of the function `main` of a graph that no phase has
/// sharded yet, drawn from `seed`: floats from a normal distribution; integers
/// that index a table lie within it, and all others are 1, as in a mask. Fails if
/// the machine cannot hold them.
llvm::Expected<NamedTensors> drawInputs(mlir::ModuleOp module, uint64_t seed);

/// Reads `path`: an .npz, a folder of .npy files, or one of TensorProto files that
/// begin with `kind`, which is `input` or `output`. Fails for a tensor that is called
/// like none of `names`.
llvm::Expected<NamedTensors> readNamed(llvm::StringRef path, llvm::StringRef kind,
                                       llvm::ArrayRef<std::string> names);

/// The inputs of the imported `module` that have a value in the model already.
std::vector<std::string> replaceableInputs(mlir::ModuleOp module);

/// Takes that value from those among them that are in `tensors`: they become inputs as
/// all others.
void replaceInputs(mlir::ModuleOp module, const NamedTensors &tensors);

/// What the elements of inputs may index, by name: of those that reach a gather of
/// `module`, which no phase has sharded yet, as they are.
std::map<std::string, runtime::IndexRange> indexRanges(mlir::ModuleOp module);

/// Fails if an element of one of `inputs` indexes what is not there.
llvm::Error checkIndices(const std::map<std::string, runtime::IndexRange> &ranges,
                         const NamedTensors &inputs);

/// Whether `path` is to be opened as an artifact: it is a folder.
bool isArtifact(llvm::StringRef path);
/// The program of an artifact.
class ArtifactProgram : public RunnableProgram {
public:
  /// As --mesh takes it.
  virtual const char *mesh() const = 0;
  /// As indexRanges says of the model.
  virtual std::map<std::string, runtime::IndexRange> indices() const = 0;
};

/// Opens an artifact; `verifyWeights` reads all of them.
llvm::Expected<std::unique_ptr<ArtifactProgram>> openArtifact(llvm::StringRef path,
                                                              bool verifyWeights = false);

/// A program with memory for its outputs.
class Runner {
public:
  /// Creates the session, which loads the weights. Fails if the machine cannot hold it.
  static llvm::Expected<std::unique_ptr<Runner>> create(std::unique_ptr<RunnableProgram> program,
                                                        const cleave_session_options &options);
  ~Runner();

  /// Runs once; `inputs` holds exactly the program's inputs. Fails, naming the input,
  /// if one is missing, extra, or of another type or shape.
  llvm::Error run(const NamedTensors &inputs);
  /// Of the last run, in the program's order.
  const std::vector<std::pair<std::string, Tensor>> &outputs() const { return results; }
  const cleave_session *session() const { return handle; }
  cleave_session *session() { return handle; }
  const cleave_program *program() const { return runnable->program(); }

private:
  Runner() = default;

  std::unique_ptr<RunnableProgram> runnable;
  cleave_session *handle = nullptr;
  std::vector<std::pair<std::string, Tensor>> results;
};

} // namespace cleave

#endif // CLEAVE_DRIVER_COMPILE_H
