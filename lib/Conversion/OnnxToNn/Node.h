//===- Node.h - a node on its way to nn -----------------------*- C++ -*-===//
//
// What a conversion function works with: the inputs of its node as nn values,
// its attributes, and `make`, which builds an op, checks it and folds it. A
// function may chain calls without looking at each: a null operand gives a null
// result, the message has been emitted by then, and `give` turns it to failure.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_CONVERSION_ONNXTONN_NODE_H
#define CLEAVE_LIB_CONVERSION_ONNXTONN_NODE_H

#include "cleave/Analysis/Evaluate.h"

#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "mlir/IR/IRMapping.h"

namespace cleave {

using Ints = llvm::SmallVector<int64_t>;

class Node {
public:
  /// `values` maps onnx values to nn values; `bindings` are the attributes of
  /// the function that the node is part of.
  Node(onnx::NodeOp op, mlir::OpBuilder &builder, mlir::IRMapping &values,
       mlir::DictionaryAttr bindings);

  onnx::NodeOp op;
  mlir::OpBuilder &b;

  mlir::Location loc() const { return location; }
  int64_t sinceVersion() { return op.getSinceVersion(); }
  mlir::InFlightDiagnostic error() const;
  /// Says that the node uses `what`, which Cleave cannot do.
  llvm::LogicalResult unsupported(const llvm::Twine &what) const;

  //===-- Inputs ----------------------------------------------------------===//
  size_t numInputs() { return op.getInputs().size(); }
  bool has(size_t i);
  /// Null, with a message, if the input is left out or no tensor.
  mlir::Value in(size_t i);
  /// The elements of an input that is known while compiling; nothing otherwise.
  std::optional<HostTensor> constant(mlir::Value value) const;
  /// The integers of input `i`, which has to be known; failure with a message.
  llvm::FailureOr<Ints> ints(size_t i);
  /// The one integer of input `i`; failure with a message if it is not known or not one.
  llvm::FailureOr<int64_t> integer(size_t i);
  /// The integers of attribute `name`, else of input `i`, else nothing.
  llvm::FailureOr<std::optional<Ints>> intsFrom(llvm::StringRef name, size_t i);
  /// As intsFrom, but nothing is a failure with a message.
  llvm::FailureOr<Ints> intsWanted(llvm::StringRef name, size_t i);

  //===-- Attributes ------------------------------------------------------===//
  mlir::Attribute attr(llvm::StringRef name) const;
  int64_t intAttr(llvm::StringRef name, int64_t otherwise = 0) const;
  double floatAttr(llvm::StringRef name, double otherwise = 0) const;
  llvm::StringRef stringAttr(llvm::StringRef name) const;
  std::optional<Ints> intsAttr(llvm::StringRef name) const;
  /// `intAttr(name)` counted from the end if negative; failure with a message if
  /// it is no dimension of a tensor of `rank` (up to and including with `end`).
  llvm::FailureOr<int64_t> axisAttr(llvm::StringRef name, int64_t rank,
                                    int64_t otherwise = 0, bool end = false);
  llvm::FailureOr<int64_t> wrapAxis(int64_t axis, int64_t rank, bool end = false) const;
  /// Each wrapped, without duplicates.
  llvm::FailureOr<Ints> wrapAxes(llvm::ArrayRef<int64_t> axes, int64_t rank) const;

  //===-- Building --------------------------------------------------------===//
  using Attributes = std::initializer_list<std::pair<llvm::StringRef, mlir::Attribute>>;

  /// An op with inferred types.
  template <typename Op>
  mlir::Value make(mlir::ValueRange operands, Attributes attributes = {}) {
    return first(build(Op::getOperationName(), {}, operands, attributes));
  }
  /// An op whose result type is not inferred: cast, reshape, broadcast, constant.
  template <typename Op>
  mlir::Value makeTyped(mlir::RankedTensorType type, mlir::ValueRange operands,
                        Attributes attributes = {}) {
    return first(build(Op::getOperationName(), type, operands, attributes));
  }
  /// All results; empty after a failure.
  llvm::SmallVector<mlir::Value> build(llvm::StringRef opName, mlir::TypeRange types,
                                       mlir::ValueRange operands, Attributes attributes);

  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape);
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<int64_t> permutation);
  mlir::Value broadcast(mlir::Value value, llvm::ArrayRef<int64_t> shape);
  mlir::Value cast(mlir::Value value, mlir::Type elementType);
  /// Elements [start, start + size) of dimension `dim`.
  mlir::Value slice(mlir::Value value, int64_t dim, int64_t start, int64_t size);
  mlir::Value concat(mlir::ValueRange values, int64_t axis);
  mlir::Value constant(const HostTensor &tensor);
  mlir::Value intConstant(llvm::ArrayRef<int64_t> values);
  mlir::Value intScalar(int64_t value) { return reshape(intConstant(value), {}); }
  /// 0 … count - 1; null with a message if that is too many to be listed.
  mlir::Value iota(int64_t count);
  /// A scalar of `elementType`.
  mlir::Value scalar(mlir::Type elementType, double value);

  /// Sets the node's outputs; those behind `values` have to be unused.
  llvm::LogicalResult give(mlir::ValueRange values);

private:
  mlir::Value first(llvm::ArrayRef<mlir::Value> values) {
    return values.empty() ? mlir::Value() : values.front();
  }
  llvm::SmallVector<mlir::Value> fold(mlir::Operation *built);

  mlir::IRMapping &values;
  mlir::DictionaryAttr bindings;
  mlir::Location location;
};

/// Elements above which no tensor is believed to be meant.
inline constexpr int64_t kLargestTensor = int64_t(1) << 40;

/// Whether no product of the sizes, empty dimensions aside, exceeds kLargestTensor:
/// then arithmetic on them does not overflow.
bool isPossible(llvm::ArrayRef<int64_t> shape);

using nn::elementOf;
using nn::shapeOf;
using nn::typeOf;
inline int64_t rankOf(mlir::Value value) { return typeOf(value).getRank(); }

/// The tensor of `length` bytes at `offset` of `file`; nothing if they are not there.
std::optional<HostTensor> readTensor(mlir::RankedTensorType type, llvm::StringRef file,
                                     uint64_t offset, uint64_t length);

/// A tensor of the file as nn.weight, or as nn.constant if it is small: integers
/// as a rule, for they are shapes, positions and masks. Null with a message for
/// strings and for element types that nn does not compute with.
mlir::Value materialize(onnx::TensorAttr tensor, mlir::OpBuilder &b, mlir::Location loc);

/// (x - mean) / sqrt(var + ε), or without the mean if `centred` is false, over the
/// dimensions of `x` from `axis` on.
mlir::Value normalise(Node &n, mlir::Value x, mlir::Value scale, mlir::Value bias,
                      int64_t axis, double epsilon, bool centred);

using Convert = llvm::LogicalResult (*)(Node &);
/// Conversion functions by "Op" in the default domain or "domain.Op".
using ConvertTable = llvm::StringMap<Convert>;

void addAttention(ConvertTable &table);
void addContractions(ConvertTable &table);
void addContrib(ConvertTable &table);
void addElementwise(ConvertTable &table);
void addMovement(ConvertTable &table);
void addRows(ConvertTable &table);
void addShapes(ConvertTable &table);

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_NODE_H
