//===- Roots.cpp - what the emitters of all targets share -----------------===//

#include "Roots.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <numbers>

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

static bool isRoot(Operation &op) {
  return isa<nn::MatmulOp, nn::AttentionOp, nn::ConvOp, nn::ScatterNdOp, nn::CacheUpdateOp,
             nn::SoftmaxOp, nn::LayerNormOp, nn::RmsNormOp, nn::ReduceOp, nn::ArgReduceOp,
             nn::TopKOp, nn::CumSumOp>(op);
}

static bool isStorable(Type element) {
  if (auto integer = dyn_cast<IntegerType>(element))
    return llvm::is_contained({1u, 8u, 16u, 32u, 64u}, integer.getWidth());
  return element.isF16() || element.isBF16() || element.isF32() || element.isF64() ||
         nn::isByteFloat(element);
}

LogicalResult cleave::emit::checkKernel(func::FuncOp kernel, StringRef target) {
  for (Operation &op : kernel.getBody().front().without_terminator())
    for (Type type : llvm::concat<const Type>(op.getOperandTypes(), op.getResultTypes()))
      if (Type element = cast<RankedTensorType>(type).getElementType(); !isStorable(element))
        return op.emitError("the ")
               << target << " target does not store this element type, got: " << element;
  return success();
}

/// Memory of a tensor; the bare-pointer convention wants a size.
static Type memoryOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return MemRefType::get({std::max<int64_t>(tensor.getNumElements(), 1)},
                         Emitter::storedType(tensor.getElementType()));
}

OwningOpRef<ModuleOp> cleave::emit::makeBody(func::FuncOp kernel, const Machine &machine,
                                             unsigned scratchSpace, const Workspace &workspace) {
  OpBuilder builder(kernel.getContext());
  Location loc = kernel.getLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder, loc);
  SmallVector<Type> arguments;
  for (Type type : llvm::concat<const Type>(kernel.getArgumentTypes(), kernel.getResultTypes()))
    arguments.push_back(memoryOf(type));
  if (workspace.counters) {
    arguments.push_back(MemRefType::get({workspace.floats}, builder.getF32Type()));
    arguments.push_back(MemRefType::get({workspace.counters}, builder.getI32Type()));
  }
  // Larger than any, and still in reach of the narrowest index.
  int64_t scratch = machine.isParallel ? int64_t(1) << 28 : int64_t(1) << 40;
  Attribute space = scratchSpace ? builder.getI64IntegerAttr(scratchSpace) : Attribute();
  arguments.push_back(
      MemRefType::get({scratch}, builder.getF32Type(), MemRefLayoutAttrInterface(), space));
  arguments.push_back(MemRefType::get({1024}, builder.getI64Type()));
  if (machine.isParallel)
    arguments.push_back(MemRefType::get({1}, builder.getI32Type()));
  SmallVector<Type> results;
  if (!machine.isParallel)
    results.push_back(builder.getI32Type());
  builder.setInsertionPointToEnd(module->getBody());
  func::FuncOp::create(builder, loc, "body", builder.getFunctionType(arguments, results));
  return module;
}

Operation *cleave::emit::rootOf(func::FuncOp kernel) {
  for (Operation &op : llvm::reverse(kernel.getBody().front()))
    if (isRoot(op))
      return &op;
  return nullptr;
}

Outputs::Outputs(func::FuncOp kernel, Operation *root)
    : root(root), end(kernel.getBody().front().getTerminator()) {
  DenseSet<Operation *> later{root};
  for (Operation &op : kernel.getBody().front())
    if (llvm::any_of(op.getOperands(), [&](Value operand) {
          return operand.getDefiningOp() && later.contains(operand.getDefiningOp());
        }))
      later.insert(&op);
  for (auto [number, value] : llvm::enumerate(end->getOperands()))
    (later.contains(value.getDefiningOp()) ? behind : inFront).push_back(number);
}

void Outputs::storeBehind(Emitter &emitter, const Index &at) const {
  for (unsigned number : behind)
    emitter.store(number, at, emitter.pull(end->getOperand(number), at));
}

void Outputs::storeBehind(Emitter &emitter, Value value, const Index &at) const {
  emitter.define(root->getResult(0), [=](const Index &) { return value; });
  emitter.forget();
  storeBehind(emitter, at);
  emitter.undefine(root->getResult(0));
}

void Outputs::storeInFront(Emitter &emitter, const Index &at) const {
  for (unsigned number : inFront)
    emitter.store(number, at, emitter.pull(end->getOperand(number), at));
}

Value cleave::emit::buildDecay(Emitter &e, Value x) {
  // Its own library knows instructions for it; what follows is as exact as f32.
  if (e.machine.isParallel || getElementTypeOrSelf(x.getType()).isF64())
    return math::ExpOp::create(e.builder, e.loc, x);
  // 2^n e^r with n >= -126, so that one shift of the exponent is the factor.
  OpBuilder &b = e.builder;
  int64_t lanes = e.laneCount(x);
  auto num = [&](double v) { return e.splat(v, lanes); };
  auto integer = [&](int64_t v) { return e.constantOf(b.getI32Type(), v, lanes); };
  Type ints = e.vectorOf(b.getI32Type(), lanes);
  Value tiny = arith::CmpFOp::create(b, e.loc, arith::CmpFPredicate::OLT, x, num(-87.3));
  Value safe = arith::SelectOp::create(b, e.loc, tiny, num(0.0), x);
  Value n = math::RoundEvenOp::create(
      b, e.loc, arith::MulFOp::create(b, e.loc, safe, num(std::numbers::log2e)));
  Value r = math::FmaOp::create(b, e.loc, n, num(-0.693359375), safe);
  r = math::FmaOp::create(b, e.loc, n, num(0.693359375 - std::numbers::ln2), r);
  Value p = num(1.0 / 720);
  for (double c : {1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
    p = math::FmaOp::create(b, e.loc, p, r, num(c));
  Value shift =
      arith::ShLIOp::create(b, e.loc, arith::FPToSIOp::create(b, e.loc, ints, n), integer(23));
  Value bits = arith::AddIOp::create(b, e.loc, arith::BitcastOp::create(b, e.loc, ints, p), shift);
  Value power = arith::BitcastOp::create(b, e.loc, x.getType(), bits);
  return arith::SelectOp::create(b, e.loc, tiny, num(0.0), power);
}

Index cleave::emit::pushed(Emitter &e, Value value, Index at) {
  while (!value.use_empty()) {
    Operation *user = *value.getUsers().begin();
    if (auto transpose = dyn_cast<nn::TransposeOp>(user)) {
      SmallVector<Index> from = e.delinearize(at, Emitter::shape(value)), to;
      for (int64_t dim : transpose.getPermutation())
        to.push_back(from[dim]);
      at = e.linearize(to, Emitter::shape(transpose.getResult()));
    } else if (!isa<nn::ReshapeOp>(user)) {
      break;
    }
    value = user->getResult(0);
  }
  return at;
}

void cleave::emit::emitResult(Emitter &emitter, unsigned number) {
  Value result = emitter.kernel.getBody().front().getTerminator()->getOperand(number);
  emitter.nest(Emitter::size(result),
               [&](const Index &at) { emitter.store(number, at, emitter.pull(result, at)); });
}

void cleave::emit::emitElementwise(Emitter &emitter) {
  for (unsigned number = 0; number < emitter.kernel.getNumResults(); ++number)
    emitResult(emitter, number);
}

std::optional<int64_t> cleave::emit::rowLength(Operation *root) {
  auto type = cast<RankedTensorType>(root->getOperand(0).getType());
  if (!isa<FloatType>(type.getElementType()) || type.getElementTypeBitWidth() > 32)
    return std::nullopt;
  ArrayRef<int64_t> shape = type.getShape();
  SmallVector<int64_t> dims;
  if (auto reduce = dyn_cast<nn::ReduceOp>(root))
    dims.assign(reduce.getDims().begin(), reduce.getDims().end());
  else if (auto softmax = dyn_cast<nn::SoftmaxOp>(root))
    dims.push_back(softmax.getDim());
  else if (isa<nn::LayerNormOp, nn::RmsNormOp>(root))
    dims.push_back(shape.size() - 1);
  else
    return std::nullopt;
  int64_t length = 1;
  bool keptBehind = false;
  for (int64_t dim = static_cast<int64_t>(shape.size()) - 1; dim >= 0; --dim) {
    bool isReduced = llvm::is_contained(dims, dim);
    if (isReduced && keptBehind && shape[dim] != 1)
      return std::nullopt;
    keptBehind |= !isReduced && shape[dim] != 1;
    length *= isReduced ? shape[dim] : 1;
  }
  return length > 0 ? std::optional(length) : std::nullopt;
}
