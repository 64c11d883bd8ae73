//===- Shared.cpp - places of variables in shared memory ------------------===//
//
// Variables of one kernel lie behind each other, as on a GPU; those of different
// kernels over each other. The addresses are known at a launch, so uses become sums
// with a base that the simulator sets.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/ReplaceConstant.h"

#include <map>

using namespace llvm;
using namespace cleave::simt;

static bool isDynamic(const GlobalVariable &variable) {
  auto *array = dyn_cast<ArrayType>(variable.getValueType());
  return array && array->getNumElements() == 0;
}

/// Variables that `function` and what it calls use.
static void collect(Function &function, SetVector<GlobalVariable *> &used,
                    SmallPtrSetImpl<Function *> &seen) {
  if (!seen.insert(&function).second)
    return;
  for (Instruction &instruction : instructions(function))
    for (Value *operand : instruction.operand_values()) {
      if (auto *variable = dyn_cast<GlobalVariable>(operand))
        if (variable->getAddressSpace() == CLEAVE_SIMT_SHARED)
          used.insert(variable);
      if (auto *callee = dyn_cast<Function>(operand))
        collect(*callee, used, seen);
    }
}

/// The address of `variable` in every function that uses it.
static void replaceUses(Target &target, GlobalVariable &variable, uint64_t offset) {
  GlobalVariable *base = isDynamic(variable) ? target.dynamicShared : target.shared;
  DenseMap<Function *, Value *> addresses;
  for (Use &use : make_early_inc_range(variable.uses())) {
    Function *function = cast<Instruction>(use.getUser())->getFunction();
    Value *&address = addresses[function];
    if (!address) {
      BasicBlock &entry = function->getEntryBlock();
      IRBuilder<> builder(&entry, entry.getFirstNonPHIOrDbgOrAlloca());
      Value *start = builder.CreateLoad(builder.getPtrTy(), base);
      start = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), start, offset);
      address = builder.CreateAddrSpaceCast(start, variable.getType());
    }
    use.set(address);
  }
}

/// Behind all that a kernel uses beside it.
static uint64_t placeFor(GlobalVariable *variable, ArrayRef<Kernel> kernels,
                         const std::map<GlobalVariable *, uint64_t> &ends,
                         ArrayRef<SetVector<GlobalVariable *>> used) {
  uint64_t begin = 0;
  for (const auto &together : used)
    if (together.contains(variable))
      for (GlobalVariable *other : together)
        if (auto end = ends.find(other); end != ends.end())
          begin = std::max(begin, end->second);
  // Less would be right too; ptxas aligns to what vectors want.
  return alignTo(begin, std::max<uint64_t>(16, variable->getAlign().valueOrOne().value()));
}

Expected<std::vector<Kernel>> cleave::simt::placeShared(Target &target) {
  const DataLayout &layout = target.module.getDataLayout();
  std::vector<GlobalVariable *> variables;
  std::vector<Constant *> constants;
  for (GlobalVariable &variable : target.module.globals())
    if (variable.getAddressSpace() == CLEAVE_SIMT_SHARED) {
      variables.push_back(&variable);
      constants.push_back(&variable);
      variable.removeDeadConstantUsers();
    }
  convertUsersOfConstantsToInstructions(constants);

  std::vector<Kernel> kernels;
  std::vector<SetVector<GlobalVariable *>> used;
  for (Function &function : target.module)
    if (function.getCallingConv() == CallingConv::PTX_Kernel && !function.isDeclaration()) {
      SmallPtrSet<Function *, 8> seen;
      kernels.push_back({&function, {}});
      collect(function, used.emplace_back(), seen);
    }

  auto *pointer = PointerType::getUnqual(target.context);
  auto *word = Type::getInt32Ty(target.context);
  auto *type = StructType::get(target.context, {pointer, pointer, word, word});
  std::map<GlobalVariable *, uint64_t> ends;
  for (GlobalVariable *variable : variables) {
    bool dynamic = isDynamic(*variable);
    // NVPTX prints one that is not external as one byte, over which others lie.
    if (dynamic && !variable->isDeclaration())
      return createStringError("shared memory \"" + variable->getName() +
                               "\" of no size is to be external");
    uint64_t bytes = layout.getTypeAllocSize(variable->getValueType());
    uint64_t begin = dynamic ? 0 : placeFor(variable, kernels, ends, used);
    if (!dynamic)
      ends[variable] = begin + bytes;
    for (auto [kernel, variablesOfKernel] : zip_equal(kernels, used)) {
      if (!variablesOfKernel.contains(variable))
        continue;
      if (dynamic) {
        kernel.dynamicAlign =
            std::max<uint64_t>(kernel.dynamicAlign, variable->getAlign().valueOrOne().value());
        continue;
      }
      kernel.sharedBytes = std::max(kernel.sharedBytes, begin + bytes);
      kernel.variables.push_back(ConstantStruct::get(
          type, {target.text(variable->getName()), ConstantPointerNull::get(pointer),
                 ConstantInt::get(word, begin), ConstantInt::get(word, bytes)}));
    }
    replaceUses(target, *variable, begin);
    variable->eraseFromParent();
  }
  return kernels;
}
