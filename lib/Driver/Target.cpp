//===- Target.cpp - what runs the kernels ---------------------------------===//

#include "cleave/Driver/Target.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace cleave;

/// As in `sm_90a`: what LLVM and ptxas both know begins with Turing.
static bool isChip(llvm::StringRef chip) {
  unsigned number;
  if (!chip.consume_front("sm_") || chip.consumeInteger(10, number) || number < 75)
    return false;
  return chip.empty() || chip == "a" || chip == "f";
}

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
  for (llvm::StringRef chip : llvm::split(chips, ',')) {
    if (!isChip(chip))
      return llvm::createStringError("--target wants chips as in " + name +
                                     ":sm_80,sm_90a, from sm_75 on, got: \"" + chip + "\"");
    target.chips.push_back(chip.str());
  }
  if (target.kind == Target::Simt && target.chips.size() > 1)
    return llvm::createStringError("--target simt runs the code for one chip, got: \"" + chips +
                                   "\"");
  return target;
}
