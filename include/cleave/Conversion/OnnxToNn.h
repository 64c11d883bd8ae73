//===- OnnxToNn.h - which ops the conversion to nn knows ------*- C++ -*-===//

#ifndef CLEAVE_CONVERSION_ONNXTONN_H
#define CLEAVE_CONVERSION_ONNXTONN_H

#include "llvm/ADT/StringRef.h"

namespace cleave {

/// Whether `opType` of `domain`, empty for the default one, has a meaning in nn. Its
/// attributes and operands may still be such that a node is refused.
bool convertsOp(llvm::StringRef domain, llvm::StringRef opType);

} // namespace cleave

#endif // CLEAVE_CONVERSION_ONNXTONN_H
