//===- Processor.cpp - what code for other machines may use ---------------===//

#include "cleave/Support/Processor.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

using namespace cleave;

static bool hasAll(const llvm::StringMap<bool> &available, llvm::ArrayRef<llvm::StringRef> names) {
  return llvm::all_of(names, [&](llvm::StringRef name) { return available.lookup(name); });
}

Processor cleave::levelOfThis(bool avx2) {
  static constexpr llvm::StringRef avx512[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq",
                                               "avx512vl"};
  llvm::StringMap<bool> available = llvm::sys::getHostCPUFeatures();
  Processor level;
  level.hasVectors = hasAll(available, {"avx2", "fma", "f16c"});
  if (!level.hasVectors) {
    level.name = "generic";
    return level;
  }
  level.name = "haswell";
  level.features = {"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"};
  level.hasAvx512 = !avx2 && hasAll(available, avx512);
  if (level.hasAvx512) {
    level.name = "x86-64-v4";
    level.features.insert(level.features.end(), std::begin(avx512), std::end(avx512));
  }
  return level;
}
