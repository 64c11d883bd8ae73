//===- OpenDims.h - the dimensions of a model without a size --*- C++ -*-===//

#ifndef CLEAVE_LIB_CONVERSION_ONNXTONN_OPENDIMS_H
#define CLEAVE_LIB_CONVERSION_ONNXTONN_OPENDIMS_H

#include "Node.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace cleave {

/// The sizes at which a model is converted, and the symbols that stand for them in
/// expressions, numbered in the order in which the inputs name them.
class OpenDims {
public:
  /// Takes `name=size`; fails if it is something else. A size that is `guessed` may
  /// be corrected.
  llvm::LogicalResult give(llvm::StringRef entry, bool guessed);
  /// The size of the dimension that an input calls `name`; nothing if it has none.
  std::optional<nn::Size> lookup(llvm::StringRef name, mlir::MLIRContext *context);
  /// Corrects a guess so that both sizes become equal. False if none can be.
  bool settle(const Conflict &conflict);
  /// As in `past + sequence = 9`.
  std::string textOf(const nn::Size &size) const;
  /// Takes the expressions out of `main`, whose conversion is done, and leaves at its
  /// inputs and outputs nn::kShape, and on it nn::kSymbols and nn::kEqual.
  void record(mlir::func::FuncOp main) const;

private:
  struct Given {
    int64_t size;
    bool guessed;
  };
  struct Symbol {
    std::string name, key;
  };

  llvm::SmallVector<int64_t> sizes() const;

  llvm::StringMap<Given> given;
  std::vector<Symbol> symbols;
};

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_OPENDIMS_H
