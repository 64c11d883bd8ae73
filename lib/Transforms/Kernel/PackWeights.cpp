//===- PackWeights.cpp - weights of products lie in panels ----------------===//
//
// Why: a micro-kernel that multiplies NR columns reads one linear stream; tensor cores
// multiply bytes along K. What arithmetic makes a right operand of, as nibbles and scales,
// lies in panels of its own: as many streams, all linear.
//
//   load:  return %w : [K, N]          load:  %p = pad, reshape, transpose %w
//                                  =>         return %p : [N/NR, K, NR]
//   main:  nn.matmul %x, %w            main:  %u = transpose, reshape, slice %p
//                                             nn.matmul %x, %u
//
//===----------------------------------------------------------------------===//

#include "TurnWeights.h"

#include "cleave/Transforms/Kernel/Passes.h"

#include "Nn/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"

namespace cleave {
#define GEN_PASS_DEF_PACKWEIGHTS
#include "cleave/Transforms/Kernel/Passes.h.inc"
} // namespace cleave

using namespace mlir;
namespace nn = cleave::nn;
namespace rt = cleave::rt;

/// k that a dot product of bytes adds up.
static constexpr int64_t kBytesOfDot = 4;

/// Columns of a panel: the padding costs most, then narrow panels do.
static int64_t panelWidth(int64_t n, int64_t lanes, int64_t maxVectors) {
  int64_t best = lanes;
  for (int64_t vectors = 2; vectors <= maxVectors; ++vectors)
    if (llvm::alignTo(n, vectors * lanes) <= llvm::alignTo(n, best))
      best = vectors * lanes;
  return best;
}

namespace {

/// [B…, K, N] and its panels [B…, P, K, NR], or of `deep` neighbours of K beside each other,
/// [B…, P, K/deep, NR, deep].
struct Panels {
  Panels(RankedTensorType type, int64_t lanes, int64_t maxVectors, int64_t deep = 1)
      : type(type), deep(deep) {
    k = type.getDimSize(type.getRank() - 2);
    n = type.getDimSize(type.getRank() - 1);
    width = panelWidth(n, lanes, maxVectors);
    count = llvm::divideCeil(n, width);
  }

  RankedTensorType shaped(ArrayRef<int64_t> tail) const {
    SmallVector<int64_t> shape(type.getShape().drop_back(2));
    llvm::append_range(shape, tail);
    return RankedTensorType::get(shape, type.getElementType());
  }
  /// [B…, K/deep, deep, P, NR], whose dimensions of one are left out.
  RankedTensorType split() const {
    return deep == 1 ? shaped({k, count, width}) : shaped({k / deep, deep, count, width});
  }
  /// How split dimensions are permuted to panels.
  SmallVector<int64_t> permutation() const {
    int64_t first = type.getRank() - 2;
    auto order = llvm::to_vector(llvm::seq<int64_t>(0, first));
    SmallVector<int64_t> own{1, 0, 2};
    if (deep > 1)
      own = {2, 0, 3, 1};
    for (int64_t dim : own)
      order.push_back(first + dim);
    return order;
  }
  SmallVector<int64_t> inverse() const {
    SmallVector<int64_t> order = permutation(), result(order.size());
    for (auto [at, dim] : llvm::enumerate(order))
      result[dim] = at;
    return result;
  }

  Value pack(OpBuilder &builder, Location loc, Value weight) const {
    SmallVector<int64_t> low(type.getRank(), 0), high(type.getRank(), 0);
    high.back() = count * width - n;
    if (high.back() != 0) {
      auto scalar = RankedTensorType::get({}, type.getElementType());
      auto zero = DenseElementsAttr::get(scalar, builder.getZeroAttr(type.getElementType()));
      Value value = nn::ConstantOp::create(builder, loc, scalar, zero);
      weight = nn::PadOp::create(builder, loc, weight, value, low, high);
    }
    Value parts = nn::ReshapeOp::create(builder, loc, split(), weight);
    return nn::TransposeOp::create(builder, loc, parts, permutation());
  }

  Value unpack(OpBuilder &builder, Location loc, Value panels) const {
    Value parts = nn::TransposeOp::create(builder, loc, panels, inverse());
    Value whole = nn::ReshapeOp::create(builder, loc, shaped({k, count * width}), parts);
    if (count * width == n)
      return whole;
    SmallVector<int64_t> starts(type.getRank(), 0), steps(type.getRank(), 1);
    return nn::SliceOp::create(builder, loc, whole, starts, type.getShape(), steps);
  }

  RankedTensorType type;
  int64_t deep, k, n, width, count;
};

/// [B…, K, N] as [B…, N, K], or the other way.
static Value turned(OpBuilder &builder, Location loc, Value weight) {
  int64_t rank = nn::typeOf(weight).getRank();
  auto order = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(order[rank - 2], order[rank - 1]);
  return nn::TransposeOp::create(builder, loc, weight, order);
}

struct PackWeights : cleave::impl::PackWeightsBase<PackWeights> {
  using PackWeightsBase::PackWeightsBase;

  bool isParam(Value value, func::FuncOp main) {
    auto argument = dyn_cast<BlockArgument>(value);
    return argument && main.getArgAttr(argument.getArgNumber(), rt::kParam);
  }

  /// Makes a weight that `main` reads from the file a parameter.
  BlockArgument claim(nn::WeightOp weight, func::FuncOp main, func::FuncOp load) {
    Operation *end = load.getBody().front().getTerminator();
    OpBuilder builder(end);
    Operation *clone = builder.clone(*weight);
    end->insertOperands(end->getNumOperands(), clone->getResults());
    auto marker =
        builder.getDictionaryAttr(builder.getNamedAttr(rt::kParam, builder.getUnitAttr()));
    (void)main.insertArgument(main.getNumArguments(), weight.getType(), marker, weight.getLoc());
    weight.replaceAllUsesWith(main.getArguments().back());
    weight.erase();
    return main.getArguments().back();
  }

  /// Collects the parameters and weights with the columns of `value`, which arithmetic makes of
  /// them; false where columns do not stay columns.
  bool collectColumns(func::FuncOp main, Value value, int64_t columns,
                      llvm::SetVector<Value> &held) {
    RankedTensorType type = nn::typeOf(value);
    int64_t last = type.getRank() == 0 ? 1 : type.getShape().back();
    Operation *op = value.getDefiningOp();
    // What repeats has no columns, and one row is a panel's stream already.
    if (last == 1 || type.getNumElements() == columns || isa_and_nonnull<nn::ConstantOp>(op))
      return true;
    if (!value.hasOneUse() || last != columns)
      return false;
    if (isParam(value, main) || isa_and_nonnull<nn::WeightOp>(op))
      return held.insert(value);
    if (auto transpose = dyn_cast_or_null<nn::TransposeOp>(op);
        transpose && transpose.getPermutation().back() + 1 != type.getRank())
      return false;
    return isa_and_nonnull<nn::ElementwiseOpInterface, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp>(
               op) &&
           llvm::all_of(op->getOperands(), [&](Value operand) {
             return collectColumns(main, operand, columns, held);
           });
  }

  /// Panels of what the right operand of `product` is computed from.
  void packComputed(func::FuncOp main, func::FuncOp load, nn::MatmulOp product) {
    Value right = product.getRhs();
    int64_t columns = nn::typeOf(right).getShape().back();
    llvm::SetVector<Value> held;
    bool isHeld = isa<BlockArgument>(right) || right.getDefiningOp<nn::WeightOp>();
    if (isHeld || nn::typeOf(right).getNumElements() == 0 ||
        !collectColumns(main, right, columns, held))
      return;
    Operation *end = load.getBody().front().getTerminator();
    unsigned first = main.getNumArguments() - end->getNumOperands();
    for (Value value : held) {
      RankedTensorType type = nn::typeOf(value);
      int64_t depth = type.getNumElements() / columns;
      auto weight = value.getDefiningOp<nn::WeightOp>();
      auto param = weight ? claim(weight, main, load) : cast<BlockArgument>(value);
      Panels panels(type.clone({depth, columns}), lanes, maxVectors);
      auto shaped = [](OpBuilder &builder, Value value, RankedTensorType to) -> Value {
        if (value.getType() == to)
          return value;
        return nn::ReshapeOp::create(builder, value.getLoc(), to, value);
      };
      OpBuilder builder(end);
      unsigned result = param.getArgNumber() - first;
      Value flat = shaped(builder, end->getOperand(result), panels.type);
      end->setOperand(result, panels.pack(builder, param.getLoc(), flat));
      param.setType(end->getOperand(result).getType());
      OpOperand &use = *param.getUses().begin();
      builder.setInsertionPoint(use.getOwner());
      use.set(shaped(builder, panels.unpack(builder, param.getLoc(), param), type));
    }
  }

  /// Whether all that reads `value`, as it is or, in panels, as f32, are products whose right
  /// operand it is.
  bool isRightOperand(Value value) {
    return llvm::all_of(value.getUses(), [&](OpOperand &use) {
      auto cast = dyn_cast<nn::CastOp>(use.getOwner());
      if (cast && !turnBytes && nn::elementOf(cast.getResult()).isF32())
        return isRightOperand(cast.getResult());
      return isa<nn::MatmulOp>(use.getOwner()) && use.getOperandNumber() == 1;
    });
  }

  /// Whether `value` is of i8 and read by products of ui8.
  bool isForDots(Value value) {
    auto isByte = [](Value of, bool isUnsigned) {
      Type element = nn::elementOf(of);
      return element.isInteger(8) && element.isUnsignedInteger() == isUnsigned;
    };
    ArrayRef<int64_t> shape = nn::typeOf(value).getShape();
    return isByte(value, false) && shape.size() >= 2 &&
           shape[shape.size() - 2] % kBytesOfDot == 0 &&
           llvm::all_of(value.getUsers(), [&](Operation *user) {
             auto product = dyn_cast<nn::MatmulOp>(user);
             return product && isByte(product.getLhs(), true);
           });
  }

  /// Whether `value` is a right operand only, and worth a layout.
  bool isPackable(Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    bool isWanted = isa<FloatType>(type.getElementType()) && type.getElementTypeBitWidth() <= 32;
    if (turnBytes)
      isWanted = type.getElementType().isInteger(8) || nn::isByteFloat(type.getElementType());
    else if (byteDots && isForDots(value))
      isWanted = true;
    return type.getRank() >= 2 && isWanted && type.getNumElements() > 0 && isRightOperand(value);
  }

  void pack(func::FuncOp main, func::FuncOp load, unsigned argument, unsigned result) {
    BlockArgument param = main.getArgument(argument);
    if (param.use_empty() || !isPackable(param))
      return;
    bool isForBytes = nn::elementOf(param).isInteger(8);
    Panels panels(cast<RankedTensorType>(param.getType()), lanes, maxVectors,
                  isForBytes && !turnBytes ? kBytesOfDot : 1);
    Operation *end = load.getBody().front().getTerminator();
    OpBuilder builder(end);
    Value packed = turnBytes ? turned(builder, param.getLoc(), end->getOperand(result))
                             : panels.pack(builder, param.getLoc(), end->getOperand(result));
    end->setOperand(result, packed);

    param.setType(packed.getType());
    for (OpOperand &use : llvm::make_early_inc_range(param.getUses())) {
      builder.setInsertionPoint(use.getOwner());
      Location loc = use.getOwner()->getLoc();
      use.set(turnBytes ? turned(builder, loc, param) : panels.unpack(builder, loc, param));
    }
  }

  /// Weights that products use as they lie in the file become parameters, so
  /// that they have a layout to choose.
  void claimDirectWeights(func::FuncOp main, func::FuncOp load) {
    for (auto weight : llvm::to_vector(main.getOps<nn::WeightOp>())) {
      if (weight->use_empty() || !isPackable(weight))
        continue;
      claim(weight, main, load);
    }
  }

  void runOnOperation() override {
    for (auto main : getOperation().getOps<func::FuncOp>()) {
      auto symbol = main->getAttrOfType<FlatSymbolRefAttr>(rt::kLoad);
      if (!symbol)
        continue;
      auto load = getOperation().lookupSymbol<func::FuncOp>(symbol.getValue());
      if (!turnBytes)
        cleave::kernel::turnWeights(main, load);
      claimDirectWeights(main, load);
      if (!turnBytes)
        for (auto product : llvm::to_vector(main.getOps<nn::MatmulOp>()))
          packComputed(main, load, product);
      Operation *end = load.getBody().front().getTerminator();
      unsigned first = main.getNumArguments() - end->getNumOperands();
      for (unsigned i = 0; i < end->getNumOperands(); ++i)
        pack(main, load, first + i, i);
      main.setFunctionType(FunctionType::get(main.getContext(), main.getBody().getArgumentTypes(),
                                             main.getResultTypes()));
      load.setFunctionType(
          FunctionType::get(main.getContext(), {}, llvm::to_vector(end->getOperandTypes())));
    }
  }
};

} // namespace
