//===- PrintExplanation.cpp - says what travels and why -------------------===//

#include "cleave/Transforms/Sharding/Explain.h"
#include "cleave/Transforms/Sharding/Passes.h"

#include "llvm/Support/raw_ostream.h"

namespace cleave {
#define GEN_PASS_DEF_PRINTEXPLANATION
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;

namespace {

struct PrintExplanation : cleave::impl::PrintExplanationBase<PrintExplanation> {
  using PrintExplanationBase::PrintExplanationBase;

  void runOnOperation() override {
    cleave::Explanation explanation = cleave::collectExplain(getOperation());
    if (explanation.ranks.empty()) {
      getOperation().emitError("is not localised; run --shard-localize first");
      return signalPassFailure();
    }
    llvm::outs() << (json ? cleave::toJson(explanation) + "\n" : cleave::toText(explanation));
  }
};

} // namespace
