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
using nn::Size;
using nn::Sizes;

/// Two sizes that a node wants to be equal and that are not.
struct Conflict {
  Size one, other;
};

/// What is known of a graph while its nodes are converted.
struct Conversion {
  /// From onnx values to nn values.
  mlir::IRMapping values;
  /// Why the conversion failed, if other sizes of the model might mend it.
  std::optional<Conflict> conflict;
  /// Of onnx values whose elements take less than a byte: what they are. As nn values they
  /// are bytes, one an element.
  llvm::DenseMap<mlir::Value, mlir::IntegerType> narrow;
};

class Node {
public:
  /// `bindings` are the attributes of the function that the node is part of.
  Node(onnx::NodeOp op, mlir::OpBuilder &builder, Conversion &conversion,
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
  /// As `in`, for an op that knows what elements of less than a byte are; `elementOf` a value
  /// of them is a byte, and `narrowType` says what they are.
  mlir::Value quantized(size_t i);
  mlir::IntegerType narrowType(size_t i);
  /// Says that the elements of output `i`, given as bytes, are of `type`.
  void setNarrow(size_t i, mlir::IntegerType type);
  /// The elements of an input that is known while compiling; nothing otherwise.
  std::optional<HostTensor> constant(mlir::Value value) const;
  /// The integers of input `i`, which has to be known; failure with a message.
  llvm::FailureOr<Sizes> sizes(size_t i);
  /// The one integer of input `i`; failure with a message if it is not known or not one.
  llvm::FailureOr<Size> size(size_t i);
  /// The integers of attribute `name`, else of input `i`, else nothing.
  llvm::FailureOr<std::optional<Sizes>> sizesFrom(llvm::StringRef name, size_t i);
  /// As sizesFrom, but nothing is a failure with a message.
  llvm::FailureOr<Sizes> sizesWanted(llvm::StringRef name, size_t i);
  /// As sizesFrom, for what is no size, such as axes.
  llvm::FailureOr<std::optional<Ints>> intsFrom(llvm::StringRef name, size_t i);

  //===-- Attributes ------------------------------------------------------===//
  mlir::Attribute attr(llvm::StringRef name) const;
  int64_t intAttr(llvm::StringRef name, int64_t otherwise = 0) const;
  double floatAttr(llvm::StringRef name, double otherwise = 0) const;
  llvm::StringRef stringAttr(llvm::StringRef name) const;
  std::optional<Ints> intsAttr(llvm::StringRef name) const;
  /// `intAttr(name)` counted from the end if negative; failure with a message if
  /// it is no dimension of a tensor of `rank` (up to and including with `end`).
  llvm::FailureOr<int64_t> axisAttr(llvm::StringRef name, int64_t rank, int64_t otherwise = 0,
                                    bool end = false);
  llvm::FailureOr<int64_t> wrapAxis(int64_t axis, int64_t rank, bool end = false) const;
  /// Each wrapped, without duplicates.
  llvm::FailureOr<Ints> wrapAxes(llvm::ArrayRef<int64_t> axes, int64_t rank) const;

  //===-- Building --------------------------------------------------------===//
  using Attributes = std::initializer_list<std::pair<llvm::StringRef, mlir::Attribute>>;

  /// An op with inferred types.
  template <typename Op> mlir::Value make(mlir::ValueRange operands, Attributes attributes = {}) {
    return first(build(Op::getOperationName(), {}, operands, attributes));
  }
  /// An op whose result type is not inferred: cast, reshape, broadcast, constant.
  template <typename Op>
  mlir::Value makeTyped(mlir::RankedTensorType type, mlir::ValueRange operands,
                        Attributes attributes = {}) {
    return first(build(Op::getOperationName(), type, operands, attributes));
  }
  /// All results; empty after a failure. Where attributes hold the numbers of sizes,
  /// `shape` says what the only result's are.
  llvm::SmallVector<mlir::Value> build(llvm::StringRef opName, mlir::TypeRange types,
                                       mlir::ValueRange operands, Attributes attributes,
                                       std::optional<Sizes> shape = std::nullopt);

  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<Size> shape);
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<int64_t> permutation);
  mlir::Value broadcast(mlir::Value value, llvm::ArrayRef<Size> shape);
  mlir::Value cast(mlir::Value value, mlir::Type elementType, bool saturates = false);
  mlir::Value slice(mlir::Value value, llvm::ArrayRef<Size> starts, llvm::ArrayRef<Size> sizes,
                    llvm::ArrayRef<int64_t> steps);
  /// Elements [start, start + size) of dimension `dim`.
  mlir::Value slice(mlir::Value value, int64_t dim, Size start, Size size);
  mlir::Value concat(mlir::ValueRange values, int64_t axis);
  mlir::Value pad(mlir::Value value, mlir::Value frame, llvm::ArrayRef<Size> low,
                  llvm::ArrayRef<Size> high);
  mlir::Value constant(const HostTensor &tensor);
  mlir::Value intConstant(llvm::ArrayRef<Size> values);
  mlir::Value intScalar(Size value) { return reshape(intConstant(value), {}); }
  /// 0 … count - 1; null with a message if that is too many to be listed.
  mlir::Value iota(Size count);
  /// A scalar of `elementType`.
  mlir::Value scalar(mlir::Type elementType, double value);

  /// Sets the node's outputs; those behind `values` have to be unused.
  llvm::LogicalResult give(mlir::ValueRange values);

private:
  /// Null if the attribute is left out, and with a message if it is of another type.
  template <typename Kind> Kind typed(llvm::StringRef name) const;
  mlir::Value first(llvm::ArrayRef<mlir::Value> values) {
    return values.empty() ? mlir::Value() : values.front();
  }
  llvm::SmallVector<mlir::Value> fold(mlir::Operation *built);
  /// Keeps which sizes the failed op `opName` wanted to be equal.
  void noteConflict(llvm::StringRef opName, mlir::ValueRange operands,
                    mlir::DictionaryAttr attributes);

  Conversion &conversion;
  mlir::DictionaryAttr bindings;
  mlir::Location location;
  /// An attribute was found to be of another type than what it is read as.
  mutable bool hasWrongType = false;
};

/// Elements above which no tensor is believed to be meant.
inline constexpr int64_t kLargestTensor = int64_t(1) << 40;

/// Whether no product of the sizes, empty dimensions aside, exceeds kLargestTensor:
/// then arithmetic on them does not overflow.
bool isPossible(llvm::ArrayRef<int64_t> shape);

using nn::elementOf;
using nn::isByteFloat;
using nn::shapeOf;
using nn::sizesOf;
using nn::typeOf;
inline int64_t rankOf(mlir::Value value) { return typeOf(value).getRank(); }

/// An attribute of nn.constant while a graph is converted: an expression for each
/// element, or a list of another length if they are unknown.
inline constexpr llvm::StringLiteral kContent("nn.content");
/// Elements of a constant above which it is not said what each stands for.
inline constexpr int64_t kSaidElements = 256;
/// The elements of a constant of integers, which know what they stand for; empty for
/// any other value.
Sizes contentOf(mlir::Value value);
/// Says so of `constant`; a list of another length than its own says that it is unknown.
void setContent(mlir::Value constant, llvm::ArrayRef<Size> content);
/// Says of the constant result of `op`, which computed it from constants, what its
/// elements stand for.
void carryContent(mlir::Operation *op, mlir::Value constant);

/// The tensor of `length` bytes at `offset` of `file`; nothing if they are not there.
std::optional<HostTensor> readTensor(mlir::RankedTensorType type, llvm::StringRef file,
                                     uint64_t offset, uint64_t length);

/// A tensor of the file as nn.weight, or as nn.constant if it is small: integers of more
/// than a byte as a rule, for they are shapes, positions and masks. Elements of less than a
/// byte are unpacked. Null with a message for strings and for element types that nn does
/// not compute with.
mlir::Value materialize(onnx::TensorAttr tensor, mlir::OpBuilder &b, mlir::Location loc);

/// The type if it is one of integers of less than a byte, else null.
mlir::IntegerType narrowOf(mlir::Type element);

/// The elements of `bits` bits that lie in the bytes of `packed`, ui8, the lowest first; as
/// bytes along the last dimension, i8 if they are signed.
mlir::Value unpack(mlir::OpBuilder &b, mlir::Location loc, mlir::Value packed, unsigned bits,
                   bool isSigned);

/// (x - mean) / sqrt(var + ε), or without the mean if `centred` is false, over the
/// dimensions of `x` from `axis` on.
mlir::Value normalise(Node &n, mlir::Value x, mlir::Value scale, mlir::Value bias, int64_t axis,
                      double epsilon, bool centred);

/// The element type of ONNX's number, null for one that nn does not compute with.
mlir::Type elementOfNumber(mlir::Builder &b, int64_t number);

/// Whether the node keeps to the schema of its op, if one is known: how many inputs and
/// outputs it lists, and that its attributes are known, of their types, and none lacks.
llvm::LogicalResult checkSchema(Node &n);

/// Whether an output, computed as `type`, is what the model declares it to be. A size
/// that is not becomes the conflict of `conversion`.
llvm::LogicalResult checkOutput(mlir::Type declared, mlir::RankedTensorType type,
                                mlir::Location loc, Conversion &conversion);

using Convert = llvm::LogicalResult (*)(Node &);
/// Conversion functions by "Op" in the default domain or "domain.Op".
using ConvertTable = llvm::StringMap<Convert>;

void addAttention(ConvertTable &table);
void addContractions(ConvertTable &table);
void addContrib(ConvertTable &table);
void addElementwise(ConvertTable &table);
void addMovement(ConvertTable &table);
void addQuantized(ConvertTable &table);
void addQuantizedContrib(ConvertTable &table);
void addQuantizedWindows(ConvertTable &table);
void addRows(ConvertTable &table);
void addShapes(ConvertTable &table);
void addWindows(ConvertTable &table);

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_NODE_H
