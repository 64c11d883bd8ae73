//===- VerifyCommands.cpp - commands, buffers and counts ------------------===//

#include "Verify.h"

#include "Error.h"

using namespace cleave::runtime;

/// Sum of `n` counts in bytes; false where it overflows.
static bool sumBytes(const uint64_t *counts, uint64_t stride, uint32_t n, uint64_t elementBytes,
                     uint64_t &bytes) {
  uint64_t elements = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (__builtin_add_overflow(elements, counts[i * stride], &elements))
      return false;
  return !__builtin_mul_overflow(elements, elementBytes, &bytes);
}

bool cleave::runtime::collectiveBytes(const cleave_command &command, const uint64_t *counts,
                                      uint32_t p, uint32_t member, uint64_t &given,
                                      uint64_t &gotten) {
  uint64_t bytes = cleave_type_bytes(command.type);
  switch (command.op) {
  case CLEAVE_OP_ALL_REDUCE:
    return sumBytes(counts, 1, 1, bytes, given) && sumBytes(counts, 1, 1, bytes, gotten);
  case CLEAVE_OP_ALL_GATHER:
    return sumBytes(counts + member, 1, 1, bytes, given) && sumBytes(counts, 1, p, bytes, gotten);
  case CLEAVE_OP_REDUCE_SCATTER:
    return sumBytes(counts, 1, p, bytes, given) && sumBytes(counts + member, 1, 1, bytes, gotten);
  case CLEAVE_OP_ALL_TO_ALL:
    return sumBytes(counts + uint64_t(member) * p, 1, p, bytes, given) &&
           sumBytes(counts + member, p, p, bytes, gotten);
  }
  return false;
}

static uint64_t numCounts(uint8_t op, uint64_t p) {
  switch (op) {
  case CLEAVE_OP_WAIT: return 0;
  case CLEAVE_OP_ALL_REDUCE:
  case CLEAVE_OP_SEND:
  case CLEAVE_OP_RECV: return 1;
  case CLEAVE_OP_ALL_TO_ALL: return p * p;
  }
  return p;
}

/// Of all but a launch, which says so itself.
static uint32_t numBuffers(uint8_t op) {
  switch (op) {
  case CLEAVE_OP_WAIT: return 0;
  case CLEAVE_OP_FILL:
  case CLEAVE_OP_SEND:
  case CLEAVE_OP_RECV: return 1;
  }
  return 2;
}

uint32_t cleave::runtime::numWritten(const cleave_command &command) {
  switch (command.op) {
  case CLEAVE_OP_LAUNCH: return command.num_outputs;
  case CLEAVE_OP_SEND:
  case CLEAVE_OP_WAIT: return 0;
  }
  return 1;
}

bool cleave::runtime::writesOutput(const cleave_program &program, const cleave_rank_program &own,
                                   uint32_t index) {
  for (const cleave_command &command : std::span(own.main, own.num_main))
    for (const cleave_buffer &buffer : buffersOf(program, command).last(numWritten(command)))
      if (buffer.space == CLEAVE_SPACE_OUTPUT && buffer.index == index)
        return true;
  return false;
}

bool cleave::runtime::overlap(const cleave_buffer &a, const cleave_buffer &b) {
  return a.space == b.space && a.index == b.index && a.bytes && b.bytes &&
         a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

static bool same(const cleave_buffer &a, const cleave_buffer &b) {
  return a.space == b.space && a.index == b.index && a.offset == b.offset && a.bytes == b.bytes;
}

namespace {

/// Checks one command of one rank.
class CommandVerifier {
public:
  CommandVerifier(const cleave_program &program, const Groups &groups, const Place &place,
                  cleave_error *error)
      : program(program), groups(groups), place(place), command(*place.command), error(error) {}

  int32_t verify() {
    if (command.op >= CLEAVE_NUM_OPS)
      return failAt(error, CLEAVE_REFUSED, place, "the command does not exist, got: %u",
                    command.op);
    if (command.first_buffer > program.num_buffers ||
        command.num_buffers > program.num_buffers - command.first_buffer)
      return failAt(error, CLEAVE_REFUSED, place,
                    "buffers %u to %llu are not among the program's %u", command.first_buffer,
                    (unsigned long long)command.first_buffer + command.num_buffers,
                    program.num_buffers);
    buffers = program.buffers + command.first_buffer;

    if (command.op == CLEAVE_OP_LAUNCH) {
      if (int32_t status = verifyLaunch())
        return status;
    } else if (command.num_buffers != numBuffers(command.op)) {
      return failAt(error, CLEAVE_REFUSED, place, "takes %u buffers, got: %u",
                    numBuffers(command.op), command.num_buffers);
    }

    for (uint32_t i = 0; i < command.num_buffers; ++i)
      if (int32_t status = verifyBuffer(i, i + numWritten(command) >= command.num_buffers))
        return status;

    if (command.op == CLEAVE_OP_COPY)
      return verifyCopy();
    return isExchange(command.op) ? verifyExchange() : CLEAVE_OK;
  }

private:
  int32_t verifyLaunch() {
    if (command.kernel >= program.num_kernels)
      return failAt(error, CLEAVE_REFUSED, place, "the kernel does not exist, got: %u of %u",
                    command.kernel, program.num_kernels);
    if (command.num_outputs > command.num_buffers)
      return failAt(error, CLEAVE_REFUSED, place, "writes more buffers than it has, got: %u of %u",
                    command.num_outputs, command.num_buffers);
    return program.device == CLEAVE_DEVICE_CPU ? int32_t(CLEAVE_OK) : verifyMaps();
  }

  int32_t verifyMaps() {
    const cleave_device_kernel &kernel = program.device_kernels[command.kernel];
    for (uint32_t i = 0; i < kernel.num_images; ++i) {
      const cleave_image &image = program.images[kernel.first_image + i];
      for (uint32_t m = image.first_map; m < image.first_map + image.num_maps; ++m) {
        const cleave_map &map = program.maps[m];
        uint64_t end;
        if (map.buffer >= command.num_buffers)
          return failAt(error, CLEAVE_REFUSED, place, "map %u shows buffer %u, of %u", m,
                        map.buffer, command.num_buffers);
        if (!mapEnd(map, end) || end > buffers[map.buffer].bytes)
          return failAt(error, CLEAVE_REFUSED, place,
                        "map %u ends behind the %llu bytes of buffer %u, got: %llu", m,
                        (unsigned long long)buffers[map.buffer].bytes, map.buffer,
                        (unsigned long long)end);
      }
    }
    return CLEAVE_OK;
  }

  int32_t verifyBuffer(uint32_t number, bool written) {
    const cleave_buffer &buffer = buffers[number];
    uint64_t limit = 0;
    uint32_t blocks = 1;
    bool readOnly = false, mainOnly = false;
    const cleave_rank_program &own = program.programs[program.class_of_rank[place.rank]];
    switch (buffer.space) {
    case CLEAVE_SPACE_FILE:
      blocks = program.num_files;
      readOnly = true;
      if (buffer.index < blocks)
        limit = program.files[buffer.index].bytes;
      break;
    case CLEAVE_SPACE_PARAM:
      limit = own.param_bytes;
      readOnly = !place.load;
      break;
    case CLEAVE_SPACE_ARENA: limit = own.arena_bytes; break;
    case CLEAVE_SPACE_INPUT:
      blocks = program.num_inputs;
      readOnly = mainOnly = true;
      if (buffer.index < blocks)
        valueBytes(program.inputs[buffer.index], limit);
      break;
    case CLEAVE_SPACE_OUTPUT:
      blocks = program.num_outputs;
      mainOnly = true;
      if (buffer.index < blocks)
        valueBytes(program.outputs[buffer.index], limit);
      break;
    default:
      return failAt(error, CLEAVE_REFUSED, place,
                    "buffer %u is in a space that does not exist, got: %u", number, buffer.space);
    }

    const char *space = cleave_space_name(buffer.space);
    if (buffer.index >= blocks)
      return failAt(error, CLEAVE_REFUSED, place, "buffer %u names %s %u, of %u", number, space,
                    buffer.index, blocks);
    if (mainOnly && place.load)
      return failAt(error, CLEAVE_REFUSED, place, "buffer %u is in the %s space while loading",
                    number, space);
    if (readOnly && written)
      return failAt(error, CLEAVE_REFUSED, place,
                    "writes buffer %u, which is in the read-only %s space", number, space);
    if (buffer.offset > limit || buffer.bytes > limit - buffer.offset)
      return failAt(error, CLEAVE_REFUSED, place,
                    "buffer %u ends behind the %llu bytes of %s %u, got: "
                    "offset %llu, %llu bytes",
                    number, (unsigned long long)limit, space, buffer.index,
                    (unsigned long long)buffer.offset, (unsigned long long)buffer.bytes);
    return CLEAVE_OK;
  }

  int32_t verifyCopy() {
    if (buffers[0].bytes != buffers[1].bytes)
      return failAt(error, CLEAVE_REFUSED, place,
                    "source and target differ in size, got: %llu and %llu "
                    "bytes",
                    (unsigned long long)buffers[0].bytes, (unsigned long long)buffers[1].bytes);
    if (overlap(buffers[0], buffers[1]))
      return failAt(error, CLEAVE_REFUSED, place, "source and target overlap");
    return CLEAVE_OK;
  }

  int32_t verifyExchange() {
    if (!cleave_type_bytes(command.type))
      return failAt(error, CLEAVE_REFUSED, place, "the type does not exist, got: %u", command.type);
    if (isReducing(command.op) && command.reduction >= CLEAVE_NUM_REDUCTIONS)
      return failAt(error, CLEAVE_REFUSED, place, "the reduction does not exist, got: %u",
                    command.reduction);
    if (command.group >= program.num_groups)
      return failAt(error, CLEAVE_REFUSED, place, "the group does not exist, got: %u of %u",
                    command.group, program.num_groups);
    if (command.first_count > program.num_counts ||
        command.num_counts > program.num_counts - command.first_count)
      return failAt(error, CLEAVE_REFUSED, place,
                    "counts %u to %llu are not among the program's %u", command.first_count,
                    (unsigned long long)command.first_count + command.num_counts,
                    program.num_counts);

    Membership membership = groups.find(command.group, place.rank);
    uint64_t wanted = numCounts(command.op, membership.size);
    if (command.num_counts != wanted)
      return failAt(error, CLEAVE_REFUSED, place, "takes %llu counts among %u members, got: %u",
                    (unsigned long long)wanted, membership.size, command.num_counts);
    return isTransfer(command.op) ? verifyTransfer(membership) : verifySizes(membership);
  }

  int32_t verifyTransfer(const Membership &membership) {
    if (command.peer >= membership.size)
      return failAt(error, CLEAVE_REFUSED, place, "the peer does not exist, got: member %u of %u",
                    command.peer, membership.size);
    if (command.peer == membership.member)
      return failAt(error, CLEAVE_REFUSED, place, "the peer is the rank itself");
    if (command.op == CLEAVE_OP_WAIT)
      return CLEAVE_OK;
    uint64_t bytes;
    if (!sumBytes(program.counts + command.first_count, 1, 1, cleave_type_bytes(command.type),
                  bytes))
      return failAt(error, CLEAVE_REFUSED, place, "the counts overflow");
    if (buffers[0].bytes != bytes)
      return failAt(error, CLEAVE_REFUSED, place, "the count makes %llu bytes, got: %llu",
                    (unsigned long long)bytes, (unsigned long long)buffers[0].bytes);
    return CLEAVE_OK;
  }

  int32_t verifySizes(const Membership &membership) {
    uint64_t sizes[2];
    if (!collectiveBytes(command, program.counts + command.first_count, membership.size,
                         membership.member, sizes[0], sizes[1]))
      return failAt(error, CLEAVE_REFUSED, place, "the counts overflow");
    for (uint32_t i = 0; i < 2; ++i)
      if (buffers[i].bytes != sizes[i])
        return failAt(error, CLEAVE_REFUSED, place, "the counts make %llu bytes of %s, got: %llu",
                      (unsigned long long)sizes[i], i ? "output" : "input",
                      (unsigned long long)buffers[i].bytes);
    bool inPlace = command.op == CLEAVE_OP_ALL_REDUCE && same(buffers[0], buffers[1]);
    if (!inPlace && overlap(buffers[0], buffers[1]))
      return failAt(error, CLEAVE_REFUSED, place, "input and output overlap");
    return CLEAVE_OK;
  }

  const cleave_program &program;
  const Groups &groups;
  const Place &place;
  const cleave_command &command;
  const cleave_buffer *buffers = nullptr;
  cleave_error *error;
};

} // namespace

int32_t cleave::runtime::verifyCommands(const cleave_program &program, const Groups &groups,
                                        cleave_error *error) {
  // What is local to a rank is equal within a class; only collectives and
  // transfers see the rank's place in its group.
  std::vector<bool> classSeen(program.num_programs);
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    bool seen = classSeen[program.class_of_rank[rank]];
    classSeen[program.class_of_rank[rank]] = true;
    for (bool load : {true, false}) {
      std::span<const cleave_command> list = listOf(program, rank, load);
      for (uint32_t i = 0; i < list.size(); ++i) {
        if (seen && !isExchange(list[i].op))
          continue;
        Place place{rank, i, load, &list[i]};
        if (int32_t status = CommandVerifier(program, groups, place, error).verify())
          return status;
      }
    }
  }
  for (uint32_t i = 0; i < program.num_outputs; ++i) {
    const cleave_value &output = program.outputs[i];
    uint64_t bytes;
    if (valueBytes(output, bytes) && bytes &&
        !writesOutput(program, program.programs[program.class_of_rank[output.rank]], i))
      return fail(error, CLEAVE_REFUSED,
                  "rank %u does not write output \"%.200s\", which is its own", output.rank,
                  nameOf(output.name));
  }
  return CLEAVE_OK;
}
