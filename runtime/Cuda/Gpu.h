//===- Gpu.h - the local ranks of a program on GPUs -----------*- C++ -*-===//
//
// Rank r of this process is on device r mod n, with a stream and memory of its
// own. Commands are only put into the stream; the host waits where ranks meet and
// at the end of a list. What ranks exchange goes through memory of the host, so
// that any communicator serves.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_CUDA_GPU_H
#define CLEAVE_RUNTIME_CUDA_GPU_H

#include "../Core/Error.h"
#include "../Host/Memory.h"
#include "Driver.h"

#include <deque>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

namespace cleave::runtime {

/// A failed call says what is wrong in `problem`.
class Gpu {
public:
  Gpu(const cleave_program &program, uint32_t firstRank, uint32_t endRank, uint32_t deadlineMs);
  ~Gpu();

  /// Opens the driver and the devices, loads the code, and takes the memory of all ranks.
  int32_t prepare(cleave_error *error);

  /// Where a buffer lies for the kernels of `rank`.
  void *address(uint32_t rank, const cleave_buffer &buffer);
  /// What cuLaunchKernel wants for a launch with these addresses, which stay where they are;
  /// `index` is that of the command.
  void **addLaunch(uint32_t rank, void **pointers, uint32_t count, uint32_t index);
  /// Memory of the host through which exchange `index` of a list goes.
  char *stage(uint32_t rank, bool load, uint32_t index);

  /// Copies the ranges of files that commands read, and parameters that are mapped.
  int32_t upload(const std::vector<MappedFile> &files, cleave_error *error);
  /// Lets go of what `load` alone reads.
  void endLoad();

  // On the fiber of a rank; false with `problem`.
  bool begin(uint32_t rank);
  bool writeInput(uint32_t rank, uint32_t index, const void *data);
  bool launch(uint32_t rank, const cleave_command &command, void **arguments);
  bool copy(uint32_t rank, void *target, const void *source, uint64_t bytes);
  bool clear(uint32_t rank, void *target, uint64_t bytes);
  bool fetch(uint32_t rank, void *host, const void *device, uint64_t bytes);
  bool give(uint32_t rank, void *device, const void *host, uint64_t bytes);
  bool readOutput(uint32_t rank, uint32_t index, void *data);
  /// Waits for all that was begun. `faulty` is the first command with a fault, or -1.
  bool finish(uint32_t rank, int64_t &faulty);
  /// Waits, and nothing else.
  bool wait(uint32_t rank);

  const char *problem(uint32_t rank) const { return ranks[rank - firstRank].problem; }

private:
  using Range = std::tuple<uint32_t, uint64_t, uint64_t>; ///< file, offset, bytes

  struct Device {
    CUdevice device = 0;
    CUcontext context = nullptr;
    uint32_t chip = 0;
    std::map<const void *, CUmodule> modules; ///< by their image
    std::vector<CUfunction> functions;        ///< by kernel
    std::map<Range, CUdeviceptr> files;
  };
  struct Arguments {
    CUdeviceptr coordinates, fault;
    std::vector<void *> list;
  };
  struct Rank {
    Device *device = nullptr;
    CUstream stream = nullptr;
    CUdeviceptr params = 0, arena = 0, coordinates = 0, faults = 0;
    std::vector<CUdeviceptr> inputs, outputs;
    std::vector<int32_t> found;
    std::deque<Arguments> arguments;
    /// By list and command: exchanges share the beginning, a send has bytes of its own,
    /// since they fly while others follow.
    std::vector<uint64_t> stages[2];
    Block staging;
    char problem[448] = "";
  };

  Rank &of(uint32_t rank) { return ranks[rank - firstRank]; }
  bool check(Rank &rank, CUresult result);
  bool enter(Rank &rank) { return check(rank, driver->cuCtxSetCurrent(rank.device->context)); }
  int32_t fail(CUresult result, const char *what, cleave_error *error);
  int32_t openDevice(uint32_t index, cleave_error *error);
  int32_t loadKernels(Device &device, cleave_error *error);
  const cleave_image *imageFor(const Device &device, const cleave_device_kernel &kernel) const;
  int32_t allocate(uint32_t rank, cleave_error *error);
  int32_t allocateBuffer(uint32_t rank, const cleave_buffer &buffer, cleave_error *error);
  int32_t allocateStages(uint32_t rank, cleave_error *error);
  int32_t take(uint32_t rank, CUdeviceptr &memory, uint64_t bytes, cleave_error *error);
  int32_t copyIn(Device &device, CUdeviceptr target, const void *source, uint64_t bytes,
                 cleave_error *error);
  bool readsFile(const Range &range, bool load) const;

  const cleave_program &program;
  const uint32_t firstRank, endRank, deadlineMs;
  const Driver *driver = nullptr;
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<Rank> ranks;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_GPU_H
