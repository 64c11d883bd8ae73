//===- Digest.cpp - whether two ranks mean the same program ---------------===//
//
// What a run depends on, but for where it lies: paths and addresses differ from host
// to host.
//
//===----------------------------------------------------------------------===//

#include "Digest.h"

#include "Verify.h"

#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace cleave::runtime;

namespace {

class Hash {
public:
  Hash() { XXH3_128bits_reset(&state); }
  template <typename T> void add(const T &number) {
    XXH3_128bits_update(&state, &number, sizeof number);
  }
  template <typename T> void add(const T *data, uint64_t count) {
    add(count);
    XXH3_128bits_update(&state, data, count * sizeof(T));
  }
  void add(const char *text) { add(nameOf(text), strlen(nameOf(text))); }
  XXH128_hash_t result() const { return XXH3_128bits_digest(&state); }

private:
  static const char *nameOf(const char *text) { return text ? text : ""; }
  XXH3_state_t state;
};

} // namespace

/// Fields one by one: the gaps between them hold anything.
static void add(Hash &hash, const cleave_program &program, const cleave_command &command) {
  hash.add(command.op);
  hash.add(command.num_buffers);
  hash.add(command.name);
  for (const cleave_buffer &buffer : buffersOf(program, command)) {
    hash.add(buffer.space);
    hash.add(buffer.index);
    hash.add(buffer.offset);
    hash.add(buffer.bytes);
  }
  if (command.op == CLEAVE_OP_LAUNCH) {
    hash.add(command.kernel);
    hash.add(command.num_outputs);
  }
  if (!isExchange(command.op))
    return;
  hash.add(command.type);
  hash.add(isReducing(command.op) ? command.reduction : uint8_t(0));
  hash.add(command.group);
  hash.add(isTransfer(command.op) ? command.peer : 0u);
  hash.add(program.counts + command.first_count, command.num_counts);
}

static void add(Hash &hash, const cleave_value &value) {
  hash.add(value.name);
  hash.add(value.type);
  hash.add(value.dims, value.num_dims);
  hash.add(value.rank);
}

std::vector<Mark> cleave::runtime::marksOf(const cleave_program &program) {
  std::vector<Mark> marks;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
    for (bool load : {true, false}) {
      uint32_t number = 0;
      for (const cleave_command &command : listOf(program, rank, load)) {
        Hash hash;
        add(hash, program, command);
        marks.push_back({rank, load, number++, hash.result().low64});
      }
      marks.push_back({rank, load, number, 0});
    }
  return marks;
}

void cleave_program_digest(const cleave_program *program, uint64_t digest[2]) {
  Hash hash;
  hash.add(program->version);
  hash.add(program->num_ranks);
  hash.add(program->coordinates, uint64_t(program->num_ranks) * program->num_axes);
  hash.add(program->class_of_rank, program->num_ranks);
  for (uint32_t i = 0; i < program->num_groups; ++i) {
    hash.add(program->groups[i].group_size);
    hash.add(program->groups[i].members, program->num_ranks);
  }
  for (uint32_t i = 0; i < program->num_programs; ++i) {
    const cleave_rank_program &own = program->programs[i];
    hash.add(own.param_bytes);
    hash.add(own.arena_bytes);
    for (bool load : {true, false}) {
      uint32_t count = load ? own.num_load : own.num_main;
      hash.add(count);
      for (uint32_t c = 0; c < count; ++c)
        add(hash, *program, (load ? own.load : own.main)[c]);
    }
  }
  hash.add(program->device);
  hash.add(program->num_kernels);
  for (uint32_t i = 0; i < program->num_files; ++i)
    hash.add(program->files[i].bytes);
  for (uint32_t r = 0; program->params && r < program->num_ranks; ++r) {
    hash.add(program->params[r].file);
    hash.add(program->params[r].offset);
  }
  for (uint32_t i = 0; i < program->num_inputs; ++i)
    add(hash, program->inputs[i]);
  for (uint32_t i = 0; i < program->num_outputs; ++i)
    add(hash, program->outputs[i]);
  digest[0] = hash.result().low64;
  digest[1] = hash.result().high64;
}
