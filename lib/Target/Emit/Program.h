//===- Program.h - rt functions as the runtime's structs ------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_PROGRAM_H
#define CLEAVE_LIB_TARGET_EMIT_PROGRAM_H

#include "cleave/Target/Program.h"

#include "Dist/Dist.h"
#include "Rt/Rt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace cleave::emit {

/// Owns all that a cleave_program points to.
class ProgramBuilder {
public:
  explicit ProgramBuilder(mlir::ModuleOp module) : module(module) {}

  /// Fails, with a message at the op, where the runtime has no word for it.
  mlir::LogicalResult build();
  /// To be called once `build` is done; kernels by the order of `parts().kernels`.
  const cleave_program *finish(std::vector<cleave_kernel> kernels);
  const cleave_program *finish(cleave_device device, std::vector<cleave_device_kernel> kernels,
                               std::vector<cleave_image> images, std::vector<cleave_map> maps,
                               uint32_t cudaVersion);
  ProgramParts &parts() { return madeOf; }
  const ProgramParts &parts() const { return madeOf; }

private:
  struct Commands {
    std::vector<cleave_command> load, main;
  };

  mlir::LogicalResult addRanks();
  mlir::LogicalResult addClass(mlir::func::FuncOp main);
  mlir::LogicalResult addCommands(mlir::func::FuncOp function, mlir::ArrayAttr paramPlaces,
                                  std::vector<cleave_command> &commands);
  void addTransfer(cleave_command &command, cleave_op op, mlir::ArrayAttr axes, uint64_t peer,
                   mlir::Type type);
  mlir::LogicalResult addCollective(mlir::Operation *op, cleave_command &command);
  mlir::LogicalResult addCounts(mlir::Operation *op, llvm::ArrayRef<int64_t> counts, int64_t dim,
                                mlir::Value whole);
  mlir::LogicalResult addValues(mlir::func::FuncOp main, bool isFirst);
  /// Notes that `value` lies at `place` of the parameters or of a file.
  void addPart(std::vector<ProgramParts::Tensor> &parts, mlir::Value value, llvm::StringRef name,
               uint32_t index, rt::PlaceAttr place);
  void addBuffer(mlir::Value value);
  void addBuffer(rt::PlaceAttr place);
  rt::PlaceAttr placeOf(mlir::Value value);
  uint32_t kernel(llvm::StringRef name);
  uint32_t group(mlir::ArrayAttr axes);
  uint32_t file(llvm::StringRef path, uint64_t bytes);
  const char *keep(std::string text);
  const cleave_program *finish();

  mlir::ModuleOp module;
  cleave_program program = {};
  std::deque<std::string> strings;
  ProgramParts madeOf;
  llvm::DenseSet<mlir::Attribute> seenWeights; ///< by place
  llvm::StringMap<uint32_t> kernelNumbers, fileNumbers;
  std::vector<cleave_kernel> kernelTable;
  std::vector<cleave_device_kernel> deviceKernels;
  std::vector<cleave_image> images;
  std::vector<cleave_map> maps;
  std::vector<Commands> commands;
  std::vector<cleave_rank_program> programs;
  std::vector<cleave_buffer> buffers;
  std::vector<uint64_t> counts;
  std::vector<cleave_file> files;
  std::vector<cleave_value> inputs, outputs;
  std::deque<std::vector<int64_t>> dims;
  std::vector<int64_t> coordinates;
  std::vector<uint32_t> classOfRank;
  std::map<std::vector<uint32_t>, uint32_t> groupNumbers;
  std::deque<std::vector<uint32_t>> members;
  std::vector<cleave_group> groups;
  dist::MeshAttr mesh;
  /// Places of the params, by argument of the function at hand.
  llvm::DenseMap<mlir::Value, rt::PlaceAttr> argumentPlaces;
};

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_PROGRAM_H
