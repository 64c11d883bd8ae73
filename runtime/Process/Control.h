//===- Control.h - how a job ends as one ----------------------*- C++ -*-===//
//
// Each process holds a connection to rank 0, the hub, and a thread that watches
// it, so that it hears of an end while its rank computes or waits. The hub
// decides: the first failure that it learns is the verdict, and goes to all.
//
//   a process dies      the kernel closes its connection; the hub knows at once
//   one hangs           another waits for it in vain, and reports that
//   a host goes away    nothing is heard from it within the deadline
//   the hub dies        its peers see the same, and each knows what happened
//
// Who learns of a failure second hand (a broken wire, a signal from a launcher that
// ends the job) holds it back a while: the cause is on its way to the hub.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_CONTROL_H
#define CLEAVE_RUNTIME_PROCESS_CONTROL_H

#include "Board.h"
#include "Socket.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace cleave::runtime {

/// What the control thread asks of the session that runs.
class JobMember {
public:
  /// Where a rank is, as `command 3, all_reduce "o_proj"`.
  virtual void describePosition(uint32_t rank, Phase phase, uint32_t step, char *text,
                                size_t room) noexcept = 0;
  /// The job has failed: ends what waits, soon.
  virtual void stopForJob() noexcept = 0;

protected:
  ~JobMember() = default;
};

struct ControlPeer {
  std::string host;
  Socket socket; ///< at the hub of each member, at a member of the hub
};

class Control {
public:
  /// `peers` by rank. Starts the thread.
  Control(uint32_t rank, std::vector<ControlPeer> peers, Board &board);
  ~Control();

  void attach(JobMember *member, uint32_t deadlineMs);

  /// Within a call of a session; a thread that is inside when the job fails is
  /// expected to come back.
  void enter() { setInside(true); }
  void leaveCall() { setInside(false); }

  /// Tells the job of a failure here, `afterMs` from now unless a verdict comes
  /// first, and returns the verdict.
  cleave_error settle(const cleave_error &failure, uint32_t afterMs);
  bool failed(cleave_error *error);
  bool speaks();
  /// Safe within a signal handler.
  void interrupt(int signal);

  /// Waits until all have come this far; the verdict, if there is one.
  int32_t leave(uint32_t deadlineMs, cleave_error *error);
  /// Whether all processes have left, and nothing that they sent flies: they may end
  /// the wire together.
  bool leftWhole() const { return whole; }
  /// What this process sent or awaits has no end.
  void setFlying();

  const std::string &host(uint32_t rank) const { return peers[rank].host; }

private:
  enum class Kind : uint32_t { Beat, Failure, Verdict, Bye, Told, ToldAll };
  struct Frame {
    Kind kind;
    Phase phase;
    uint32_t step, run;
    int32_t process; ///< see Line
    uint32_t flying; ///< the same
    cleave_error error;
  };
  struct Line {
    uint32_t rank;
    bool open = true;
    bool bye = false;    ///< it will leave, or has left, in order
    bool flying = false; ///< see setFlying
    int32_t process = 0; ///< that shares the board; 0: of another host
    std::chrono::steady_clock::time_point heard;
  };
  using Lock = std::unique_lock<std::mutex>;

  bool isHub() const { return rank == 0; }
  void threadMain();
  /// Takes one message, and answers whether there was one.
  bool receive(Line &line, bool gone);
  void lost(Line &line, const char *how);
  void decide(const cleave_error &error);
  void send(Line &line, Kind kind, const cleave_error *error = nullptr);
  void sendAll(Kind kind, const cleave_error *error = nullptr);
  void watch();
  void endThatHangs();
  void setInside(bool value);
  bool claimWord();
  void wakeThread();
  bool allBye() const;
  void leaveFailed(Lock &lock);

  const uint32_t rank;
  std::vector<ControlPeer> peers;
  Board &board;
  int wakeup; ///< an eventfd
  std::atomic<int> signal{0};

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Line> lines;
  JobMember *member = nullptr;
  uint32_t deadlineMs;
  std::optional<cleave_error> verdict;
  std::chrono::steady_clock::time_point decided, beaten, signalled;
  bool hubGone = false;
  bool hubTold = false; ///< rank 0 has told the user
  bool whole = false, flying = false;
  bool inside = false;
  bool ending = false;
  std::optional<cleave_error> outgoing;
  std::thread thread;
};

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_CONTROL_H
