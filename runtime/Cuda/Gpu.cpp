//===- Gpu.cpp - the local ranks of a program on GPUs ---------------------===//

#include "Gpu.h"

#include "../Core/Groups.h"
#include "../Core/Verify.h"

#include "cleave/Runtime/Load.h"

#include <algorithm>
#include <bit>
#include <utility>

using namespace cleave::runtime;

static void *pointerTo(CUdeviceptr memory) { return reinterpret_cast<void *>(memory); }

Gpu::Gpu(const cleave_program &program, uint32_t firstRank, uint32_t endRank, uint32_t firstDevice,
         uint32_t deadlineMs, bool connects, bool timing)
    : program(program), firstRank(firstRank), endRank(endRank), firstDevice(firstDevice),
      deadlineMs(deadlineMs), connects(connects), timing(timing), ranks(endRank - firstRank),
      groups(program) {}

Gpu::~Gpu() {
  // What waits for another rank would wait for ever.
  disconnect();
  for (Rank &rank : ranks) {
    if (!rank.device)
      continue;
    driver->cuCtxSetCurrent(rank.device->context);
    dropGraphs(rank);
    for (auto &[peer, lane] : rank.lanes) {
      for (CUevent event : lane.ends)
        driver->cuEventDestroy(event);
      if (lane.ready)
        driver->cuEventDestroy(lane.ready);
      if (lane.stream)
        driver->cuStreamDestroy(lane.stream);
    }
    for (CUevent event : rank.marks)
      driver->cuEventDestroy(event);
    if (rank.stream)
      driver->cuStreamDestroy(rank.stream);
    for (auto *list : {&rank.inputs, &rank.outputs})
      for (CUdeviceptr memory : *list)
        driver->cuMemFree(memory);
    rank.upload.reset();
    if (rank.isArenaNccls)
      nccl->ncclMemFree(pointerTo(std::exchange(rank.arena, 0)));
    for (CUdeviceptr memory :
         {rank.params, rank.arena, rank.coordinates, rank.faults, rank.passing})
      driver->cuMemFree(memory);
    rank.staging.free(*driver);
  }
  for (std::unique_ptr<Device> &device : devices) {
    if (!device->context)
      continue;
    driver->cuCtxSetCurrent(device->context);
    for (auto &[range, memory] : device->files)
      driver->cuMemFree(memory);
    for (auto &[image, module] : device->modules)
      driver->cuModuleUnload(module);
    driver->cuDevicePrimaryCtxRelease(device->device);
  }
}

int32_t Gpu::fail(CUresult result, const char *what, cleave_error *error) {
  char text[512];
  driver->describe(result, text, sizeof text);
  return runtime::fail(error, CLEAVE_REFUSED, "%.400s: %s", what, text);
}

int32_t Gpu::prepare(cleave_error *error) {
  findKept();
  uint32_t count;
  if (int32_t status = openDriver(isSimulated(), driver, count, error))
    return status;
  if (CUresult result = driver->cuDriverGetVersion(&version))
    return fail(result, "the driver of NVIDIA's GPUs does not say how old it is", error);
  if (uint32_t(version) < program.cuda_version)
    return runtime::fail(error, CLEAVE_REFUSED,
                         "the driver of NVIDIA's GPUs is too old for the program: it is of CUDA "
                         "%d.%d; install one of CUDA %u.%u or newer",
                         version / 1000, version % 1000 / 10, program.cuda_version / 1000,
                         program.cuda_version % 1000 / 10);
  uint32_t wanted = std::min(count, endRank - firstRank);
  for (uint32_t i = 0; i < wanted; ++i)
    if (int32_t status = openDevice((firstDevice + i) % count, error))
      return status;
  std::string problem;
  if (connects && !isShared() && program.num_groups)
    nccl = findNccl(problem);
  for (uint32_t rank = firstRank; rank < endRank; ++rank) {
    of(rank).device = devices[(rank - firstRank) % wanted].get();
    if (int32_t status = allocate(rank, error))
      return status;
  }
  return CLEAVE_OK;
}

int32_t Gpu::openDevice(uint32_t index, cleave_error *error) {
  Device &device = *devices.emplace_back(std::make_unique<Device>());
  int major = 0, minor = 0, multiprocessors = 0;
  CUresult result = driver->cuDeviceGet(&device.device, int(index));
  if (!result)
    result = driver->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                                          device.device);
  if (!result)
    result = driver->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                                          device.device);
  if (!result)
    result = driver->cuDeviceGetAttribute(&multiprocessors,
                                          CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device.device);
  if (!result)
    result = driver->cuDeviceGetUuid(&device.uuid, device.device);
  if (!result)
    result = driver->cuDevicePrimaryCtxRetain(&device.context, device.device);
  if (!result)
    result = driver->cuCtxSetCurrent(device.context);
  if (result)
    return fail(result, "a GPU does not open", error);
  device.chip = uint32_t(10 * major + minor);
  device.multiprocessors = uint32_t(multiprocessors);
  return loadKernels(device, error);
}

/// What was made for this very chip, else for an older one of its kind, else what the
/// driver can compile, or the simulator run.
const cleave_image *Gpu::imageFor(const Device &device, const cleave_device_kernel &kernel) const {
  const cleave_image *best = nullptr;
  auto rank = [&](const cleave_image &image) {
    if (image.chip == device.chip && image.kind != CLEAVE_IMAGE_PTX)
      return 3;
    if (image.feature || image.chip > device.chip)
      return 0;
    if (image.kind != CLEAVE_IMAGE_CUBIN)
      return 1;
    return image.chip / 10 == device.chip / 10 ? 2 : 0;
  };
  for (uint32_t i = 0; i < kernel.num_images; ++i) {
    const cleave_image &image = program.images[kernel.first_image + i];
    if (rank(image) > (best ? rank(*best) : 0))
      best = &image;
  }
  return best;
}

int32_t Gpu::loadKernels(Device &device, cleave_error *error) {
  constexpr uint32_t sharedOfAll = 48 << 10;
  for (uint32_t i = 0; i < program.num_kernels; ++i) {
    const cleave_device_kernel &kernel = program.device_kernels[i];
    const cleave_image *image = imageFor(device, kernel);
    if (!image)
      return runtime::fail(error, CLEAVE_REFUSED,
                           "kernel \"%.100s\" has no code for this GPU, got: sm_%u; compile the "
                           "model with --target %s:sm_%u",
                           kernel.name, device.chip, isSimulated() ? "simt" : "cuda", device.chip);
    CUmodule &module = device.modules[image->data];
    CUfunction function = nullptr;
    CUresult result = CUDA_SUCCESS;
    if (!module)
      result = driver->cuModuleLoadData(&module, image->data);
    if (!result)
      result = driver->cuModuleGetFunction(&function, module, kernel.name);
    if (!result && image->shared_bytes > sharedOfAll)
      result = driver->cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                          int(image->shared_bytes));
    if (result) {
      std::string what = "the code of kernel \"" + std::string(kernel.name) + "\" does not load";
      return fail(result, what.c_str(), error);
    }
    device.functions.emplace_back(function, image);
  }
  return CLEAVE_OK;
}

int32_t Gpu::take(uint32_t rank, CUdeviceptr &memory, uint64_t bytes, cleave_error *error) {
  // Where a kernel wants some of 16 bytes that are aligned, LLVM loads all of them. The
  // simulator runs what it was given, and is told the very end.
  constexpr uint64_t vector = 16;
  if (!isSimulated() && bytes <= ~vector)
    bytes = (bytes + vector - 1) / vector * vector;
  CUresult result = driver->cuMemAlloc(&memory, std::max<uint64_t>(bytes, 1));
  if (result != CUDA_ERROR_OUT_OF_MEMORY)
    return result ? fail(result, "a GPU gives no memory", error) : int32_t(CLEAVE_OK);
  size_t unused = 0, all = 1;
  driver->cuMemGetInfo(&unused, &all);
  const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
  uint64_t together = 0;
  for (uint32_t r = 0; r < program.num_ranks; ++r)
    together +=
        cleave_weight_bytes(&program, r) + program.programs[program.class_of_rank[r]].arena_bytes;
  // Some is left for code and for the driver.
  uint64_t usable = all / 10 * 9, passing = passingBytes(rank), least = 0, example = 0;
  uint64_t taken = ranks.size() < program.num_ranks ? program.num_ranks : devices.size();
  if (usable > passing) {
    // Were all parts equal, and nothing whole on all ranks, the least would do. Most sizes are
    // even over powers of two; and who follows, and is told again, soon comes to an end.
    least = std::max((together - 1) / (usable - passing) + 1, taken + 1);
    example = std::bit_ceil(std::max<uint64_t>(least, program.num_ranks + 1));
  }
  constexpr uint64_t mostRanks = 4096; // of a mesh
  std::string advice;
  if (example && example <= mostRanks)
    advice = "cut the model over more GPUs, at least " + std::to_string(least) +
             ", as with --mesh tp=" + std::to_string(example);
  else if (passing)
    advice =
        "no number of GPUs of this size is enough, since what weights are made from comes "
        "whole; take larger ones, or run what cleave compile makes, whose ranks read their own";
  else
    advice = "no mesh has as many GPUs of this size as are wanted; take larger ones";
  return runtime::fail(error, CLEAVE_REFUSED,
                       "the GPU has no memory for rank %u, which needs %llu bytes of weights, %llu "
                       "to make them, %llu of activations; %llu of %llu are free: %s",
                       rank, (unsigned long long)cleave_weight_bytes(&program, rank),
                       (unsigned long long)passing, (unsigned long long)own.arena_bytes,
                       (unsigned long long)unused, (unsigned long long)all, advice.c_str());
}

/// What ranks exchange lies there: where NCCL opens windows to it, it has to be NCCL's own.
int32_t Gpu::takeArena(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  uint64_t bytes = program.programs[program.class_of_rank[r]].arena_bytes;
  void *memory = nullptr;
  if (!nccl || !nccl->hasWindows() || !bytes)
    return take(r, rank.arena, bytes, error);
  ncclResult_t result = nccl->ncclMemAlloc(&memory, bytes);
  rank.isArenaNccls = result == ncclSuccess;
  rank.arena = reinterpret_cast<CUdeviceptr>(memory);
  if (rank.isArenaNccls)
    return CLEAVE_OK;
  // Mostly because there is too little.
  if (int32_t status = take(r, rank.arena, bytes, error))
    return status;
  return runtime::fail(error, CLEAVE_REFUSED,
                       "NCCL gives rank %u no memory that others may reach, %s; NCCL_DEBUG=INFO "
                       "says more, with NCCL_CUMEM_ENABLE=0 it takes plain memory",
                       r, nccl->ncclGetErrorString(result));
}

int32_t Gpu::allocate(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  const cleave_rank_program &own = program.programs[program.class_of_rank[r]];
  if (CUresult result = driver->cuCtxSetCurrent(rank.device->context))
    return fail(result, "a GPU does not open", error);
  if (CUresult result = driver->cuStreamCreateWithPriority(&rank.stream, CU_STREAM_NON_BLOCKING, 0))
    return fail(result, "a GPU gives no stream", error);
  rank.numFaults = std::max({own.num_load, own.num_main, 1u});
  const std::pair<CUdeviceptr *, uint64_t> blocks[] = {
      {&rank.params, own.param_bytes},
      {&rank.faults, 4 * uint64_t(rank.numFaults)},
      {&rank.coordinates, 8 * uint64_t(program.num_axes)},
      {&rank.passing, passingBytes(r)}};
  for (auto [memory, bytes] : blocks)
    if (int32_t status = take(r, *memory, bytes, error))
      return status;
  if (int32_t status = takeArena(r, error))
    return status;
  const int64_t *coordinates = program.coordinates + size_t(r) * program.num_axes;
  if (program.num_axes)
    if (CUresult result =
            driver->cuMemcpyHtoD(rank.coordinates, coordinates, 8 * size_t(program.num_axes)))
      return fail(result, "a GPU does not take what is copied to it", error);
  rank.inputs.resize(program.num_inputs);
  rank.outputs.resize(program.num_outputs);
  for (bool load : {true, false})
    for (const cleave_command &command : listOf(program, r, load))
      for (const cleave_buffer &buffer : buffersOf(program, command))
        if (int32_t status = allocateBuffer(r, buffer, error))
          return status;
  if (int32_t status = timing ? makeMarks(r, error) : int32_t(CLEAVE_OK))
    return status;
  return allocateStaging(r, error);
}

int32_t Gpu::makeMarks(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  rank.marks.resize(1 + 2 * listOf(program, r, /*load=*/false).size());
  for (CUevent &event : rank.marks)
    if (CUresult result = driver->cuEventCreate(&event, CU_EVENT_DEFAULT))
      return fail(result, "a GPU gives no events to time commands by", error);
  return CLEAVE_OK;
}

/// Files, inputs and outputs have no block that all share.
int32_t Gpu::allocateBuffer(uint32_t r, const cleave_buffer &buffer, cleave_error *error) {
  Rank &rank = of(r);
  CUdeviceptr *memory = nullptr;
  uint64_t bytes = buffer.bytes;
  switch (buffer.space) {
  case CLEAVE_SPACE_FILE:
    if (!passes(buffer))
      memory = &rank.device->files[rangeOf(buffer)];
    break;
  case CLEAVE_SPACE_INPUT:
    memory = &rank.inputs[buffer.index];
    valueBytes(program.inputs[buffer.index], bytes);
    break;
  case CLEAVE_SPACE_OUTPUT:
    memory = &rank.outputs[buffer.index];
    valueBytes(program.outputs[buffer.index], bytes);
    break;
  }
  return memory && !*memory ? take(r, *memory, bytes, error) : int32_t(CLEAVE_OK);
}

/// Memory of the host, at addresses that stay: what exchanges give and get, then the
/// inputs and outputs, then the faults.
int32_t Gpu::allocateStaging(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  uint64_t shared = 0, end = 0;
  auto round = [](uint64_t bytes) { return (bytes + 63) / 64 * 64; };
  // Sends come behind what the others share, whose size is known at the end.
  auto each = [&](auto step) {
    for (bool load : {true, false}) {
      std::span<const cleave_command> list = listOf(program, r, load);
      rank.stages[load].resize(list.size());
      for (size_t i = 0; i < list.size(); ++i) {
        uint64_t bytes = 0;
        if (isExchange(list[i].op))
          for (const cleave_buffer &buffer : buffersOf(program, list[i]))
            bytes += round(buffer.bytes);
        step(list[i].op == CLEAVE_OP_SEND, bytes, rank.stages[load][i]);
      }
    }
  };
  each([&](bool isSend, uint64_t bytes, uint64_t &) {
    if (!isSend)
      shared = std::max(shared, bytes);
  });
  end = shared;
  each([&](bool isSend, uint64_t bytes, uint64_t &at) {
    at = isSend ? end : 0;
    end += isSend ? bytes : 0;
  });
  for (auto [values, count, memory, at] :
       {std::tuple(program.inputs, program.num_inputs, &rank.inputs, &rank.inputStages),
        {program.outputs, program.num_outputs, &rank.outputs, &rank.outputStages}})
    for (uint32_t i = 0; i < count; ++i) {
      uint64_t bytes = 0;
      if ((*memory)[i])
        valueBytes(values[i], bytes);
      at->push_back(end);
      end += round(bytes);
    }
  rank.foundStage = end;
  end += round(4 * uint64_t(rank.numFaults));
  CUresult refusal = rank.staging.pin(*driver, end);
  if (refusal && !rank.staging.allocate(end, r))
    return runtime::fail(error, CLEAVE_REFUSED,
                         "the system has no memory for what rank %u exchanges, got: %llu bytes", r,
                         (unsigned long long)end);
  if (refusal && why.empty()) {
    char text[512];
    driver->describe(refusal, text, sizeof text);
    addRemark(std::string("the system pins no memory for copies to GPUs, ") + text +
              ", so commands are launched one by one; raise what may be locked (ulimit -l)");
  }
  return CLEAVE_OK;
}

void *Gpu::address(uint32_t r, const cleave_command &command, uint32_t b) {
  Rank &rank = of(r);
  const cleave_buffer &buffer = buffersOf(program, command)[b];
  switch (buffer.space) {
  case CLEAVE_SPACE_FILE:
    return pointerTo(passes(buffer) ? rank.passing + passingBytes(command, b)
                                    : rank.device->files[rangeOf(buffer)]);
  case CLEAVE_SPACE_PARAM: return pointerTo(rank.params + buffer.offset);
  case CLEAVE_SPACE_ARENA: return pointerTo(rank.arena + buffer.offset);
  case CLEAVE_SPACE_INPUT: return pointerTo(rank.inputs[buffer.index] + buffer.offset);
  default: return pointerTo(rank.outputs[buffer.index] + buffer.offset);
  }
}

/// For what lies at `address`.
static CUresult encode(const Driver &driver, const cleave_map &map, void *address,
                       CUtensorMap &result) {
  // It moves bytes, and zeros are zeros.
  CUtensorMapDataType type = map.element_bytes == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                             : map.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                             : map.element_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_UINT32
                                                      : CU_TENSOR_MAP_DATA_TYPE_UINT64;
  CUtensorMapSwizzle swizzle = map.swizzle == 32    ? CU_TENSOR_MAP_SWIZZLE_32B
                               : map.swizzle == 64  ? CU_TENSOR_MAP_SWIZZLE_64B
                               : map.swizzle == 128 ? CU_TENSOR_MAP_SWIZZLE_128B
                                                    : CU_TENSOR_MAP_SWIZZLE_NONE;
  cuuint64_t sizes[CLEAVE_MAX_MAP_DIMS], strides[CLEAVE_MAX_MAP_DIMS];
  std::copy_n(map.sizes, CLEAVE_MAX_MAP_DIMS, sizes);
  std::copy_n(map.strides, CLEAVE_MAX_MAP_DIMS, strides);
  cuuint32_t steps[CLEAVE_MAX_MAP_DIMS];
  std::fill_n(steps, CLEAVE_MAX_MAP_DIMS, 1);
  return driver.cuTensorMapEncodeTiled(
      &result, type, map.num_dims, static_cast<char *>(address) + map.offset, sizes, strides + 1,
      map.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

int32_t Gpu::addLaunch(uint32_t r, const cleave_command &command, uint32_t index, void **pointers,
                       void **&result, cleave_error *error) {
  Rank &rank = of(r);
  const cleave_image &image = *rank.device->functions[command.kernel].second;
  Arguments &arguments =
      rank.arguments.emplace_back(Arguments{rank.coordinates, rank.faults + 4 * index, {}, {}});
  arguments.maps.resize(image.num_maps);
  for (uint32_t i = 0; i < command.num_buffers; ++i)
    arguments.list.push_back(pointers + i);
  arguments.list.push_back(&arguments.coordinates);
  arguments.list.push_back(&arguments.fault);
  for (uint32_t i = 0; i < image.num_maps; ++i) {
    const cleave_map &map = program.maps[image.first_map + i];
    if (CUresult status = encode(*driver, map, pointers[map.buffer], arguments.maps[i])) {
      std::string what = "a GPU does not take map " + std::to_string(i) + " of kernel \"" +
                         program.device_kernels[command.kernel].name + "\"";
      return fail(status, what.c_str(), error);
    }
    arguments.list.push_back(&arguments.maps[i]);
  }
  result = arguments.list.data();
  return CLEAVE_OK;
}
