//===- ExplainParts.h - what text and page say alike ----------*- C++ -*-===//

#ifndef CLEAVE_LIB_TRANSFORMS_SHARDING_EXPLAINPARTS_H
#define CLEAVE_LIB_TRANSFORMS_SHARDING_EXPLAINPARTS_H

#include "cleave/Transforms/Sharding/Explain.h"

namespace cleave::sharding {

/// `name` with every number as `#`, so that layers have one name.
std::string withoutNumbers(llvm::StringRef name);
/// `tp` or `dp,tp`
std::string axesText(const std::vector<std::string> &axes);

/// Neighbouring ranks that hold and send as much.
struct RankSpan {
  size_t first, last;
  std::string text() const; ///< `3` or `0-7`
};
std::vector<RankSpan> equalRanks(const Explanation &explanation);

/// Tensors that are cut, those of equal layers as one; `name` is the first's.
struct CutTensors {
  int64_t count;
  std::string name, sharding;
};
std::vector<CutTensors> cutTensors(const Explanation &explanation);

/// The terms that an explanation uses, each with its meaning.
std::vector<std::pair<std::string, std::string>> legend(const Explanation &explanation);

/// When the last block of the schedule ends, in nanoseconds.
int64_t scheduleEnd(const Explanation &explanation);

/// What a rank sends in one execution.
int64_t sentBytes(const ExplainedRank &rank);

} // namespace cleave::sharding

#endif // CLEAVE_LIB_TRANSFORMS_SHARDING_EXPLAINPARTS_H
