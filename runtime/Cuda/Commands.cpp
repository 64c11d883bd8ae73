//===- Commands.cpp - what streams are given, and graphs of it ------------===//
//
// One set of functions puts work into the stream of a rank. Where the stream is
// captured they make its graphs, once; else they do the work. So both do the same:
//
//   piece 0   clear the faults, copy inputs in, commands, copy out what is given
//             -- an exchange on the host --
//   piece 1   copy in what was got, commands, copy out the outputs and the faults
//
// Of ranks that are connected there is one piece.
//
//===----------------------------------------------------------------------===//

#include "../Core/Clock.h"
#include "Gpu.h"

#include <algorithm>
#include <cstring>

using namespace cleave::runtime;

static CUdeviceptr onDevice(const void *pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

bool Gpu::check(Rank &rank, CUresult result) {
  if (!result)
    return true;
  rank.cause = Cause::Own;
  driver->describe(result, rank.problem, sizeof rank.problem);
  return false;
}

bool Gpu::put(Rank &rank, CUresult result) {
  rank.endsInKernel = false;
  return check(rank, result);
}

bool Gpu::fetch(Rank &rank, void *host, CUdeviceptr device, uint64_t bytes) {
  return bytes == 0 || put(rank, driver->cuMemcpyDtoHAsync(host, device, bytes, rank.stream));
}

bool Gpu::give(Rank &rank, CUdeviceptr device, const void *host, uint64_t bytes) {
  return bytes == 0 || put(rank, driver->cuMemcpyHtoDAsync(device, host, bytes, rank.stream));
}

bool Gpu::issueBegin(Rank &rank, bool load) {
  for (auto &[key, lane] : rank.lanes)
    lane.begun = lane.ended = 0;
  bool done = put(rank, driver->cuMemsetD8Async(rank.faults, 0, 4 * rank.numFaults, rank.stream));
  for (uint32_t i = 0; i < program.num_inputs && done && !load; ++i) {
    uint64_t bytes;
    valueBytes(program.inputs[i], bytes);
    if (rank.inputs[i])
      done = give(rank, rank.inputs[i], rank.staging.data() + rank.inputStages[i], bytes);
  }
  return done;
}

/// Behind another kernel it gets ready while that ends.
bool Gpu::launch(Rank &rank, const Step &step) {
  // Graphs know of this since CUDA 12.3.
  constexpr int driverOfEarly = 12030;
  auto [function, image] = rank.device->functions[step.command->kernel];
  uint64_t blocks = image->blocks;
  if (image->resident)
    blocks = std::min(blocks, uint64_t(image->resident) * rank.device->multiprocessors);
  bool isEarly = rank.endsInKernel && image->chip >= CLEAVE_EARLY_CHIP && version >= driverOfEarly;
  CUlaunchAttribute early = {};
  early.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  early.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config = {unsigned(blocks),    1,           1,      image->threads, 1, 1,
                           image->shared_bytes, rank.stream, &early, isEarly};
  rank.endsInKernel = true;
  return check(rank, driver->cuLaunchKernelEx(&config, function, step.arguments, nullptr));
}

bool Gpu::issue(Rank &rank, const Step &step) {
  if (step.command->op == CLEAVE_OP_LAUNCH)
    return launch(rank, step);
  if (step.bytes == 0)
    return true;
  if (step.command->op == CLEAVE_OP_COPY)
    return put(rank,
               driver->cuMemcpyDtoDAsync(onDevice(step.pointers[1]), onDevice(step.pointers[0]),
                                         step.bytes, rank.stream));
  return put(rank, driver->cuMemsetD8Async(onDevice(step.pointers[0]), 0, step.bytes, rank.stream));
}

/// What comes in lies behind what goes out.
static uint64_t gottenAt(const Ends &ends) { return (ends.bytesIn + 63) / 64 * 64; }

bool Gpu::issueArrival(Rank &rank, char *stage, const Ends &ends) {
  return fetch(rank, stage, onDevice(ends.input), ends.bytesIn);
}

bool Gpu::issueDeparture(Rank &rank, const char *stage, const Ends &ends) {
  return give(rank, onDevice(ends.output), stage + gottenAt(ends), ends.bytesOut);
}

bool Gpu::issueEnd(Rank &rank, bool load) {
  bool done = joinCollectives(rank);
  for (uint32_t i = 0; i < program.num_outputs && done && !load; ++i) {
    uint64_t bytes;
    valueBytes(program.outputs[i], bytes);
    if (rank.outputs[i])
      done = fetch(rank, rank.staging.data() + rank.outputStages[i], rank.outputs[i], bytes);
  }
  return done && fetch(rank, rank.staging.data() + rank.foundStage, rank.faults,
                       4 * uint64_t(rank.numFaults));
}

bool Gpu::beginPiece(Rank &rank) {
  return put(rank, driver->cuStreamBeginCapture(rank.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
}

bool Gpu::endPiece(Rank &rank) {
  CUgraph graph = nullptr;
  CUgraphExec piece = nullptr;
  if (!check(rank, driver->cuStreamEndCapture(rank.stream, &graph)))
    return false;
  bool done = check(rank, driver->cuGraphInstantiate(&piece, graph, 0));
  driver->cuGraphDestroy(graph);
  if (done)
    rank.pieces.push_back(piece);
  return done;
}

bool Gpu::issueNext(uint32_t r, bool load, const Step &step, Waiter &waiter) {
  Rank &rank = of(r);
  // Others of this thread may have had their turn.
  if (!enter(rank) || !joinBefore(r, load, step))
    return false;
  return isExchange(step.command->op) ? issueExchange(r, step, waiter) : issue(rank, step);
}

bool Gpu::captureAll(uint32_t r, const std::vector<Step> &steps, Waiter &waiter) {
  Rank &rank = of(r);
  if (!enter(rank) || !beginPiece(rank) || !issueBegin(rank, /*load=*/false))
    return false;
  for (uint32_t i = 0; i < steps.size(); ++i) {
    uint8_t op = steps[i].command->op;
    if ((cliques || !isExchange(op)) && !issueNext(r, /*load=*/false, steps[i], waiter))
      return false;
    if (!isStaged(op))
      continue;
    Ends ends = endsOf(program, steps[i]);
    char *at = stage(rank, /*load=*/false, i);
    if (!issueArrival(rank, at, ends) || !endPiece(rank) || !beginPiece(rank) ||
        !issueDeparture(rank, at, ends))
      return false;
  }
  return enter(rank) && issueEnd(rank, /*load=*/false) && endPiece(rank);
}

bool Gpu::capture(uint32_t r, const std::vector<Step> &steps, Waiter &waiter) {
  Rank &rank = of(r);
  if (!rank.staging.isPinned() || captureAll(r, steps, waiter))
    return true;
  // A stream that is still captured could not be let go of.
  CUgraph graph = nullptr;
  if (enter(rank) && driver->cuStreamEndCapture(rank.stream, &graph) == CUDA_SUCCESS)
    driver->cuGraphDestroy(graph);
  dropGraphs(rank);
  return false;
}

void Gpu::dropGraphs(Rank &rank) {
  for (CUgraphExec piece : rank.pieces)
    driver->cuGraphExecDestroy(piece);
  rank.pieces.clear();
}

bool Gpu::launchNext(Rank &rank) {
  return check(rank, driver->cuGraphLaunch(rank.pieces[rank.nextPiece++], rank.stream));
}

void Gpu::writeInput(uint32_t r, uint32_t index, const void *data) {
  Rank &rank = of(r);
  uint64_t bytes;
  valueBytes(program.inputs[index], bytes);
  if (rank.inputs[index] && bytes)
    memcpy(rank.staging.data() + rank.inputStages[index], data, bytes);
}

void Gpu::readOutput(uint32_t r, uint32_t index, void *data) {
  Rank &rank = of(r);
  uint64_t bytes;
  valueBytes(program.outputs[index], bytes);
  if (rank.outputs[index] && bytes)
    memcpy(data, rank.staging.data() + rank.outputStages[index], bytes);
}

bool Gpu::begin(uint32_t r, bool load) {
  Rank &rank = of(r);
  rank.nextPiece = 0;
  rank.begun = now();
  return enter(rank) && (load || !timing || mark(rank, 0, rank.stream)) &&
         (isCaptured(rank, load) ? launchNext(rank) : issueBegin(rank, load));
}

bool Gpu::mark(Rank &rank, size_t number, CUstream stream) {
  return put(rank, driver->cuEventRecord(rank.marks[number], stream));
}

bool Gpu::markBegin(uint32_t r, bool load, size_t index) {
  Rank &rank = of(r);
  return load || !timing || (enter(rank) && mark(rank, 1 + 2 * index, rank.stream));
}

bool Gpu::markEnd(uint32_t r, bool load, size_t index, const cleave_command &command) {
  Rank &rank = of(r);
  return load || !timing || (enter(rank) && mark(rank, 2 + 2 * index, streamOf(r, command)));
}

bool Gpu::readSpans(uint32_t r, cleave_span *spans, Waiter &waiter) {
  Rank &rank = of(r);
  // What a send gave is on its way yet.
  bool done = settle(r, waiter) && enter(rank);
  for (size_t i = 1; i < rank.marks.size() && done; i += 2, ++spans) {
    float before = 0, within = 0;
    done = check(rank, driver->elapsedTime(&before, rank.marks[0], rank.marks[i])) &&
           check(rank, driver->elapsedTime(&within, rank.marks[i], rank.marks[i + 1]));
    spans->begin = rank.begun + uint64_t(std::max(before, 0.0f) * 1e6);
    spans->end = spans->begin + uint64_t(std::max(within, 0.0f) * 1e6);
  }
  return done;
}

bool Gpu::execute(uint32_t r, bool load, const Step &step, Waiter &waiter) {
  if (load && !bring(r, *step.command, waiter))
    return false;
  if (isCaptured(of(r), load))
    return true;
  size_t index = indexOf(r, load, step);
  return markBegin(r, load, index) && issueNext(r, load, step, waiter) &&
         markEnd(r, load, index, *step.command);
}

bool Gpu::arrive(uint32_t r, bool load, uint32_t index, const Step &step, Ends &ends,
                 Waiter &waiter) {
  Rank &rank = of(r);
  ends = endsOf(program, step);
  if (!markBegin(r, load, index))
    return false;
  if (!isStaged(step.command->op))
    return true;
  if (load && !bring(r, *step.command, waiter))
    return false;
  char *at = stage(rank, load, index);
  if (!isCaptured(rank, load) && !(enter(rank) && issueArrival(rank, at, ends)))
    return false;
  uint64_t gotten = gottenAt(ends);
  ends.input = ends.input ? at : nullptr;
  ends.output = ends.output ? at + gotten : nullptr;
  return wait(r, waiter);
}

bool Gpu::leave(uint32_t r, bool load, uint32_t index, const Step &step) {
  Rank &rank = of(r);
  if (!isStaged(step.command->op))
    return markEnd(r, load, index, *step.command);
  return enter(rank) &&
         (isCaptured(rank, load)
              ? launchNext(rank)
              : issueDeparture(rank, stage(rank, load, index), endsOf(program, step))) &&
         markEnd(r, load, index, *step.command);
}

namespace {

/// The work of a stream is done, or has failed.
struct StreamEnd final : Condition {
  StreamEnd(const Driver &driver, CUcontext context, CUstream stream, const Cliques *cliques,
            uint32_t rank)
      : driver(driver), context(context), stream(stream), cliques(cliques), rank(rank) {}

  bool holds() noexcept override {
    // Other ranks of this thread have contexts of their own.
    result = driver.cuCtxSetCurrent(context);
    if (!result)
      result = driver.cuStreamQuery(stream);
    // Work whose other end is gone has none.
    bool looks = cliques && result == CUDA_ERROR_NOT_READY && ++looked % lookEvery == 0;
    state = looks ? cliques->state(rank) : state;
    return result != CUDA_ERROR_NOT_READY || (state != ncclSuccess && state != ncclInProgress);
  }

  const Driver &driver;
  CUcontext context;
  CUstream stream;
  const Cliques *cliques;
  const uint32_t rank;
  static constexpr uint32_t lookEvery = 64;
  uint32_t looked = 0;
  CUresult result = CUDA_SUCCESS;
  ncclResult_t state = ncclSuccess;
};

} // namespace

bool Gpu::wait(uint32_t r, Waiter &waiter) {
  return joinCollectives(of(r)) && waitFor(r, of(r).stream, waiter);
}

bool Gpu::settle(uint32_t r, Waiter &waiter) {
  bool done = waitFor(r, of(r).stream, waiter);
  for (auto &[key, lane] : of(r).lanes)
    done = done && waitFor(r, lane.stream, waiter);
  return done;
}

bool Gpu::waitFor(uint32_t r, CUstream stream, Waiter &waiter) {
  Rank &rank = of(r);
  StreamEnd end(*driver, rank.device->context, stream, cliques.get(), r);
  switch (waiter.waitUntil(end)) {
  case Wake::Ready:
    return end.result == CUDA_ERROR_NOT_READY ? fail(rank, end.state) : check(rank, end.result);
  case Wake::Stopped: rank.problem[0] = 0; return false;
  case Wake::Late: break;
  }
  rank.cause = Cause::Late;
  snprintf(rank.problem, sizeof rank.problem, "it does not end within %u ms", deadlineMs);
  return false;
}

bool Gpu::finish(uint32_t r, bool load, Waiter &waiter, int64_t &faulty) {
  Rank &rank = of(r);
  faulty = -1;
  if (!isCaptured(rank, load) && !(enter(rank) && issueEnd(rank, load)))
    return false;
  if (!wait(r, waiter))
    return false;
  auto *found = reinterpret_cast<const int32_t *>(rank.staging.data() + rank.foundStage);
  auto *fault = std::find_if(found, found + rank.numFaults, [](int32_t f) { return f; });
  if (fault != found + rank.numFaults)
    faulty = fault - found;
  return true;
}
