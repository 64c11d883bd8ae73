//===- PrintRules.cpp - says the sharding rule of every op ----------------===//

#include "cleave/Transforms/Sharding/Passes.h"

namespace cleave {
#define GEN_PASS_DEF_PRINTRULES
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;

static StringRef spell(nn::FactorKind kind) {
  switch (kind) {
  case nn::FactorKind::Parallel: return "parallel";
  case nn::FactorKind::Reduction: return "sum";
  case nn::FactorKind::Lookup: return "lookup";
  case nn::FactorKind::Concatenation: return "concat";
  case nn::FactorKind::Special: return "special";
  }
  llvm_unreachable("five kinds");
}

static void print(raw_ostream &os, const nn::DimGroup &group) {
  if (group.value == nn::kNoValue) {
    os << group.dims.front();
    return;
  }
  os << group.value << "[";
  llvm::interleaveComma(group.dims, os);
  os << "]";
  if (group.split.empty())
    return;
  os << ":";
  llvm::interleave(group.split, os, "x");
  os << "." << group.part;
}

static std::string print(const nn::ShardingRule &rule) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::interleave(
      rule.factors, os,
      [&](const nn::Factor &factor) {
        os << spell(factor.kind) << " ";
        llvm::interleave(
            factor.groups, os, [&](const nn::DimGroup &group) { print(os, group); }, " ");
      },
      "; ");
  if (rule.factors.empty())
    os << "whole";
  for (const auto &set : rule.linearIn) {
    os << "; linear {";
    llvm::interleaveComma(set, os);
    os << "}";
  }
  return text;
}

namespace {

struct PrintRules : cleave::impl::PrintRulesBase<PrintRules> {
  void runOnOperation() override {
    for (Operation &op : getOperation().getBody().front().without_terminator())
      if (auto source = dyn_cast<nn::ShardingRuleOpInterface>(op))
        op.emitRemark() << print(source.getShardingRule());
      else {
        op.emitOpError("has no sharding rule");
        return signalPassFailure();
      }
  }
};

} // namespace
