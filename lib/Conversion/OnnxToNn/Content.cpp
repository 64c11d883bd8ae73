//===- Content.cpp - what the elements of constants stand for -------------===//
//
// Shape arithmetic is folded at the numbers that a model is converted at; beside
// each number goes what it is at other sizes. What is lost on the way (a sum of a
// list whose length is open, a detour over floats) is unknown, never a number that
// only happens to be right.
//
//===----------------------------------------------------------------------===//

#include "Node.h"

#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

static bool isInteger(Value value) { return isa<IntegerType>(elementOf(value)); }

Sizes cleave::contentOf(Value value) {
  auto constant = value.getDefiningOp<nn::ConstantOp>();
  if (!constant || !isInteger(value))
    return {};
  std::vector<int64_t> numbers = HostTensor::fromAttr(constant.getValue()).ints;
  auto said = constant->getAttrOfType<AffineMapAttr>(kContent);
  Sizes content = nn::decode(numbers, said);
  if (said && said.getValue().getNumResults() != numbers.size())
    for (Size &element : content)
      element = Size::unknown(element.value, value.getContext());
  return content;
}

void cleave::setContent(Value constant, ArrayRef<Size> content) {
  if (AffineMapAttr encoded = nn::encode(content))
    constant.getDefiningOp()->setAttr(kContent, encoded);
}

/// For each element of a tensor of `shape`, which of one that broadcasts to it it is.
static Ints broadcastIndices(ArrayRef<int64_t> from, ArrayRef<int64_t> shape) {
  Ints indices = {0};
  int64_t stride = 1;
  // From the innermost dimension outwards.
  for (size_t back = 0; back < shape.size(); ++back) {
    int64_t size = shape[shape.size() - 1 - back];
    int64_t own = back < from.size() ? from[from.size() - 1 - back] : 1;
    Ints grown;
    for (int64_t i = 0; i < size; ++i)
      for (int64_t inner : indices)
        grown.push_back(inner + (own == 1 ? 0 : i * stride));
    indices = std::move(grown);
    stride *= own;
  }
  return indices;
}

/// Movement is run on the numbers of the elements.
static std::optional<Sizes> moved(Operation *op) {
  Sizes elements;
  std::vector<HostTensor> tensors;
  for (Value operand : op->getOperands()) {
    // What is no size moves nothing but says where to.
    bool isData = !isa<nn::GatherOp>(op) || operand == op->getOperand(0);
    HostTensor &tensor = tensors.emplace_back(
        HostTensor::fromAttr(operand.getDefiningOp<nn::ConstantOp>().getValue()));
    Sizes content = contentOf(operand);
    if (!isData) {
      if (llvm::any_of(content, [](const Size &size) { return size.isOpen(); }))
        return std::nullopt;
      continue;
    }
    tensor.type = tensor.type.clone(IntegerType::get(op->getContext(), 64));
    std::iota(tensor.ints.begin(), tensor.ints.end(), int64_t(elements.size()));
    elements.append(content);
  }
  SmallVector<const HostTensor *> operands;
  for (const HostTensor &tensor : tensors)
    operands.push_back(&tensor);
  FailureOr<std::vector<HostTensor>> results = evaluate(op, operands);
  if (failed(results))
    return std::nullopt;
  Sizes content;
  for (int64_t i : results->front().ints)
    content.push_back(elements[i]);
  return content;
}

/// What `op` makes of one element of each operand at a time.
static std::optional<Size> combine(Operation *op, ArrayRef<Size> x) {
  auto divided = [&](Size (*divide)(const Size &, const Size &)) -> std::optional<Size> {
    // Both roundings agree there.
    if (x[0].value < 0 || x[1].value <= 0)
      return std::nullopt;
    return divide(x[0], x[1]);
  };
  return llvm::TypeSwitch<Operation *, std::optional<Size>>(op)
      .Case([&](nn::AddOp) { return x[0] + x[1]; })
      .Case([&](nn::SubOp) { return x[0] - x[1]; })
      .Case([&](nn::MulOp) { return x[0] * x[1]; })
      .Case([&](nn::NegOp) { return Size(0) - x[0]; })
      .Case([&](nn::AbsOp) { return x[0].value < 0 ? Size(0) - x[0] : x[0]; })
      .Case([&](nn::MinOp) { return nn::least(x[0], x[1]); })
      .Case([&](nn::MaxOp) { return nn::greatest(x[0], x[1]); })
      .Case([&](nn::SelectOp) { return x[0].value ? x[1] : x[2]; })
      .Case([&](nn::CastOp) { return x[0]; }) // To 32 bits or more, see below.
      .Case([&](nn::DivOp) { return divided(nn::floorDiv); })
      .Case<nn::ModOp, nn::RemOp>([&](Operation *) { return divided(nn::modulo); })
      .Default([](Operation *) { return std::nullopt; });
}

static std::optional<Sizes> combined(Operation *op) {
  ArrayRef<int64_t> shape = shapeOf(op->getResult(0));
  SmallVector<Sizes> contents;
  SmallVector<Ints> indices;
  for (Value operand : op->getOperands()) {
    contents.push_back(contentOf(operand));
    indices.push_back(broadcastIndices(shapeOf(operand), shape));
  }
  Sizes result;
  for (int64_t i = 0, count = typeOf(op->getResult(0)).getNumElements(); i < count; ++i) {
    Sizes elements;
    for (auto [content, index] : llvm::zip(contents, indices))
      elements.push_back(content[index[i]]);
    std::optional<Size> element = combine(op, elements);
    if (!element)
      return std::nullopt;
    result.push_back(*element);
  }
  return result;
}

/// The product or sum of a whole list: the number of elements of a shape.
static std::optional<Sizes> reduced(nn::ReduceOp op) {
  if (typeOf(op.getResult()).getNumElements() != 1)
    return std::nullopt;
  Sizes content = contentOf(op.getInput());
  if (op.getKind() == nn::ReduceKind::Prod)
    return Sizes{nn::product(content)};
  if (op.getKind() != nn::ReduceKind::Sum)
    return std::nullopt;
  return Sizes{std::accumulate(content.begin(), content.end(), Size(0))};
}

void cleave::carryContent(Operation *op, Value constant) {
  // A comparison is a decision: it is taken on numbers.
  if (isa<nn::CompareOp>(op))
    return;
  bool isOpen = false;
  bool isListed = isInteger(constant) && elementOf(constant).getIntOrFloatBitWidth() >= 32;
  for (Value operand : op->getOperands()) {
    isOpen |= operand.getDefiningOp()->hasAttr(kContent);
    isListed &= isInteger(operand) && typeOf(operand).getNumElements() <= kSaidElements;
    // What a list of open length adds up to is open; its elements are not.
    isOpen |= typeOf(operand).getEncoding() && isa<nn::ReduceOp, nn::CumSumOp>(op);
  }
  if (!isOpen)
    return;

  std::optional<Sizes> content;
  if (isListed && typeOf(constant).getNumElements() <= kSaidElements) {
    bool isLong = llvm::any_of(op->getOperandTypes(), [](Type type) {
      return cast<RankedTensorType>(type).getEncoding() != Attribute();
    });
    if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::SliceOp, nn::ConcatOp,
            nn::GatherOp>(op))
      content = moved(op);
    else if (auto reduce = dyn_cast<nn::ReduceOp>(op))
      content = isLong ? std::nullopt : reduced(reduce);
    else if (op->hasTrait<OpTrait::OneResult>() && isa<nn::ElementwiseOpInterface>(op))
      content = combined(op);
  }
  setContent(constant, content.value_or(Sizes{Size::unknown(0, op->getContext())}));
}
