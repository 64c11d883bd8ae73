//===- FuseActivations.cpp - GELU and SiLU by what they compute -----------===//
//
//   %a = nn.div %x, %sqrt2
//   %b = nn.erf %a
//   %c = nn.add %b, %one       =>   %y = nn.gelu erf %x
//   %d = nn.mul %x, %c
//   %y = nn.mul %d, %half
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Graph/Passes.h"

#include "Probe.h"

#include <cmath>

namespace cleave {
#define GEN_PASS_DEF_FUSEACTIVATIONS
#include "cleave/Transforms/Graph/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::nn;

static double gelu(GeluKind kind, double x) {
  switch (kind) {
  case GeluKind::Erf: return x / 2 * (1 + std::erf(x * std::sqrt(0.5)));
  case GeluKind::Tanh:
    return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case GeluKind::Quick: return x / (1 + std::exp(-1.702 * x));
  }
  llvm_unreachable("all kinds are listed");
}

static double silu(double x) { return x / (1 + std::exp(-x)); }

/// The values of `function` at `points`.
static std::vector<double> sampled(ArrayRef<double> points,
                                   llvm::function_ref<double(double)> function) {
  std::vector<double> values;
  for (double x : points)
    values.push_back(function(x));
  return values;
}

/// The activation that gives `seen` at `points`, on `input`; null if there is none.
static Value activation(OpBuilder &b, Location loc, Value input, ArrayRef<double> points,
                        ArrayRef<double> seen) {
  double tolerance = toleranceOf(typeOf(input).getElementType());
  for (GeluKind kind : {GeluKind::Erf, GeluKind::Tanh, GeluKind::Quick})
    if (areClose(seen, sampled(points, [&](double x) { return gelu(kind, x); }), tolerance))
      return GeluOp::create(b, loc, kind, input);
  if (areClose(seen, sampled(points, silu), tolerance))
    return SiluOp::create(b, loc, input);
  return nullptr;
}

static bool fuse(Operation *anchor, OpBuilder &b) {
  std::vector<double> points;
  for (int i = -50; i <= 50; ++i)
    points.push_back(0.1 * i);
  SmallVector<Value> roots = possibleRoots(anchor->getOperand(0));
  for (Value root : llvm::reverse(roots)) {
    Probe probe(root, /*reductions=*/false);
    if (!llvm::is_contained(probe.ops(), anchor))
      continue;
    auto values = probe.run(points);
    if (values.empty())
      continue;
    ArrayRef<double> seen = values[root].floats;
    for (Value candidate : probe.candidates()) {
      if (candidate.getType() != root.getType() || candidate.use_empty())
        continue;
      b.setInsertionPointAfter(candidate.getDefiningOp());
      Value fused = activation(b, candidate.getLoc(), root, seen, values[candidate].floats);
      if (!fused)
        continue;
      candidate.replaceAllUsesWith(fused);
      return true;
    }
  }
  return false;
}

namespace {

struct FuseActivations : cleave::impl::FuseActivationsBase<FuseActivations> {
  void runOnOperation() override {
    SmallVector<Operation *> anchors;
    getOperation().walk([&](Operation *op) {
      if (isa<ErfOp, TanhOp, SigmoidOp>(op))
        anchors.push_back(op);
    });
    OpBuilder b(&getContext());
    for (Operation *anchor : anchors)
      numFused += fuse(anchor, b);
  }
};

} // namespace
