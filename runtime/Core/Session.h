//===- Session.h - a loaded program, inside -------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_SESSION_H
#define CLEAVE_RUNTIME_CORE_SESSION_H

#include "../Comm/Messages.h"
#include "../Cuda/Gpu.h"
#include "../Process/Process.h"
#include "Error.h"
#include "Fault.h"
#include "Step.h"
#include "cleave/Runtime/Session.h"

namespace cleave::runtime {

/// An address that each run sets anew.
struct Binding {
  void **pointer;
  bool output;
  uint32_t index;
  uint64_t offset;
};

/// One rank: its memory and its two lists. Lines of its own, since workers
/// write to neighbours.
struct alignas(64) Rank {
  Block params, arena;
  char *paramData;                      ///< of `params`, or mapped
  std::vector<Block> outputs;           ///< none of those that the caller gives
  std::vector<const void *> outputData; ///< of the last run
  std::vector<void *> pointers;
  std::vector<Step> load, main;
  std::vector<Binding> bindings;
  cleave_counters counters = {};
  std::vector<uint64_t> times;
  std::vector<cleave_span> spans; ///< as long as `times`
  /// Twice the step it is at, one more within an exchange; its number of steps at the
  /// end. Of a process, on the board that its host sees.
  std::atomic<uint32_t> *step = &ownStep;
  std::atomic<uint32_t> ownStep{0};
};

struct GpuOffer;
struct GpuPlan;

/// Ranges of each file that `main` reads: they stay in memory after loading.
class FileUse {
public:
  explicit FileUse(const cleave_program &program);

  /// Calls `drop(begin, end)` for what of [begin, end) main does not read.
  template <typename Drop>
  void unused(uint32_t file, uint64_t begin, uint64_t end, Drop drop) const {
    for (const Range &range : ranges[file]) {
      if (range.end <= begin)
        continue;
      if (range.begin >= end)
        break;
      if (range.begin > begin)
        drop(begin, range.begin);
      begin = range.end;
    }
    if (begin < end)
      drop(begin, end);
  }

private:
  struct Range {
    uint64_t begin, end;
  };
  std::vector<std::vector<Range>> ranges; ///< by file, ascending, apart
};

/// What a rank waits for.
struct Awaited {
  Place by;
  uint32_t rank;     ///< itself where that cannot be said
  bool lost;         ///< that rank has sent what does not come,
  Place sender = {}; ///< by this
};

/// What all ranks of a session do at a time.
enum class Work : uint8_t { Load, Run, Agree, Connect, Meet, Capture, End };

class Session final : public RankBody, public JobMember {
public:
  Session(const cleave_program &program, const cleave_session_options &options);
  ~Session();

  /// Takes what the program needs, and loads.
  int32_t prepare(cleave_error *error);
  int32_t run(const cleave_input *inputs, const cleave_output *outputs,
              cleave_error *error) noexcept;

  void runRank(uint32_t rank, Waiter &waiter) noexcept override;

  const char *exchange() const;
  const char *remark() const { return gpu ? gpu->remark() : ""; }

  /// False where a kernel still runs: the session must stay where it is.
  bool finish() noexcept;

  bool isLocal(uint32_t rank) const { return rank >= firstRank && rank < endRank; }

  void describePosition(uint32_t rank, Phase phase, uint32_t step, char *text,
                        size_t room) noexcept override;
  void stopForJob() noexcept override;

  const cleave_program &program;
  std::unique_ptr<Rank[]> ranks;

private:
  bool readsFile(uint32_t index) const;
  int32_t mapFiles(cleave_error *error);
  int32_t allocate(cleave_error *error);
  int32_t resolve(uint32_t rank, bool load, cleave_error *error);
  void *address(Rank &rank, const cleave_buffer &buffer);

  /// Whether an output of a rank is the caller's memory.
  bool isCallers(uint32_t index, uint32_t rank) const {
    return program.outputs[index].rank == rank && (!process || rank == 0);
  }
  int32_t bind(const cleave_input *inputs, const cleave_output *outputs,
               cleave_error *error) noexcept;
  void bindOwn(const cleave_input *inputs, const cleave_output *outputs) noexcept;
  int32_t runAll(Work work, cleave_error *error) noexcept;
  int32_t runInJob(cleave_error *error) noexcept;
  bool runSteps(uint32_t rank, Waiter &waiter) noexcept;
  /// Keeps the first failure of a run, and stops all ranks.
  [[gnu::format(printf, 3, 4)]] void report(const Place &place, const char *format, ...) noexcept;
  void reportOutcome(const Place &place, const Outcome &outcome) noexcept;
  void reportLate(const Place &place) noexcept;
  const char *hostOf(uint32_t rank) const;
  uint32_t stepOf(uint32_t rank) const;
  /// Whether a rank has yet to end the run before this one.
  bool isBehind(uint32_t rank) const;
  uint32_t arrivals(uint32_t rank, uint32_t group) const;
  template <typename Which> Place placeOf(uint32_t rank, uint32_t number, Which which) const;
  Awaited awaitedBy(const Place &place) const;
  Awaited culprit(const Place &place) const;
  /// The failure of a rank where no command is to blame.
  [[gnu::format(printf, 3, 4)]] void reportPlain(uint32_t rank, const char *format, ...) noexcept;
  void reportHanging() noexcept;

  bool execute(const Place &place, const Step &step, Waiter &waiter) noexcept;
  bool launch(const Place &place, const Step &step) noexcept;
  void reportFault(const Place &place, int32_t fault) noexcept;
  bool executeOnGpu(const Place &place, const Step &step, Waiter &waiter) noexcept;
  /// Writes the inputs that a rank reads, waits for the end of its list, and reads outputs.
  int32_t captureAll(cleave_error *error);
  /// How ranks on GPUs exchange: Connect.cpp.
  void connect(Waiter &waiter) noexcept;
  bool shareOffers(std::vector<GpuOffer> &offers, GpuPlan &plan, const Nccl *nccl, Waiter &waiter);
  bool captureOnGpu(uint32_t rank, Waiter &waiter) noexcept;
  bool beginOnGpu(uint32_t rank, Waiter &waiter) noexcept;
  bool finishOnGpu(uint32_t rank, Waiter &waiter) noexcept;
  /// False where a GPU stopped for another rank.
  bool describeGpu(uint32_t rank, char *text, size_t room) noexcept;
  bool reportGpu(const Place &place) noexcept;
  bool exchange(const Place &place, const Step &step, Waiter &waiter) noexcept;
  void releaseFiles(const cleave_command &command) noexcept;
  /// False where the rank ends here.
  bool strike(const Place &place, Waiter &waiter) noexcept;

  // One rank a process: Job.cpp.
  int32_t prepareJob(cleave_error *error);
  bool agree(Waiter &waiter) noexcept;
  bool compareWith(uint32_t peer, Waiter &waiter);
  bool explainTo(Waiter &waiter);
  bool meet(Waiter &waiter, const char *what) noexcept;
  bool moveInputs(Waiter &waiter) noexcept;
  bool moveOutputs(Waiter &waiter) noexcept;
  bool describeLaggard(char *text, size_t room) noexcept;
  bool moved(const Outcome &outcome, const char *what) noexcept;
  bool readsInput(uint32_t rank, uint32_t index) const;

  const Groups groups;
  const FileUse fileUse;
  const uint32_t deadlineMs;
  const bool timing;
  const bool eager;
  const bool harmed; ///< CLEAVE_FAULT is for it
  const bool wantsChecks, checks;
  const uint32_t runs;
  Process *const process; ///< null: all ranks are in this process
  const uint32_t firstRank, endRank;
  Fault fault;
  std::vector<MappedFile> files;
  std::unique_ptr<Gpu> gpu; ///< of a program for GPUs
  bool connects = false;    ///< ranks exchange from GPU to GPU, where they can
  std::unique_ptr<Communicator> communicator;
  Messages *messages = nullptr; ///< the communicator, of a process
  Workers workers;

  // Of a process: by input, memory of what others give, and who reads what this gives.
  std::vector<Block> inputBlocks;
  std::vector<std::vector<uint32_t>> readers;
  std::vector<uint8_t> meetingTokens;
  const cleave_input *givenInputs = nullptr;
  const cleave_output *givenOutputs = nullptr;
  bool secondHand = false; ///< `failure` has a cause elsewhere

  bool loading = false;
  Work work = Work::Load;
  bool isWhole = false; ///< it was created, on all ranks
  bool isCut = false;   ///< what connected the GPUs, by a run that failed
  bool broken = false;  ///< a kernel did not come back
  std::atomic<uint32_t> failures{0};
  std::atomic<bool> reported{false}; ///< `failure` is whole
  cleave_error failure;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_SESSION_H
