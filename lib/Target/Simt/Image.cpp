//===- Image.cpp - a retargeted module becomes an ELF file ----------------===//

#include "../Emit/Analyses.h"

#include "cleave/Support/Link.h"
#include "cleave/Support/Processor.h"
#include "cleave/Target/Simt.h"

#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace llvm;
using namespace cleave;

static Expected<std::unique_ptr<TargetMachine>> hostMachine(const Triple &triple) {
  static const bool ready = !InitializeNativeTarget() && !InitializeNativeTargetAsmPrinter();
  std::string message = "it has no code generator";
  const llvm::Target *host = ready ? TargetRegistry::lookupTarget(triple, message) : nullptr;
  if (!host)
    return createStringError("cannot compile for this machine: " + message);
  return std::unique_ptr<TargetMachine>(
      host->createTargetMachine(triple, levelOfThis().name, "", TargetOptions(), Reloc::PIC_,
                                std::nullopt, CodeGenOptLevel::Default));
}

/// Takes away what the checks and their records have left of detours; the rest is
/// optimized already, as the GPU will run it.
static void tidy(Module &module, TargetMachine &machine) {
  emit::Analyses analyses(machine);
  FunctionPassManager passes;
  passes.addPass(SROAPass(SROAOptions::PreserveCFG));
  passes.addPass(EarlyCSEPass());
  passes.addPass(InstCombinePass());
  for (Function &function : module)
    if (!function.isDeclaration())
      passes.run(function, analyses.functions);
}

Expected<std::vector<char>> cleave::makeSimtImage(Module &module) {
  if (Error error = retargetToSimt(module))
    return error;
  auto machine = hostMachine(module.getTargetTriple());
  if (!machine)
    return machine.takeError();
  module.setDataLayout((*machine)->createDataLayout());
  module.setPICLevel(PICLevel::BigPIC);
  for (Function &function : module)
    if (!function.isDeclaration()) {
      function.addFnAttr("target-cpu", (*machine)->getTargetCPU());
      function.addFnAttr("target-features", (*machine)->getTargetFeatureString());
    }
  tidy(module, **machine);

  SmallVector<char, 0> object;
  raw_svector_ostream stream(object);
  legacy::PassManager passes;
  if ((*machine)->addPassesToEmitFile(passes, stream, nullptr, CodeGenFileType::ObjectFile))
    return createStringError("this machine's code generator writes no objects");
  passes.run(module);
  return linkInMemory(StringRef(object.data(), object.size()), "image of kernels");
}
