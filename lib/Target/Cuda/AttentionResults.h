//===- AttentionResults.h - rows of attention leave a block ---*- C++ -*-===//
//
// What attention has of a row are the highest score, the sum of the powers and the weighted
// values, each of some keys. Warps or blocks that have different keys of one row put theirs
// together here.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_LIB_TARGET_CUDA_ATTENTIONRESULTS_H
#define CLEAVE_LIB_TARGET_CUDA_ATTENTIONRESULTS_H

#include "Parts.h"
#include "Roots.h"

namespace cleave::cuda {

/// What several have of one row, each of its own keys.
struct RowShares {
  int64_t count;
  std::function<Value(const Index &)> top, sum, value; ///< of one of them
};

/// The rows of a block, and how many floats a part of them leaves: values, then tops, then sums.
struct ResultRows {
  int64_t topsAt() const { return rows * width; }
  int64_t sumsAt() const { return rows * (width + 1); }
  int64_t floats() const { return rows * (width + 2); }

  int64_t rows, width;
};

/// Whether a row has seen no key.
Value isEmptyRow(Emitter &emitter, Value top);

class AttentionResults {
public:
  /// `decay` is the power of a difference of tops, which is not positive.
  AttentionResults(Emitter &emitter, nn::AttentionOp op, ThreadBlock &block, Parts &parts,
                   const ResultRows &size, std::function<Value(Value)> decay)
      : e(emitter), b(emitter.builder), loc(emitter.loc), op(op), block(block), parts(parts),
        size(size), decay(std::move(decay)) {}

  using SharesOf = std::function<RowShares(const Index &row, const Index &column, int64_t lanes)>;
  /// Rows of this block, of which `count` behind `first` there are, to behind row `base` of the
  /// result; `of` says what this block has of them, which all threads see.
  void store(const Index &first, int64_t count, const Index &base, const SharesOf &of);

private:
  struct Share {
    Value top, sum, value;
  };
  void
  forRows(mlir::function_ref<void(const Index &row, const Index &column, const Index &place)> body);
  void storeAll(const SharesOf &of);
  RowShares ofBlocks(const Index &row, const Index &column);
  Share combined(const RowShares &of, int64_t lanes);
  Value mean(const Share &all);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  nn::AttentionOp op;
  ThreadBlock &block;
  Parts &parts;
  ResultRows size;
  std::function<Value(Value)> decay;
  Index first, base;
  int64_t count = 0;
};

} // namespace cleave::cuda

#endif // CLEAVE_LIB_TARGET_CUDA_ATTENTIONRESULTS_H
