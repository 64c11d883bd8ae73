//===- Gpu.cpp - a simulated GPU for tests --------------------------------===//

#include "Gpu.h"

#include "cleave/Target/Simt.h"

#include "llvm/AsmParser/Parser.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/SourceMgr.h"

#include <dlfcn.h>

using namespace cleave::test;

#define SIMT_STRING(name) #name
#define SIMT_SPELLING(name) SIMT_STRING(name)

static Functions find() {
  Functions functions;
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

std::vector<char> cleave::test::imageOf(const std::string &module, std::string *error) {
  llvm::LLVMContext context;
  llvm::SMDiagnostic diagnostic;
  std::string text = "target triple = \"nvptx64-nvidia-cuda\"\n"
                     "target datalayout = \"e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-"
                     "n16:32:64\"\n" +
                     module;
  std::unique_ptr<llvm::Module> parsed = llvm::parseAssemblyString(text, diagnostic, context);
  if (!parsed) {
    ADD_FAILURE() << diagnostic.getMessage().str() << ": " << diagnostic.getLineContents().str();
    return {};
  }
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
