//===- Image.cpp - what a small artifact runs in the simulator ------------===//
//
// An image by hand, as lib/Target/Simt would make it: every access is told before.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/SimtAbi.h"

extern "C" const struct cleave_simt_image cleave_simt_image;

static void *functions[CLEAVE_SIMT_NUM_FUNCTIONS];
static void *shared, *dynamicShared;

static void check(cleave_simt_function number, const void *address) {
  static cleave_simt_site site = {"access", "Image.cpp", 4, 4, CLEAVE_SIMT_GLOBAL, 0, nullptr};
  using Check = void (*)(const void *, cleave_simt_site *);
  reinterpret_cast<Check>(functions[number])(address, &site);
}

/// target[i] = source[i] * weight[i], a thread each.
static void scale(void *const *arguments) {
  auto buffers = reinterpret_cast<float **const *>(arguments);
  auto sreg = reinterpret_cast<uint32_t (*)(uint32_t)>(functions[CLEAVE_SIMT_sreg]);
  uint32_t i = sreg(CLEAVE_SIMT_TID);
  const float *source = *buffers[0] + i, *weight = *buffers[1] + i;
  float *target = *buffers[2] + i;
  check(CLEAVE_SIMT_load, source);
  check(CLEAVE_SIMT_load, weight);
  check(CLEAVE_SIMT_store, target);
  *target = *source * *weight;
}

/// Three buffers, the coordinates and the word of faults.
static const uint32_t sizes[] = {8, 8, 8, 8, 8};
static const cleave_simt_kernel kernels[] = {
    {"scale", scale, sizes, nullptr, 5, 0, 0, 0, /*max_threads=*/4}};

const struct cleave_simt_image cleave_simt_image = {CLEAVE_SIMT_MAGIC,
                                                    CLEAVE_SIMT_VERSION,
                                                    CLEAVE_SIMT_NUM_FUNCTIONS,
                                                    /*num_kernels=*/1,
                                                    /*num_constants=*/0,
                                                    /*chip=*/80,
                                                    /*only=*/0,
                                                    /*reserved=*/0,
                                                    functions,
                                                    &shared,
                                                    &dynamicShared,
                                                    kernels,
                                                    nullptr};
