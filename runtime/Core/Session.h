//===- Session.h - a loaded program, inside -------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_SESSION_H
#define CLEAVE_RUNTIME_CORE_SESSION_H

#include "../Comm/Communicator.h"
#include "Error.h"
#include "Verify.h"
#include "cleave/Runtime/Session.h"

namespace cleave::runtime {

/// A command of one rank, its buffers resolved to addresses.
struct Step {
  const cleave_command *command;
  void **pointers;
  uint64_t bytes; ///< of a copy or fill; sent, of a collective or transfer
};

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
  std::atomic<uint32_t> step{0};  ///< the one it is at; its number of steps at the end
};

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

class Session final : public RankBody {
public:
  Session(const cleave_program &program, const cleave_session_options &options);
  ~Session();

  /// Takes what the program needs, and loads.
  int32_t prepare(cleave_error *error);
  int32_t run(const cleave_input *inputs, const cleave_output *outputs,
              cleave_error *error) noexcept;

  void runRank(uint32_t rank, Waiter &waiter) noexcept override;

  /// False where a kernel still runs: the session must stay where it is.
  bool finish() noexcept { return workers.finish(); }

  const cleave_program &program;
  std::unique_ptr<Rank[]> ranks;

private:
  int32_t mapFiles(cleave_error *error);
  int32_t allocate(cleave_error *error);
  void resolve(uint32_t rank, bool load);
  void *address(Rank &rank, const cleave_buffer &buffer);

  int32_t bind(const cleave_input *inputs, const cleave_output *outputs,
               cleave_error *error) noexcept;
  int32_t runAll(bool load, cleave_error *error) noexcept;
  /// Keeps the first failure of a run, and stops all ranks.
  [[gnu::format(printf, 3, 4)]] void report(const Place &place, const char *format, ...) noexcept;
  void reportLate(const Place &place) noexcept;
  void reportHanging() noexcept;

  bool execute(const Place &place, const Step &step, Waiter &waiter) noexcept;
  bool launch(const Place &place, const Step &step) noexcept;
  bool exchange(const Place &place, const Step &step, Waiter &waiter) noexcept;
  void releaseFiles(const cleave_command &command) noexcept;

  const Groups groups;
  const FileUse fileUse;
  const uint32_t deadlineMs;
  const bool timing;
  std::vector<MappedFile> files;
  std::unique_ptr<Communicator> communicator;
  Workers workers;

  bool loading = false;
  bool broken = false; ///< a kernel did not come back
  std::atomic<uint32_t> failures{0};
  std::atomic<bool> reported{false}; ///< `failure` is whole
  cleave_error failure;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_SESSION_H
