//===- Assembly.cpp - inline PTX that the simulator knows -----------------===//
//
// One instruction, operands in order, as compilers write what has no intrinsic:
// "ex2.approx.ftz.f32 $0, $1;". It is what NVVM's intrinsic of that name would be.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/IR/InlineAsm.h"

using namespace llvm;
using namespace cleave::simt;

/// The intrinsic's name of an instruction of PTX on f32: the type is `f` there.
static std::string intrinsicName(StringRef instruction) {
  StringRef name = instruction;
  return name.consume_back(".f32") ? (name + ".f").str() : "";
}

Value *cleave::simt::lowerAssembly(Target &target, CallInst &call, StringRef text) {
  if (text.trim().empty())
    return ConstantInt::getTrue(target.context);
  auto [instruction, operands] = text.trim(" \t\n;").split(' ');
  std::string wanted;
  for (unsigned i = 0; i <= call.arg_size(); ++i)
    wanted += (i ? ", $" : "$") + std::to_string(i);
  if (operands.trim() != wanted || !call.getType()->isFloatTy())
    return nullptr;
  std::string name = intrinsicName(instruction);
  return name.empty() ? nullptr : lowerArithmetic(target, call, name);
}
