//===- Dims.cpp - sizes for the symbolic dimensions of a model ------------===//

#include "cleave/Driver/Dims.h"

#include "Nn/Nn.h"
#include "Onnx/Onnx.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace cleave;

using Sizes = std::map<std::string, int64_t>;

llvm::Expected<std::vector<ModelInput>> cleave::modelInputs(ModuleOp module) {
  std::vector<ModelInput> inputs;
  auto graph = *module.getOps<onnx::GraphOp>().begin();
  for (auto [argument, name] : llvm::zip(graph.getBody().front().getArguments(),
                                         graph.getInputs().getAsValueRange<StringAttr>())) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type)
      return llvm::createStringError("input \"" + name + "\" is no tensor of known rank");
    auto names = dyn_cast_or_null<onnx::DimsAttr>(type.getEncoding());
    ModelInput &input = inputs.emplace_back(name.str(), type.getElementType());
    for (auto [i, size] : llvm::enumerate(type.getShape())) {
      std::string dim = names ? cast<StringAttr>(names.getNames()[i]).str() : "";
      if (dim.empty())
        dim = (name + "." + Twine(i)).str();
      input.dims.push_back({ShapedType::isDynamic(size) ? -1 : size, dim});
    }
  }
  return inputs;
}

llvm::Error cleave::bindShape(const ModelInput &input, ArrayRef<int64_t> shape, Sizes &sizes) {
  if (shape.size() != input.dims.size())
    return llvm::createStringError("input \"%s\" wants %zu dimensions, got: %zu",
                                   input.name.c_str(), input.dims.size(), shape.size());
  for (auto [dim, size] : llvm::zip(input.dims, shape)) {
    int64_t known = dim.size >= 0 ? dim.size : sizes.try_emplace(dim.name, size).first->second;
    if (known != size)
      return llvm::createStringError("input \"%s\" wants %lld for \"%s\", got: %lld",
                                     input.name.c_str(), static_cast<long long>(known),
                                     dim.name.c_str(), static_cast<long long>(size));
  }
  return llvm::Error::success();
}

/// Whether a dimension's name goes on after this character.
static bool isWord(char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; }

llvm::Error cleave::checkDimName(ArrayRef<ModelInput> inputs, StringRef name) {
  std::string known;
  for (const ModelInput &input : inputs)
    for (const ModelDim &dim : input.dims) {
      if (dim.size >= 0)
        continue;
      if (dim.name == name)
        return llvm::Error::success();
      for (StringRef rest = dim.name; !rest.empty();) {
        rest = rest.drop_until(isWord);
        StringRef word = rest.take_while(isWord);
        if (!word.empty() && word == name)
          return llvm::Error::success();
        rest = rest.drop_front(word.size());
      }
      if (!StringRef(known).contains("\"" + dim.name + "\""))
        known += (known.empty() ? "" : ", ") + ("\"" + dim.name + "\"");
    }
  return llvm::createStringError("--dim: the model has no dimension \"" + name + "\"; it has " +
                                 (known.empty() ? "none that is open" : known));
}

/// What a name says of its dimension, so that two spellings of one thing agree.
enum class Meaning { Batch, Encoder, Past, Total, Sequence };

static Meaning meaningOf(StringRef name) {
  std::string lower = name.lower();
  constexpr std::pair<StringLiteral, Meaning> kWords[] = {{"batch", Meaning::Batch},
                                                          {"encoder", Meaning::Encoder},
                                                          {"past", Meaning::Past},
                                                          {"total", Meaning::Total}};
  for (auto [word, meaning] : kWords)
    if (StringRef(lower).contains(word))
      return meaning;
  return Meaning::Sequence;
}

/// A sum can hide in any name, and only plain ones stand for a meaning.
static bool isPlain(StringRef name) { return name.find_first_of("+-* .") == StringRef::npos; }

namespace {

/// Evaluates `a + b * c` over names; blanks mean nothing.
class Expression {
public:
  Expression(StringRef text, llvm::function_ref<int64_t(StringRef)> sizeOf)
      : text(text), sizeOf(sizeOf) {}

  /// Nothing if the text is no expression of at least two operands.
  std::optional<int64_t> evaluate() {
    std::optional<int64_t> value = sum();
    return value && text.trim().empty() && operands > 1 ? value : std::nullopt;
  }

private:
  bool eat(char c) {
    text = text.ltrim();
    return text.consume_front(StringRef(&c, 1));
  }
  std::optional<int64_t> sum() {
    std::optional<int64_t> value = product();
    while (value) {
      bool plus = eat('+');
      if (!plus && !eat('-'))
        break;
      std::optional<int64_t> next = product();
      if (!next || (plus ? llvm::AddOverflow(*value, *next, *value)
                         : llvm::SubOverflow(*value, *next, *value)))
        return std::nullopt;
    }
    return value;
  }
  std::optional<int64_t> product() {
    std::optional<int64_t> value = operand();
    while (value && eat('*')) {
      std::optional<int64_t> next = operand();
      if (!next || __builtin_mul_overflow(*value, *next, &*value))
        return std::nullopt;
    }
    return value;
  }
  std::optional<int64_t> operand() {
    text = text.ltrim();
    StringRef word = text.take_while(isWord);
    if (word.empty())
      return std::nullopt;
    text = text.drop_front(word.size());
    ++operands;
    int64_t number;
    return word.getAsInteger(10, number) ? sizeOf(word) : number;
  }

  StringRef text;
  llvm::function_ref<int64_t(StringRef)> sizeOf;
  int operands = 0;
};

} // namespace

Sizes cleave::bindDims(ArrayRef<ModelInput> inputs, Sizes given, const DimDefaults &defaults) {
  auto sizeOfMeaning = [&](Meaning meaning, int64_t standard) {
    for (const auto &[other, size] : given)
      if (meaningOf(other) == meaning && isPlain(other))
        return size;
    return standard;
  };
  auto sizeOf = [&](StringRef name) -> int64_t {
    if (auto known = given.find(name.str()); known != given.end())
      return known->second;
    Meaning meaning = meaningOf(name);
    int64_t past = sizeOfMeaning(Meaning::Past, defaults.past);
    int64_t sequence = sizeOfMeaning(Meaning::Sequence, defaults.sequence);
    switch (meaning) {
    case Meaning::Batch: return sizeOfMeaning(meaning, defaults.batch);
    case Meaning::Past: return past;
    case Meaning::Total: return sizeOfMeaning(meaning, past + sequence);
    case Meaning::Encoder: return sizeOfMeaning(meaning, sequence);
    case Meaning::Sequence: return sequence;
    }
    llvm_unreachable("all meanings are listed");
  };

  Sizes result = given;
  for (const ModelInput &input : inputs)
    for (const ModelDim &dim : input.dims)
      if (dim.size < 0 && !result.count(dim.name)) {
        std::optional<int64_t> computed = Expression(dim.name, sizeOf).evaluate();
        result[dim.name] = computed ? *computed : sizeOf(dim.name);
      }
  return result;
}

/// The symbols a and b of a + b.
static std::optional<std::pair<unsigned, unsigned>> sumOfSymbols(AffineExpr expr) {
  auto sum = dyn_cast_or_null<AffineBinaryOpExpr>(expr);
  if (!sum || sum.getKind() != AffineExprKind::Add)
    return std::nullopt;
  auto a = dyn_cast<AffineSymbolExpr>(sum.getLHS()), b = dyn_cast<AffineSymbolExpr>(sum.getRHS());
  if (!a || !b)
    return std::nullopt;
  return std::pair(a.getPosition(), b.getPosition());
}

/// Whether `output` is `input` but for dimension `dim`, there the symbol `past`.
static bool isGrown(ArrayRef<nn::Size> output, ArrayRef<nn::Size> input, size_t dim,
                    unsigned past) {
  if (input.size() != output.size())
    return false;
  for (size_t i = 0; i < input.size(); ++i)
    if (i != dim && !input[i].sameAs(output[i]))
      return false;
  auto symbol = dyn_cast_or_null<AffineSymbolExpr>(input[dim].expr);
  return symbol && symbol.getPosition() == past;
}

std::optional<CacheDims> cleave::findCache(func::FuncOp main) {
  auto names = main->getAttrOfType<ArrayAttr>(nn::kSymbols);
  if (!names)
    return std::nullopt;
  auto sizesOf = [](Type type, Attribute shape) {
    return nn::decode(cast<RankedTensorType>(type).getShape(), shape);
  };
  SmallVector<nn::Sizes> inputs;
  for (auto [i, type] : llvm::enumerate(main.getArgumentTypes()))
    inputs.push_back(sizesOf(type, main.getArgAttr(i, nn::kShape)));
  for (auto [i, type] : llvm::enumerate(main.getResultTypes())) {
    nn::Sizes output = sizesOf(type, main.getResultAttr(i, nn::kShape));
    for (auto [dim, size] : llvm::enumerate(output)) {
      std::optional<std::pair<unsigned, unsigned>> sum = sumOfSymbols(size.expr);
      if (!sum)
        continue;
      auto hasGrown = [&, dim = dim](unsigned past) {
        return llvm::any_of(
            inputs, [&](ArrayRef<nn::Size> input) { return isGrown(output, input, dim, past); });
      };
      // If both are inputs, nothing tells what was there from what is added.
      bool first = hasGrown(sum->first), second = hasGrown(sum->second);
      if (first == second)
        continue;
      auto name = [&](unsigned symbol) { return cast<StringAttr>(names[symbol]).str(); };
      return first ? CacheDims{name(sum->first), name(sum->second)}
                   : CacheDims{name(sum->second), name(sum->first)};
    }
  }
  return std::nullopt;
}

std::optional<Sizes> cleave::decodeDims(ArrayRef<ModelInput> inputs, const Sizes &sizes,
                                        int64_t batch, const std::optional<CacheDims> &cache) {
  constexpr int64_t kPast = 1024;
  bool hasPast = cache.has_value(), hasSequence = hasPast;
  Sizes kept;
  if (cache)
    kept = {{cache->past, kPast}, {cache->sequence, 1}};
  for (const ModelInput &input : inputs)
    for (const ModelDim &dim : input.dims) {
      if (dim.size >= 0 || !isPlain(dim.name))
        continue;
      Meaning meaning = meaningOf(dim.name);
      hasPast |= meaning == Meaning::Past;
      hasSequence |= meaning == Meaning::Sequence;
      if (meaning == Meaning::Encoder)
        kept[dim.name] = sizes.at(dim.name);
    }
  if (!hasPast || !hasSequence)
    return std::nullopt;
  return bindDims(inputs, kept, {batch, /*sequence=*/1, kPast});
}
