//===- Graphs.h - small models, built in place ----------------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_SHARDING_GRAPHS_H
#define CLEAVE_TEST_UNIT_SHARDING_GRAPHS_H

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

#include <random>

namespace cleave::test {

using Shape = llvm::SmallVector<int64_t>;

/// A module with a function main, grown op by op.
class Graph {
public:
  explicit Graph(mlir::MLIRContext *context);

  mlir::Value input(Shape shape, mlir::Type elementType = {});
  mlir::Value weight(Shape shape);
  mlir::Value constant(double value);
  mlir::Value linear(mlir::Value x, int64_t out, bool bias = false);
  mlir::Value reshape(mlir::Value x, Shape shape);
  mlir::Value transpose(mlir::Value x, Shape permutation);
  mlir::Value slice(mlir::Value x, int64_t dim, int64_t start, int64_t size);
  mlir::Value norm(mlir::Value x);
  /// [b, s, n * d] -> [b, n, s, d]
  mlir::Value heads(mlir::Value x, int64_t count);
  /// [b, n, s, d] -> [b, s, n * d]
  mlir::Value unheads(mlir::Value x);
  /// An op with inferred result types.
  template <typename OpT, typename... Args> mlir::Value op(Args &&...args) {
    return OpT::create(builder, loc(OpT::getOperationName()), std::forward<Args>(args)...)
        ->getResult(0);
  }
  /// Ends the function; returns the module.
  mlir::OwningOpRef<mlir::ModuleOp> finish(llvm::ArrayRef<mlir::Value> results);

  mlir::OpBuilder builder;

private:
  mlir::Location loc(llvm::StringRef name);

  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp func;
  int64_t nextOffset = 0, nextNode = 0;
};

inline llvm::ArrayRef<int64_t> shapeOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType()).getShape();
}

struct Decoder {
  int64_t layers = 2, batch = 1, tokens = 6, past = 3, hidden = 24, heads = 6, kvHeads = 2,
          lanes = 4, inner = 40, vocabulary = 31;
  bool fusedQkv = false, fusedGate = false, parallel = false, tied = false, argmax = false;
};

/// A Llama-like decoder in the forms that exporters write.
mlir::OwningOpRef<mlir::ModuleOp> decoder(mlir::MLIRContext *context, const Decoder &config);

/// A random graph of ops with rules.
mlir::OwningOpRef<mlir::ModuleOp> randomGraph(mlir::MLIRContext *context, unsigned seed, int steps);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_SHARDING_GRAPHS_H
