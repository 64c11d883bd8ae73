//===- Harness.h - runs nn functions and says what they should give -*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_KERNELS_HARNESS_H
#define CLEAVE_TEST_UNIT_KERNELS_HARNESS_H

#include "cleave/Analysis/Evaluate.h"
#include "cleave/Target/Program.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cleave::test {

/// What kernels are tried on.
struct Machine {
  std::string name;
  std::function<llvm::Expected<std::unique_ptr<CompiledProgram>>(mlir::ModuleOp)> compile;
};

/// All that this program is there for: Cpu.cpp, Cuda.cpp.
std::vector<Machine> machines();

/// How inputs are drawn.
struct Draw {
  double low = -2.0, high = 2.0; ///< of floats
  int64_t least = 0, most = 3;   ///< of integers, both inclusive
};

struct Check {
  double absolute = 2e-5, relative = 2e-5;
  Draw draw;
  uint64_t seed = 1;
  int runs = 1; ///< of one session, all of which have to give the same bits
};

/// Compiles `function` (the text of one func named @main) for every machine, runs it on drawn
/// inputs and compares with cleave::evaluate, op by op. Returns what is wrong, or nothing. Floats
/// narrower than f32 get a tolerance of their own last place.
std::string differs(const std::string &function, const Check &check = {});
/// The same for one machine.
std::string differsOn(const Machine &machine, const std::string &function, const Check &check = {});

/// The message of a run that has to fail on every machine; empty if it succeeds
/// on one, or if they differ.
std::string runFault(const std::string &function, const std::vector<HostTensor> &inputs);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_KERNELS_HARNESS_H
