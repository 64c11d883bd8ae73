//===- Gpu.h - the local ranks of a program on GPUs -----------*- C++ -*-===//
//
// Local rank i is on device first + i, modulo their number, with a stream and memory of
// its own. Commands are only put into the stream; the host waits where ranks meet and
// at the end of a list. Where each rank has a GPU of its own and there is NCCL,
// exchanges are commands as all others; else what ranks exchange goes through
// memory of the host, so that any communicator serves. `main` is a graph, or one
// for each stretch between two exchanges on the host, which a run launches.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_CUDA_GPU_H
#define CLEAVE_RUNTIME_CUDA_GPU_H

#include "../Core/Error.h"
#include "../Core/Step.h"
#include "../Host/Workers.h"
#include "../Nccl/Cliques.h"
#include "HostBlock.h"
#include "Upload.h"

#include "cleave/Runtime/Session.h"

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace cleave::runtime {

/// A failed call says what is wrong in `problem`.
class Gpu {
public:
  /// `firstDevice` is that of `firstRank`; `connects`: exchanges from GPU to GPU, if it can;
  /// `timing`: marks the commands of `main`.
  Gpu(const cleave_program &program, uint32_t firstRank, uint32_t endRank, uint32_t firstDevice,
      uint32_t deadlineMs, bool connects, bool timing);
  ~Gpu();

  /// Opens the driver and the devices, loads the code, and takes the memory of all ranks.
  int32_t prepare(cleave_error *error);

  /// Where buffer `b` of a command lies for the kernels of `rank`.
  void *address(uint32_t rank, const cleave_command &command, uint32_t b);
  /// What cuLaunchKernel wants for a launch with these addresses, which stay where they are;
  /// `index` is that of the command.
  int32_t addLaunch(uint32_t rank, const cleave_command &command, uint32_t index, void **pointers,
                    void **&arguments, cleave_error *error);
  /// Copies the ranges of files that `main` reads, and parameters that are mapped; `files`
  /// stay where they are until `endLoad`.
  int32_t upload(const std::vector<MappedFile> &files, cleave_error *error);
  /// Lets go of what `load` alone reads.
  void endLoad();

  /// Whether ranks of this process share a GPU.
  bool isShared() const { return devices.size() < ranks.size(); }
  /// NCCL, where it serves this program; else `problem` says why not, with the remedy.
  const Nccl *findNccl(std::string &problem) const;
  /// Has exchanges go from GPU to GPU, with the other ranks that come with this id; on a
  /// fiber. Again after `disconnect`. As Cliques::connect.
  bool connect(const Nccl &nccl, const ncclUniqueId &id, Waiter &waiter, cleave_error *error);
  bool isConnected() const { return cliques != nullptr; }
  /// Through what, as in `NCCL 2.28.9`.
  const char *exchange() const { return via.c_str(); }
  /// After a failed run: ends exchanges that are under way, and forgets all graphs.
  void disconnect();
  /// Which GPU a rank is on, whoever else sees it.
  const CUuuid &deviceOf(uint32_t rank) const { return ranks[rank - firstRank].device->uuid; }
  /// Why graphs or NCCL are not used though they were asked for, or "".
  const char *remark() const { return why.c_str(); }
  /// Once, so that what was read of it before stays.
  void addRemark(const std::string &text) {
    if (why.find(text) == why.npos)
      why += (why.empty() ? "" : "; ") + text;
  }

  // On the fiber of a rank; false with `problem`, which is empty where another rank has
  // failed.
  /// Makes graphs of the steps of `main`, which stay where they are; none where memory of
  /// the host is not pinned.
  bool capture(uint32_t rank, const std::vector<Step> &steps, Waiter &waiter);

  // In this order.
  /// Waits for what a failed run has left behind. Then inputs may be written.
  bool settle(uint32_t rank, Waiter &waiter);
  void writeInput(uint32_t rank, uint32_t index, const void *data);
  bool begin(uint32_t rank, bool load);
  /// A command, which is no exchange unless ranks are connected.
  bool execute(uint32_t rank, bool load, const Step &step, Waiter &waiter);
  /// Where on the host an exchange finds what it gives, once this returns, and puts what it
  /// gets.
  bool arrive(uint32_t rank, bool load, uint32_t index, const Step &step, Ends &ends,
              Waiter &waiter);
  bool leave(uint32_t rank, bool load, uint32_t index, const Step &step);
  /// Waits for all that was begun. `faulty` is the first command with a fault, or -1. Then
  /// outputs may be read.
  bool finish(uint32_t rank, bool load, Waiter &waiter, int64_t &faulty);
  void readOutput(uint32_t rank, uint32_t index, void *data);
  /// When the GPU was at each command of the run that has ended, if it marks them.
  bool readSpans(uint32_t rank, cleave_span *spans, Waiter &waiter);

  const char *problem(uint32_t rank) const { return ranks[rank - firstRank].problem; }
  /// Whom a problem may be of: this rank, one that did not come within the deadline, or one
  /// that has ended.
  enum class Cause : uint8_t { Own, Late, Ended };
  Cause causeOf(uint32_t rank) const { return ranks[rank - firstRank].cause; }

private:
  bool isSimulated() const { return program.device == CLEAVE_DEVICE_SIMT; }

  using Range = std::tuple<uint32_t, uint64_t, uint64_t>; ///< file, offset, bytes

  struct Device {
    CUdevice device = 0;
    CUuuid uuid = {};
    CUcontext context = nullptr;
    uint32_t chip = 0, multiprocessors = 0;
    std::map<const void *, CUmodule> modules; ///< by their image
    /// By kernel: its code, and how that is started.
    std::vector<std::pair<CUfunction, const cleave_image *>> functions;
    std::map<Range, CUdeviceptr> files;
  };
  struct Arguments {
    CUdeviceptr coordinates, fault;
    std::vector<CUtensorMap> maps;
    std::vector<void *> list;
  };
  /// What a rank exchanges beside what it does next: sends to another, or its collectives.
  struct Lane {
    CUstream stream = nullptr;
    CUevent ready = nullptr;
    std::vector<CUevent> ends; ///< of the exchanges of a list
    uint32_t begun = 0, ended = 0;
  };
  static constexpr uint32_t collectives = ~0u; ///< their lane
  struct Rank {
    Device *device = nullptr;
    CUstream stream = nullptr;
    CUdeviceptr params = 0, arena = 0, coordinates = 0, faults = 0;
    bool isArenaNccls = false;                      ///< who gave it
    CUdeviceptr passing = 0;                        ///< what a command of `load` reads of files
    std::vector<std::pair<uint64_t, Range>> aboard; ///< there, by place
    std::unique_ptr<Upload> upload;
    std::vector<CUdeviceptr> inputs, outputs; ///< 0 for what the rank does not touch
    uint32_t numFaults = 0;
    std::deque<Arguments> arguments;
    HostBlock staging;
    /// Where in it, by list and command: exchanges share the beginning, a send has bytes of
    /// its own, since they fly while others follow.
    std::vector<uint64_t> stages[2];
    std::vector<uint64_t> inputStages, outputStages;
    uint64_t foundStage = 0;
    std::map<uint32_t, Lane> lanes; ///< by receiver; `collectives`
    /// By list and command: how many collectives have to have ended before it.
    std::vector<uint32_t> joins[2];
    std::vector<CUgraphExec> pieces; ///< of `main`
    uint32_t nextPiece = 0;
    /// Where commands are timed: of the begin of a run, then of the begin and end of each.
    std::vector<CUevent> marks;
    uint64_t begun = 0;        ///< nanoseconds, as those of a cleave_span
    bool endsInKernel = false; ///< what its stream was given last
    char problem[448] = "";
    Cause cause = Cause::Own;
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
  void findKept();
  static Range rangeOf(const cleave_buffer &buffer) {
    return {buffer.index, buffer.offset, buffer.bytes};
  }
  /// Whether `load` alone reads it.
  bool passes(const cleave_buffer &buffer) const {
    return buffer.space == CLEAVE_SPACE_FILE && !kept.count(rangeOf(buffer));
  }
  /// Of the first buffers of a command, and the most of any command of `load`.
  uint64_t passingBytes(const cleave_command &command, uint32_t end) const;
  uint64_t passingBytes(uint32_t rank) const;
  /// Has what `load` reads of files come for a command.
  bool bring(uint32_t rank, const cleave_command &command, Waiter &waiter);
  int32_t take(uint32_t rank, CUdeviceptr &memory, uint64_t bytes, cleave_error *error);
  int32_t takeArena(uint32_t rank, cleave_error *error);

  // What a stream is given; captured, or at once.
  /// Anything but a kernel: the next one begins behind it, and no earlier.
  bool put(Rank &rank, CUresult result);
  bool issueBegin(Rank &rank, bool load);
  bool issueNext(uint32_t rank, bool load, const Step &step, Waiter &waiter);
  bool issue(Rank &rank, const Step &step);
  bool launch(Rank &rank, const Step &step);
  bool issueExchange(uint32_t rank, const Step &step, Waiter &waiter);
  bool issueBeside(uint32_t rank, Lane &lane, const Step &step, Waiter &waiter);
  bool join(Rank &rank, Lane &lane, uint32_t count);
  bool joinCollectives(Rank &rank, uint32_t count = ~0u);
  bool joinBefore(uint32_t rank, bool load, const Step &step);
  bool wait(uint32_t rank, Waiter &waiter);
  int32_t makeMarks(uint32_t rank, cleave_error *error);
  bool mark(Rank &rank, size_t number, CUstream stream);
  bool markBegin(uint32_t rank, bool load, size_t index);
  bool markEnd(uint32_t rank, bool load, size_t index, const cleave_command &command);
  size_t indexOf(uint32_t rank, bool load, const Step &step) const {
    return size_t(step.command - listOf(program, rank, load).data());
  }
  /// Where it is at work on a command.
  CUstream streamOf(uint32_t rank, const cleave_command &command);
  bool waitFor(uint32_t rank, CUstream stream, Waiter &waiter);
  bool checkCall(uint32_t rank, ncclResult_t result, Waiter &waiter);
  bool fail(Rank &rank, ncclResult_t result);
  bool issueArrival(Rank &rank, char *stage, const Ends &ends);
  bool issueDeparture(Rank &rank, const char *stage, const Ends &ends);
  bool issueEnd(Rank &rank, bool load);
  bool fetch(Rank &rank, void *host, CUdeviceptr device, uint64_t bytes);
  bool give(Rank &rank, CUdeviceptr device, const void *host, uint64_t bytes);

  bool beginPiece(Rank &rank);
  bool endPiece(Rank &rank);
  bool captureAll(uint32_t rank, const std::vector<Step> &steps, Waiter &waiter);
  void dropGraphs(Rank &rank);
  /// Whether the bytes of an exchange pass through memory of the host. A wait has none.
  bool isStaged(uint8_t op) const { return !cliques && isExchange(op) && op != CLEAVE_OP_WAIT; }
  int32_t makeLanes(uint32_t rank, cleave_error *error);
  bool launchNext(Rank &rank);
  /// Whether a list is launched as graphs.
  static bool isCaptured(const Rank &rank, bool load) { return !load && !rank.pieces.empty(); }
  char *stage(Rank &rank, bool load, uint32_t index) {
    return rank.staging.data() + rank.stages[load][index];
  }

  const cleave_program &program;
  const uint32_t firstRank, endRank, firstDevice, deadlineMs;
  const bool connects, timing;
  const Driver *driver = nullptr;
  int version = 0;            ///< of CUDA, that the driver has
  const Nccl *nccl = nullptr; ///< where arenas are to be its memory
  const std::vector<MappedFile> *files = nullptr;
  std::set<Range> kept; ///< that `main` reads
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<Rank> ranks;
  std::unique_ptr<Cliques> cliques;
  const Groups groups;
  std::string via, why;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CUDA_GPU_H
