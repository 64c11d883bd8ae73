//===- Driver.cpp - CUDA's driver, found when it is wanted ----------------===//

#include "Driver.h"

#include "../Core/Error.h"
#include "../Host/Library.h"

#include "cleave/Runtime/Session.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <string>

using namespace cleave::runtime;

// The name as a macro of cuda.h makes it.
#define CLEAVE_SPELL_OUT(NAME) #NAME
#define CLEAVE_SPELL(NAME) CLEAVE_SPELL_OUT(NAME)

static int32_t load(bool simulated, Driver &driver, cleave_error *error) {
  std::string problem;
  void *library = simulated ? openPlugin("libcleave-simt.so", RTLD_NOW | RTLD_LOCAL, problem)
                            : dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library && simulated)
    return fail(error, CLEAVE_REFUSED,
                "the simulator libcleave-simt.so cannot be loaded: %.400s; say with "
                "CLEAVE_PLUGINS where it is",
                problem.c_str());
  if (!library)
    return fail(error, CLEAVE_REFUSED,
                "this machine has no driver for NVIDIA's GPUs: %.300s; install it, or compile the "
                "model with --target cpu",
                dlerror());
#define CLEAVE_CUDA_FUNCTION(NAME)                                                                 \
  driver.NAME = reinterpret_cast<decltype(driver.NAME)>(dlsym(library, CLEAVE_SPELL(NAME)));       \
  if (!driver.NAME)                                                                                \
    return fail(error, CLEAVE_REFUSED,                                                             \
                "the driver of NVIDIA's GPUs is too old: it has no " CLEAVE_SPELL(                 \
                    NAME) "; install one of CUDA 12 or newer");
#include "Functions.def"
  driver.elapsedTime =
      reinterpret_cast<decltype(driver.elapsedTime)>(dlsym(library, "cuEventElapsedTime"));
  driver.report = reinterpret_cast<decltype(driver.report)>(dlsym(library, "cleave_simt_report"));
  if (CUresult result = driver.cuInit(0)) {
    char text[512];
    driver.describe(result, text, sizeof text);
    return fail(error, CLEAVE_REFUSED, "%s does not start: %s",
                simulated ? "the simulator" : "the driver of NVIDIA's GPUs", text);
  }
  return CLEAVE_OK;
}

void Driver::describe(CUresult result, char *text, size_t room) const {
  const char *name = nullptr, *meaning = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &meaning);
  int used = snprintf(text, room, "%s (%s)", name ? name : "an unknown error",
                      meaning ? meaning : "no description");
  if (!report || used < 0 || size_t(used) + 3 >= room)
    return;
  char found[448] = "";
  report(found, sizeof found);
  if (size_t length = strlen(found); length && found[length - 1] == '\n')
    found[length - 1] = 0;
  if (*found)
    snprintf(text + used, room - size_t(used), ": %s", found);
}

int32_t cleave::runtime::openDriver(bool simulated, const Driver *&driver, cleave_error *error) {
  static std::mutex mutex;
  static Driver drivers[2];
  static bool isOpen[2];
  std::lock_guard lock(mutex);
  if (!isOpen[simulated])
    if (int32_t status = load(simulated, drivers[simulated], error))
      return status;
  isOpen[simulated] = true;
  driver = &drivers[simulated];
  return CLEAVE_OK;
}

int32_t cleave::runtime::openDriver(bool simulated, const Driver *&driver, uint32_t &gpus,
                                    cleave_error *error) {
  if (int32_t status = openDriver(simulated, driver, error))
    return status;
  int count = 0;
  if (CUresult result = driver->cuDeviceGetCount(&count)) {
    char text[512];
    driver->describe(result, text, sizeof text);
    return fail(error, CLEAVE_REFUSED, "the GPUs of this machine cannot be counted: %s", text);
  }
  if (count <= 0)
    return fail(error, CLEAVE_REFUSED,
                "this machine has no GPU that CUDA can use; compile the model with --target cpu");
  gpus = uint32_t(count);
  return CLEAVE_OK;
}

int32_t cleave_device_check(uint32_t device, cleave_error *error) {
  const Driver *driver = nullptr;
  uint32_t gpus;
  switch (device) {
  case CLEAVE_DEVICE_CPU: return CLEAVE_OK;
  case CLEAVE_DEVICE_CUDA:
  case CLEAVE_DEVICE_SIMT: return openDriver(device == CLEAVE_DEVICE_SIMT, driver, gpus, error);
  }
  return fail(error, CLEAVE_REFUSED, "the device does not exist, got: %u", device);
}
