//===- Code.cpp - the llvm dialect becomes machine code -------------------===//
//
// The vectors are written already, so LLVM's vectorizers and its inliner have
// nothing to do: a handful of function passes is all that pays.
//
//===----------------------------------------------------------------------===//

#include "../Emit/Analyses.h"
#include "Kernel.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace llvm;
using namespace cleave;

/// int32_t name(void *const *buffers, const int64_t *coordinates): takes the
/// buffers apart for `body`, whose pointers are then known not to overlap.
static void addEntry(Module &module, StringRef name, unsigned numBuffers) {
  Function *body = module.getFunction("body");
  body->setLinkage(GlobalValue::InternalLinkage);
  body->addFnAttr(Attribute::AlwaysInline);
  LLVMContext &context = module.getContext();
  auto *pointer = PointerType::getUnqual(context);
  auto *type = FunctionType::get(Type::getInt32Ty(context), {pointer, pointer}, false);
  auto *entry = Function::Create(type, GlobalValue::ExternalLinkage, name, module);
  IRBuilder<> builder(BasicBlock::Create(context, "", entry));
  std::vector<Value *> arguments;
  for (unsigned i = 0; i < numBuffers; ++i)
    arguments.push_back(
        builder.CreateLoad(pointer, builder.CreateConstGEP1_64(pointer, entry->getArg(0), i)));
  // A kernel without scratch never touches it.
  if (arguments.size() + 1 < body->arg_size())
    arguments.push_back(ConstantPointerNull::get(pointer));
  arguments.push_back(entry->getArg(1));
  for (unsigned i = 0; i + 1 < arguments.size(); ++i)
    body->addParamAttr(i, Attribute::NoAlias);
  builder.CreateRet(builder.CreateCall(body, arguments));
}

static void optimize(Module &module, TargetMachine &machine) {
  emit::Analyses analyses(machine);
  FunctionPassManager passes;
  passes.addPass(SROAPass(SROAOptions::ModifyCFG));
  passes.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  passes.addPass(InstCombinePass());
  passes.addPass(createFunctionToLoopPassAdaptor(LICMPass(LICMOptions()), /*UseMemorySSA=*/true));
  passes.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  passes.addPass(SimplifyCFGPass());
  for (Function &function : module)
    if (!function.isDeclaration())
      passes.run(function, analyses.functions);
}

std::unique_ptr<MemoryBuffer> cleave::cpu::generateCode(mlir::ModuleOp source, StringRef name,
                                                        unsigned numBuffers,
                                                        TargetMachine &machine) {
  LLVMContext context;
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(source, context);
  if (!module)
    return nullptr;
  module->setTargetTriple(machine.getTargetTriple());
  module->setDataLayout(machine.createDataLayout());
  addEntry(*module, name, numBuffers);
  for (Function &function : *module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", machine.getTargetCPU());
    function.addFnAttr("target-features", machine.getTargetFeatureString());
    // Else vectors of 512 bits are cut in two on some machines.
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("frame-pointer", "none");
  }
  optimize(*module, machine);

  SmallVector<char, 0> object;
  raw_svector_ostream stream(object);
  legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, CodeGenFileType::ObjectFile)) {
    source.emitError("this machine's code generator writes no objects");
    return nullptr;
  }
  passes.run(*module);
  return std::make_unique<SmallVectorMemoryBuffer>(std::move(object), name,
                                                   /*RequiresNullTerminator=*/false);
}
