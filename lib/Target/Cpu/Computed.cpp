//===- Computed.cpp - right operands made of numbers on the way -----------===//
//
// Few rows use each weight a few times only, so what is made of it never goes through memory;
// many rows share what is made once. Both walk along K in the same way:
//
//   panels | loops of K, split where blocks of scales and bytes are | a few k
//
// A few k whose places in a byte are known share its load and its shifts are by constants.
// What does not change in the innermost loop, as scales of a block, is hoisted by LLVM. What
// is held is one stream a panel (Kernel/PackWeights).
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

/// A walk along K in a panel, a few k a step.
struct ComputedOperand::Walk {
  /// Takes the vectors of columns at `k + plus`; `at` is the value of k. What is carried along
  /// the loops is `sums`.
  using Use = std::function<void(const Index &k, Value at, int64_t plus, ArrayRef<Value> columns,
                                 SmallVector<Value> &sums)>;

  const ComputedOperand &b;
  Index batch, panel;
  int64_t width;
  Use use;
  Index lane = b.e.laneSymbol(b.e.machine.lanes);

  Value pull(const Index &k, int64_t column) const {
    return b.operands.pullB(batch, k, panel * width + column + lane);
  }

  SmallVector<Value> step(const Index &k, int64_t count, ValueRange before) const {
    Emitter &e = b.e;
    SmallVector<Value> sums(before), columns;
    if (e.isDry()) {
      for (int64_t plus = 0; plus < count; ++plus)
        pull(k + plus, 0);
      return sums;
    }
    Value at = e.value(k);
    for (int64_t plus = 0; plus < count; ++plus) {
      columns.clear();
      for (int64_t column = 0; column < width; column += e.machine.lanes)
        columns.push_back(e.broadcast(pull(k + plus, column), e.machine.lanes));
      use(k, at, plus, columns, sums);
    }
    return sums;
  }

  /// Loops of `extents`, whose steps are kStep k each, from `k`.
  SmallVector<Value> loop(const Index &k, ArrayRef<int64_t> extents, ValueRange before) const {
    if (extents.empty())
      return step(k, kStep, before);
    int64_t stride = kStep;
    for (int64_t inner : extents.drop_front())
      stride *= inner;
    return b.e.carry(0, extents.front(), SmallVector<Value>(before),
                     [&](const Index &i, ValueRange now) {
                       return loop(k + i * stride, extents.drop_front(), now);
                     });
  }

  SmallVector<int64_t> extentsOf(int64_t first, int64_t steps) const {
    return b.e.split(steps, [&](const Index &at) { step(at * kStep + first, kStep, {}); });
  }

  /// From k0, which is a multiple of kStep, to k1.
  SmallVector<Value> run(int64_t k0, int64_t k1, SmallVector<Value> sums) const {
    auto advance = [&](int64_t steps) {
      sums = loop(k0, extentsOf(k0, steps), sums);
      k0 += steps * kStep;
    };
    int64_t steps = (k1 - k0) / kStep;
    if (steps > 0 && b.e.isExact([&] { loop(k0, extentsOf(k0, steps), {}); }))
      advance(steps);
    else if (steps >= kWholeSteps)
      advance(steps / kWholeSteps * kWholeSteps);
    while (k1 - k0 >= kStep)
      advance(llvm::bit_floor(uint64_t((k1 - k0) / kStep)));
    return step(k0, k1 - k0, sums);
  }
};

SmallVector<Value> ComputedOperand::multiply(const Left &left, int64_t rows, const Index &batch,
                                             const Index &panel, int64_t width) const {
  int64_t vectors = width / e.machine.lanes, count = rows * vectors;
  int64_t parts = std::max<int64_t>(llvm::bit_floor(uint64_t(kSums / count)), 1);
  auto use = [&](const Index &, Value at, int64_t plus, ArrayRef<Value> columns,
                 SmallVector<Value> &sums) {
    for (int64_t r = 0; r < rows; ++r) {
      Value scalar = e.broadcast(left(r, at, plus), e.machine.lanes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value &sum = sums[plus % parts * count + r * vectors + v];
        sum = math::FmaOp::create(e.builder, e.loc, scalar, columns[v], sum);
      }
    }
  };
  SmallVector<Value> none(count * parts, e.zero(e.machine.lanes));
  SmallVector<Value> sums = Walk{*this, batch, panel, width, use}.run(0, sizes.k, none);
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < count; ++i)
      sums[i] = arith::AddFOp::create(e.builder, e.loc, sums[i], sums[part * count + i]);
  sums.truncate(count);
  return sums;
}

void ComputedOperand::store(int64_t base, int64_t k0, int64_t k1, const Index &batch,
                            const Index &panel, int64_t width) const {
  Index lane = e.laneSymbol(e.machine.lanes);
  auto use = [&](const Index &k, Value, int64_t plus, ArrayRef<Value> columns,
                 SmallVector<Value> &) {
    for (auto [v, column] : llvm::enumerate(columns))
      e.storeScratch(base, (k + plus) * width + v * e.machine.lanes + lane, column);
  };
  Walk{*this, batch, panel, width, use}.run(k0, k1, {});
}
