//===- Code.cpp - the nvvm dialect becomes LLVM IR and PTX ----------------===//

#include "../Emit/Analyses.h"
#include "Kernel.h"

#include "cleave/Support/Failure.h"
#include "cleave/Target/Cuda.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/IntrinsicsNVPTX.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/Linker/Linker.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/IPO/Internalize.h"

using namespace llvm;
using namespace cleave;

namespace {
/// A version of PTX, the first driver that reads it, and the chips whose kernels want no newer one.
struct Ptx {
  const char *feature;
  uint32_t driver;
  std::vector<StringRef> chips;
};
} // namespace

/// LLVM ends the process where a version does not know the chip.
static ArrayRef<Ptx> versions() {
  static const Ptx all[] = {
      {"+ptx71", 11010, {"sm_75", "sm_80", "sm_86"}},
      {"+ptx74", 11040, {"sm_87"}},
      {"+ptx78", 11080, {"sm_89"}},
      {"+ptx80", 12000, {"sm_90"}},
      // The first with products of groups whose bytes are signed on one side only.
      {"+ptx84", 12040, {"sm_90a"}},
      {"+ptx87", 12080, {"sm_100", "sm_100a", "sm_101", "sm_101a", "sm_120", "sm_120a"}},
      {"+ptx88",
       12090,
       {"sm_100f", "sm_101f", "sm_103", "sm_103a", "sm_103f", "sm_120f", "sm_121", "sm_121a",
        "sm_121f"}},
      {"+ptx90", 13000, {"sm_88", "sm_110", "sm_110a", "sm_110f"}}};
  return all;
}

/// The oldest that knows `chip` and what a kernel uses of it: newer drivers read it, older ones
/// nothing newer.
static const Ptx &ptxFor(StringRef chip, const cuda::Launch &launch) {
  ArrayRef<Ptx> all = versions();
  auto knows = [&](StringRef other) {
    return find_if(all, [&](const Ptx &one) { return is_contained(one.chips, other); });
  };
  const auto *found = knows(chip);
  assert(found != all.end() && "of cuda::chips()");
  // Warps multiply 8-bit floats since the version that groups are written in.
  return launch.multipliesByteFloats ? *std::max(found, knows("sm_90a")) : *found;
}

std::vector<StringRef> cuda::chips() {
  std::vector<StringRef> all;
  for (const Ptx &version : versions())
    append_range(all, version.chips);
  sort(all, [](StringRef a, StringRef b) { return a.compare_numeric(b) < 0; });
  return all;
}

uint32_t cuda::driverOf(StringRef chip, const Launch &launch) {
  return ptxFor(chip, launch).driver;
}

static Expected<std::unique_ptr<TargetMachine>> machineFor(StringRef chip,
                                                           const cuda::Launch &launch) {
  Triple triple("nvptx64-nvidia-cuda");
  std::string error;
  const Target *target = TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return createStringError("this build of LLVM has no code generator for NVIDIA's GPUs");
  TargetOptions options;
  options.AllowFPOpFusion = FPOpFusion::Fast;
  return std::unique_ptr<TargetMachine>(
      target->createTargetMachine(triple, chip, ptxFor(chip, launch).feature, options, Reloc::PIC_,
                                  std::nullopt, CodeGenOptLevel::Aggressive));
}

/// Of a CUtensorMap.
static constexpr uint64_t mapBytes = 128;

/// The kernel calls `body`, whose pointers are then known not to overlap, but for memory that
/// other blocks write to. Shared memory is an array without a size: the launch says how much
/// there is. What begins early waits here, and its own arguments promise nothing: of what no
/// other pointer of a kernel reaches ptxas would take for granted that it is there before the
/// kernel begins, and load it in front of the wait.
static void addEntry(Module &module, StringRef name, const cuda::Launch &launch) {
  Function *body = module.getFunction("body");
  body->setLinkage(GlobalValue::InternalLinkage);
  body->addFnAttr(Attribute::AlwaysInline);
  LLVMContext &context = module.getContext();
  auto *pointer = PointerType::getUnqual(context);
  unsigned count = body->arg_size(), maps = count - launch.maps.size(), scratch = maps - 3;
  SmallVector<Type *> types(count - 1, pointer);
  auto *type = FunctionType::get(Type::getVoidTy(context), types, false);
  auto *entry = Function::Create(type, GlobalValue::ExternalLinkage, name, module);
  entry->setCallingConv(CallingConv::PTX_Kernel);
  entry->addFnAttr("nvvm.maxntid", Twine(launch.threads).str());
  // Groups can give each other registers where it is known what they begin with.
  if (launch.resident)
    entry->addFnAttr("nvvm.minctasm", Twine(launch.resident).str());
  IRBuilder<> builder(BasicBlock::Create(context, "", entry));
  // The next kernel may get ready as soon as all blocks are there. What has waited for the one
  // in front has waited for all, since that has too.
  if (launch.isEarly)
    for (Intrinsic::ID call :
         {Intrinsic::nvvm_griddepcontrol_launch_dependents, Intrinsic::nvvm_griddepcontrol_wait})
      builder.CreateIntrinsic(call, ArrayRef<Type *>(), {});
  std::vector<Value *> arguments;
  for (unsigned i = 0; i < count; ++i) {
    // All threads write to it, so it is no argument of which LLVM may think it its own.
    if (i == scratch) {
      Type *array = ArrayType::get(builder.getInt8Ty(), 0);
      auto *shared = new GlobalVariable(module, array, /*isConstant=*/false,
                                        GlobalValue::ExternalLinkage, nullptr, "shared", nullptr,
                                        GlobalValue::NotThreadLocal, cuda::kSharedSpace);
      shared->setAlignment(Align(1024));
      arguments.push_back(shared);
      continue;
    }
    unsigned number = i < scratch ? i : i - 1;
    arguments.push_back(entry->getArg(number));
    if (i >= maps) {
      Type *map = ArrayType::get(builder.getInt8Ty(), mapBytes);
      entry->addParamAttr(number, Attribute::getWithByValType(context, map));
      entry->addParamAttr(number, Attribute::getWithAlignment(context, Align(64)));
      entry->addParamAttr(number, Attribute::get(context, "nvvm.grid_constant"));
      continue;
    }
    entry->addParamAttr(number, Attribute::getWithAlignment(context, Align(16)));
    if (launch.workspace.counters && i + 2 >= scratch && i < scratch)
      continue;
    if (!launch.isEarly)
      entry->addParamAttr(number, Attribute::NoAlias);
    body->addParamAttr(i, Attribute::NoAlias);
  }
  builder.CreateCall(body, arguments);
  builder.CreateRetVoid();
}

/// Takes from libdevice what `module` calls.
static Error linkLibdevice(Module &module) {
  bool isNeeded = any_of(module, [](Function &function) {
    return function.isDeclaration() && function.getName().starts_with("__nv_");
  });
  if (!isNeeded)
    return Error::success();
  Expected<std::string> path = cuda::findLibdevice();
  if (!path)
    return path.takeError();
  ErrorOr<std::unique_ptr<MemoryBuffer>> bytes = MemoryBuffer::getFile(*path);
  if (!bytes)
    return createStringError("%s: %s", path->c_str(), bytes.getError().message().c_str());
  Expected<std::unique_ptr<Module>> library = parseBitcodeFile(**bytes, module.getContext());
  if (!library)
    return library.takeError();
  (*library)->setTargetTriple(module.getTargetTriple());
  (*library)->setDataLayout(module.getDataLayout());
  if (Linker::linkModules(module, std::move(*library), Linker::LinkOnlyNeeded))
    return createStringError("%s does not link", path->c_str());
  internalizeModule(module, [](const GlobalValue &value) {
    return !value.getName().starts_with("__nv_") && !value.getName().starts_with("__internal_");
  });
  return Error::success();
}

static void optimize(Module &module, TargetMachine &machine) {
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = false;
  emit::Analyses analyses(machine, tuning);
  analyses.builder.buildPerModuleDefaultPipeline(OptimizationLevel::O3)
      .run(module, analyses.modules);
}

Expected<std::unique_ptr<Module>> cuda::makeModule(mlir::ModuleOp source, LLVMContext &context,
                                                   StringRef name, const Launch &launch,
                                                   StringRef chip) {
  Expected<std::unique_ptr<TargetMachine>> machine = machineFor(chip, launch);
  if (!machine)
    return machine.takeError();
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(source, context, name);
  if (!module)
    return unexplained("the translation of a kernel");
  module->setTargetTriple((*machine)->getTargetTriple());
  module->setDataLayout((*machine)->createDataLayout());
  addEntry(*module, name, launch);
  if (Error error = linkLibdevice(*module))
    return error;
  for (Function &function : *module) {
    function.addFnAttr("target-cpu", chip);
    function.addFnAttr("target-features", ptxFor(chip, launch).feature);
  }
  optimize(*module, **machine);
  return module;
}

Expected<std::string> cuda::printPtx(Module &module, StringRef chip, const Launch &launch) {
  Expected<std::unique_ptr<TargetMachine>> machine = machineFor(chip, launch);
  if (!machine)
    return machine.takeError();
  SmallString<0> text;
  raw_svector_ostream stream(text);
  legacy::PassManager passes;
  if ((*machine)->addPassesToEmitFile(passes, stream, nullptr, CodeGenFileType::AssemblyFile))
    return createStringError("this build of LLVM writes no PTX");
  passes.run(module);
  return text.str().str();
}
