//===- Weights.cpp - what ranks on GPUs read of files ---------------------===//
//
// What `main` reads is there from the beginning, once on each GPU. What `load` alone
// reads comes for one command at a time, to where that of the others was: so a GPU need
// not hold weights that it is to have parts of.
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"

#include <algorithm>
#include <thread>

using namespace cleave::runtime;

static constexpr uint64_t alignment = 256;

static uint64_t aligned(uint64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

void Gpu::findKept() {
  for (uint32_t r = 0; r < program.num_ranks; ++r)
    for (const cleave_command &command : listOf(program, r, /*load=*/false))
      for (const cleave_buffer &buffer : buffersOf(program, command))
        if (buffer.space == CLEAVE_SPACE_FILE)
          kept.insert(rangeOf(buffer));
}

uint64_t Gpu::passingBytes(const cleave_command &command, uint32_t end) const {
  uint64_t bytes = 0;
  for (const cleave_buffer &buffer : buffersOf(program, command).first(end))
    if (passes(buffer))
      bytes += aligned(buffer.bytes);
  return bytes;
}

uint64_t Gpu::passingBytes(uint32_t r) const {
  uint64_t most = 0;
  for (const cleave_command &command : listOf(program, r, /*load=*/true))
    most = std::max(most, passingBytes(command, command.num_buffers));
  return most;
}

int32_t Gpu::upload(const std::vector<MappedFile> &mapped, cleave_error *error) {
  files = &mapped;
  std::vector<std::unique_ptr<Upload>> uploads;
  for (std::unique_ptr<Device> &device : devices) {
    Upload &one = *uploads.emplace_back(std::make_unique<Upload>(*driver, device->context));
    for (auto &[range, memory] : device->files) {
      auto [file, offset, bytes] = range;
      one.add(memory, mapped[file].data() + offset, bytes);
    }
    for (uint32_t r = firstRank; program.params && r < endRank; ++r)
      if (of(r).device == device.get())
        one.add(of(r).params, mapped[program.params[r].file].data() + program.params[r].offset,
                program.programs[program.class_of_rank[r]].param_bytes);
  }
  std::vector<CUresult> results(uploads.size(), CUDA_SUCCESS);
  std::vector<std::thread> threads;
  auto carry = [&](size_t i) { results[i] = uploads[i]->carry(); };
  size_t begun = 1;
  try {
    for (; begun < uploads.size(); ++begun)
      threads.emplace_back(carry, begun);
  } catch (const std::system_error &) {
    // This one carries what others do not.
  }
  for (size_t i = begun; i < uploads.size(); ++i)
    carry(i);
  carry(0);
  for (std::thread &thread : threads)
    thread.join();
  for (CUresult result : results)
    if (result)
      return fail(result, "a GPU does not take what is copied to it", error);
  return CLEAVE_OK;
}

bool Gpu::bring(uint32_t r, const cleave_command &command, Waiter &waiter) {
  Rank &rank = of(r);
  std::vector<std::pair<uint64_t, Range>> wanted;
  std::span<const cleave_buffer> buffers = buffersOf(program, command);
  for (uint32_t b = 0; b < buffers.size(); ++b)
    if (passes(buffers[b]))
      wanted.emplace_back(passingBytes(command, b), rangeOf(buffers[b]));
  // Commands that follow each other read parts of one weight.
  if (wanted.empty() || wanted == rank.aboard)
    return true;
  if (!waitFor(r, rank.stream, waiter) || !enter(rank))
    return false;
  if (!rank.upload)
    rank.upload = std::make_unique<Upload>(*driver, rank.device->context);
  for (const auto &[place, range] : wanted) {
    auto [file, offset, bytes] = range;
    rank.upload->add(rank.passing + place, (*files)[file].data() + offset, bytes);
  }
  rank.aboard = std::move(wanted);
  return check(rank, rank.upload->carry());
}

void Gpu::endLoad() {
  for (Rank &rank : ranks) {
    rank.upload.reset();
    driver->cuCtxSetCurrent(rank.device->context);
    driver->cuMemFree(rank.passing);
    rank.passing = 0;
  }
}
