//===- Reduce.cpp - picks the code for this processor ---------------------===//

#include "Reduce.h"

using namespace cleave::runtime;

namespace cleave::runtime {
ReduceFunction findReduceBase(uint8_t type, uint8_t reduction);
#ifdef __x86_64__
ReduceFunction findReduceAvx2(uint8_t type, uint8_t reduction);
ReduceFunction findReduceAvx512(uint8_t type, uint8_t reduction);
#endif
} // namespace cleave::runtime

using Finder = ReduceFunction (*)(uint8_t, uint8_t);

static Finder finderOfThisProcessor() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v4"))
    return findReduceAvx512;
  if (__builtin_cpu_supports("x86-64-v3"))
    return findReduceAvx2;
#endif
  return findReduceBase;
}

ReduceFunction cleave::runtime::findReduce(uint8_t type, uint8_t reduction) {
  static const Finder find = finderOfThisProcessor();
  return find(type, reduction);
}
