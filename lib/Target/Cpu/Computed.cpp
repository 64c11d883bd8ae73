//===- Computed.cpp - right operands made of numbers on the way -----------===//
//
// Few rows use each weight a few times only, so what is made of it never goes through memory:
//
//   panels | loops of K, split where blocks of scales and bytes are | a few k | rows
//
// A few k whose places in a byte are known share its load and its shifts are by constants.
// What does not change in the innermost loop, as scales of a block, is hoisted by LLVM. What
// is held is one stream a panel (Kernel/PackWeights), fetched a fixed distance ahead.
//
//===----------------------------------------------------------------------===//

#include "Computed.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;
using namespace cleave::emit;

namespace {

/// k a step of the innermost loop; a multiple of the places in a byte.
constexpr int64_t kStep = 8;
/// Sums that are added up side by side, at most: they hide the latency of an fma.
constexpr int64_t kSums = 8;
/// Steps of K whose loops split at every power of two, where K as a whole does not.
constexpr int64_t kWholeSteps = 32;

/// Collects the arguments that `value` is made of; false where that is more than arithmetic and
/// movement.
bool collect(Value value, SetVector<Value> &sources, bool &isArithmetic) {
  if (isa<BlockArgument>(value)) {
    sources.insert(value);
    return true;
  }
  Operation *op = value.getDefiningOp();
  if (isa<nn::ConstantOp>(op))
    return true;
  bool isElementwise = isa<nn::ElementwiseOpInterface>(op);
  isArithmetic |= isElementwise;
  return (isElementwise || isa<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::BroadcastOp>(op)) &&
         llvm::all_of(op->getOperands(),
                      [&](Value operand) { return collect(operand, sources, isArithmetic); });
}

} // namespace

ComputedOperand::ComputedOperand(Emitter &e, const Product &product)
    : e(e), operands(product.operands), sizes(product.sizes) {
  auto root = dyn_cast<nn::MatmulOp>(product.root);
  if (!root || !isProductType(root.getRhs().getType()))
    return;
  SetVector<Value> found;
  bool isArithmetic = false;
  if (!collect(root.getRhs(), found, isArithmetic) || !isArithmetic)
    return;
  right = root.getRhs();
  sources = found.takeVector();
}

bool ComputedOperand::isReadable(int64_t width) const {
  if (!right || sizes.n < width || sizes.k == 0)
    return false;
  bool areVectors = true;
  bool isExact = e.isExact([&] {
    Index batch = Index::of(e.symbol({}, sizes.batch));
    Index panel = Index::of(e.symbol({}, sizes.n / width));
    Index lane = e.laneSymbol(e.machine.lanes);
    for (Value source : sources)
      e.define(source, [&](const Index &at) {
        int64_t stride = at.factor(lane.terms.front().first);
        areVectors &= stride == 0 || stride == 1;
        return Value();
      });
    for (int64_t column = 0; column < width; column += e.machine.lanes)
      operands.pullB(batch, 0, panel * width + column + lane);
    for (Value source : sources)
      e.undefine(source);
  });
  return isExact && areVectors;
}

/// A few k of a panel.
struct ComputedOperand::Step {
  const ComputedOperand &b;
  const Left &left;
  int64_t rows;
  Index batch, panel;
  int64_t width;
  Index lane;

  int64_t vectors() const { return width / b.e.machine.lanes; }
  int64_t sums() const { return rows * vectors(); }

  Value pull(const Index &k, int64_t vector) const {
    return b.operands.pullB(batch, k, panel * width + vector * b.e.machine.lanes + lane);
  }

  /// `count` k from `k`, added to the sets of sums in turn.
  SmallVector<Value> run(const Index &k, int64_t count, ValueRange before) const {
    Emitter &e = b.e;
    if (e.isDry()) {
      for (int64_t plus = 0; plus < count; ++plus)
        pull(k + plus, 0);
      return SmallVector<Value>(before);
    }
    SmallVector<Value> next(before);
    int64_t parts = next.size() / sums();
    Value at = e.value(k);
    for (int64_t plus = 0; plus < count; ++plus) {
      SmallVector<Value> columns;
      for (int64_t v = 0; v < vectors(); ++v)
        columns.push_back(e.broadcast(pull(k + plus, v), e.machine.lanes));
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar = e.broadcast(left(r, at, plus), e.machine.lanes);
        for (int64_t v = 0; v < vectors(); ++v) {
          Value &sum = next[plus % parts * sums() + r * vectors() + v];
          sum = math::FmaOp::create(e.builder, e.loc, scalar, columns[v], sum);
        }
      }
    }
    return next;
  }

  /// Loops of `extents`, whose steps are `count` k each, from `k`.
  SmallVector<Value> loop(const Index &k, ArrayRef<int64_t> extents, int64_t count,
                          ValueRange before) const {
    if (extents.empty())
      return run(k, count, before);
    int64_t stride = count;
    for (int64_t inner : extents.drop_front())
      stride *= inner;
    return b.e.carry(0, extents.front(), SmallVector<Value>(before),
                     [&](const Index &i, ValueRange now) {
                       return loop(k + i * stride, extents.drop_front(), count, now);
                     });
  }

  /// `steps` steps from `first`; `isExact` says whether none of them divides.
  SmallVector<int64_t> extentsOf(int64_t first, int64_t steps) const {
    return b.e.split(steps, [&](const Index &at) { run(at * kStep + first, kStep, {}); });
  }
};

SmallVector<Value> ComputedOperand::multiply(const Left &left, int64_t rows, const Index &batch,
                                             const Index &panel, int64_t width) const {
  Step step{*this, left, rows, batch, panel, width, e.laneSymbol(e.machine.lanes)};
  int64_t count = step.sums(),
          parts = std::max<int64_t>(llvm::bit_floor(uint64_t(kSums / count)), 1);
  SmallVector<Value> sums(count * parts, e.zero(e.machine.lanes));

  int64_t steps = sizes.k / kStep, done = 0;
  auto advance = [&](int64_t more) {
    sums = step.loop(done * kStep, step.extentsOf(done * kStep, more), kStep, sums);
    done += more;
  };
  if (steps > 0 && e.isExact([&] { step.loop(0, step.extentsOf(0, steps), kStep, {}); }))
    advance(steps);
  if (steps - done >= kWholeSteps)
    advance((steps - done) / kWholeSteps * kWholeSteps);
  while (done < steps)
    advance(llvm::bit_floor(uint64_t(steps - done)));
  if (int64_t rest = sizes.k % kStep)
    sums = step.run(steps * kStep, rest, sums);

  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < count; ++i)
      sums[i] = arith::AddFOp::create(e.builder, e.loc, sums[i], sums[part * count + i]);
  sums.truncate(count);
  return sums;
}
