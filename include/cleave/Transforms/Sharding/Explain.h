//===- Explain.h - what travels, why, and what each rank holds -*- C++ -*-===//

#ifndef CLEAVE_TRANSFORMS_SHARDING_EXPLAIN_H
#define CLEAVE_TRANSFORMS_SHARDING_EXPLAIN_H

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <string>
#include <vector>

namespace cleave {

/// Dimensions of one name: what belongs together and is cut together.
struct ExplainedCut {
  int64_t size;
  std::vector<std::string> axes;
  /// heads, kv heads, inner, hidden, vocabulary, experts, output, or what the model calls
  /// it in an input; or nothing
  std::string role;
  int64_t count;     ///< of equal ones, which are found in layers alone
  int64_t weights;   ///< that share it, of all
  int64_t values;    ///< computed in a run
  std::string first; ///< one of them, and its dimension
};

struct ExplainedCollective {
  std::string kind; ///< all_reduce, all_gather, reduce_scatter, all_to_all, send
  std::vector<std::string> axes;
  int64_t count;      ///< of equal ones, whose nodes differ in numbers alone
  int64_t bytes;      ///< the most that a rank sends, one execution
  int64_t bound;      ///< what ranks have to send on average, whatever the algorithm
  std::string cause;  ///< the ONNX node; of several, the first
  std::string reason; ///< one sentence
};

struct ExplainedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string sharding;
};

/// Bytes.
struct ExplainedRank {
  int64_t stage;                       ///< a number
  int64_t weights;                     ///< parameters, as the program reads them
  int64_t activations;                 ///< most that is alive at once, before kernels are fused
  int64_t caches;                      ///< its part of inputs that outputs extend
  std::map<std::string, int64_t> sent; ///< by kind of collective, one execution
};

/// A stage computes a chunk of the model for a micro-batch: when, in nanoseconds since the
/// beginning of a run, as the cost model predicts.
struct ExplainedBlock {
  int64_t stage, chunk, micro;
  int64_t begin, end;
};

struct Explanation {
  std::vector<std::pair<std::string, int64_t>> mesh;
  std::map<std::string, int64_t> dims; ///< of the inputs, by name: what all counts are for
  int64_t stages = 1;
  std::vector<ExplainedBlock> schedule; ///< by stage, in its order; of stages or micro-batches
  double bubble = 0;                    ///< share of the time of all stages in which they wait
  std::vector<ExplainedCut> cuts;       ///< those of most weights first
  std::vector<ExplainedRank> ranks;
  std::vector<ExplainedTensor> tensors; ///< weights and caches
  std::vector<ExplainedCollective> collectives;
};

/// Of a module that `shard-localize` made.
Explanation collectExplain(mlir::ModuleOp module);

/// The object of `cleave explain --json`.
std::string toJson(const Explanation &explanation);
/// The same for people.
std::string toText(const Explanation &explanation);
/// The same as a page that needs nothing else: no script, no network.
std::string toHtml(const Explanation &explanation, llvm::StringRef title);

} // namespace cleave

#endif // CLEAVE_TRANSFORMS_SHARDING_EXPLAIN_H
