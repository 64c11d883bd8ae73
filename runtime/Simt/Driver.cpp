//===- Driver.cpp - streams, and when their work is done ------------------===//

#include "Driver.h"

#include <algorithm>

using namespace cleave::simt;

thread_local CUcontext Driver::current = nullptr;

Driver &Driver::get() {
  // Never ended: other objects of the process may call us while it ends.
  static Driver *driver = new Driver;
  return *driver;
}

CUresult Driver::initialize() {
  if (isReady())
    return CUDA_SUCCESS;
  Execution &execution = Execution::get();
  std::vector<int> numbers;
  if (std::string problem = readVariables(numbers); !problem.empty()) {
    execution.findings.add(problem, problem);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!execution.prepare())
    return CUDA_ERROR_OUT_OF_MEMORY;
  for (int number : numbers) {
    contexts.push_back(std::make_unique<CUctx_st>());
    contexts.back()->device = int(contexts.size()) - 1;
    contexts.back()->number = number;
    defaults.push_back(std::make_unique<CUstream_st>());
    defaults.back()->context = contexts.back().get();
    defaults.back()->chain = execution.timeline.newChain();
  }
  return CUDA_SUCCESS;
}

CUstream Driver::streamOf(CUstream stream) {
  if (!stream || stream == CU_STREAM_LEGACY)
    return defaults[size_t(current->device)].get();
  return streams.count(stream) ? stream : nullptr;
}

template <typename Act> void Driver::eachStream(Act &&act) const {
  for (const auto &stream : defaults)
    act(stream.get());
  for (const auto &[handle, stream] : streams)
    act(handle);
}

bool Driver::mayRun(CUstream stream) const {
  if (stream->queue.empty())
    return false;
  const CUstream_st::Operation &first = stream->queue.front();
  // What has failed waits for nothing.
  bool failed = stream->context->error != CUDA_SUCCESS;
  if (!failed && ((first.ready && !first.ready()) ||
                  (first.graph && first.graph->left && first.graph->ready().empty())))
    return false;
  // The default stream and blocking ones go on in the order of the calls.
  CUstream common = defaults[size_t(stream->context->device)].get();
  auto isEarlier = [&](CUstream other) {
    return !other->queue.empty() && other->queue.front().number < first.number;
  };
  if (stream != common)
    return !stream->blocking || !isEarlier(common);
  bool may = true;
  for (const auto &[handle, other] : streams)
    if (other->blocking && other->context == stream->context && isEarlier(handle))
      may = false;
  return may;
}

/// What is done before `operation`, which is the next of `stream`.
void Driver::orderBehind(CUstream stream, const CUstream_st::Operation &operation) {
  learn(stream->known, operation.host);
  if (operation.known)
    learn(stream->known, *operation.known);
  CUstream common = defaults[size_t(stream->context->device)].get();
  if (stream->blocking)
    learn(stream->known, common->known);
  for (const auto &[handle, other] : streams)
    if (stream == common && other->blocking && other->context == stream->context)
      learn(stream->known, other->known);
}

std::vector<size_t> GraphRun::ready() const {
  std::vector<size_t> ready;
  for (size_t i = 0; i < done.size(); ++i) {
    const CUgraph_st::Node &node = executable.graph->nodes[i];
    if (!done[i] &&
        std::all_of(node.after.begin(), node.after.end(), [&](size_t n) { return done[n]; }) &&
        (!node.ready || node.ready()))
      ready.push_back(i);
  }
  return ready;
}

/// One node, in an order that they allow: that of the calls, or any. What is known before
/// the first is `known`, which learns of all of them.
CUresult Driver::runNode(GraphRun &graph, Knowledge &known) {
  const std::vector<CUgraph_st::Node> &nodes = graph.executable.graph->nodes;
  if (graph.behind.empty())
    graph.behind.assign(nodes.size(), known);
  std::vector<size_t> ready = graph.ready();
  const Schedule &schedule = Execution::get().schedule;
  size_t next = ready[schedule.shuffled ? (random() ^ schedule.seed) % ready.size() : 0];
  graph.done[next] = true;
  --graph.left;
  for (size_t before : nodes[next].after)
    learn(graph.behind[next], graph.behind[before]);
  Execution::get().timeline.begin(graph.executable.chains[next], graph.behind[next]);
  CUresult result = nodes[next].work();
  for (const Knowledge &end : graph.behind)
    if (!graph.left)
      learn(known, end);
  return result;
}

void Driver::run(CUstream stream) {
  CUstream_st::Operation &first = stream->queue.front();
  CUresult &error = stream->context->error;
  if (std::shared_ptr<GraphRun> graph = first.graph; graph && graph->left && !error) {
    if (graph->behind.empty())
      orderBehind(stream, first);
    error = runNode(*graph, stream->known);
    if (!graph->left)
      stream->queue.pop_front();
    return;
  }
  CUstream_st::Operation operation = std::move(first);
  stream->queue.pop_front();
  orderBehind(stream, operation);
  if (!operation.work || error)
    return;
  Execution::get().timeline.begin(stream->chain, stream->known);
  error = operation.work();
}

bool Driver::step(CUstream preferred) {
  std::vector<CUstream> ready;
  eachStream([&](CUstream stream) {
    if (mayRun(stream))
      ready.push_back(stream);
  });
  if (ready.empty())
    return false;
  // Handles lie anywhere; the order of the calls is the same in every process.
  std::sort(ready.begin(), ready.end(), [](CUstream a, CUstream b) {
    return a->queue.front().number < b->queue.front().number;
  });
  const Schedule &schedule = Execution::get().schedule;
  if (schedule.shuffled)
    run(ready[(random() ^ schedule.seed) % ready.size()]);
  else
    run(preferred && mayRun(preferred) ? preferred : ready.front());
  return true;
}

CUresult Driver::drain(CUcontext context, CUstream preferred, const std::function<bool()> &done) {
  while (!done()) {
    if (step(preferred))
      continue;
    // Ranks of NCCL wait for each other, and another thread has yet to come.
    mutex.unlock();
    std::this_thread::yield();
    mutex.lock();
  }
  return verdict(context);
}

CUresult Driver::finish(CUcontext context, CUstream stream) {
  auto isMeant = [&](CUstream one) { return stream ? one == stream : one->context == context; };
  CUresult result = drain(context, stream, [&] {
    bool empty = true;
    eachStream([&](CUstream one) { empty &= !isMeant(one) || one->queue.empty(); });
    return empty;
  });
  eachStream([&](CUstream one) {
    if (!isMeant(one))
      return;
    one->atWork = false;
    learn(host, one->known);
  });
  return result;
}

CUresult Driver::finish(CUcontext context, CUevent event) {
  uint64_t times = event->recorded;
  CUresult result = drain(context, nullptr,
                          [&] { return event->done >= times || context->error != CUDA_SUCCESS; });
  if (event->known)
    learn(host, *event->known);
  return result;
}

CUresult Driver::enqueue(CUstream stream, Work work, Ready ready) {
  if (!stream->capture) {
    stream->queue.push_back({++calls, std::move(work), host, std::move(ready)});
    return CUDA_SUCCESS;
  }
  if (stream->capture->invalid)
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  CUgraph graph = stream->capture->graph;
  graph->nodes.push_back({std::move(work), std::move(ready), stream->after});
  stream->after = {graph->nodes.size() - 1};
  return CUDA_SUCCESS;
}

void Driver::enqueue(CUstream stream, const CUgraphExec_st &graph) {
  stream->queue.push_back(
      {++calls, nullptr, host, nullptr, nullptr, std::make_shared<GraphRun>(graph)});
}

void Driver::await(CUstream stream, CUevent event) {
  stream->queue.push_back({++calls, nullptr, host,
                           [event, times = event->recorded] { return event->done >= times; },
                           event->known});
}

CUresult Driver::verdict(CUcontext context) const {
  if (context->error != CUDA_SUCCESS)
    return context->error;
  return Execution::get().findings.empty() ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
}

bool Driver::isForbidden() {
  bool forbidden = false;
  for (const auto &capture : captures) {
    bool own = capture->thread == std::this_thread::get_id();
    if (capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
        (capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && own))
      forbidden = capture->invalid = true;
  }
  return forbidden;
}

void Driver::reset(CUcontext context) {
  eachStream([&](CUstream stream) {
    if (stream->context == context)
      stream->queue.clear();
  });
  std::erase_if(streams, [&](const auto &one) { return one.second->context == context; });
  std::vector<CUmodule> unloaded;
  for (const auto &[handle, module] : modules)
    if (module->context == context)
      unloaded.push_back(handle);
  for (CUmodule module : unloaded)
    unload(module);
  Execution::get().memory.freeAll(context->device);
  context->error = CUDA_SUCCESS;
}
