//===- Machine.cpp - what this processor can do ---------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

using namespace cleave::runtime;

#ifdef __x86_64__

const char *cleave::runtime::thisArchitecture() { return "x86_64"; }

bool cleave::runtime::hasFeature(std::string_view name) {
  __builtin_cpu_init();
  // The compiler takes a name only as a literal.
#define FEATURE(NAME)                                                                              \
  if (name == NAME)                                                                                \
    return __builtin_cpu_supports(NAME);
  FEATURE("avx2")
  FEATURE("fma")
  FEATURE("f16c")
  FEATURE("bmi")
  FEATURE("bmi2")
  FEATURE("lzcnt")
  FEATURE("movbe")
  FEATURE("avx512f")
  FEATURE("avx512bw")
  FEATURE("avx512cd")
  FEATURE("avx512dq")
  FEATURE("avx512vl")
#undef FEATURE
  return false;
}

#elif defined(__aarch64__)

const char *cleave::runtime::thisArchitecture() { return "aarch64"; }
bool cleave::runtime::hasFeature(std::string_view) { return false; }

#else
#error "no name for this architecture"
#endif
