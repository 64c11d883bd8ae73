//===- Attention.h - what the spellings of attention share ----*- C++ -*-===//

#ifndef CLEAVE_LIB_CONVERSION_ONNXTONN_ATTENTION_H
#define CLEAVE_LIB_CONVERSION_ONNXTONN_ATTENTION_H

#include "Node.h"

namespace cleave {

/// [b, s, (heads d)] -> [b, heads, s, d]. Null, with a message, if it does not split.
mlir::Value splitHeads(Node &n, mlir::Value x, int64_t heads);
/// [b, h, s, d] -> [b, s, (h d)].
mlir::Value mergeHeads(Node &n, mlir::Value x);

struct AttentionForm {
  mlir::Value query, key, value; ///< [b, h, s, d], [b, g, t, d], [b, g, t, e]
  mlir::Value mask, lengths;     ///< null if there is none
  double scale = 0;              ///< 0: 1 / sqrt(d)
  double softcap = 0;
  bool causal = false;
  int64_t offset = 0;
};
/// nn.attention; a mask of another float type is cast to the query's.
mlir::Value attend(Node &n, const AttentionForm &form);

/// nn.rope on x [b, h, s, d] with tables [positions, r] gathered at `positions`
/// [b, s], or tables [b, s, r] as they are if `positions` is null.
mlir::Value rotate(Node &n, mlir::Value x, mlir::Value cos, mlir::Value sin, mlir::Value positions,
                   bool interleaved);

} // namespace cleave

#endif // CLEAVE_LIB_CONVERSION_ONNXTONN_ATTENTION_H
