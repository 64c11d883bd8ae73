//===- Compile.cpp - kernels compiled side by side, then linked -----------===//

#include "cleave/Target/Cpu.h"

#include "../Emit/Parallel.h"
#include "../Emit/Program.h"
#include "Kernel.h"
#include "Roots.h"

#include "cleave/Support/Failure.h"
#include "cleave/Support/Processor.h"
#include "cleave/Transforms/Kernel/Passes.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Host.h"

#include <unistd.h>

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;
using cleave::emit::Machine;
using cleave::emit::ProgramBuilder;

namespace {

/// What kernels are compiled for.
struct Host {
  std::string cpu, features;
  std::vector<std::string> needed; ///< features that code for `cpu` may use
  Machine machine;
};

struct Compiled final : CompiledProgram {
  explicit Compiled(ModuleOp module) : builder(module) {}
  const cleave_program *program() const override { return whole; }
  const ProgramParts &parts() const override { return builder.parts(); }

  ProgramBuilder builder;
  std::unique_ptr<llvm::orc::LLJIT> jit;
  const cleave_program *whole = nullptr;
};

/// A kernel on its way to machine code.
struct Job {
  func::FuncOp kernel;
  Loops loops;
  std::unique_ptr<llvm::MemoryBuffer> object;
};

} // namespace

/// vpdpbusd
static Value addByteProducts(OpBuilder &b, Location loc, Value sum, Value ofUnsigned,
                             Value ofSigned) {
  auto bytes = VectorType::get({64}, b.getI8Type());
  Value x = LLVM::BitcastOp::create(b, loc, bytes, ofUnsigned);
  Value y = LLVM::BitcastOp::create(b, loc, bytes, ofSigned);
  return LLVM::CallIntrinsicOp::create(b, loc, sum.getType(),
                                       b.getStringAttr("llvm.x86.avx512.vpdpbusd.512"),
                                       ValueRange{sum, x, y})
      .getResults();
}

static FailureOr<Host> hostOf(ModuleOp module, const CpuOptions &options) {
  Processor level = levelOfThis(options.forceAvx2);
  if (!level.hasVectors)
    return module.emitError("the cpu target needs AVX2, FMA and F16C, which this machine lacks");
  Host host;
  if (long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0)
    host.machine.nearBytes = bytes;
  host.cpu = level.name;
  host.needed = std::move(level.features);
  if (!level.hasAvx512) {
    host.machine.lanes = 8;
    host.machine.registers = 16;
    return host;
  }
  if (options.keepObjects)
    return host;
  host.cpu = llvm::sys::getHostCPUName().str();
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  for (auto &feature : features)
    host.features += (feature.second ? "+" : "-") + feature.first().str() + ",";
  if (features.lookup("avx512vnni"))
    host.machine.addByteProducts = addByteProducts;
  if (!host.features.empty())
    host.features.pop_back();
  return host;
}

static void loadDialects(MLIRContext &context) {
  context.loadDialect<arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect,
                      math::MathDialect, memref::MemRefDialect, scf::SCFDialect,
                      vector::VectorDialect>();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context.appendDialectRegistry(registry);
}

static std::unique_ptr<llvm::TargetMachine> machineFor(const Host &host) {
  llvm::Triple triple(llvm::sys::getProcessTriple());
  std::string error;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, host.cpu, host.features, options, llvm::Reloc::PIC_, llvm::CodeModel::Small,
      llvm::CodeGenOptLevel::Default, /*JIT=*/true));
}

static LogicalResult compileKernel(Job &job, const Host &host) {
  std::unique_ptr<llvm::TargetMachine> machine = machineFor(host);
  if (!machine)
    return job.kernel.emitError("this build of LLVM has no code generator for this machine");
  unsigned buffers =
      job.kernel.getNumArguments() + job.kernel.getNumResults() + (job.loops.scratchBytes > 0);
  if (failed(lowerToLlvm(*job.loops.module)))
    return failure();
  job.object = generateCode(*job.loops.module, job.kernel.getName(), buffers, *machine);
  job.loops.module = nullptr;
  return success(job.object != nullptr);
}

static LogicalResult runPasses(ModuleOp module, const Machine &machine) {
  PassManager passes(module.getContext());
  passes.enableVerifier(false);
  passes.addPass(createMakeContiguous());
  passes.addPass(createSplitLoad());
  PackWeightsOptions packing;
  packing.lanes = machine.lanes;
  packing.byteDots = machine.addByteProducts != nullptr;
  passes.addPass(createPackWeights(packing));
  passes.addPass(createFuse());
  return passes.run(module);
}

static LogicalResult link(Compiled &result, std::vector<Job> &jobs, bool keepObjects) {
  auto fail = [&](llvm::Error error) {
    return jobs.front().kernel.emitError("the kernels do not link: ")
           << llvm::toString(std::move(error));
  };
  std::vector<cleave_kernel> kernels;
  if (!jobs.empty()) {
    auto jit = llvm::orc::LLJITBuilder().create();
    if (!jit)
      return fail(jit.takeError());
    result.jit = std::move(*jit);
    auto generator = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
        result.jit->getDataLayout().getGlobalPrefix());
    if (!generator)
      return fail(generator.takeError());
    result.jit->getMainJITDylib().addGenerator(std::move(*generator));
    for (Job &job : jobs) {
      if (keepObjects)
        result.builder.parts().objects.push_back(llvm::MemoryBuffer::getMemBufferCopy(
            job.object->getBuffer(), job.object->getBufferIdentifier()));
      if (llvm::Error error = result.jit->addObjectFile(std::move(job.object)))
        return fail(std::move(error));
    }
  }
  for (const std::string &name : result.builder.parts().kernels) {
    auto address = result.jit->lookup(name);
    if (!address)
      return fail(address.takeError());
    kernels.push_back(address->toPtr<cleave_kernel>());
  }
  result.whole = result.builder.finish(std::move(kernels));
  return success();
}

static LogicalResult compile(ModuleOp module, const CpuOptions &options, Compiled &result) {
  FailureOr<Host> host = hostOf(module, options);
  if (failed(host))
    return failure();
  loadDialects(*module.getContext());
  if (failed(runPasses(module, host->machine)))
    return failure();

  std::vector<Job> jobs;
  for (auto kernel : module.getOps<func::FuncOp>())
    if (kernel->hasAttr(rt::kKernel)) {
      if (failed(cleave::emit::checkKernel(kernel, "cpu")))
        return failure();
      jobs.push_back({kernel, {}, nullptr});
    }
  auto work = [&](size_t i) {
    jobs[i].loops = emitLoops(jobs[i].kernel, host->machine);
    return compileKernel(jobs[i], *host);
  };
  if (failed(cleave::emit::forAll(*module.getContext(), jobs.size(), options.threads, work)))
    return failure();

  OpBuilder builder(module.getContext());
  for (Job &job : jobs)
    job.kernel->setAttr(rt::kScratch, builder.getI64IntegerAttr(job.loops.scratchBytes));
  PassManager passes(module.getContext());
  passes.enableVerifier(false);
  passes.addPass(createPlanMemory());
  if (failed(passes.run(module)) || failed(result.builder.build()))
    return failure();
  result.builder.parts().features = host->needed;
  return link(result, jobs, options.keepObjects);
}

llvm::Expected<std::unique_ptr<CompiledProgram>> cleave::compileCpu(ModuleOp module,
                                                                    const CpuOptions &options) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  std::string message;
  // A caller with a handler of its own hears of it too.
  ScopedDiagnosticHandler collect(module.getContext(), [&](Diagnostic &diagnostic) {
    if (message.empty())
      llvm::raw_string_ostream(message) << diagnostic.getLocation() << ": " << diagnostic;
    return failure();
  });
  auto result = std::make_unique<Compiled>(module);
  if (failed(compile(module, options, *result)))
    return message.empty() ? unexplained("the compilation of kernels")
                           : llvm::createStringError(message);
  return result;
}
