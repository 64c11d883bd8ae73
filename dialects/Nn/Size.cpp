//===- Size.cpp - arithmetic on numbers and what they stand for -----------===//

#include "Nn/Nn.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

/// Nodes of an expression above which it is not carried on: no exporter writes such
/// a size, and squaring one again and again would double it each time.
static constexpr int kLargestExpression = 64;

static bool saysNothing(AffineExpr expr) { return isa<AffineDimExpr>(expr); }

/// The nodes of `expr`, at most `kLargestExpression` + 1 of which are counted.
static int countNodes(AffineExpr expr, int counted = 0) {
  if (++counted > kLargestExpression)
    return counted;
  if (auto binary = dyn_cast<AffineBinaryOpExpr>(expr))
    counted = countNodes(binary.getRHS(), countNodes(binary.getLHS(), counted));
  return counted;
}

/// Symbols are numbered from 0; one more than the largest in `expr`.
static unsigned countSymbols(AffineExpr expr) {
  unsigned count = 0;
  expr.walk([&](AffineExpr inner) {
    if (auto symbol = dyn_cast<AffineSymbolExpr>(inner))
      count = std::max(count, symbol.getPosition() + 1);
  });
  return count;
}

Size::Size(int64_t value, AffineExpr expr) : value(value), expr(expr) {
  if (expr && isa<AffineConstantExpr>(expr))
    this->expr = nullptr;
}

Size Size::unknown(int64_t value, MLIRContext *context) {
  return Size(value, getAffineDimExpr(0, context));
}

bool Size::sameAs(const Size &other) const {
  if (!expr && !other.expr)
    return value == other.value;
  return expr == other.expr && !saysNothing(expr);
}

/// `value` is what `combine` says of the expressions of `a` and `b`.
static Size combined(int64_t value, const Size &a, const Size &b,
                     llvm::function_ref<AffineExpr(AffineExpr, AffineExpr)> combine) {
  if (!a.expr && !b.expr)
    return value;
  MLIRContext *context = (a.expr ? a.expr : b.expr).getContext();
  auto exprOf = [&](const Size &size) {
    return size.expr ? size.expr : getAffineConstantExpr(size.value, context);
  };
  AffineExpr left = exprOf(a), right = exprOf(b);
  if (saysNothing(left) || saysNothing(right) ||
      countNodes(right, countNodes(left)) > kLargestExpression)
    return Size::unknown(value, context);
  AffineExpr expr = combine(left, right);
  return Size(value, simplifyAffineExpr(expr, 0, countSymbols(expr)));
}

static int64_t wrapped(uint64_t value) { return static_cast<int64_t>(value); }

Size nn::operator+(const Size &a, const Size &b) {
  return combined(wrapped(uint64_t(a.value) + uint64_t(b.value)), a, b,
                  [](AffineExpr x, AffineExpr y) { return x + y; });
}

Size nn::operator-(const Size &a, const Size &b) {
  return combined(wrapped(uint64_t(a.value) - uint64_t(b.value)), a, b,
                  [](AffineExpr x, AffineExpr y) { return x - y; });
}

Size nn::operator*(const Size &a, const Size &b) {
  return combined(wrapped(uint64_t(a.value) * uint64_t(b.value)), a, b,
                  [](AffineExpr x, AffineExpr y) { return x * y; });
}

Size nn::floorDiv(const Size &a, const Size &b) {
  return combined(llvm::divideFloorSigned(a.value, b.value), a, b,
                  [](AffineExpr x, AffineExpr y) { return x.floorDiv(y); });
}

Size nn::ceilDiv(const Size &a, const Size &b) {
  return combined(llvm::divideCeilSigned(a.value, b.value), a, b,
                  [](AffineExpr x, AffineExpr y) { return x.ceilDiv(y); });
}

Size nn::modulo(const Size &a, const Size &b) {
  return combined(wrapped(uint64_t(a.value) -
                          uint64_t(llvm::divideFloorSigned(a.value, b.value)) * uint64_t(b.value)),
                  a, b, [](AffineExpr x, AffineExpr y) { return x % y; });
}

Size nn::least(const Size &a, const Size &b) { return b.value < a.value ? b : a; }
Size nn::greatest(const Size &a, const Size &b) { return b.value > a.value ? b : a; }

Size nn::product(ArrayRef<Size> sizes) {
  Size result = 1;
  for (const Size &size : sizes)
    result = result * size;
  return result;
}

/// Appends the open factors of `sizes` to `factors`; what is left over is the result.
static Size splitProduct(ArrayRef<Size> sizes, SmallVectorImpl<AffineExpr> &factors) {
  Size number = 1;
  for (const Size &size : sizes) {
    if (!size.expr) {
      number = number * size;
      continue;
    }
    SmallVector<AffineExpr> parts = {size.expr};
    while (!parts.empty()) {
      AffineExpr part = parts.pop_back_val();
      auto binary = dyn_cast<AffineBinaryOpExpr>(part);
      if (auto constant = dyn_cast<AffineConstantExpr>(part))
        number = number * constant.getValue();
      else if (binary && binary.getKind() == AffineExprKind::Mul)
        parts.append({binary.getLHS(), binary.getRHS()});
      else
        factors.push_back(part);
    }
  }
  return number;
}

Size nn::quotient(ArrayRef<Size> whole, ArrayRef<Size> part) {
  int64_t value = llvm::divideFloorSigned(product(whole).value, product(part).value);
  SmallVector<AffineExpr> above, below, left;
  Size numerator = splitProduct(whole, above), denominator = splitProduct(part, below);
  for (AffineExpr factor : below) {
    auto equal = llvm::find(above, factor);
    if (equal != above.end() && !saysNothing(factor))
      above.erase(equal);
    else
      left.push_back(factor);
  }
  // The numbers of the factors are not known here and do not matter.
  auto times = [](Size size, ArrayRef<AffineExpr> factors) {
    for (AffineExpr factor : factors)
      size = size * Size(1, factor);
    return size;
  };
  if (numerator.value % denominator.value == 0) {
    numerator = numerator.value / denominator.value;
    denominator = 1;
  }
  Size result = floorDiv(times(numerator, above), times(denominator, left));
  return Size(value, result.expr);
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

SmallVector<int64_t> nn::numbersOf(ArrayRef<Size> sizes) {
  return llvm::map_to_vector(sizes, [](const Size &size) { return size.value; });
}

AffineMapAttr nn::encode(ArrayRef<Size> sizes) {
  auto open = llvm::find_if(sizes, [](const Size &size) { return size.isOpen(); });
  if (open == sizes.end())
    return nullptr;
  MLIRContext *context = open->expr.getContext();
  unsigned symbols = 0;
  bool unknown = false;
  SmallVector<AffineExpr> exprs;
  for (const Size &size : sizes) {
    exprs.push_back(size.expr ? size.expr : getAffineConstantExpr(size.value, context));
    symbols = std::max(symbols, countSymbols(exprs.back()));
    unknown |= saysNothing(exprs.back());
  }
  return AffineMapAttr::get(AffineMap::get(unknown, symbols, exprs, context));
}

Sizes nn::decode(ArrayRef<int64_t> numbers, Attribute encoding) {
  Sizes sizes(numbers.begin(), numbers.end());
  if (auto map = dyn_cast_or_null<AffineMapAttr>(encoding);
      map && map.getValue().getNumResults() == sizes.size())
    for (auto [size, expr] : llvm::zip(sizes, map.getValue().getResults()))
      size = Size(size.value, expr);
  return sizes;
}

RankedTensorType nn::tensorOf(ArrayRef<Size> shape, Type elementType) {
  return RankedTensorType::get(numbersOf(shape), elementType, encode(shape));
}

Sizes nn::sizesOf(RankedTensorType type) { return decode(type.getShape(), type.getEncoding()); }

Sizes nn::sizesOf(Value value) { return sizesOf(typeOf(value)); }

FailureOr<Sizes> nn::broadcastSizes(ArrayRef<Sizes> shapes) {
  size_t rank = 0;
  for (ArrayRef<Size> shape : shapes)
    rank = std::max(rank, shape.size());

  Sizes result(rank, 1);
  for (ArrayRef<Size> shape : shapes)
    for (auto [dim, size] : llvm::enumerate(shape)) {
      Size &known = result[rank - shape.size() + dim];
      if (known.value != size.value && known.value != 1 && size.value != 1)
        return failure();
      // A 1 that stands for something wins over one that is broadcast; among equals
      // the number that is always the same says most.
      bool wins = known.value == 1 ? size.value != 1 || (size.isOpen() && !known.isOpen())
                                   : size.value != 1 && !size.isOpen();
      if (wins)
        known = size;
    }
  return result;
}

FailureOr<SmallVector<int64_t>> nn::broadcastShapes(ArrayRef<ArrayRef<int64_t>> shapes) {
  FailureOr<Sizes> joint = broadcastSizes(llvm::map_to_vector(
      shapes, [](ArrayRef<int64_t> shape) { return Sizes(shape.begin(), shape.end()); }));
  if (failed(joint))
    return failure();
  return numbersOf(*joint);
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

/// As textOf, in parentheses if it binds weaker than its place, of 0 (a sum), 1 (a
/// product) or 2 (an operand that stands alone), wants.
static std::string textAt(AffineExpr expr, ArrayRef<std::string> names, int place) {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbol.getPosition() < names.size() ? names[symbol.getPosition()] : "?";
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return std::to_string(constant.getValue());
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return "?";

  AffineExpr left = binary.getLHS(), right = binary.getRHS();
  std::string text;
  if (expr.getKind() == AffineExprKind::Add) {
    // x + y * -1 and x + -1 are differences.
    auto scaled = dyn_cast<AffineBinaryOpExpr>(right);
    auto number = dyn_cast<AffineConstantExpr>(
        scaled && scaled.getKind() == AffineExprKind::Mul ? scaled.getRHS() : right);
    text = textAt(left, names, 0);
    if (!number || number.getValue() >= 0 || number.getValue() == INT64_MIN)
      text += " + " + textAt(right, names, 0);
    else if (right == number)
      text += " - " + std::to_string(-number.getValue());
    else if (number.getValue() == -1)
      text += " - " + textAt(scaled.getLHS(), names, 1);
    else
      text +=
          " - " + std::to_string(-number.getValue()) + " * " + textAt(scaled.getLHS(), names, 1);
    return place > 0 ? "(" + text + ")" : text;
  }
  if (expr.getKind() == AffineExprKind::Mul) {
    // A number stands in front.
    if (isa<AffineConstantExpr>(right))
      std::swap(left, right);
    text = textAt(left, names, 1) + " * " + textAt(right, names, 1);
    return place > 1 ? "(" + text + ")" : text;
  }
  if (expr.getKind() == AffineExprKind::CeilDiv)
    return "ceil(" + textAt(left, names, 2) + " / " + textAt(right, names, 2) + ")";
  StringRef sign = expr.getKind() == AffineExprKind::FloorDiv ? " // " : " % ";
  text = textAt(left, names, 2) + sign.str() + textAt(right, names, 2);
  return place > 0 ? "(" + text + ")" : text;
}

std::string nn::textOf(AffineExpr expr, ArrayRef<std::string> names) {
  return textAt(expr, names, 0);
}

/// Adds the terms of the sum `expr` to one of two sums, by their sign.
static void splitSum(AffineExpr expr, AffineExpr &positive, AffineExpr &negative) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (binary && binary.getKind() == AffineExprKind::Add) {
    splitSum(binary.getLHS(), positive, negative);
    splitSum(binary.getRHS(), positive, negative);
    return;
  }
  auto number = dyn_cast<AffineConstantExpr>(
      binary && binary.getKind() == AffineExprKind::Mul ? binary.getRHS() : expr);
  if (number && number.getValue() < 0)
    negative = negative + expr * -1;
  else
    positive = positive + expr;
}

std::string nn::equationText(AffineExpr difference, ArrayRef<std::string> names) {
  AffineExpr left = getAffineConstantExpr(0, difference.getContext()), right = left;
  splitSum(difference, left, right);
  return textOf(left, names) + " = " + textOf(right, names);
}

SmallVector<std::string> nn::dimNames(Attribute shape, Attribute symbols, int64_t rank) {
  std::vector<std::string> names;
  if (auto list = dyn_cast_or_null<ArrayAttr>(symbols))
    for (StringRef name : list.getAsValueRange<StringAttr>())
      names.push_back(name.str());
  SmallVector<std::string> texts(rank);
  for (auto [text, size] : llvm::zip(texts, decode(SmallVector<int64_t>(rank, 0), shape)))
    if (size.isOpen())
      text = textOf(size.expr, names);
  return texts;
}

std::optional<int64_t> nn::evaluate(AffineExpr expr, ArrayRef<int64_t> sizes) {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbol.getPosition() < sizes.size() ? std::optional(sizes[symbol.getPosition()])
                                               : std::nullopt;
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  std::optional<int64_t> left, right;
  if (!binary || !(left = evaluate(binary.getLHS(), sizes)) ||
      !(right = evaluate(binary.getRHS(), sizes)))
    return std::nullopt;
  int64_t result;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return llvm::AddOverflow(*left, *right, result) ? std::nullopt : std::optional(result);
  case AffineExprKind::Mul:
    return llvm::MulOverflow(*left, *right, result) ? std::nullopt : std::optional(result);
  default:
    if (*right <= 0)
      return std::nullopt;
    return expr.getKind() == AffineExprKind::FloorDiv  ? llvm::divideFloorSigned(*left, *right)
           : expr.getKind() == AffineExprKind::CeilDiv ? llvm::divideCeilSigned(*left, *right)
                                                       : llvm::mod(*left, *right);
  }
}
