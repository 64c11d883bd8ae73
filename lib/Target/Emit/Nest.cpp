//===- Nest.cpp - loops that are found by walking the body ----------------===//

#include "Emitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace cleave::emit;

void Emitter::request(Request what) {
  if (mayRequest())
    current->request = what;
}

void Emitter::narrow() {
  if (machine.isParallel && current && current->lanes > 1)
    request({Request::Narrow, 0, 1});
}

void Emitter::separate(const Index &at, int64_t values) {
  constexpr int64_t kFew = 4;
  if (machine.isParallel || values > kFew || at.terms.size() != 1 || !mayRequest())
    return;
  auto [symbol, factor] = at.terms.front();
  const SymbolInfo &info = symbols[symbol];
  if (info.owner >= 0 && factor == 1 && info.lanes == 1 &&
      current->loops[info.owner].extent == values)
    request({Request::Cut, info.owner, info.low + 1});
}

void Emitter::rehearse(function_ref<void()> body) {
  size_t mark = symbols.size();
  Memo outerMemo = std::exchange(memo, {});
  bool wasDry = std::exchange(dry, true);
  Nest *outer = std::exchange(current, nullptr);
  body();
  current = outer;
  dry = wasDry;
  memo = std::move(outerMemo);
  symbols.truncate(mark);
}

bool Emitter::isExact(function_ref<void()> body) {
  bool wasOpaque = std::exchange(isOpaque, false);
  rehearse(body);
  return !std::exchange(isOpaque, wasOpaque);
}

/// Emits `for i = low to high step step`; leaves the insertion point behind it.
static void emitFor(OpBuilder &builder, Location loc, Value low, Value high, Value step,
                    function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(builder, loc, low, high, step);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(loop.getBody()->getTerminator());
  body(loop.getInductionVar());
}

void Emitter::nest(int64_t size, const std::function<void(const Index &)> &body, Tail tail,
                   bool allowVectors) {
  if (size == 0)
    return;
  Nest nest{{Loop{size, {}}},
            std::nullopt,
            machine.isParallel ? Tail::Exact : tail,
            allowVectors ? machine.lanes : 1,
            std::exchange(team, std::nullopt)};
  Nest *outer = std::exchange(current, &nest);
  find(nest, body);
  if (!dry)
    walk(nest, body);
  current = outer;
  team = nest.team;
}

SmallVector<int64_t> Emitter::split(int64_t size, const std::function<void(const Index &)> &body) {
  Nest nest{{Loop{size, {}}}, std::nullopt, Tail::Exact, 1, std::nullopt};
  Nest *outer = std::exchange(current, &nest);
  find(nest, body);
  current = outer;
  return llvm::map_to_vector(nest.loops, [](const Loop &loop) { return loop.extent; });
}

void Emitter::walk(Nest &nest, const std::function<void(const Index &)> &body) {
  SmallVector<int64_t> strides(nest.loops.size(), 1);
  for (int64_t i = static_cast<int64_t>(strides.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * nest.loops[i + 1].extent;
  size_t mark = symbols.size();
  auto outerMemo = memo;
  run(nest, 0, Index(0), strides, body);
  symbols.truncate(mark);
  memo = std::move(outerMemo);
}

void Emitter::find(Nest &nest, const std::function<void(const Index &)> &body) {
  bool wasDry = std::exchange(dry, true);
  for (walk(nest, body); nest.request; walk(nest, body)) {
    auto [kind, loop, at] = *nest.request;
    nest.request.reset();
    if (kind == Request::Narrow) {
      nest.lanes = at;
      continue;
    }
    if (kind == Request::Cut) {
      auto &cuts = nest.loops[loop].cuts;
      cuts.insert(llvm::upper_bound(cuts, at), at);
      continue;
    }
    // The cuts of a loop that is split are found again.
    Loop inner{at, {}};
    nest.loops[loop] = Loop{nest.loops[loop].extent / at, {}};
    nest.loops.insert(nest.loops.begin() + loop + 1, inner);
  }
  dry = wasDry;
}

void Emitter::run(Nest &nest, unsigned depth, Index flat, ArrayRef<int64_t> strides,
                  const std::function<void(const Index &)> &body) {
  if (dry && nest.request)
    return;
  const Loop loop = nest.loops[depth];
  bool isInnermost = depth + 1 == nest.loops.size();
  SmallVector<int64_t> bounds{0};
  bounds.append(loop.cuts);
  bounds.push_back(loop.extent);
  for (size_t piece = 0; piece + 1 < bounds.size(); ++piece) {
    int64_t low = bounds[piece], high = bounds[piece + 1];
    if (isInnermost) {
      runVectors(nest, low, high, flat, strides[depth], body);
      continue;
    }
    SymbolInfo info;
    info.low = low;
    info.high = high - 1;
    info.owner = depth;
    auto inside = [&](Value variable) {
      info.value = variable;
      Symbol symbol = addSymbol(info);
      run(nest, depth + 1, flat + Index::of(symbol, strides[depth]), strides, body);
    };
    if (dry) {
      inside({});
    } else if (high - low == 1) {
      inside(indexConstant(low));
    } else {
      emitFor(builder, loc, indexConstant(low), indexConstant(high), indexConstant(1), inside);
    }
  }
}

void Emitter::runVectors(Nest &nest, int64_t low, int64_t high, Index flat, int64_t stride,
                         const std::function<void(const Index &)> &body) {
  while (low < high && !(dry && nest.request)) {
    int64_t count = high - low;
    int64_t lanes = std::min<int64_t>(nest.lanes, llvm::bit_floor(static_cast<uint64_t>(count)));
    if (nest.tail == Tail::Exact)
      count -= count % lanes;
    runPiece(nest, low, count, lanes, flat, stride, body);
    low += count;
  }
}

void Emitter::runPiece(Nest &nest, int64_t low, int64_t count, int64_t lanes, Index flat,
                       int64_t stride, const std::function<void(const Index &)> &body) {
  SymbolInfo info;
  info.low = low;
  info.high = low + count - 1;
  info.owner = nest.loops.size() - 1;
  info.lanes = lanes;
  bool isWhole = count % lanes == 0;
  info.multiple = isWhole && low % lanes == 0 ? lanes : 1;
  auto inside = [&](Value variable) {
    info.value = variable;
    Symbol symbol = addSymbol(info);
    auto saved = memo;
    body(flat + Index::of(symbol, stride));
    memo = std::move(saved);
  };
  if (dry)
    return inside({});
  forSteps(nest, low, low + count, lanes, [&](Value i) {
    if (!isWhole)
      i = arith::MinUIOp::create(builder, loc, i, indexConstant(low + count - lanes));
    inside(i);
  });
}

/// A loop whose steps the team of the nest shares, if it has one.
void Emitter::forSteps(const Nest &nest, int64_t low, int64_t high, int64_t step,
                       function_ref<void(Value)> body) {
  if (!nest.team) {
    if (high - low <= step)
      return body(indexConstant(low));
    return emitFor(builder, loc, indexConstant(low), indexConstant(high), indexConstant(step),
                   body);
  }
  Value by = indexConstant(step);
  Value first = arith::MulIOp::create(builder, loc, nest.team->number, by);
  first = arith::AddIOp::create(builder, loc, first, indexConstant(low));
  // Where all have the same number of steps it is said, so that the loop can be unrolled.
  std::optional<int64_t> count = getConstantIntValue(nest.team->count);
  if (count && (high - low) % (step * *count) == 0) {
    auto at = [&](Value round) {
      Value offset = arith::MulIOp::create(builder, loc, round, indexConstant(step * *count));
      body(arith::AddIOp::create(builder, loc, first, offset));
    };
    if (high - low == step * *count)
      return body(first);
    return emitFor(builder, loc, indexConstant(0), indexConstant((high - low) / step / *count),
                   indexConstant(1), at);
  }
  Value stride = arith::MulIOp::create(builder, loc, nest.team->count, by);
  emitFor(builder, loc, first, indexConstant(high), stride, body);
}

void Emitter::loop(int64_t begin, int64_t end, int64_t step,
                   const std::function<void(const Index &)> &body) {
  if (begin >= end)
    return;
  auto saved = memo;
  auto inside = [&](Value variable) {
    SymbolInfo info;
    info.value = variable;
    info.low = begin;
    info.high = begin + (end - begin - 1) / step * step;
    info.multiple = std::gcd(begin, step);
    body(Index::of(addSymbol(info)));
  };
  if (dry)
    inside({});
  else if (end - begin <= step)
    body(Index(begin));
  else
    emitFor(builder, loc, indexConstant(begin), indexConstant(end), indexConstant(step), inside);
  memo = std::move(saved);
}

SmallVector<Value> Emitter::loop(Value begin, Value end, Value step, ValueRange carried,
                                 const std::function<SmallVector<Value>(Value, ValueRange)> &body) {
  auto saved = memo;
  auto loop = scf::ForOp::create(builder, loc, begin, end, step, carried);
  {
    OpBuilder::InsertionGuard guard(builder);
    if (carried.empty()) {
      builder.setInsertionPoint(loop.getBody()->getTerminator());
      body(loop.getInductionVar(), {});
    } else {
      builder.setInsertionPointToStart(loop.getBody());
      SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
      scf::YieldOp::create(builder, loc, next);
    }
  }
  memo = std::move(saved);
  return SmallVector<Value>(loop.getResults());
}

void Emitter::when(Value condition, function_ref<void()> body) {
  auto saved = memo;
  auto branch = scf::IfOp::create(builder, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  body();
  memo = std::move(saved);
}

void Emitter::either(Value condition, function_ref<void()> yes, function_ref<void()> no) {
  auto saved = memo;
  auto branch = scf::IfOp::create(builder, loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  yes();
  memo = saved;
  builder.setInsertionPointToStart(branch.elseBlock());
  no();
  memo = std::move(saved);
}

void Emitter::when(ArrayRef<Test> tests, function_ref<void()> body) {
  Value all;
  for (const Test &test : tests) {
    if (test.known && !*test.known)
      return;
    if (test.value)
      all = all ? arith::AndIOp::create(builder, loc, all, test.value).getResult() : test.value;
  }
  all ? when(all, body) : body();
}

SmallVector<Value>
Emitter::carry(int64_t begin, int64_t end, ArrayRef<Value> carried,
               const std::function<SmallVector<Value>(const Index &, ValueRange)> &body) {
  if (begin >= end)
    return SmallVector<Value>(carried);
  SymbolInfo info;
  info.low = begin;
  info.high = end - 1;
  if (dry) {
    auto saved = memo;
    body(Index::of(addSymbol(info)), carried);
    memo = std::move(saved);
    return SmallVector<Value>(carried);
  }
  return loop(indexConstant(begin), indexConstant(end), 1, carried,
              [&](Value variable, ValueRange values) {
                info.value = variable;
                return body(Index::of(addSymbol(info)), values);
              });
}

Index Emitter::laneSymbol(int64_t lanes) {
  SymbolInfo info;
  info.value = indexConstant(0);
  info.low = 0;
  info.high = lanes - 1;
  info.lanes = lanes;
  info.multiple = 0;
  return Index::of(addSymbol(info));
}
