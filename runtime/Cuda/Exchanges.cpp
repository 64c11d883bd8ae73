//===- Exchanges.cpp - what ranks with GPUs of their own exchange ---------===//
//
// A receive goes into the stream of a rank, all else into a lane beside it, a stream which
// begins behind what the rank has done. The rank goes on: after a send until its `wait`,
// after a collective until a command that touches what it writes or writes what it reads.
//
//   rank    ... compute | compute | compute ...
//   lane            \\ send or collective /
//
// Collectives share a lane, so all ranks begin them in the order of their lists.
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"

#include <algorithm>

using namespace cleave::runtime;

const Nccl *Gpu::findNccl(std::string &problem) const {
  problem = Cliques::missingIn(program);
  return problem.empty() ? openNccl(isSimulated(), problem) : nullptr;
}

bool Gpu::connect(const Nccl &nccl, const ncclUniqueId &id, Waiter &waiter, cleave_error *error) {
  std::vector<Seat> seats;
  for (uint32_t r = firstRank; r < endRank; ++r)
    seats.push_back({of(r).device->context, reinterpret_cast<void *>(of(r).arena),
                     program.programs[program.class_of_rank[r]].arena_bytes, of(r).isArenaNccls});
  cliques =
      std::make_unique<Cliques>(nccl, *driver, program, firstRank, std::move(seats), deadlineMs);
  via = "NCCL " + ncclVersionText(nccl.version);
  bool done = cliques->connect(id, waiter, error);
  for (uint32_t r = firstRank; r < endRank && done; ++r)
    done = makeLanes(r, error) == CLEAVE_OK;
  if (!done) {
    cliques.reset();
    return false;
  }
  if (ncclResult_t result = cliques->enroll())
    addRemark(std::string("NCCL does not register memory of GPUs, ") + cliques->describe(result) +
              ", so that exchanges may take copies");
  return true;
}

/// Whether `next` has to wait until `collective` has ended.
static bool conflicts(const cleave_program &program, const cleave_command &collective,
                      const cleave_command &next) {
  auto touches = [&](const cleave_command &command, bool writes, const cleave_buffer &buffer) {
    auto its = buffersOf(program, command).last(writes ? numWritten(command) : command.num_buffers);
    return std::ranges::any_of(its, [&](const auto &other) { return overlap(buffer, other); });
  };
  std::span<const cleave_buffer> its = buffersOf(program, collective);
  uint32_t written = collective.num_buffers - numWritten(collective);
  for (uint32_t i = 0; i < its.size(); ++i)
    if (touches(next, /*writes=*/i < written, its[i]))
      return true;
  return false;
}

static std::vector<uint32_t> joinsOf(const cleave_program &program,
                                     std::span<const cleave_command> list) {
  std::vector<uint32_t> joins(list.size());
  std::vector<const cleave_command *> begun;
  uint32_t ended = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    // Those of one lane follow each other anyway.
    if (isCollective(list[i].op)) {
      begun.push_back(&list[i]);
      continue;
    }
    for (uint32_t c = uint32_t(begun.size()); c > ended; --c)
      if (conflicts(program, *begun[c - 1], list[i]))
        ended = c;
    joins[i] = ended;
  }
  return joins;
}

/// As many events as a list has exchanges in a lane; both lists may use them.
int32_t Gpu::makeLanes(uint32_t r, cleave_error *error) {
  Rank &rank = of(r);
  if (!rank.lanes.empty())
    return CLEAVE_OK;
  std::map<uint32_t, size_t> exchanges;
  for (bool load : {true, false}) {
    std::map<uint32_t, size_t> own;
    rank.joins[load] = joinsOf(program, listOf(program, r, load));
    for (const cleave_command &command : listOf(program, r, load))
      if (isCollective(command.op) || command.op == CLEAVE_OP_SEND)
        ++own[isCollective(command.op) ? collectives : groups.peerOf(command, r)];
    for (auto [key, number] : own)
      exchanges[key] = std::max(exchanges[key], number);
  }
  // What others wait for goes before what is computed meanwhile.
  int least = 0, greatest = 0;
  CUresult result = driver->cuCtxSetCurrent(rank.device->context);
  if (!result)
    result = driver->cuCtxGetStreamPriorityRange(&least, &greatest);
  for (auto [key, number] : exchanges) {
    Lane &lane = rank.lanes[key];
    lane.ends.resize(number);
    if (!result)
      result = driver->cuStreamCreateWithPriority(&lane.stream, CU_STREAM_NON_BLOCKING, greatest);
    if (!result)
      result = driver->cuEventCreate(&lane.ready, CU_EVENT_DISABLE_TIMING);
    for (CUevent &event : lane.ends)
      if (!result)
        result = driver->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
  }
  return result ? fail(result, "a GPU gives no streams to exchange in", error) : int32_t(CLEAVE_OK);
}

/// What a GPU has at work stays where NCCL knows it.
void Gpu::disconnect() {
  for (uint32_t r = firstRank; r < endRank && cliques; ++r) {
    bool idle = enter(of(r)) && driver->cuStreamQuery(of(r).stream) == CUDA_SUCCESS;
    for (auto &[key, lane] : of(r).lanes)
      idle = idle && driver->cuStreamQuery(lane.stream) == CUDA_SUCCESS;
    if (idle)
      cliques->dismiss(r);
  }
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

bool Gpu::fail(Rank &rank, ncclResult_t result) {
  bool isOthers = result == ncclRemoteError || result == ncclSystemError;
  rank.cause = isOthers ? Cause::Ended : Cause::Own;
  snprintf(rank.problem, sizeof rank.problem, "NCCL: %s; NCCL_DEBUG=INFO says more",
           cliques->describe(result));
  return false;
}

bool Gpu::checkCall(uint32_t r, ncclResult_t result, Waiter &waiter) {
  Rank &rank = of(r);
  rank.problem[0] = 0;
  if (result == ncclInProgress) {
    CallEnd end(*cliques, r);
    Wake wake = waiter.waitUntil(end);
    rank.cause = Cause::Late;
    if (wake == Wake::Late)
      snprintf(rank.problem, sizeof rank.problem, "NCCL does not begin it within %u ms",
               deadlineMs);
    if (wake != Wake::Ready || !enter(rank))
      return false;
    result = end.result;
  }
  return result == ncclSuccess || fail(rank, result);
}

bool Gpu::issueBeside(uint32_t r, Lane &lane, const Step &step, Waiter &waiter) {
  Rank &rank = of(r);
  return check(rank, driver->cuEventRecord(lane.ready, rank.stream)) &&
         check(rank, driver->cuStreamWaitEvent(lane.stream, lane.ready, 0)) &&
         checkCall(r, cliques->issue(r, step, lane.stream), waiter) &&
         check(rank, driver->cuEventRecord(lane.ends[lane.begun++], lane.stream));
}

/// What follows in the stream of the rank does so behind the first `count` of a lane.
bool Gpu::join(Rank &rank, Lane &lane, uint32_t count) {
  if (count <= lane.ended)
    return true;
  lane.ended = count;
  return put(rank, driver->cuStreamWaitEvent(rank.stream, lane.ends[count - 1], 0));
}

bool Gpu::joinCollectives(Rank &rank, uint32_t count) {
  auto lane = rank.lanes.find(collectives);
  return lane == rank.lanes.end() || join(rank, lane->second, std::min(count, lane->second.begun));
}

bool Gpu::joinBefore(uint32_t r, bool load, const Step &step) {
  return !cliques || joinCollectives(of(r), of(r).joins[load][indexOf(r, load, step)]);
}

CUstream Gpu::streamOf(uint32_t r, const cleave_command &command) {
  Rank &rank = of(r);
  if (cliques && isCollective(command.op))
    return rank.lanes.at(collectives).stream;
  if (cliques && command.op == CLEAVE_OP_SEND)
    return rank.lanes.at(groups.peerOf(command, r)).stream;
  return rank.stream;
}

bool Gpu::issueExchange(uint32_t r, const Step &step, Waiter &waiter) {
  Rank &rank = of(r);
  const cleave_command &command = *step.command;
  if (isCollective(command.op))
    return issueBeside(r, rank.lanes.at(collectives), step, waiter);
  if (command.op == CLEAVE_OP_RECV) {
    rank.endsInKernel = false;
    return checkCall(r, cliques->issue(r, step, rank.stream), waiter);
  }
  Lane &lane = rank.lanes.at(groups.peerOf(command, r));
  return command.op == CLEAVE_OP_SEND ? issueBeside(r, lane, step, waiter)
                                      : join(rank, lane, lane.ended + 1);
}
