//===- Computed.cpp - right operands made of numbers on the way -----------===//
//
// Few rows use each weight a few times only, so what is made of it never goes through memory;
// many rows share what is made once. Both walk along K in the same way:
//
//   panels | loops of K, split where blocks of scales and bytes are | a few k
//
// A few k whose places in a byte are known share its load and its shifts are by constants.
// What does not change in the innermost loop, as scales of a block, is hoisted by LLVM. What
// is held is one stream a panel (Kernel/PackWeights), fetched a fixed distance ahead.
//
// A factor that all k of a loop share, as the scale of a block or of a column, is multiplied by
// once, with the sum over that loop: Σ x (q - z) s = s Σ x (q - z).
//
//===----------------------------------------------------------------------===//

#include "Computed.h"

#include "Tile.h"

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
  findFactor();
}

void ComputedOperand::findFactor() {
  Value value = right;
  while (isa_and_nonnull<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  auto product = value.getDefiningOp<nn::MulOp>();
  if (!product)
    return;
  Value left = product.getLhs(), other = product.getRhs();
  if (Emitter::size(left) < Emitter::size(other))
    std::swap(left, other);
  if (Emitter::size(other) == Emitter::size(product.getResult()))
    return;
  scaled = product.getResult();
  unscaled = left;
  factor = other;
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

/// Fetches ahead what is read of the sources while it lives.
struct ComputedOperand::Streams {
  Streams(const ComputedOperand &b, const Index &k) : b(b), k(k) {
    for (Value source : b.sources)
      b.e.define(source, [this, source](const Index &at) {
        reads[source].push_back(at);
        return this->b.e.load(cast<BlockArgument>(source).getArgNumber(), at);
      });
  }
  ~Streams() {
    for (Value source : b.sources)
      b.e.undefine(source);
    for (auto &[source, places] : reads)
      fetch(source, places);
  }

private:
  /// What the innermost loop does not move along, as scales of a block, is near anyway.
  void fetch(Value source, ArrayRef<Index> places) const {
    Emitter &e = b.e;
    const Index &first = places.front();
    if (k.terms.empty() || first.factor(k.terms.back().first) == 0)
      return;
    int64_t low = first.constant, high = first.constant;
    for (const Index &place : places) {
      if (place.terms != first.terms)
        return;
      low = std::min(low, place.constant), high = std::max(high, place.constant);
    }
    int64_t bits = nn::elementOf(source).getIntOrFloatBitWidth();
    int64_t line = kLineBytes * 8 / bits, ahead = kBytesAhead * 8 / bits;
    Value memory = e.argumentMemory(cast<BlockArgument>(source).getArgNumber());
    for (int64_t at = low; at < high + e.machine.lanes; at += line)
      memref::PrefetchOp::create(e.builder, e.loc, memory,
                                 ValueRange{e.value(first - first.constant + at + ahead)},
                                 /*isWrite=*/false, /*locality=*/3, /*isDataCache=*/true);
  }

  const ComputedOperand &b;
  Index k;
  llvm::MapVector<Value, SmallVector<Index>> reads;
};

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
    Streams streams(b, k);
    for (int64_t plus = 0; plus < count; ++plus) {
      columns.clear();
      for (int64_t column = 0; column < width; column += e.machine.lanes)
        columns.push_back(e.broadcast(pull(k + plus, column), e.machine.lanes));
      use(k, at, plus, columns, sums);
    }
    return sums;
  }

  /// Loops of `extents`, whose steps are kStep k each, from `k`. The `shared` innermost loops,
  /// where there are some, share a factor.
  SmallVector<Value> loop(const Index &k, ArrayRef<int64_t> extents, size_t shared,
                          ValueRange before) const {
    if (extents.empty())
      return step(k, kStep, before);
    if (shared == extents.size())
      return addScaled(k, extents, before);
    int64_t stride = kStep;
    for (int64_t inner : extents.drop_front())
      stride *= inner;
    return b.e.carry(0, extents.front(), SmallVector<Value>(before),
                     [&](const Index &i, ValueRange now) {
                       return loop(k + i * stride, extents.drop_front(), shared, now);
                     });
  }

  /// `before`, one sum for each row and vector, and the sums over `extents` times their factor.
  SmallVector<Value> addScaled(const Index &k, ArrayRef<int64_t> extents, ValueRange before) const {
    Emitter &e = b.e;
    auto scaledIs = [&](Value tensor) {
      e.forget();
      e.define(b.scaled, [&, tensor](const Index &at) {
        return e.pull(tensor,
                      e.broadcastIndex(at, Emitter::shape(b.scaled), Emitter::shape(tensor)));
      });
    };
    scaledIs(b.unscaled);
    int64_t count = before.size();
    SmallVector<Value> sums(count * partsOf(count), e.zero(e.machine.lanes));
    sums = joined(e, loop(k, extents, 0, sums), count);
    scaledIs(b.factor);
    int64_t vectors = width / e.machine.lanes;
    for (int64_t v = 0; v < vectors && !e.isDry(); ++v) {
      Value factor = e.broadcast(pull(k, v * e.machine.lanes), e.machine.lanes);
      for (int64_t i = v; i < count; i += vectors)
        sums[i] = math::FmaOp::create(e.builder, e.loc, sums[i], factor, before[i]);
    }
    e.undefine(b.scaled);
    e.forget();
    return sums;
  }

  SmallVector<int64_t> extentsOf(int64_t first, int64_t steps) const {
    return b.e.split(steps, [&](const Index &at) { step(at * kStep + first, kStep, {}); });
  }

  /// How many of the innermost loops share a factor.
  size_t sharedOf(int64_t first, ArrayRef<int64_t> extents) const {
    Emitter &e = b.e;
    std::optional<Index> found;
    bool isOne = true;
    SmallVector<Index> loops;
    std::function<void(const Index &, ArrayRef<int64_t>)> descend = [&](const Index &k,
                                                                        ArrayRef<int64_t> rest) {
      if (rest.empty()) {
        step(k, kStep, {});
        return;
      }
      int64_t stride = kStep;
      for (int64_t inner : rest.drop_front())
        stride *= inner;
      e.carry(0, rest.front(), {}, [&](const Index &i, ValueRange now) {
        loops.push_back(i);
        descend(k + i * stride, rest.drop_front());
        return SmallVector<Value>(now);
      });
    };
    bool isExact = e.isExact([&] {
      e.define(b.scaled, [&](const Index &at) {
        Index place = e.broadcastIndex(at, Emitter::shape(b.scaled), Emitter::shape(b.factor));
        isOne &= !found || place == *found;
        found = place;
        return Value();
      });
      descend(first, extents);
      e.undefine(b.scaled);
    });
    if (!isExact || !isOne)
      return 0;
    size_t shared = 0;
    while (shared < loops.size() &&
           found->factor(loops[loops.size() - 1 - shared].terms.front().first) == 0)
      ++shared;
    return shared;
  }

  /// From k0, which is a multiple of kStep, to k1. With `isShared` factors are taken out of
  /// loops where they can be.
  SmallVector<Value> run(int64_t k0, int64_t k1, SmallVector<Value> sums, bool isShared) const {
    auto advance = [&](int64_t steps) {
      SmallVector<int64_t> extents = extentsOf(k0, steps);
      sums = loop(k0, extents, isShared ? sharedOf(k0, extents) : 0, sums);
      k0 += steps * kStep;
    };
    int64_t steps = (k1 - k0) / kStep;
    if (steps > 0 && b.e.isExact([&] { loop(k0, extentsOf(k0, steps), 0, {}); }))
      advance(steps);
    else if (steps >= kWholeSteps)
      advance(steps / kWholeSteps * kWholeSteps);
    while (k1 - k0 >= kStep)
      advance(llvm::bit_floor(uint64_t((k1 - k0) / kStep)));
    return step(k0, k1 - k0, sums);
  }

  /// Sets of `count` sums that are added up side by side.
  static int64_t partsOf(int64_t count) {
    return std::max<int64_t>(llvm::bit_floor(uint64_t(kSums / count)), 1);
  }
  static SmallVector<Value> joined(Emitter &e, SmallVector<Value> sums, int64_t count) {
    for (int64_t i = count; i < static_cast<int64_t>(sums.size()); ++i)
      sums[i % count] = arith::AddFOp::create(e.builder, e.loc, sums[i % count], sums[i]);
    sums.truncate(count);
    return sums;
  }
};

SmallVector<Value> ComputedOperand::multiply(const Left &left, int64_t rows, const Index &batch,
                                             const Index &panel, int64_t width) const {
  int64_t vectors = width / e.machine.lanes, count = rows * vectors;
  auto use = [&](const Index &, Value at, int64_t plus, ArrayRef<Value> columns,
                 SmallVector<Value> &sums) {
    int64_t parts = sums.size() / count;
    for (int64_t r = 0; r < rows; ++r) {
      Value scalar = e.broadcast(left(r, at, plus), e.machine.lanes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value &sum = sums[plus % parts * count + r * vectors + v];
        sum = math::FmaOp::create(e.builder, e.loc, scalar, columns[v], sum);
      }
    }
  };
  Walk walk{*this, batch, panel, width, use};
  // The sums of a block need registers beside those of K.
  bool isShared = factor && count <= e.machine.registers / 4;
  SmallVector<Value> none(isShared ? count : count * Walk::partsOf(count), e.zero(e.machine.lanes));
  return Walk::joined(e, walk.run(0, sizes.k, none, isShared), count);
}

void ComputedOperand::store(int64_t base, int64_t k0, int64_t k1, const Index &batch,
                            const Index &panel, int64_t width) const {
  Index lane = e.laneSymbol(e.machine.lanes);
  auto use = [&](const Index &k, Value, int64_t plus, ArrayRef<Value> columns,
                 SmallVector<Value> &) {
    for (auto [v, column] : llvm::enumerate(columns))
      e.storeScratch(base, (k + plus) * width + v * e.machine.lanes + lane, column);
  };
  Walk{*this, batch, panel, width, use}.run(k0, k1, {}, /*isShared=*/false);
}
