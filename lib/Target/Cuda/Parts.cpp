//===- Parts.cpp - one result by several blocks ---------------------------===//

#include "Parts.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace cleave::cuda;

Accumulator::Accumulator(Emitter &e, Type factor) : e(e), element(e.builder.getF32Type()) {
  if (isa<IntegerType>(factor))
    element = e.builder.getI32Type();
}

Value Accumulator::add(Value x, Value y) const {
  return element.isF32() ? arith::AddFOp::create(e.builder, e.loc, x, y).getResult()
                         : arith::AddIOp::create(e.builder, e.loc, x, y).getResult();
}

SmallVector<Value> Accumulator::add(ValueRange x, ValueRange y) const {
  return llvm::map_to_vector(llvm::zip_equal(x, y),
                             [&](auto both) { return add(std::get<0>(both), std::get<1>(both)); });
}

Value Accumulator::multiplyAdd(Value x, Value y, Value sum) const {
  if (element.isF32())
    return math::FmaOp::create(e.builder, e.loc, x, y, sum);
  return add(sum, arith::MulIOp::create(e.builder, e.loc, x, y));
}

Value Accumulator::as(Type type, Value x) const {
  if (!x || getElementTypeOrSelf(x.getType()) == type)
    return x;
  return arith::BitcastOp::create(e.builder, e.loc, e.vectorOf(type, e.laneCount(x)), x);
}

Value Accumulator::toWords(Value x) const { return as(e.builder.getF32Type(), x); }

Value Accumulator::ofWords(Value words) const { return as(element, words); }

int64_t cleave::cuda::partsOf(const Chip &chip, int64_t blocks, int64_t each, const Work &work) {
  if (blocks >= chip.multiprocessors)
    return 1;
  auto worth = static_cast<int64_t>(std::sqrt(double(work.readBytes) / double(work.resultBytes)));
  return std::max<int64_t>(std::min({each * chip.multiprocessors / blocks, worth, work.steps}), 1);
}

/// So that vectors may be loaded whole.
static int64_t aligned(int64_t floats) { return llvm::alignTo(floats, 4); }

Launch cleave::cuda::launchParts(int64_t blocks, int64_t parts, int64_t threads, int64_t floats) {
  Launch launch{blocks * parts, threads};
  if (parts > 1)
    launch.workspace = {blocks * parts * aligned(floats), blocks};
  return launch;
}

Parts::Parts(Emitter &emitter, ThreadBlock &block, int64_t count, int64_t floats)
    : count(count), e(emitter), block(block), floats(aligned(floats)) {
  auto [quotient, rest] = e.divide(Index::of(e.symbol(block.number, block.launch.blocks)), count);
  result = Index::of(e.symbol(e.value(quotient), block.launch.blocks / count));
  number = count == 1 ? Index(0) : Index::of(e.symbol(e.value(rest), count));
}

Value Parts::load(const Index &part, const Index &at) {
  return e.loadWorkspace((result * count + part) * floats + at);
}

void Parts::store(const Index &at, Value value) {
  e.storeWorkspace((result * count + number) * floats + at, value);
}

Value Parts::sum(const Index &at, const Accumulator &sums) {
  Value zero = e.isDry() ? Value() : sums.zero(e.lanesOf(at));
  Value all = e.carry(0, count, zero, [&](const Index &part, ValueRange before) {
    Value x = load(part, at);
    return SmallVector<Value>{e.isDry() ? x : sums.add(before[0], sums.ofWords(x))};
  })[0];
  return sums.toWords(all);
}

void Parts::whenLast(function_ref<void()> body) {
  OpBuilder &b = e.builder;
  Location loc = e.loc;
  Type word = b.getI32Type();
  StringRef device = "device";
  auto equals = [&](Value x, Value y) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y).getResult();
  };
  // One thread speaks for all of its block, which have met before and meet again behind.
  auto fence = [&] { LLVM::FenceOp::create(b, loc, LLVM::AtomicOrdering::acq_rel, device); };
  int64_t slot = e.reserve(1);
  block.sync();
  e.when(equals(block.thread, e.indexConstant(0)), [&] {
    Value counters = pointerOf(b, loc, e.counters(), 0);
    Value at = arith::IndexCastOp::create(b, loc, b.getI64Type(), e.value(result));
    Value counter =
        LLVM::GEPOp::create(b, loc, counters.getType(), word, counters, ArrayRef<LLVM::GEPArg>{at});
    Value last = e.constantOf(word, count - 1, 1);
    fence();
    // Behind the last it is 0 again.
    Value before = LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::uinc_wrap, counter, last,
                                             LLVM::AtomicOrdering::monotonic, device);
    fence();
    Value isLast = equals(before, last);
    e.storeScratch(slot, 0, arith::UIToFPOp::create(b, loc, b.getF32Type(), isLast));
  });
  block.sync();
  Value isLast = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::ONE, e.loadScratch(slot, 0, 1),
                                       e.zero(1));
  e.when(isLast, body);
}
