//===- Processor.h - what code for other machines may use -----*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_PROCESSOR_H
#define CLEAVE_SUPPORT_PROCESSOR_H

#include <string>
#include <vector>

namespace cleave {

/// A level of processors, and not one of them.
struct Processor {
  std::string name;                  ///< as LLVM knows it
  std::vector<std::string> features; ///< that code for it may use
  bool hasVectors = false;           ///< AVX2, FMA and F16C
  bool hasAvx512 = false;
};

/// The highest level that this machine has; without AVX-512 where `avx2` asks for that.
Processor levelOfThis(bool avx2 = false);

} // namespace cleave

#endif // CLEAVE_SUPPORT_PROCESSOR_H
