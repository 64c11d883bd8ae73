//===- Exchanges.cpp - what ranks with GPUs of their own exchange ---------===//
//
// Collectives and receives go into the stream of a rank, a send into a stream of its own
// which begins behind what the rank has done, so that the rank goes on while it flies:
//
//   rank    ... compute | compute | wait ...
//   lane            \\ send       /
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"

#include <algorithm>

using namespace cleave::runtime;

int32_t Gpu::connect(cleave_error *error) {
  bool isAlone = program.num_ranks == 1 || devices.size() < program.num_ranks;
  if (isAlone || cliques)
    return CLEAVE_OK;
  std::string problem = Cliques::missingIn(program);
  bool isSimulated = program.images[0].kind == CLEAVE_IMAGE_SIMT;
  const Nccl *nccl = problem.empty() ? openNccl(isSimulated, problem) : nullptr;
  if (!nccl) {
    addRemark(problem + "; until then ranks exchange through memory of the host");
    return CLEAVE_OK;
  }
  std::vector<CUcontext> contexts;
  for (Rank &rank : ranks)
    contexts.push_back(rank.device->context);
  cliques = std::make_unique<Cliques>(*nccl, *driver, program, std::move(contexts), deadlineMs);
  if (int32_t status = cliques->connect(error))
    return status;
  for (uint32_t r = firstRank; r < endRank; ++r)
    if (int32_t status = makeLanes(r, error))
      return status;
  return CLEAVE_OK;
}

/// As many events as a list has sends; both lists may use them.
int32_t Gpu::makeLanes(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  if (!rank.lanes.empty())
    return CLEAVE_OK;
  std::map<uint32_t, size_t> sends;
  for (bool load : {true, false}) {
    std::map<uint32_t, size_t> own;
    uint32_t count;
    const cleave_command *list = listOf(program, r, load, count);
    for (uint32_t i = 0; i < count; ++i)
      if (list[i].op == CLEAVE_OP_SEND)
        ++own[groups.peerOf(list[i], r)];
    for (auto [peer, number] : own)
      sends[peer] = std::max(sends[peer], number);
  }
  CUresult result = driver->cuCtxSetCurrent(rank.device->context);
  for (auto [peer, number] : sends) {
    Lane &lane = rank.lanes[peer];
    lane.ends.resize(number);
    if (!result)
      result = driver->cuStreamCreateWithPriority(&lane.stream, CU_STREAM_NON_BLOCKING, 0);
    if (!result)
      result = driver->cuEventCreate(&lane.ready, CU_EVENT_DISABLE_TIMING);
    for (CUevent &event : lane.ends)
      if (!result)
        result = driver->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
  }
  return result ? fail(result, "a GPU gives no streams to send in", error) : int32_t(CLEAVE_OK);
}

void Gpu::disconnect() {
  cliques.reset();
  for (Rank &rank : ranks)
    dropGraphs(rank);
}

namespace {

/// The calls of a rank, which do not block, have ended.
struct CallEnd final : Condition {
  CallEnd(const Cliques &cliques, uint32_t rank) : cliques(cliques), rank(rank) {}

  bool holds() noexcept override {
    result = cliques.state(rank);
    return result != ncclInProgress;
  }

  const Cliques &cliques;
  uint32_t rank;
  ncclResult_t result = ncclInProgress;
};

} // namespace

bool Gpu::checkCall(uint32_t r, ncclResult_t result, Waiter &waiter) {
  Rank &rank = of(r);
  rank.problem[0] = 0;
  if (result == ncclInProgress) {
    CallEnd end(*cliques, r);
    Wake wake = waiter.waitUntil(end);
    if (wake == Wake::Late)
      snprintf(rank.problem, sizeof rank.problem, "NCCL does not begin it within %u ms",
               deadlineMs);
    if (wake != Wake::Ready || !enter(rank))
      return false;
    result = end.result;
  }
  if (result != ncclSuccess)
    snprintf(rank.problem, sizeof rank.problem, "NCCL: %s; NCCL_DEBUG=INFO says more",
             cliques->describe(result));
  return result == ncclSuccess;
}

bool Gpu::issueSend(uint32_t r, Lane &lane, const Step &step, Waiter &waiter) {
  Rank &rank = of(r);
  return check(rank, driver->cuEventRecord(lane.ready, rank.stream)) &&
         check(rank, driver->cuStreamWaitEvent(lane.stream, lane.ready, 0)) &&
         checkCall(r, cliques->issue(r, step, lane.stream), waiter) &&
         check(rank, driver->cuEventRecord(lane.ends[lane.sent++], lane.stream));
}

bool Gpu::issueExchange(uint32_t r, const Step &step, Waiter &waiter) {
  Rank &rank = of(r);
  const cleave_command &command = *step.command;
  if (command.op == CLEAVE_OP_SEND)
    return issueSend(r, rank.lanes.at(groups.peerOf(command, r)), step, waiter);
  if (command.op != CLEAVE_OP_WAIT)
    return checkCall(r, cliques->issue(r, step, rank.stream), waiter);
  Lane &lane = rank.lanes.at(groups.peerOf(command, r));
  return check(rank, driver->cuStreamWaitEvent(rank.stream, lane.ends[lane.ended++], 0));
}
