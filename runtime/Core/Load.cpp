//===- Load.cpp - fills the parameters of a rank, without a session -------===//

#include "cleave/Runtime/Load.h"

#include "../Host/Memory.h"
#include "Error.h"
#include "Verify.h"

#include <cstring>
#include <new>
#include <set>
#include <tuple>
#include <vector>

using namespace cleave::runtime;

namespace {

class Loader {
public:
  Loader(const cleave_program &program, uint32_t rank, char *params)
      : program(program), rank(rank), params(params), files(program.num_files) {}

  int32_t open(cleave_error *error) {
    for (uint32_t i = 0; i < program.num_files; ++i)
      if (int32_t status = files[i].open(program.files[i], error))
        return status;
    uint64_t bytes = program.programs[program.class_of_rank[rank]].arena_bytes;
    if (!arena.allocate(bytes, 0))
      return fail(error, CLEAVE_REFUSED,
                  "the system has no memory to load rank %u, got: %llu bytes", rank,
                  (unsigned long long)bytes);
    return CLEAVE_OK;
  }

  int32_t run(const Place &place, cleave_error *error) {
    const cleave_command &command = *place.command;
    std::span<const cleave_buffer> buffers = buffersOf(program, command);
    pointers.clear();
    for (const cleave_buffer &buffer : buffers)
      pointers.push_back(address(buffer));
    switch (command.op) {
    case CLEAVE_OP_LAUNCH: {
      const int64_t *coordinates = program.coordinates + size_t(rank) * program.num_axes;
      if (int32_t fault = program.kernels[command.kernel](pointers.data(), coordinates))
        return failAt(error, CLEAVE_FAILED, place, "the kernel failed, got: fault %d", fault);
      return CLEAVE_OK;
    }
    case CLEAVE_OP_COPY:
      if (buffers[0].bytes)
        memcpy(pointers[1], pointers[0], buffers[0].bytes);
      return CLEAVE_OK;
    case CLEAVE_OP_FILL:
      if (buffers[0].bytes)
        memset(pointers[0], 0, buffers[0].bytes);
      return CLEAVE_OK;
    }
    return failAt(error, CLEAVE_REFUSED, place, "ranks meet while loading; load them in a session");
  }

  /// Lets go of what a command read, and tells what it filled.
  void end(const cleave_command &command, cleave_filled filled, void *context) {
    std::span<const cleave_buffer> buffers = buffersOf(program, command);
    for (const cleave_buffer &buffer : buffers)
      if (buffer.space == CLEAVE_SPACE_FILE)
        files[buffer.index].release(buffer.offset, buffer.offset + buffer.bytes);
    for (const cleave_buffer &buffer : buffers.last(numWritten(command)))
      if (buffer.space == CLEAVE_SPACE_PARAM && filled)
        filled(context, buffer.offset, buffer.bytes);
  }

private:
  void *address(const cleave_buffer &buffer) {
    switch (buffer.space) {
    case CLEAVE_SPACE_FILE: return const_cast<char *>(files[buffer.index].data()) + buffer.offset;
    case CLEAVE_SPACE_PARAM: return params + buffer.offset;
    default: return arena.data() + buffer.offset;
    }
  }

  const cleave_program &program;
  uint32_t rank;
  char *params;
  Block arena;
  std::vector<MappedFile> files;
  std::vector<void *> pointers;
};

} // namespace

int32_t cleave_load_params(const cleave_program *program, uint32_t rank, void *params,
                           cleave_filled filled, void *context, cleave_error *error) {
  if (program->device != CLEAVE_DEVICE_CPU)
    return fail(error, CLEAVE_REFUSED, "only a session loads what kernels of a GPU make");
  try {
    Loader loader(*program, rank, static_cast<char *>(params));
    if (int32_t status = loader.open(error))
      return status;
    std::span<const cleave_command> list = listOf(*program, rank, /*load=*/true);
    for (uint32_t i = 0; i < list.size(); ++i) {
      if (int32_t status = loader.run({rank, i, /*load=*/true, &list[i]}, error))
        return status;
      loader.end(list[i], filled, context);
    }
    return CLEAVE_OK;
  } catch (const std::bad_alloc &) {
    return fail(error, CLEAVE_REFUSED, "out of memory while loading");
  }
}

uint64_t cleave_weight_bytes(const cleave_program *program, uint32_t rank) {
  uint64_t bytes = program->programs[program->class_of_rank[rank]].param_bytes;
  std::set<std::tuple<uint32_t, uint64_t, uint64_t>> ranges;
  for (const cleave_command &command : listOf(*program, rank, /*load=*/false))
    for (const cleave_buffer &buffer : buffersOf(*program, command))
      if (buffer.space == CLEAVE_SPACE_FILE &&
          ranges.insert({buffer.index, buffer.offset, buffer.bytes}).second)
        bytes += buffer.bytes;
  return bytes;
}
