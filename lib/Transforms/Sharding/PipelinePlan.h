//===- PipelinePlan.h - what each stage does, in which order --*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_PIPELINEPLAN_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_PIPELINEPLAN_H

#include "cleave/Transforms/Sharding/Stages.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

#include <deque>
#include <map>

namespace cleave::sharding {

/// The functions of the rank classes of a localised module, by number.
llvm::SmallVector<mlir::func::FuncOp> classFunctions(mlir::ModuleOp module);

/// Whether `op` only looks at its operand in another way: whoever has that may do it.
bool isFreeView(mlir::Operation *op);

/// A class function, its ops in chunks.
struct ChunkedFunction {
  mlir::func::FuncOp function;
  int64_t numStages;
  /// The ops of each chunk, in order. What is in no chunk is made where it is read.
  std::vector<std::vector<mlir::Operation *>> chunks;
  llvm::DenseMap<mlir::Operation *, int64_t> chunkOf;
  /// What each chunk makes and other stages read, with these stages, in order.
  struct Crossing {
    mlir::Value value;
    llvm::SmallVector<int64_t> stages;
  };
  std::vector<std::vector<Crossing>> crossings;
  /// What each chunk reads of what other stages make.
  std::vector<std::vector<mlir::Value>> wanted;

  mlir::Block &body() const { return mlir::func::FuncOp(function).getBody().front(); }
  /// The stage that makes `value`; the first where any could.
  int64_t stageOf(mlir::Value value) const;
};

/// One step of a stage.
struct Action {
  enum Kind { Compute, Send, Receive, Wait } kind;
  int64_t micro;
  int64_t chunk;     ///< of Compute
  mlir::Value value; ///< of all else, in the function of the class of the micro-batch
  int64_t peer;      ///< a stage
};

/// Cuts class functions into chunks, and orders what each stage does with them.
class PipelinePlan {
public:
  PipelinePlan(dist::MeshAttr mesh, const Machine &machine, int64_t stages, int64_t virtualStages)
      : mesh(mesh), machine(machine), stages(stages), numChunks(stages * virtualStages) {}

  /// All functions are cut alike, between ops of the whole program. `classOfRank` has
  /// the ranks of the first micro-batch, then those of the second. A stage that has
  /// nothing to do is a warning, or with `strict` an error.
  mlir::LogicalResult cut(llvm::ArrayRef<mlir::func::FuncOp> functions, int64_t numMicros,
                          llvm::ArrayRef<int64_t> classOfRank, bool strict);

  int64_t numStages() const { return stages; }
  const ChunkedFunction &function(int64_t number) const { return functions[number]; }
  /// What each stage does on ranks whose micro-batches are of these classes. Two buffers
  /// a peer fly at most, or as many more as it takes for no stage to wait for itself.
  using ActionLists = std::vector<std::vector<Action>>;
  ActionLists actions(llvm::ArrayRef<const ChunkedFunction *> micros) const;
  mlir::ArrayAttr scheduleAttr(mlir::OpBuilder &builder) const;

private:
  struct Ops;

  /// The ops that every stage makes for itself.
  llvm::DenseSet<mlir::Operation *> findFree(mlir::func::FuncOp function) const;
  StageCosts costs(llvm::ArrayRef<Ops> all) const;
  ChunkedFunction chunked(const Ops &ops, llvm::ArrayRef<size_t> cuts) const;
  void addCrossings(ChunkedFunction &function, const Ops &ops) const;
  /// Something of a micro-batch that travels.
  using Parcel = std::pair<int64_t, mlir::Value>;
  std::map<std::pair<int64_t, int64_t>, std::deque<Parcel>>
  parcels(llvm::ArrayRef<const ChunkedFunction *> micros) const;
  ActionLists actions(llvm::ArrayRef<const ChunkedFunction *> micros, size_t depth) const;
  mlir::LogicalResult reportIdle(bool strict) const;

  dist::MeshAttr mesh;
  Machine machine;
  int64_t stages, numChunks;
  std::vector<ChunkedFunction> functions;
  std::vector<Slot> schedule;
};

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_PIPELINEPLAN_H
