//===- Graphs.cpp - CUDA's functions for captured work --------------------===//

#include "Driver.h"

#include <algorithm>

using namespace cleave::simt;

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  return enter([&](Driver &driver, CUcontext) {
    CUstream known = driver.streamOf(stream);
    if (!known)
      return CUDA_ERROR_INVALID_HANDLE;
    if (known != stream)
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (known->capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    auto graph = std::make_shared<CUgraph_st>();
    driver.graphs[graph.get()] = graph;
    known->capture =
        std::make_shared<Capture>(Capture{graph.get(), known, mode, std::this_thread::get_id()});
    known->after.clear();
    driver.captures.insert(known->capture);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
  return enter([&](Driver &driver, CUcontext) {
    CUstream known = driver.streamOf(stream);
    if (!known)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!status)
      return CUDA_ERROR_INVALID_VALUE;
    *status = !known->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
              : known->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                        : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
  });
}

/// Do all nodes come before those in `last`, or are they those?
static bool isJoined(const CUgraph_st &graph, const std::vector<size_t> &last) {
  std::vector<bool> reached(graph.nodes.size());
  for (size_t node : last)
    reached[node] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;)
    if (reached[i])
      for (size_t before : graph.nodes[i].after)
        reached[before] = true;
  return std::find(reached.begin(), reached.end(), false) == reached.end();
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *result) {
  return enter([&](Driver &driver, CUcontext) {
    CUstream known = driver.streamOf(stream);
    if (!known)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    std::shared_ptr<Capture> capture = known->capture;
    *result = nullptr;
    if (!capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != known)
      return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        capture->thread != std::this_thread::get_id())
      return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult error = capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                     : isJoined(*capture->graph, known->after) ? CUDA_SUCCESS
                                                               : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    for (auto &[handle, one] : driver.streams)
      if (one->capture == capture) {
        one->capture = nullptr;
        one->after.clear();
      }
    driver.captures.erase(capture);
    if (error != CUDA_SUCCESS)
      driver.graphs.erase(capture->graph);
    else
      *result = capture->graph;
    return error;
  });
}

/// A node goes on with the chain of one that it follows, if no other does.
static std::vector<uint32_t> chainsOf(const CUgraph_st &graph) {
  std::vector<uint32_t> chains;
  std::vector<bool> hasNext(graph.nodes.size());
  for (const CUgraph_st::Node &node : graph.nodes) {
    auto before = std::find_if(node.after.begin(), node.after.end(),
                               [&](size_t number) { return !hasNext[number]; });
    if (before == node.after.end()) {
      chains.push_back(Execution::get().timeline.newChain());
    } else {
      hasNext[*before] = true;
      chains.push_back(chains[*before]);
    }
  }
  return chains;
}

CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph graph, unsigned long long) {
  return enter([&](Driver &driver, CUcontext) {
    auto found = driver.graphs.find(graph);
    if (!executable || found == driver.graphs.end())
      return CUDA_ERROR_INVALID_VALUE;
    auto made = std::make_unique<CUgraphExec_st>(found->second, chainsOf(*found->second));
    *executable = made.get();
    driver.executables[*executable] = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return enter([&](Driver &driver, CUcontext) {
    CUstream known = driver.streamOf(stream);
    if (!known || !driver.executables.count(executable))
      return CUDA_ERROR_INVALID_HANDLE;
    if (known->capture)
      return CUDA_ERROR_NOT_SUPPORTED;
    driver.enqueue(known, *executable);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
  return enter([&](Driver &driver, CUcontext) {
    auto found = driver.executables.find(executable);
    if (found == driver.executables.end())
      return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t chain : executable->chains)
      Execution::get().timeline.endChain(chain);
    driver.executables.erase(found);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphDestroy(CUgraph graph) {
  return enter([&](Driver &driver, CUcontext) {
    return driver.graphs.erase(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  return enter([&](Driver &driver, CUcontext) {
    if (!driver.graphs.count(graph) || !count)
      return CUDA_ERROR_INVALID_VALUE;
    // Nodes have no handles; how many there are is what is asked.
    if (nodes)
      return CUDA_ERROR_NOT_SUPPORTED;
    *count = graph->nodes.size();
    return CUDA_SUCCESS;
  });
}
