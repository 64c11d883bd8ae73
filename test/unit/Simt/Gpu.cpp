//===- Gpu.cpp - a simulated GPU for tests --------------------------------===//

#include "Gpu.h"

#include "cleave/Target/Simt.h"

#include "llvm/AsmParser/Parser.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

#include <dlfcn.h>

using namespace cleave::test;

#define SIMT_STRING(name) #name
#define SIMT_SPELLING(name) SIMT_STRING(name)

static Functions find() {
  Functions functions;
  setenv("CLEAVE_SIMT_DEVICES", "2", 1);
  void *library = dlopen(CLEAVE_TEST_SIMT, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    ADD_FAILURE() << dlerror();
    abort();
  }
  auto take = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    EXPECT_TRUE(function) << name;
  };
#define SIMT_TEST_FUNCTION(name) take(functions.name, SIMT_SPELLING(name));
#include "Functions.def"
#undef SIMT_TEST_FUNCTION
  take(functions.report, "cleave_simt_report");
  take(functions.schedule, "cleave_simt_schedule");
  take(functions.conflicts, "cleave_simt_conflicts");
  return functions;
}

const Functions &cleave::test::cuda() {
  static const Functions functions = find();
  return functions;
}

static std::unique_ptr<llvm::Module> parse(const std::string &module, llvm::LLVMContext &context) {
  llvm::SMDiagnostic diagnostic;
  std::string text = "target triple = \"nvptx64-nvidia-cuda\"\n"
                     "target datalayout = \"e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-"
                     "n16:32:64\"\n" +
                     module;
  std::unique_ptr<llvm::Module> parsed = llvm::parseAssemblyString(text, diagnostic, context);
  if (!parsed) {
    ADD_FAILURE() << diagnostic.getMessage().str() << ": " << diagnostic.getLineContents().str();
  }
  return parsed;
}

std::vector<char> cleave::test::imageOf(const std::string &module, std::string *error) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> parsed = parse(module, context);
  if (!parsed)
    return {};
  auto image = makeSimtImage(*parsed);
  if (image)
    return *image;
  std::string message = llvm::toString(image.takeError());
  if (error)
    *error = message;
  else
    ADD_FAILURE() << message;
  return {};
}

CUresult Map::encode(CUtensorMap &map, CUdeviceptr address) const {
  std::vector<cuuint32_t> steps(sizes.size(), 1);
  return cuda().cuTensorMapEncodeTiled(
      &map, type, cuuint32_t(sizes.size()), reinterpret_cast<void *>(address), sizes.data(),
      strides.data(), box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
      CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

std::string cleave::test::changed(std::string text, const std::string &part,
                                  const std::string &other) {
  size_t at = text.find(part);
  EXPECT_NE(at, text.npos) << part;
  return at == text.npos ? text : text.replace(at, part.size(), other);
}

std::string cleave::test::assembled(const std::string &module) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> parsed = parse(module, context);
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  std::string error;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(parsed->getTargetTriple(), error);
  if (!target)
    return error;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      parsed->getTargetTriple(), "sm_90a", "+ptx86", llvm::TargetOptions(), std::nullopt));
  parsed->setDataLayout(machine->createDataLayout());
  llvm::SmallString<64> ptx;
  int file;
  llvm::sys::fs::createTemporaryFile("simt", "ptx", file, ptx);
  {
    llvm::raw_fd_ostream out(file, /*shouldClose=*/true);
    llvm::legacy::PassManager passes;
    machine->addPassesToEmitFile(passes, out, nullptr, llvm::CodeGenFileType::AssemblyFile);
    passes.run(*parsed);
  }
  llvm::SmallString<64> log = ptx;
  log += ".log";
  std::optional<llvm::StringRef> redirects[] = {"", "/dev/null", log.str()};
  int status = llvm::sys::ExecuteAndWait(
      CLEAVE_TEST_PTXAS, {CLEAVE_TEST_PTXAS, "-arch=sm_90a", "-o", "/dev/null", ptx}, std::nullopt,
      redirects);
  auto said = llvm::MemoryBuffer::getFile(log);
  std::string text = said ? (*said)->getBuffer().str() : "";
  if (status && text.empty())
    text = "ptxas fails";
  llvm::sys::fs::remove(ptx);
  llvm::sys::fs::remove(log);
  return text;
}

Gpu::Gpu(const std::string &schedule) {
  EXPECT_EQ(cuda().cuInit(0), CUDA_SUCCESS);
  EXPECT_EQ(cuda().schedule(schedule.c_str()), 0);
  EXPECT_EQ(cuda().cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuCtxSetCurrent(context), CUDA_SUCCESS);
  EXPECT_EQ(cuda().cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
}

Gpu::~Gpu() {
  EXPECT_EQ(cuda().cuDevicePrimaryCtxRelease(0), CUDA_SUCCESS);
  EXPECT_EQ(report(), "");
}

CUfunction Gpu::load(const std::string &module, const char *kernel) {
  std::vector<char> image = imageOf(module);
  CUmodule loaded = nullptr;
  CUfunction function = nullptr;
  if (!image.empty()) {
    EXPECT_EQ(cuda().cuModuleLoadData(&loaded, image.data()), CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuModuleGetFunction(&function, loaded, kernel), CUDA_SUCCESS);
  }
  return function;
}

CUdeviceptr Gpu::allocate(size_t bytes) {
  CUdeviceptr address = 0;
  EXPECT_EQ(cuda().cuMemAlloc(&address, bytes), CUDA_SUCCESS);
  return address;
}

std::string Gpu::report() {
  std::string text(cuda().report(nullptr, 0) + 1, '\0');
  text.resize(cuda().report(text.data(), text.size()));
  return text;
}

void cleave::test::expectSays(const std::string &text, const std::string &part) {
  EXPECT_NE(text.find(part), text.npos) << "wanted: " << part << "\nreport: " << text;
}
