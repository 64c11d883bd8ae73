//===- OpenDims.cpp - sizes are given, guessed, and corrected -------------===//

#include "OpenDims.h"

#include "mlir/IR/IntegerSet.h"

using namespace mlir;
using namespace cleave;

/// Sizes that are tried where several guesses share an equation.
static constexpr int64_t kLargestSquare = 4096;

/// A dimension may be named by an expression; blanks in it mean nothing.
static std::string keyOf(StringRef name) {
  std::string key;
  llvm::copy_if(name, std::back_inserter(key), [](char c) { return c != ' '; });
  return key;
}

LogicalResult OpenDims::give(StringRef entry, bool guessed) {
  auto [name, size] = entry.rsplit('=');
  int64_t value;
  if (name.empty() || size.getAsInteger(10, value) || value < 0)
    return failure();
  given[keyOf(name)] = {value, guessed};
  return success();
}

std::optional<Size> OpenDims::lookup(StringRef name, MLIRContext *context) {
  std::string key = keyOf(name);
  auto known = given.find(key);
  if (known == given.end())
    return std::nullopt;
  auto symbol = llvm::find_if(symbols, [&](const Symbol &other) { return other.key == key; });
  unsigned position = symbol - symbols.begin();
  if (symbol == symbols.end())
    symbols.push_back({name.str(), key});
  return Size(known->second.size, getAffineSymbolExpr(position, context));
}

SmallVector<int64_t> OpenDims::sizes() const {
  return llvm::map_to_vector(symbols,
                             [&](const Symbol &symbol) { return given.lookup(symbol.key).size; });
}

/// `one - other` with these sizes for the symbols; nothing if it cannot be said.
static std::optional<int64_t> differenceAt(const Conflict &conflict, ArrayRef<int64_t> sizes) {
  auto number = [&](const Size &size) {
    return size.expr ? nn::evaluate(size.expr, sizes) : size.value;
  };
  std::optional<int64_t> one = number(conflict.one), other = number(conflict.other);
  int64_t difference;
  if (!one || !other || llvm::SubOverflow(*one, *other, difference))
    return std::nullopt;
  return difference;
}

/// Whether one of the sizes is the symbol at `position`, or with `within` holds it.
static bool names(const Conflict &conflict, unsigned position, bool within) {
  return llvm::any_of(ArrayRef({conflict.one, conflict.other}), [&](const Size &size) {
    if (!size.expr)
      return false;
    if (within)
      return size.expr.isFunctionOfSymbol(position);
    auto symbol = dyn_cast<AffineSymbolExpr>(size.expr);
    return symbol && symbol.getPosition() == position;
  });
}

// Where an equation is linear in a guess, the guess is moved by what is missing. A
// size that stands alone on its side is what the others add up to, so it goes first.
bool OpenDims::settle(const Conflict &conflict) {
  SmallVector<int64_t> now = sizes();
  // Once corrected it is as good as given, so there is an end to corrections.
  auto correct = [&](unsigned position, int64_t size) {
    given[symbols[position].key] = {size, /*guessed=*/false};
  };
  SmallVector<unsigned> guesses;
  for (unsigned i = symbols.size(); i-- > 0;)
    if (given[symbols[i].key].guessed && names(conflict, i, /*within=*/true))
      guesses.push_back(i);
  std::stable_partition(guesses.begin(), guesses.end(),
                        [&](unsigned i) { return names(conflict, i, /*within=*/false); });

  for (unsigned i : guesses) {
    SmallVector<int64_t> moved = now;
    ++moved[i];
    std::optional<int64_t> before = differenceAt(conflict, now);
    std::optional<int64_t> after = differenceAt(conflict, moved);
    if (!before || !after || (*after != *before + 1 && *after != *before - 1))
      continue;
    moved[i] = now[i] - (*after - *before) * *before;
    if (moved[i] < 0 || differenceAt(conflict, moved) != 0)
      continue;
    correct(i, moved[i]);
    return true;
  }
  // The smallest square image that fills a table of patches, for one.
  SmallVector<int64_t> square = now;
  for (int64_t size = 1; !guesses.empty() && size <= kLargestSquare; ++size) {
    for (unsigned i : guesses)
      square[i] = size;
    if (differenceAt(conflict, square) != 0)
      continue;
    for (unsigned i : guesses)
      correct(i, size);
    return true;
  }
  return false;
}

std::string OpenDims::textOf(const Size &size) const {
  if (!size.isOpen())
    return std::to_string(size.value);
  std::vector<std::string> names;
  for (const Symbol &symbol : symbols)
    names.push_back(symbol.name);
  return nn::textOf(size.expr, names) + " = " + std::to_string(size.value);
}

//===----------------------------------------------------------------------===//
// The end of a conversion
//===----------------------------------------------------------------------===//

/// Calls `found` with each two sizes that `op` takes for one: what a factor of its rule
/// names together. That of a reshape is about numbers.
static void forEachEqual(nn::ShardingRuleOpInterface op,
                         llvm::function_ref<void(Size, Size)> found) {
  auto sizeOf = [&](const nn::DimGroup &group) {
    int64_t operands = op->getNumOperands();
    Value value = group.value < operands ? op->getOperand(group.value)
                                         : op->getResult(group.value - operands);
    Sizes sizes = sizesOf(value);
    return nn::product(llvm::map_to_vector(group.dims, [&](int64_t dim) { return sizes[dim]; }));
  };
  if (isa<nn::ReshapeOp>(op))
    return;
  for (const nn::Factor &factor : op.getShardingRule().factors) {
    if (factor.kind == nn::FactorKind::Concatenation)
      continue;
    std::optional<Size> known;
    for (const nn::DimGroup &group : factor.groups) {
      if (group.value == nn::kNoValue || !group.split.empty())
        continue;
      Size size = sizeOf(group);
      if (known && known->value == size.value)
        found(*known, size);
      known = size;
    }
  }
}

static RankedTensorType withoutSizes(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return RankedTensorType::get(tensor.getShape(), tensor.getElementType());
}

static void dropSizes(func::FuncOp main) {
  main.walk([](Operation *op) {
    for (Value result : op->getResults())
      result.setType(withoutSizes(result.getType()));
    if (auto constant = dyn_cast<nn::ConstantOp>(op)) {
      constant->removeDiscardableAttr(kContent);
      constant.setValueAttr(
          cast<DenseElementsAttr>(constant.getValue()).reshape(withoutSizes(constant.getType())));
    }
  });
  for (BlockArgument argument : main.getArguments())
    argument.setType(withoutSizes(argument.getType()));
  auto stripped = [](ArrayRef<Type> types) {
    return llvm::map_to_vector(types, [](Type type) -> Type { return withoutSizes(type); });
  };
  main.setType(FunctionType::get(main.getContext(), stripped(main.getArgumentTypes()),
                                 stripped(main.getResultTypes())));
}

void OpenDims::record(func::FuncOp main) const {
  Builder b(main.getContext());
  if (symbols.empty())
    return;
  SmallVector<AffineExpr> equal;
  main.walk([&](nn::ShardingRuleOpInterface op) {
    forEachEqual(op, [&](Size one, Size other) {
      if ((!one.isOpen() && !other.isOpen()) || one.sameAs(other))
        return;
      Size difference = one - other, reverse = other - one;
      if (difference.isOpen() && !isa<AffineDimExpr>(difference.expr) &&
          !llvm::is_contained(equal, difference.expr) && !llvm::is_contained(equal, reverse.expr))
        equal.push_back(difference.expr);
    });
  });
  if (!equal.empty())
    main->setAttr(nn::kEqual,
                  IntegerSetAttr::get(IntegerSet::get(0, symbols.size(), equal,
                                                      SmallVector<bool>(equal.size(), true))));
  main->setAttr(nn::kSymbols,
                b.getStrArrayAttr(llvm::map_to_vector(
                    symbols, [](const Symbol &symbol) -> StringRef { return symbol.name; })));
  for (auto [i, type] : llvm::enumerate(main.getArgumentTypes()))
    if (Attribute sizes = cast<RankedTensorType>(type).getEncoding())
      main.setArgAttr(i, nn::kShape, sizes);
  for (auto [i, type] : llvm::enumerate(main.getResultTypes()))
    if (Attribute sizes = cast<RankedTensorType>(type).getEncoding())
      main.setResultAttr(i, nn::kShape, sizes);
  dropSizes(main);
}
