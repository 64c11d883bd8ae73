//===- Modules.cpp - CUDA's functions for images and launches -------------===//

#include "Driver.h"
#include "Functions.h"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace cleave::simt;

static void *const functions[] = {
#define CLEAVE_SIMT_FUNCTION(name, result, parameters) reinterpret_cast<void *>(&device::name),
#include "cleave/Runtime/SimtFunctions.def"
#undef CLEAVE_SIMT_FUNCTION
};

#if defined(__x86_64__)
static constexpr uint16_t machine = EM_X86_64;
#else
static constexpr uint16_t machine = EM_AARCH64;
#endif

/// The bytes of an ELF file of this machine, or an error for anything else.
static CUresult sizeOf(const char *image, uint64_t &bytes) {
  // Of a cubin, a fatbin or PTX there would be code for a GPU, and this is none.
  static const uint32_t fatbin = 0xba55ed50;
  if (!memcmp(image, &fatbin, sizeof fatbin) || !strncmp(image, "//", 2) ||
      !strncmp(image, ".version", 8))
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (memcmp(image, ELFMAG, SELFMAG))
    return CUDA_ERROR_INVALID_IMAGE;
  Elf64_Ehdr header;
  memcpy(&header, image, sizeof header);
  if (header.e_machine != machine)
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (header.e_type != ET_DYN || header.e_phentsize != sizeof(Elf64_Phdr))
    return CUDA_ERROR_INVALID_IMAGE;
  bytes = header.e_shoff + uint64_t(header.e_shnum) * header.e_shentsize;
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part;
    memcpy(&part, image + header.e_phoff + i * sizeof part, sizeof part);
    bytes = std::max<uint64_t>(bytes, part.p_offset + part.p_filesz);
  }
  return CUDA_SUCCESS;
}

static void close(CUmod_st &module) {
  if (module.library)
    dlclose(module.library);
  if (module.descriptor >= 0)
    ::close(module.descriptor);
}

/// Loads an image from memory; the file stays open, since libraries are known by name.
static CUresult load(const char *image, uint32_t chip, CUmod_st &module) {
  uint64_t bytes;
  if (CUresult error = sizeOf(image, bytes); error != CUDA_SUCCESS)
    return error;
  module.descriptor = memfd_create("kernels", MFD_CLOEXEC);
  if (module.descriptor < 0)
    return CUDA_ERROR_OUT_OF_MEMORY;
  for (uint64_t done = 0; done < bytes;) {
    ssize_t count = ::write(module.descriptor, image + done, bytes - done);
    if (count <= 0)
      return CUDA_ERROR_OUT_OF_MEMORY;
    done += uint64_t(count);
  }
  std::string path = "/proc/self/fd/" + std::to_string(module.descriptor);
  module.library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module.library)
    return CUDA_ERROR_INVALID_IMAGE;
  module.image = static_cast<const cleave_simt_image *>(dlsym(module.library, CLEAVE_SIMT_SYMBOL));
  if (!module.image || module.image->magic != CLEAVE_SIMT_MAGIC)
    return CUDA_ERROR_INVALID_IMAGE;
  if (module.image->version != CLEAVE_SIMT_VERSION ||
      module.image->num_functions != std::size(functions))
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  uint32_t wanted = module.image->chip;
  if (wanted > chip || (module.image->only && wanted != chip))
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  std::copy(std::begin(functions), std::end(functions), module.image->functions);
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *result, const void *image) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!result || !image)
      return CUDA_ERROR_INVALID_VALUE;
    if (driver.isForbidden())
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    auto module = std::make_unique<CUmod_st>();
    module->context = context;
    uint32_t chip = uint32_t(10 * driver.major + driver.minor);
    CUresult error = load(static_cast<const char *>(image), chip, *module);
    if (error != CUDA_SUCCESS) {
      close(*module);
      return error;
    }
    for (uint32_t i = 0; i < module->image->num_constants; ++i) {
      const cleave_simt_variable &constant = module->image->constants[i];
      Execution::get().memory.add(constant.address, constant.bytes, Allocation::Constant,
                                  constant.name);
    }
    *result = module.get();
    driver.modules[*result] = std::move(module);
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *,
                            void **) {
  return cuModuleLoadData(module, image);
}

void Driver::unload(CUmodule module) {
  for (uint32_t i = 0; i < module->image->num_constants; ++i)
    Execution::get().memory.remove(module->image->constants[i].address, Allocation::Constant);
  close(*module);
  modules.erase(module);
}

CUresult cuModuleUnload(CUmodule module) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!driver.modules.count(module))
      return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = driver.finish(context, CUstream(nullptr));
    driver.unload(module);
    return result;
  });
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name) {
  return enter([&](Driver &driver, CUcontext) {
    if (!driver.modules.count(module))
      return CUDA_ERROR_INVALID_HANDLE;
    if (!result || !name)
      return CUDA_ERROR_INVALID_VALUE;
    for (const auto &known : module->functions)
      if (!strcmp(known->kernel->name, name)) {
        *result = known.get();
        return CUDA_SUCCESS;
      }
    for (uint32_t i = 0; i < module->image->num_kernels; ++i) {
      const cleave_simt_kernel &kernel = module->image->kernels[i];
      if (strcmp(kernel.name, name))
        continue;
      uint32_t usual = 49152;
      module->functions.push_back(std::make_unique<CUfunc_st>(
          CUfunc_st{module, &kernel, usual - std::min(usual, kernel.static_shared)}));
      *result = module->functions.back().get();
      return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
  });
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  return enter([&](Driver &driver, CUcontext) {
    if (!function)
      return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
      return CUDA_SUCCESS;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        uint32_t(value) > driver.maxShared() - function->kernel->static_shared)
      return CUDA_ERROR_INVALID_VALUE;
    function->maxDynamic = uint32_t(value);
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  return enter([&](Driver &driver, CUcontext) {
    if (!function || !value)
      return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = function->kernel->max_threads ? int(function->kernel->max_threads) : 1024;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = int(function->kernel->static_shared);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = int(function->maxDynamic);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      *value = driver.major * 10 + driver.minor;
      return CUDA_SUCCESS;
    // Registers and what is spilled are ptxas' to say.
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = 0; return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

static CUresult errorOf(Outcome outcome) {
  switch (outcome) {
  case Outcome::Done: return CUDA_SUCCESS;
  case Outcome::IllegalAddress: return CUDA_ERROR_ILLEGAL_ADDRESS;
  case Outcome::Misaligned: return CUDA_ERROR_MISALIGNED_ADDRESS;
  case Outcome::Trap: return CUDA_ERROR_ILLEGAL_INSTRUCTION;
  case Outcome::Assert: return CUDA_ERROR_ASSERT;
  case Outcome::Failed: return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_ERROR_UNKNOWN;
}

/// Whether a GPU would take a launch of this shape.
static CUresult checkShape(const CUfunc_st &function, const Launch &launch) {
  const Dim &grid = launch.grid, &block = launch.block;
  uint64_t threads = block.count();
  if (!grid.count() || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535 || !threads ||
      block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024 ||
      launch.dynamicBytes > function.maxDynamic)
    return CUDA_ERROR_INVALID_VALUE;
  uint32_t most = function.kernel->max_threads;
  return most && threads > most ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES : CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                        unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                        CUstream stream, void **arguments, void **extra) {
  CUlaunchConfig config = {gridX,  gridY,       gridZ,  blockX,  blockY,
                           blockZ, sharedBytes, stream, nullptr, 0};
  return cuLaunchKernelEx(&config, function, arguments, extra);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **arguments,
                          void **extra) {
  return enter([&](Driver &driver, CUcontext context) {
    CUstream known = config ? driver.streamOf(config->hStream) : nullptr;
    if (!function || !known || (config->numAttrs && !config->attrs))
      return CUDA_ERROR_INVALID_HANDLE;
    if (extra)
      return CUDA_ERROR_NOT_SUPPORTED;
    bool isEarly = false;
    for (const CUlaunchAttribute *a = config->attrs; a != config->attrs + config->numAttrs; ++a) {
      if (a->id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
        return CUDA_ERROR_NOT_SUPPORTED;
      isEarly = a->value.programmaticStreamSerializationAllowed;
    }
    Launch launch{function->module->image,
                  function->kernel,
                  {config->gridDimX, config->gridDimY, config->gridDimZ},
                  {config->blockDimX, config->blockDimY, config->blockDimZ},
                  config->sharedMemBytes,
                  context->device,
                  {},
                  isEarly};
    if (CUresult error = checkShape(*function, launch); error != CUDA_SUCCESS)
      return error;
    for (uint32_t i = 0; i < function->kernel->num_arguments; ++i) {
      if (!arguments || !arguments[i])
        return CUDA_ERROR_INVALID_VALUE;
      const char *value = static_cast<const char *>(arguments[i]);
      launch.values.emplace_back(value, value + function->kernel->argument_bytes[i]);
    }
    return driver.enqueue(
        known, [launch = std::move(launch)] { return errorOf(Execution::get().run(launch)); });
  });
}
