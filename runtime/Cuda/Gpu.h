//===- Gpu.h - the local ranks of a program on GPUs -----------*- C++ -*-===//
//
// Rank r of this process is on device r mod n, with a stream and memory of its
// own. Commands are only put into the stream; the host waits where ranks meet and
// at the end of a list. What ranks exchange goes through memory of the host, so
// that any communicator serves. Of `main`, what lies between two exchanges is a
// graph, which a run launches as one.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_CUDA_GPU_H
#define CLEAVE_RUNTIME_CUDA_GPU_H

#include "../Core/Error.h"
#include "../Core/Step.h"
#include "../Host/Workers.h"
#include "HostBlock.h"

#include <deque>
#include <map>
#include <memory>
#include <string>
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
  /// Copies the ranges of files that commands read, and parameters that are mapped.
  int32_t upload(const std::vector<MappedFile> &files, cleave_error *error);
  /// Lets go of what `load` alone reads.
  void endLoad();

  /// Makes graphs of the steps of `main`, which stay where they are. Refused where they
  /// make none; where memory of the host is not pinned, there are none.
  int32_t capture(uint32_t rank, const std::vector<Step> &steps, cleave_error *error);
  /// Why there are none, or "".
  const char *remark() const { return why.c_str(); }

  // On the fiber of a rank, in this order; false with `problem`, which is empty where
  // another rank has failed.
  /// Waits for what a failed run has left behind. Then inputs may be written.
  bool wait(uint32_t rank, Waiter &waiter);
  void writeInput(uint32_t rank, uint32_t index, const void *data);
  bool begin(uint32_t rank, bool load);
  /// A command that is no exchange.
  bool execute(uint32_t rank, bool load, const Step &step);
  /// Where on the host an exchange finds what it gives, once this returns, and puts what it
  /// gets.
  bool arrive(uint32_t rank, bool load, uint32_t index, const Step &step, Ends &ends,
              Waiter &waiter);
  bool leave(uint32_t rank, bool load, uint32_t index, const Step &step);
  /// Waits for all that was begun. `faulty` is the first command with a fault, or -1. Then
  /// outputs may be read.
  bool finish(uint32_t rank, bool load, Waiter &waiter, int64_t &faulty);
  void readOutput(uint32_t rank, uint32_t index, void *data);

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
    std::vector<CUdeviceptr> inputs, outputs; ///< 0 for what the rank does not touch
    uint32_t numFaults = 0;
    std::deque<Arguments> arguments;
    HostBlock staging;
    /// Where in it, by list and command: exchanges share the beginning, a send has bytes of
    /// its own, since they fly while others follow.
    std::vector<uint64_t> stages[2];
    std::vector<uint64_t> inputStages, outputStages;
    uint64_t foundStage = 0;
    std::vector<CUgraphExec> pieces; ///< of `main`
    uint32_t nextPiece = 0;
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
  int32_t allocateStaging(uint32_t rank, cleave_error *error);
  uint64_t weightBytes(uint32_t rank) const;
  int32_t take(uint32_t rank, CUdeviceptr &memory, uint64_t bytes, cleave_error *error);
  bool readsFile(const Range &range, bool load) const;

  // What a stream is given; captured, or at once.
  bool issueBegin(Rank &rank, bool load);
  bool issue(Rank &rank, const Step &step);
  bool issueArrival(Rank &rank, char *stage, const Ends &ends);
  bool issueDeparture(Rank &rank, const char *stage, const Ends &ends);
  bool issueEnd(Rank &rank, bool load);
  bool fetch(Rank &rank, void *host, CUdeviceptr device, uint64_t bytes);
  bool give(Rank &rank, CUdeviceptr device, const void *host, uint64_t bytes);

  bool beginPiece(Rank &rank);
  bool endPiece(Rank &rank);
  bool captureAll(Rank &rank, const std::vector<Step> &steps);
  bool launchNext(Rank &rank);
  /// Whether a list is launched as graphs.
  static bool isCaptured(const Rank &rank, bool load) { return !load && !rank.pieces.empty(); }
  char *stage(Rank &rank, bool load, uint32_t index) {
    return rank.staging.data() + rank.stages[load][index];
  }

  const cleave_program &program;
  const uint32_t firstRank, endRank, deadlineMs;
  const Driver *driver = nullptr;
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<Rank> ranks;
  std::string why;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_GPU_H
