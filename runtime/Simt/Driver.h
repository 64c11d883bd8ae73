//===- Driver.h - what stands behind CUDA's functions -----------*- C++ -*-===//
//
// One lock is around everything. Streams hold what was asked for, and nothing of it
// happens before somebody waits: then it happens in an order that events allow.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMT_DRIVER_H
#define CLEAVE_RUNTIME_SIMT_DRIVER_H

#include "Execution.h"

#include <cuda.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

struct CUctx_st {
  int device = 0; ///< of those that this process sees
  int number = 0; ///< of those that there are
  uint32_t users = 0;
  CUresult error = CUDA_SUCCESS; ///< that nothing but a reset takes away
};

/// A piece of work; what it returns is the error of its context.
using Work = std::function<CUresult()>;

/// Whether a piece of work may begin.
using Ready = std::function<bool()>;

struct CUgraph_st {
  struct Node {
    Work work;
    Ready ready;               ///< always, where it is empty
    std::vector<size_t> after; ///< nodes of lower numbers
  };
  std::vector<Node> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
  std::vector<uint32_t> chains; ///< by node
};

/// A graph that is being run, node by node.
struct GraphRun {
  explicit GraphRun(const CUgraphExec_st &executable)
      : executable(executable), done(executable.graph->nodes.size()), left(done.size()) {}

  /// The nodes that may run.
  std::vector<size_t> ready() const;

  CUgraphExec_st executable;
  std::vector<bool> done;
  size_t left;
  std::vector<cleave::simt::Knowledge> behind; ///< each node; empty before the first runs
};

/// What streams record while they are captured.
struct Capture {
  CUgraph graph;
  CUstream origin;
  CUstreamCaptureMode mode;
  std::thread::id thread;
  bool invalid = false;
};

struct CUevent_st {
  uint64_t recorded = 0, done = 0; ///< how often
  bool timed = true;
  std::chrono::steady_clock::time_point time;
  /// What came before the last record; it is known when that is done.
  std::shared_ptr<cleave::simt::Knowledge> known;
  std::shared_ptr<Capture> capture; ///< in which it was recorded last
  std::vector<size_t> after;
};

struct CUstream_st {
  struct Operation {
    uint64_t number; ///< in the order of all calls
    Work work;
    cleave::simt::Knowledge host; ///< what had been waited for at the call
    Ready ready;                  ///< always, where it is empty
    std::shared_ptr<const cleave::simt::Knowledge> known = nullptr; ///< by then
    std::shared_ptr<GraphRun> graph = nullptr;                      ///< instead of work
  };
  CUcontext context = nullptr;
  bool blocking = false; ///< waits for the default stream, which waits for it
  int priority = 0;
  uint32_t chain = 0;
  cleave::simt::Knowledge known; ///< of what is done
  std::deque<Operation> queue;
  bool atWork = false; ///< as far as the host was told
  std::shared_ptr<Capture> capture;
  std::vector<size_t> after; ///< the last nodes of the capture
};

struct CUmod_st {
  void *library = nullptr;
  int descriptor = -1; ///< open as long as the library, which is known by it
  const cleave_simt_image *image = nullptr;
  CUcontext context = nullptr;
  std::vector<std::unique_ptr<CUfunc_st>> functions;
};

struct CUfunc_st {
  CUmodule module;
  const cleave_simt_kernel *kernel;
  uint32_t maxDynamic;
};

namespace cleave::simt {

class Driver {
public:
  static Driver &get();

  CUresult initialize();
  bool isReady() const { return !contexts.empty(); }

  /// Runs what `stream` holds, or all streams for null, and what that waits for.
  CUresult finish(CUcontext context, CUstream stream);
  /// The same until `event` has been done as often as it was recorded.
  CUresult finish(CUcontext context, CUevent event);
  /// Runs one piece of work; false where there is none that may.
  bool step(CUstream preferred);
  /// Adds work to a stream, or to what captures it.
  CUresult enqueue(CUstream stream, Work work, Ready ready = {});
  /// Adds all nodes of a graph.
  void enqueue(CUstream stream, const CUgraphExec_st &graph);
  /// Adds what has to be done before all later work of the stream.
  void await(CUstream stream, CUevent event);

  /// What a call that waits returns: an error of the context, or that there are findings.
  CUresult verdict(CUcontext context) const;
  /// Whether a capture forbids calls that it could not repeat; then it is void.
  bool isForbidden();
  /// Empties streams, frees memory and unloads modules of a context.
  void reset(CUcontext context);
  void unload(CUmodule module);

  /// The stream, or the default one of the current context; null for none that is known.
  CUstream streamOf(CUstream stream);

  std::mutex mutex;
  std::vector<std::unique_ptr<CUctx_st>> contexts; ///< by device
  std::vector<std::unique_ptr<CUstream_st>> defaults;
  std::unordered_map<CUstream, std::unique_ptr<CUstream_st>> streams;
  std::unordered_map<CUevent, std::unique_ptr<CUevent_st>> events;
  std::unordered_map<CUmodule, std::unique_ptr<CUmod_st>> modules;
  std::unordered_map<CUgraph, std::shared_ptr<CUgraph_st>> graphs;
  std::unordered_map<CUgraphExec, std::unique_ptr<CUgraphExec_st>> executables;
  std::set<std::shared_ptr<Capture>> captures;
  std::unordered_map<void *, bool> pinned; ///< host memory: is it ours?
  Knowledge host;                          ///< of what somebody waited for
  uint64_t memoryBytes = uint64_t(16) << 30;
  uint64_t pinnedBytes = ~uint64_t(0); ///< that may be pinned yet
  int major = 9, minor = 0;
  int version = CUDA_VERSION;
  int ncclVersion = NCCL_VERSION_CODE;
  static thread_local CUcontext current;

  uint32_t maxShared() const { return major >= 9 ? 232448 : minor == 0 ? 166912 : 101376; }

private:
  /// Sets what the environment says, and `visible` to the numbers of the devices that this
  /// process sees; a line about the first variable that cannot be so, empty where all can.
  std::string readVariables(std::vector<int> &visible);
  bool mayRun(CUstream stream) const;
  void run(CUstream stream);
  CUresult runNode(GraphRun &graph, Knowledge &known);
  void orderBehind(CUstream stream, const CUstream_st::Operation &operation);
  CUresult drain(CUcontext context, CUstream preferred, const std::function<bool()> &done);
  template <typename Act> void eachStream(Act &&act) const;

  uint64_t calls = 0;
  std::mt19937_64 random;
};

/// Calls `body` under the lock, with a context that is right.
template <typename Body> CUresult enter(Body &&body) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  if (!driver.isReady())
    return CUDA_ERROR_NOT_INITIALIZED;
  CUcontext context = Driver::current;
  if (!context)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (context->error != CUDA_SUCCESS)
    return context->error;
  return body(driver, context);
}

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_DRIVER_H
