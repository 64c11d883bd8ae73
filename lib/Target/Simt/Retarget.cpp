//===- Retarget.cpp - a module for nvptx64 becomes one for the host -------===//
//
// Address spaces stay as they are written: to a host they are names of one memory.
//
//===----------------------------------------------------------------------===//

#include "cleave/Target/Simt.h"

#include "Retarget.h"

#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Verifier.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

using namespace llvm;
using namespace cleave::simt;

/// Globals are constants, or in shared memory: a module has no other state.
static Error checkGlobals(const Module &module) {
  for (const GlobalVariable &global : module.globals()) {
    StringRef name = global.getName();
    if (name.starts_with("llvm.") || global.getAddressSpace() == CLEAVE_SIMT_SHARED)
      continue;
    if (!global.isConstant() || global.isDeclaration())
      return createStringError("the simulator knows no state of a module, got: \"" + name + "\"");
  }
  return Error::success();
}

static void removeGlobal(Module &module, StringRef name) {
  if (GlobalVariable *global = module.getGlobalVariable(name, /*AllowInternal=*/true))
    global->eraseFromParent();
}

/// What was true of memory, and of when functions return, is not with a simulator in
/// every access.
static void forgetPromises(Function &function) {
  function.setAttributes(AttributeList::get(
      function.getContext(),
      AttributeSet::get(function.getContext(),
                        {Attribute::get(function.getContext(), Attribute::NoUnwind)}),
      {}, {}));
  for (Instruction &instruction : instructions(function))
    if (isa<LoadInst, StoreInst, CallInst>(instruction))
      instruction.dropUnknownNonDebugMetadata();
}

static void toHost(Module &module, ArrayRef<Kernel> kernels) {
  for (const Kernel &kernel : kernels)
    kernel.function->setCallingConv(CallingConv::C);
  for (Function &function : make_early_inc_range(module)) {
    if (function.isDeclaration()) {
      if (function.use_empty())
        function.eraseFromParent();
      continue;
    }
    forgetPromises(function);
    function.setCallingConv(CallingConv::C);
    function.setLinkage(GlobalValue::InternalLinkage);
    function.setComdat(nullptr);
  }
  for (GlobalVariable &global : module.globals())
    if (global.getName() != CLEAVE_SIMT_SYMBOL && !global.isDeclaration() &&
        !global.hasPrivateLinkage())
      global.setLinkage(GlobalValue::InternalLinkage);
  for (StringRef name : {"nvvm.annotations", "nvvmir.version", "nvvm.internalize.after.link"})
    if (NamedMDNode *node = module.getNamedMetadata(name))
      module.eraseNamedMetadata(node);
}

/// Calls of functions of the module, in the convention of the host.
static void callAsHost(Module &module) {
  for (Function &function : module)
    for (Instruction &instruction : instructions(function))
      if (auto *call = dyn_cast<CallInst>(&instruction))
        call->setCallingConv(CallingConv::C);
}

Error cleave::retargetToSimt(Module &module) {
  if (!module.getTargetTriple().isNVPTX())
    return createStringError("the simulator takes modules for nvptx64, got: \"" +
                             module.getTargetTriple().str() + "\"");
  removeGlobal(module, "llvm.used");
  removeGlobal(module, "llvm.compiler.used");
  if (Error error = checkGlobals(module))
    return error;
  Target target(module);
  if (Error error = lowerCalls(target))
    return error;
  trackSums(target);
  if (Error error = checkAccesses(target))
    return error;
  lowerForHost(target);
  Expected<std::vector<Kernel>> kernels = placeShared(target);
  if (!kernels)
    return kernels.takeError();

  // Entries take arguments as the attributes of kernels say.
  describe(target, *kernels);
  toHost(module, *kernels);
  callAsHost(module);
  module.setTargetTriple(Triple(sys::getProcessTriple()));
  std::string message;
  raw_string_ostream out(message);
  if (verifyModule(module, &out))
    return createStringError("cannot retarget \"" + module.getName() + "\": " + message);
  return Error::success();
}
