//===- Cpu.cpp - kernels on cores -----------------------------------------===//
//
// With the widest vectors of this machine, and as an AVX2 machine.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"

#include "cleave/Support/Processor.h"
#include "cleave/Target/Cpu.h"

using namespace cleave;
using namespace cleave::test;

static Machine machine(const char *name, bool forceAvx2) {
  CpuOptions options;
  options.forceAvx2 = forceAvx2;
  return {name, [=](mlir::ModuleOp module) { return compileCpu(module, options); }};
}

std::vector<Machine> cleave::test::machines() {
  if (levelOfThis().hasAvx512)
    return {machine("AVX-512", false), machine("AVX2", true)};
  return {machine("AVX2", true)};
}
