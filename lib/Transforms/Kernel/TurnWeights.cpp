//===- TurnWeights.cpp - columns of dequantised weights lie together ------===//
//
// Why: a product reads vectors of neighbouring columns. Weights are often stored with
// rows of columns, [N, K], and turned behind what makes numbers of them; the numbers are
// not there at load, so what can be turned there is what they are computed from.
//
//   load:  return %w : [N, K], %s : [N, 1]      load:  return transposes of both
//   main:  transpose (mul (cast %w), %s)   =>   main:  mul (cast %w'), %s'
//
//===----------------------------------------------------------------------===//

#include "TurnWeights.h"

#include "Nn/Nn.h"
#include "Rt/Rt.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
namespace nn = cleave::nn;
namespace rt = cleave::rt;

namespace {

class Turner {
public:
  Turner(func::FuncOp main, func::FuncOp load) : main(main), load(load) {}

  void run(nn::TransposeOp transpose) {
    if (!canTurn(transpose.getInput(), transpose.getPermutation()))
      return;
    builder.setInsertionPoint(transpose);
    transpose.replaceAllUsesWith(turn(transpose.getInput(), transpose.getPermutation()));
    eraseDead(transpose);
  }

private:
  static void eraseDead(Operation *op) {
    if (!op || !isOpTriviallyDead(op))
      return;
    SmallVector<Value> operands(op->getOperands());
    op->erase();
    for (Value operand : operands)
      eraseDead(operand.getDefiningOp());
  }

  using Permutation = SmallVector<int64_t>;

  /// How the operand of `reshape` has to be permuted for its result to be so, where that
  /// keeps dimensions together that become others.
  static std::optional<Permutation> through(nn::ReshapeOp reshape, ArrayRef<int64_t> permutation) {
    ArrayRef<int64_t> from = nn::typeOf(reshape.getInput()).getShape(),
                      to = nn::typeOf(reshape.getResult()).getShape();
    // Runs of dimensions with equal products, as [begin, end) of both.
    SmallVector<std::array<size_t, 4>> runs;
    for (size_t i = 0, j = 0; i < from.size() || j < to.size();) {
      // Ones at the end of either side stay with what is in front of them.
      bool isEnd = !runs.empty() && (i == from.size() || j == to.size());
      auto isOne = [](int64_t size) { return size == 1; };
      if (isEnd && llvm::all_of(from.drop_front(i), isOne) &&
          llvm::all_of(to.drop_front(j), isOne)) {
        runs.back()[1] = from.size(), runs.back()[3] = to.size();
        break;
      }
      std::array<size_t, 4> run{i, i, j, j};
      int64_t left = 1, right = 1;
      do {
        if (i < from.size() && (left <= right || j == to.size()))
          left *= from[i++];
        else if (j < to.size())
          right *= to[j++];
        else
          return std::nullopt;
      } while (left != right || (i > run[0]) != (j > run[2]));
      run[1] = i, run[3] = j;
      runs.push_back(run);
    }
    Permutation result;
    for (size_t i = 0; i < permutation.size();) {
      auto run = llvm::find_if(runs, [&](auto &r) { return r[2] == size_t(permutation[i]); });
      if (run == runs.end())
        return std::nullopt;
      for (size_t dim = (*run)[2]; dim < (*run)[3]; ++dim, ++i)
        if (i == permutation.size() || size_t(permutation[i]) != dim)
          return std::nullopt;
      llvm::append_range(result, llvm::seq<int64_t>((*run)[0], (*run)[1]));
    }
    return result;
  }

  static Permutation compose(nn::TransposeOp inner, ArrayRef<int64_t> permutation) {
    return llvm::map_to_vector(permutation,
                               [&](int64_t dim) { return inner.getPermutation()[dim]; });
  }

  bool isParameter(Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    return argument && main.getArgAttr(argument.getArgNumber(), rt::kParam);
  }

  /// Whether `value` is a parameter or follows from parameters, for one reader, and arithmetic
  /// and movement that can be turned.
  bool canTurn(Value value, ArrayRef<int64_t> permutation) {
    if (value.getDefiningOp<nn::ConstantOp>())
      return true;
    if (!value.hasOneUse())
      return false;
    if (isParameter(value) || value.getDefiningOp<nn::WeightOp>())
      return true;
    Operation *op = value.getDefiningOp();
    if (auto reshape = dyn_cast_or_null<nn::ReshapeOp>(op)) {
      std::optional<Permutation> inner = through(reshape, permutation);
      return inner && canTurn(reshape.getInput(), *inner);
    }
    if (auto slice = dyn_cast_or_null<nn::SliceOp>(op))
      return canTurn(slice.getInput(), permutation);
    if (auto transpose = dyn_cast_or_null<nn::TransposeOp>(op))
      return canTurn(transpose.getInput(), compose(transpose, permutation));
    return isa_and_nonnull<nn::ElementwiseOpInterface>(op) &&
           llvm::all_of(op->getOperands(),
                        [&](Value operand) { return canTurn(operand, permutation); });
  }

  /// `value` with its dimensions permuted, and leading ones where it has fewer.
  Value turn(Value value, ArrayRef<int64_t> permutation) {
    RankedTensorType type = nn::typeOf(value);
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<nn::ConstantOp>(op) && type.getNumElements() == 1)
      return value;
    if (type.getRank() < int64_t(permutation.size())) {
      SmallVector<int64_t> shape(permutation.size() - type.getRank(), 1);
      llvm::append_range(shape, type.getShape());
      value = nn::ReshapeOp::create(builder, value.getLoc(), type.clone(shape), value);
      return nn::TransposeOp::create(builder, value.getLoc(), value, permutation);
    }
    if (isParameter(value) || isa<nn::WeightOp>(op))
      return turnParameter(value, permutation);
    if (isa<nn::ConstantOp>(op))
      return nn::TransposeOp::create(builder, value.getLoc(), value, permutation);
    auto permuted =
        llvm::map_to_vector(permutation, [&](int64_t dim) { return type.getDimSize(dim); });
    if (auto reshape = dyn_cast<nn::ReshapeOp>(op))
      return nn::ReshapeOp::create(builder, op->getLoc(), type.clone(permuted),
                                   turn(reshape.getInput(), *through(reshape, permutation)));
    if (auto slice = dyn_cast<nn::SliceOp>(op)) {
      auto order = [&](ArrayRef<int64_t> of) {
        return llvm::map_to_vector(permutation, [&](int64_t dim) { return of[dim]; });
      };
      return nn::SliceOp::create(builder, op->getLoc(), turn(slice.getInput(), permutation),
                                 order(slice.getStarts()), order(slice.getSizes()),
                                 order(slice.getSteps()));
    }
    if (auto transpose = dyn_cast<nn::TransposeOp>(op))
      return turn(transpose.getInput(), compose(transpose, permutation));
    IRMapping mapping;
    for (Value operand : op->getOperands())
      mapping.map(operand, turn(operand, permutation));
    Operation *turned = builder.clone(*op, mapping);
    turned->getResult(0).setType(type.clone(permuted));
    return turned->getResult(0);
  }

  /// What load gives is turned there, and so is the weight that main reads from the file.
  Value turnParameter(Value value, ArrayRef<int64_t> permutation) {
    Operation *end = load.getBody().front().getTerminator();
    OpBuilder atLoad(end);
    if (Operation *weight = value.getDefiningOp()) {
      Value clone = atLoad.clone(*weight)->getResult(0);
      end->insertOperands(end->getNumOperands(), clone);
      auto marker = atLoad.getDictionaryAttr(atLoad.getNamedAttr(rt::kParam, atLoad.getUnitAttr()));
      (void)main.insertArgument(main.getNumArguments(), value.getType(), marker, value.getLoc());
      value = main.getArguments().back();
    }
    auto argument = cast<BlockArgument>(value);
    unsigned result = argument.getArgNumber() + end->getNumOperands() - main.getNumArguments();
    Value turned =
        nn::TransposeOp::create(atLoad, value.getLoc(), end->getOperand(result), permutation);
    end->setOperand(result, turned);
    value.setType(turned.getType());
    return value;
  }

  func::FuncOp main, load;
  OpBuilder builder{main.getContext()};
};

} // namespace

void cleave::kernel::turnWeights(func::FuncOp main, func::FuncOp load) {
  Turner turner(main, load);
  for (auto product : llvm::to_vector(main.getOps<nn::MatmulOp>())) {
    auto transpose = product.getRhs().getDefiningOp<nn::TransposeOp>();
    bool isComputed = transpose && !isa<BlockArgument>(transpose.getInput());
    if (isComputed &&
        transpose.getPermutation().back() + 1 != int64_t(transpose.getPermutation().size()))
      turner.run(transpose);
  }
}
