//===- Session.cpp - takes what a program needs, and binds it -------------===//

#include "Session.h"

#include "../Comm/Threads.h"

#include "cleave/Runtime/Load.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

using namespace cleave::runtime;

static constexpr uint32_t defaultDeadlineMs = 60'000;

FileUse::FileUse(const cleave_program &program) : ranges(program.num_files) {
  for (uint32_t i = 0; i < program.num_programs; ++i) {
    const cleave_rank_program &own = program.programs[i];
    for (const cleave_command &command : std::span(own.main, own.num_main))
      for (const cleave_buffer &buffer : buffersOf(program, command))
        if (buffer.space == CLEAVE_SPACE_FILE && buffer.bytes)
          ranges[buffer.index].push_back({buffer.offset, buffer.offset + buffer.bytes});
  }
  for (uint32_t rank = 0; program.params && rank < program.num_ranks; ++rank) {
    uint64_t begin = program.params[rank].offset;
    ranges[program.params[rank].file].push_back(
        {begin, begin + program.programs[program.class_of_rank[rank]].param_bytes});
  }
  for (std::vector<Range> &list : ranges) {
    std::sort(list.begin(), list.end(),
              [](const Range &a, const Range &b) { return a.begin < b.begin; });
    size_t kept = 0;
    for (const Range &range : list)
      if (kept && range.begin <= list[kept - 1].end)
        list[kept - 1].end = std::max(list[kept - 1].end, range.end);
      else
        list[kept++] = range;
    list.resize(kept);
  }
}

Session::Session(const cleave_program &program, const cleave_session_options &options)
    : program(program), ranks(std::make_unique<Rank[]>(program.num_ranks)), groups(program),
      fileUse(program), deadlineMs(options.deadline_ms ? options.deadline_ms : defaultDeadlineMs),
      timing(options.timing), eager(options.eager || timing),
      harmed(!options.unharmed && getenv("CLEAVE_FAULT")), wantsChecks(options.checks),
      checks(wantsChecks || harmed), runs(options.runs),
      process(reinterpret_cast<Process *>(options.process)), firstRank(process ? process->rank : 0),
      endRank(process ? firstRank + 1 : program.num_ranks), files(program.num_files),
      workers(endRank - firstRank, options.threads ? options.threads : Workers::available(),
              deadlineMs,
              !process               ? Peers::Threads
              : process->isCrowded() ? Peers::Crowded
                                     : Peers::Processes) {}

Session::~Session() {
  if (!process)
    return;
  process->control->attach(nullptr, deadlineMs);
  // Memory that the wire may yet write to ends here.
  if (messages && !messages->withdraw())
    process->control->setFlying();
}

int32_t Session::prepare(cleave_error *error) {
  if (int32_t status = harmed ? readFault(program, groups, fault, error) : int32_t(CLEAVE_OK))
    return status;
  if (!process)
    communicator = createThreads(program, groups, checks);
  else if (int32_t status = prepareJob(error))
    return status;
  if (int32_t status = mapFiles(error))
    return status;
  if (program.device != CLEAVE_DEVICE_CPU) {
    // What is to be found or broken on its way has to pass the host.
    connects = !wantsChecks && fault.kind < Fault::Drop;
    gpu = std::make_unique<Gpu>(program, firstRank, endRank, process ? process->place() : 0,
                                deadlineMs, connects, timing);
    if (int32_t status = gpu->prepare(error))
      return status;
    if (int32_t status = gpu->upload(files, error))
      return status;
  }
  if (int32_t status = allocate(error))
    return status;
  for (uint32_t rank = firstRank; rank < endRank; ++rank) {
    const cleave_rank_program &own = program.programs[program.class_of_rank[rank]];
    size_t numPointers = 0;
    for (uint32_t i = 0; i < own.num_load; ++i)
      numPointers += own.load[i].num_buffers;
    for (uint32_t i = 0; i < own.num_main; ++i)
      numPointers += own.main[i].num_buffers;
    ranks[rank].pointers.reserve(numPointers);
    for (bool load : {true, false})
      if (int32_t status = resolve(rank, load, error))
        return status;
    ranks[rank].outputData.resize(program.num_outputs);
    if (timing) {
      ranks[rank].times.resize(own.num_main);
      ranks[rank].spans.resize(own.num_main);
    }
  }
  if (!workers.start())
    return fail(error, CLEAVE_REFUSED, "the system refuses stacks or threads for %u ranks",
                program.num_ranks);

  if (int32_t status = process ? runAll(Work::Agree, error) : int32_t(CLEAVE_OK))
    return status;
  int32_t status = gpu && program.num_ranks > 1 ? runAll(Work::Connect, error) : int32_t(CLEAVE_OK);
  if (!status)
    status = runAll(Work::Load, error);
  if (gpu)
    gpu->endLoad();
  if (!status)
    status = captureAll(error);
  // A session is there for all ranks or for none.
  if (!status && process)
    status = runAll(Work::Meet, error);
  for (uint32_t i = 0; i < program.num_files && !status; ++i)
    fileUse.unused(i, 0, program.files[i].bytes,
                   [&](uint64_t begin, uint64_t end) { files[i].release(begin, end); });
  isWhole = !status;
  return status;
}

/// What the GPUs of others still get of this one has to be theirs before it ends.
bool Session::finish() noexcept {
  if (process && gpu && gpu->isConnected() && std::exchange(isWhole, false))
    runAll(Work::End, nullptr);
  return workers.finish();
}

/// Calls of NCCL meet those of other ranks, so all capture at a time.
int32_t Session::captureAll(cleave_error *error) {
  return gpu && !eager ? runAll(Work::Capture, error) : int32_t(CLEAVE_OK);
}

/// Files that only ranks of other processes read need not be here.
bool Session::readsFile(uint32_t index) const {
  for (uint32_t r = firstRank; r < endRank; ++r) {
    if (program.params && program.params[r].file == index)
      return true;
    for (bool load : {true, false})
      for (const cleave_command &command : listOf(program, r, load))
        for (const cleave_buffer &buffer : buffersOf(program, command))
          if (buffer.space == CLEAVE_SPACE_FILE && buffer.index == index)
            return true;
  }
  return false;
}

const char *Session::exchange() const {
  if (program.num_ranks == 1)
    return "";
  if (gpu && gpu->isConnected())
    return gpu->exchange();
  return process ? process->api->name : "threads";
}

int32_t Session::mapFiles(cleave_error *error) {
  for (uint32_t i = 0; i < program.num_files; ++i)
    if (readsFile(i))
      if (int32_t status = files[i].open(program.files[i], error))
        return status;
  return CLEAVE_OK;
}

int32_t Session::allocate(cleave_error *error) {
  for (uint32_t r = firstRank; r < endRank; ++r) {
    const cleave_rank_program &own = program.programs[program.class_of_rank[r]];
    Rank &rank = ranks[r];
    bool done = gpu || ((program.params || rank.params.allocate(own.param_bytes, 2 * r)) &&
                        rank.arena.allocate(own.arena_bytes, 2 * r + 1));
    // Nothing writes to what is mapped: the proof holds `main` to reading.
    rank.paramData = program.params ? const_cast<char *>(files[program.params[r].file].data()) +
                                          program.params[r].offset
                                    : rank.params.data();
    rank.counters.param_bytes = cleave_weight_bytes(&program, r);
    rank.counters.arena_bytes = own.arena_bytes;
    rank.outputs.resize(program.num_outputs);
    for (uint32_t i = 0; i < program.num_outputs && done; ++i) {
      if (isCallers(i, r) || !writesOutput(program, own, i))
        continue;
      uint64_t bytes;
      valueBytes(program.outputs[i], bytes);
      rank.counters.output_bytes += bytes;
      done = rank.outputs[i].allocate(bytes, i);
    }
    if (!done)
      return fail(error, CLEAVE_REFUSED,
                  "the system has no memory for rank %u, which needs %llu "
                  "bytes of parameters, %llu of activations",
                  r, (unsigned long long)own.param_bytes, (unsigned long long)own.arena_bytes);
  }
  return CLEAVE_OK;
}

/// Turns the buffers of a list into addresses; `pointers` has been reserved.
int32_t Session::resolve(uint32_t r, bool load, cleave_error *error) {
  Rank &rank = ranks[r];
  std::span<const cleave_command> list = listOf(program, r, load);
  std::vector<Step> &steps = load ? rank.load : rank.main;
  steps.reserve(list.size());
  for (const cleave_command &command : list) {
    std::span<const cleave_buffer> buffers = buffersOf(program, command);
    Step step{&command, rank.pointers.data() + rank.pointers.size(), 0};
    for (uint32_t b = 0; b < command.num_buffers; ++b) {
      if (gpu) {
        rank.pointers.push_back(gpu->address(r, command, b));
        continue;
      }
      rank.pointers.push_back(address(rank, buffers[b]));
      bool output = buffers[b].space == CLEAVE_SPACE_OUTPUT;
      if (buffers[b].space == CLEAVE_SPACE_INPUT || (output && isCallers(buffers[b].index, r)))
        rank.bindings.push_back(
            {&rank.pointers.back(), output, buffers[b].index, buffers[b].offset});
    }
    if (isExchange(command.op)) {
      Membership self = groups.find(command.group, r);
      step.bytes = cleave_ring_bytes(command.op, command.type, program.counts + command.first_count,
                                     self.size, self.member);
    } else if (command.op != CLEAVE_OP_LAUNCH) {
      step.bytes = buffers[0].bytes;
    } else if (gpu) {
      if (int32_t status = gpu->addLaunch(r, command, uint32_t(steps.size()), step.pointers,
                                          step.arguments, error))
        return status;
    }
    steps.push_back(step);
  }
  return CLEAVE_OK;
}

/// Null for what a run binds.
void *Session::address(Rank &rank, const cleave_buffer &buffer) {
  switch (buffer.space) {
  case CLEAVE_SPACE_FILE: return const_cast<char *>(files[buffer.index].data()) + buffer.offset;
  case CLEAVE_SPACE_PARAM: return rank.paramData + buffer.offset;
  case CLEAVE_SPACE_ARENA: return rank.arena.data() + buffer.offset;
  case CLEAVE_SPACE_OUTPUT:
    if (char *own = rank.outputs[buffer.index].data())
      return own + buffer.offset;
  }
  return nullptr;
}

/// The caller's memory must be as large as the value says.
static int32_t checkBound(const cleave_value &value, const char *kind, const void *data,
                          uint64_t bytes, cleave_error *error) {
  uint64_t wanted;
  valueBytes(value, wanted);
  if (bytes != wanted)
    return fail(error, CLEAVE_REFUSED, "%s \"%.400s\" takes %llu bytes, got: %llu", kind,
                nameOf(value.name), (unsigned long long)wanted, (unsigned long long)bytes);
  if (wanted && !data)
    return fail(error, CLEAVE_REFUSED, "%s \"%.400s\" is missing", kind, nameOf(value.name));
  return CLEAVE_OK;
}

int32_t Session::bind(const cleave_input *inputs, const cleave_output *outputs,
                      cleave_error *error) noexcept {
  if (firstRank > 0) {
    bindOwn(nullptr, nullptr);
    return CLEAVE_OK;
  }
  if ((program.num_inputs && !inputs) || (program.num_outputs && !outputs))
    return fail(error, CLEAVE_REFUSED, "no inputs or outputs are given");
  for (uint32_t i = 0; i < program.num_inputs; ++i)
    if (int32_t status =
            checkBound(program.inputs[i], "input", inputs[i].data, inputs[i].bytes, error))
      return status;
  for (uint32_t i = 0; i < program.num_outputs; ++i)
    if (int32_t status =
            checkBound(program.outputs[i], "output", outputs[i].data, outputs[i].bytes, error))
      return status;
  bindOwn(inputs, outputs);
  return CLEAVE_OK;
}

/// Inputs of another process than rank 0 are in memory of the session.
void Session::bindOwn(const cleave_input *inputs, const cleave_output *outputs) noexcept {
  givenInputs = inputs;
  givenOutputs = outputs;
  for (uint32_t r = firstRank; r < endRank; ++r) {
    for (const Binding &binding : ranks[r].bindings) {
      const void *data = binding.output ? outputs[binding.index].data
                         : inputs       ? inputs[binding.index].data
                                        : inputBlocks[binding.index].data();
      *binding.pointer = const_cast<char *>(static_cast<const char *>(data)) + binding.offset;
    }
    for (uint32_t i = 0; i < program.num_outputs; ++i)
      ranks[r].outputData[i] = isCallers(i, r) ? outputs[i].data : ranks[r].outputs[i].data();
  }
}

int32_t Session::run(const cleave_input *inputs, const cleave_output *outputs,
                     cleave_error *error) noexcept {
  if (broken)
    return fail(error, CLEAVE_FAILED, "the session cannot run again: %.900s", failure.message);
  if (int32_t status = bind(inputs, outputs, error))
    return status;
  // A run that failed has cut what connected the GPUs.
  if (connects && isCut) {
    int32_t status = runAll(Work::Connect, error);
    if (!status)
      status = captureAll(error);
    if (status)
      return status;
    isCut = false;
  }
  return runAll(Work::Run, error);
}
