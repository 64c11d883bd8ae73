//===- Target.cpp - what runs the kernels ---------------------------------===//

#include "cleave/Driver/Target.h"

#include "cleave/Target/Cuda.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace cleave;

llvm::Expected<Target> cleave::parseTarget(llvm::StringRef text) {
  Target target;
  auto [name, chips] = text.split(':');
  if (name == "cpu" && chips.empty() && !text.contains(':'))
    return target;
  if (name != "cuda" && name != "simt")
    return llvm::createStringError("--target wants cpu, cuda or simt, got: \"" + text + "\"");
  target.kind = name == "cuda" ? Target::Cuda : Target::Simt;
  if (!text.contains(':')) {
    target.chips = {"sm_80", "sm_90a", "sm_100", "sm_120"};
    return target;
  }
  std::vector<llvm::StringRef> known = cuda::chips();
  for (llvm::StringRef chip : llvm::split(chips, ',')) {
    if (!llvm::is_contained(known, chip))
      return llvm::createStringError("--target wants chips as in " + name + ":sm_80,sm_90a, of " +
                                     llvm::join(known, ", ") + ", got: \"" + chip + "\"");
    target.chips.push_back(chip.str());
  }
  if (target.kind == Target::Simt && target.chips.size() > 1)
    return llvm::createStringError("--target simt runs the code for one chip, got: \"" + chips +
                                   "\"");
  return target;
}
