//===- Compile.cpp - kernels compiled side by side for GPUs ---------------===//

#include "cleave/Target/Cuda.h"

#include "../Emit/Parallel.h"
#include "../Emit/Program.h"
#include "Kernel.h"
#include "Toolkit.h"

#include "cleave/Support/Failure.h"
#include "cleave/Support/Processor.h"
#include "cleave/Target/Simt.h"
#include "cleave/Transforms/Kernel/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "llvm/Support/TargetSelect.h"

#include <mutex>

using namespace mlir;
using namespace cleave;
using namespace cleave::cuda;

namespace {

struct Compiled final : CompiledProgram {
  explicit Compiled(ModuleOp module) : builder(module) {}
  const cleave_program *program() const override { return whole; }
  const ProgramParts &parts() const override { return builder.parts(); }

  emit::ProgramBuilder builder;
  std::vector<std::vector<char>> code;
  const cleave_program *whole = nullptr;
};

/// A kernel on its way to the images of all chips.
struct Job {
  func::FuncOp kernel;
  std::vector<cleave_image> images; ///< without their bytes
  std::vector<std::vector<char>> code;
  std::vector<cleave_map> maps;
  std::vector<CubinReport> reports;
  emit::Workspace workspace;
  uint32_t driver = 0; ///< that knows all chips and their PTX
};

} // namespace

static void loadDialects(MLIRContext &context) {
  context.loadDialect<arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect,
                      LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect,
                      NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  context.appendDialectRegistry(registry);
}

static cleave_image imageOf(StringRef chip, cleave_image_kind kind) {
  cleave_image image = {};
  image.kind = kind;
  StringRef digits = chip.drop_front(3).take_while(llvm::isDigit);
  digits.getAsInteger(10, image.chip);
  if (StringRef rest = chip.drop_front(3 + digits.size()); !rest.empty())
    image.feature = rest.front();
  return image;
}

static Chip chipOf(const cleave_image &image) {
  constexpr unsigned ampere = 80, ada = 89, hopper = 90;
  // Those of A100, H100, B200 and RTX 5090, as NVIDIA's papers on their architectures say;
  // smaller and larger chips of a generation get the same kernels.
  int64_t multiprocessors = image.chip >= 120      ? 170
                            : image.chip >= 100    ? 148
                            : image.chip >= hopper ? 132
                            : image.chip >= ampere ? 108
                                                   : 68;
  // Later generations have other instructions for groups.
  return {image.chip >= ampere, image.chip >= ada, image.chip == hopper && image.feature == 'a',
          image.chip >= CLEAVE_EARLY_CHIP, multiprocessors};
}

static llvm::Error compileFor(Job &job, DeviceLoops &lowered, StringRef chip, bool isLast,
                              const CudaOptions &options) {
  llvm::LLVMContext context;
  StringRef name = job.kernel.getName();
  const Launch &launch = lowered.launch;
  job.driver = std::max(job.driver, driverOf(chip, launch));
  auto module = makeModule(*lowered.module, context, name, launch, chip);
  if (!module)
    return module.takeError();
  auto firstMap = static_cast<uint32_t>(job.maps.size());
  llvm::append_range(job.maps, launch.maps);
  auto add = [&](cleave_image_kind kind, std::vector<char> bytes) {
    cleave_image image = imageOf(chip, kind);
    image.blocks = static_cast<uint32_t>(launch.blocks);
    image.threads = static_cast<uint32_t>(launch.threads);
    image.shared_bytes = static_cast<uint32_t>(launch.sharedBytes);
    image.resident = static_cast<uint32_t>(launch.resident);
    image.first_map = firstMap;
    image.num_maps = static_cast<uint32_t>(launch.maps.size());
    job.images.push_back(image);
    job.code.push_back(std::move(bytes));
  };
  if (options.simulate) {
    llvm::Expected<std::vector<char>> image = makeSimtImage(**module);
    if (!image)
      return image.takeError();
    add(CLEAVE_IMAGE_SIMT, std::move(*image));
    return llvm::Error::success();
  }
  llvm::Expected<std::string> ptx = printPtx(**module, chip, launch);
  if (!ptx)
    return ptx.takeError();
  llvm::Expected<Cubin> cubin = assemble(*ptx, name, chip);
  if (!cubin)
    return cubin.takeError();
  add(CLEAVE_IMAGE_CUBIN, std::move(cubin->bytes));
  job.reports.push_back(std::move(cubin->report));
  // Chips that are not named yet read the PTX of the last that has no features of its own.
  if (isLast && !job.images.back().feature)
    add(CLEAVE_IMAGE_PTX, {ptx->c_str(), ptx->c_str() + ptx->size() + 1});
  return llvm::Error::success();
}

/// The simulator runs the code for one.
static size_t numChips(const CudaOptions &options) {
  return options.simulate ? 1 : options.chips.size();
}

static LogicalResult compileKernel(Job &job, const CudaOptions &options) {
  ArrayRef<std::string> names = ArrayRef(options.chips).take_front(numChips(options));
  // What a thread does is written once for all chips that can do the same.
  std::vector<std::pair<Chip, DeviceLoops>> known;
  auto loopsOf = [&](StringRef name) {
    Chip chip = chipOf(imageOf(name, CLEAVE_IMAGE_CUBIN));
    auto loops = llvm::find_if(known, [&](const auto &one) { return one.first == chip; });
    if (loops == known.end())
      loops = known.insert(loops, {chip, DeviceLoops{{}, launchOf(job.kernel, chip)}});
    return loops;
  };
  for (StringRef name : names) {
    const emit::Workspace &own = loopsOf(name)->second.launch.workspace;
    job.workspace.floats = std::max(job.workspace.floats, own.floats);
    job.workspace.counters = std::max(job.workspace.counters, own.counters);
  }
  for (auto &[chip, loops] : known) {
    loops = emitLoops(job.kernel, chip, std::move(loops.launch), job.workspace);
    if (options.onLoops)
      options.onLoops(*loops.module);
    if (failed(lowerToNvvm(*loops.module)))
      return failure();
  }
  for (const std::string &name : names) {
    bool isLast = &name == &names.back();
    if (llvm::Error error = compileFor(job, loopsOf(name)->second, name, isLast, options))
      return job.kernel.emitError(llvm::toString(std::move(error)));
  }
  return success();
}

static LogicalResult runPasses(ModuleOp module) {
  PassManager passes(module.getContext());
  passes.enableVerifier(false);
  passes.addPass(createMakeContiguous());
  passes.addPass(createSplitLoad());
  PackWeightsOptions packing;
  packing.turnBytes = true;
  passes.addPass(createPackWeights(packing));
  FuseOptions fusion;
  fusion.alignment = kAlignment;
  passes.addPass(createFuse(fusion));
  return passes.run(module);
}

/// The driver that all images load with.
static llvm::Expected<uint32_t> driverOf(const CudaOptions &options, ArrayRef<Job> jobs) {
  llvm::Expected<uint32_t> version = options.simulate ? 0 : driverOfCubins();
  if (version)
    for (const Job &job : jobs)
      *version = std::max(*version, job.driver);
  return version;
}

static LogicalResult link(ModuleOp module, const CudaOptions &options, Compiled &result,
                          std::vector<Job> &jobs) {
  llvm::StringMap<Job *> byName;
  for (Job &job : jobs)
    byName[job.kernel.getName()] = &job;
  std::vector<cleave_device_kernel> kernels;
  std::vector<cleave_image> images;
  std::vector<cleave_map> maps;
  for (const std::string &name : result.builder.parts().kernels) {
    Job &job = *byName.at(name);
    kernels.push_back({name.c_str(), static_cast<uint32_t>(images.size()),
                       static_cast<uint32_t>(job.images.size())});
    for (auto [image, code] : llvm::zip_equal(job.images, job.code)) {
      result.code.push_back(std::move(code));
      images.push_back(image);
      images.back().data = result.code.back().data();
      images.back().bytes = result.code.back().size();
      images.back().first_map += maps.size();
    }
    llvm::append_range(maps, job.maps);
  }
  llvm::Expected<uint32_t> driver = driverOf(options, jobs);
  if (!driver)
    return module.emitError(llvm::toString(driver.takeError()));
  if (options.simulate)
    result.builder.parts().features = levelOfThis().features;
  result.whole =
      result.builder.finish(options.simulate ? CLEAVE_DEVICE_SIMT : CLEAVE_DEVICE_CUDA,
                            std::move(kernels), std::move(images), std::move(maps), *driver);
  return success();
}

static LogicalResult compile(ModuleOp module, const CudaOptions &options, Compiled &result,
                             std::vector<CubinReport> *reports) {
  loadDialects(*module.getContext());
  if (failed(runPasses(module)))
    return failure();
  std::vector<Job> jobs;
  for (auto kernel : module.getOps<func::FuncOp>())
    if (kernel->hasAttr(rt::kKernel)) {
      if (failed(emit::checkKernel(kernel, "cuda")))
        return failure();
      jobs.push_back({kernel, {}, {}, {}, {}, {}, 0});
    }
  auto work = [&](size_t i) { return compileKernel(jobs[i], options); };
  if (failed(emit::forAll(*module.getContext(), jobs.size(), options.threads, work)))
    return failure();
  Builder builder(module.getContext());
  for (const Job &job : jobs) {
    auto [floats, counters] = job.workspace;
    if (counters == 0)
      continue;
    job.kernel->setAttr(rt::kScratch, builder.getI64IntegerAttr(floats * 4));
    job.kernel->setAttr(rt::kCounters, builder.getI64IntegerAttr(counters * 4));
  }
  PassManager passes(module.getContext());
  passes.enableVerifier(false);
  PlanMemoryOptions places;
  places.areBeside = true;
  passes.addPass(createPlanMemory(places));
  if (failed(passes.run(module)) || failed(result.builder.build()))
    return failure();
  if (reports)
    for (Job &job : jobs)
      llvm::append_range(*reports, job.reports);
  return link(module, options, result, jobs);
}

llvm::Expected<std::unique_ptr<CompiledProgram>>
cleave::compileCuda(ModuleOp module, const CudaOptions &options,
                    std::vector<CubinReport> *reports) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  std::string message;
  // A caller with a handler of its own hears of it too.
  ScopedDiagnosticHandler collect(module.getContext(), [&](Diagnostic &diagnostic) {
    if (message.empty())
      llvm::raw_string_ostream(message) << diagnostic.getLocation() << ": " << diagnostic;
    return failure();
  });
  auto result = std::make_unique<Compiled>(module);
  if (failed(compile(module, options, *result, reports)))
    return message.empty() ? unexplained("the compilation of kernels")
                           : llvm::createStringError(message);
  return result;
}
