//===- Verify.cpp - the tables of a program -------------------------------===//
//
// A program may come from a file, so nothing in it is believed: each check
// relies only on those before it. Tables first, then commands and buffers
// (VerifyCommands.cpp), then the order of collectives (VerifyOrder.cpp).
//
//===----------------------------------------------------------------------===//

#include "Verify.h"

#include "Error.h"

#include <new>

using namespace cleave::runtime;

/// What no machine has; keeps sums of sizes from overflowing.
static constexpr uint64_t maxBlockBytes = uint64_t(1) << 46;
static constexpr uint32_t maxRanks = 1u << 16;

bool cleave::runtime::valueBytes(const cleave_value &value, uint64_t &bytes) {
  bytes = cleave_type_bytes(value.type);
  bool empty = false;
  for (uint32_t d = 0; d < value.num_dims; ++d) {
    if (value.dims[d] < 0)
      return false;
    if (value.dims[d] == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, uint64_t(value.dims[d]), &bytes))
      return false;
  }
  if (empty)
    bytes = 0;
  return bytes <= maxBlockBytes;
}

static int32_t verifyPointers(const cleave_program &p, cleave_error *error) {
  struct Table {
    const char *name;
    const void *data;
    uint64_t count;
  };
  const Table tables[] = {
      {"coordinates", p.coordinates, uint64_t(p.num_ranks) * p.num_axes},
      {"class_of_rank", p.class_of_rank, p.num_ranks},
      {"programs", p.programs, p.num_programs},
      {"groups", p.groups, p.num_groups},
      {"buffers", p.buffers, p.num_buffers},
      {"counts", p.counts, p.num_counts},
      {"kernels", p.device == CLEAVE_DEVICE_CPU ? (const void *)p.kernels : p.device_kernels,
       p.num_kernels},
      {"images", p.images, p.num_images},
      {"maps", p.maps, p.num_maps},
      {"files", p.files, p.num_files},
      {"inputs", p.inputs, p.num_inputs},
      {"outputs", p.outputs, p.num_outputs},
  };
  for (const Table &table : tables)
    if (table.count && !table.data)
      return fail(error, CLEAVE_REFUSED, "table \"%s\" is missing, got: %llu entries", table.name,
                  (unsigned long long)table.count);
  return CLEAVE_OK;
}

bool cleave::runtime::mapEnd(const cleave_map &map, uint64_t &end) {
  end = map.element_bytes;
  bool fits = !__builtin_add_overflow(end, map.offset, &end);
  for (uint32_t d = 0; d < map.num_dims && fits; ++d) {
    uint64_t stride = d ? map.strides[d] : map.element_bytes, last;
    fits = !__builtin_mul_overflow(map.sizes[d] - 1, stride, &last) &&
           !__builtin_add_overflow(end, last, &end);
  }
  return fits;
}

/// What CUDA takes of a map.
static bool isMap(const cleave_map &map) {
  constexpr uint32_t align = 16, maxBox = 256;
  auto isPower = [](uint32_t n) { return n && !(n & (n - 1)); };
  if (!isPower(map.element_bytes) || map.element_bytes > 8 || !map.num_dims ||
      map.num_dims > CLEAVE_MAX_MAP_DIMS || map.offset % align)
    return false;
  for (uint32_t d = 0; d < map.num_dims; ++d)
    if (!map.sizes[d] || map.sizes[d] > uint64_t(1) << 32 || !map.box[d] || map.box[d] > maxBox ||
        (d && (!map.strides[d] || map.strides[d] % align || map.strides[d] >> 40)))
      return false;
  uint32_t row = map.box[0] * map.element_bytes;
  if (map.swizzle &&
      (!isPower(map.swizzle) || map.swizzle < 32 || map.swizzle > 128 || row > map.swizzle))
    return false;
  uint64_t end;
  return row % align == 0 && mapEnd(map, end);
}

static int32_t verifyKernels(const cleave_program &p, cleave_error *error) {
  // No chip goes beyond them, and no kernel has as many maps.
  constexpr uint32_t maxThreads = 1024, maxBlocks = 0x7fffffff, maxShared = 227 << 10, maxMaps = 16,
                     maxResident = 64;
  for (uint32_t i = 0; i < p.num_maps; ++i)
    if (!isMap(p.maps[i]))
      return fail(error, CLEAVE_REFUSED, "map %u shows what no GPU copies", i);
  for (uint32_t i = 0; i < p.num_images; ++i) {
    const cleave_image &image = p.images[i];
    if (image.kind >= CLEAVE_NUM_IMAGE_KINDS || !image.data || !image.bytes)
      return fail(error, CLEAVE_REFUSED, "image %u is missing, or of no kind that there is", i);
    if ((image.kind == CLEAVE_IMAGE_SIMT) != (p.device == CLEAVE_DEVICE_SIMT))
      return fail(error, CLEAVE_REFUSED, "image %u is for another device than the program", i);
    if (!image.threads || image.threads > maxThreads || !image.blocks || image.blocks > maxBlocks ||
        image.shared_bytes > maxShared || image.resident > maxResident)
      return fail(error, CLEAVE_REFUSED,
                  "image %u is started with what no chip has, got: %u blocks of %u threads with %u "
                  "shared bytes, %u at a time",
                  i, image.blocks, image.threads, image.shared_bytes, image.resident);
    if (image.num_maps > maxMaps || image.first_map > p.num_maps ||
        image.num_maps > p.num_maps - image.first_map)
      return fail(error, CLEAVE_REFUSED, "image %u has %u maps from %u on, of %u", i,
                  image.num_maps, image.first_map, p.num_maps);
  }
  for (uint32_t i = 0; i < p.num_kernels; ++i) {
    if (p.device == CLEAVE_DEVICE_CPU) {
      if (!p.kernels[i])
        return fail(error, CLEAVE_REFUSED, "kernel %u is missing", i);
      continue;
    }
    const cleave_device_kernel &kernel = p.device_kernels[i];
    if (!kernel.name || !kernel.num_images || kernel.first_image > p.num_images ||
        kernel.num_images > p.num_images - kernel.first_image)
      return fail(error, CLEAVE_REFUSED, "kernel %u has no name or no image", i);
  }
  return CLEAVE_OK;
}

static int32_t verifyClasses(const cleave_program &p, cleave_error *error) {
  for (uint32_t rank = 0; rank < p.num_ranks; ++rank)
    if (p.class_of_rank[rank] >= p.num_programs)
      return fail(error, CLEAVE_REFUSED, "rank %u has a class that does not exist, got: %u of %u",
                  rank, p.class_of_rank[rank], p.num_programs);
  for (uint32_t i = 0; i < p.num_programs; ++i) {
    const cleave_rank_program &own = p.programs[i];
    if ((own.num_load && !own.load) || (own.num_main && !own.main))
      return fail(error, CLEAVE_REFUSED, "class %u has no commands", i);
    if (own.param_bytes > maxBlockBytes || own.arena_bytes > maxBlockBytes)
      return fail(error, CLEAVE_REFUSED,
                  "class %u is larger than any machine, got: %llu bytes of "
                  "parameters, %llu of activations",
                  i, (unsigned long long)own.param_bytes, (unsigned long long)own.arena_bytes);
  }
  return CLEAVE_OK;
}

static int32_t verifyValues(const cleave_value *values, uint32_t count, const char *kind,
                            uint32_t numRanks, cleave_error *error) {
  for (uint32_t i = 0; i < count; ++i) {
    const cleave_value &value = values[i];
    if (!cleave_type_bytes(value.type))
      return fail(error, CLEAVE_REFUSED, "%s \"%.200s\" has an unknown type, got: %u", kind,
                  nameOf(value.name), value.type);
    if (value.num_dims && !value.dims)
      return fail(error, CLEAVE_REFUSED, "%s \"%.200s\" has no dims", kind, nameOf(value.name));
    if (value.rank >= numRanks)
      return fail(error, CLEAVE_REFUSED,
                  "%s \"%.200s\" is of a rank that does not exist, got: %u of %u", kind,
                  nameOf(value.name), value.rank, numRanks);
    uint64_t bytes;
    if (!valueBytes(value, bytes))
      return fail(error, CLEAVE_REFUSED, "%s \"%.200s\" has a size that cannot be", kind,
                  nameOf(value.name));
  }
  return CLEAVE_OK;
}

static int32_t verifyGroups(const cleave_program &p, cleave_error *error) {
  std::vector<bool> seen(p.num_ranks);
  for (uint32_t g = 0; g < p.num_groups; ++g) {
    const cleave_group &group = p.groups[g];
    if (!group.group_size || p.num_ranks % group.group_size)
      return fail(error, CLEAVE_REFUSED, "group %u does not divide %u ranks, got: sets of %u", g,
                  p.num_ranks, group.group_size);
    if (!group.members)
      return fail(error, CLEAVE_REFUSED, "group %u has no members", g);
    seen.assign(p.num_ranks, false);
    for (uint32_t i = 0; i < p.num_ranks; ++i) {
      uint32_t rank = group.members[i];
      if (rank >= p.num_ranks)
        return fail(error, CLEAVE_REFUSED,
                    "group %u has a member that does not exist, got: rank %u "
                    "of %u",
                    g, rank, p.num_ranks);
      if (seen[rank])
        return fail(error, CLEAVE_REFUSED, "group %u has rank %u twice", g, rank);
      seen[rank] = true;
    }
  }
  return CLEAVE_OK;
}

static int32_t verifyParams(const cleave_program &p, cleave_error *error) {
  for (uint32_t rank = 0; p.params && rank < p.num_ranks; ++rank) {
    const cleave_params &params = p.params[rank];
    const cleave_rank_program &own = p.programs[p.class_of_rank[rank]];
    if (own.num_load)
      return fail(error, CLEAVE_REFUSED, "rank %u loads parameters that are mapped", rank);
    if (params.file >= p.num_files)
      return fail(error, CLEAVE_REFUSED,
                  "rank %u has its parameters in a file that does not exist, got: %u of %u", rank,
                  params.file, p.num_files);
    uint64_t limit = p.files[params.file].bytes;
    if (params.offset % 64 || params.offset > limit || own.param_bytes > limit - params.offset)
      return fail(error, CLEAVE_REFUSED,
                  "the parameters of rank %u are not at a multiple of 64 within the %llu bytes of "
                  "file %u, got: offset %llu, %llu bytes",
                  rank, (unsigned long long)limit, params.file, (unsigned long long)params.offset,
                  (unsigned long long)own.param_bytes);
  }
  return CLEAVE_OK;
}

static int32_t verifyTables(const cleave_program &p, cleave_error *error) {
  if (p.version != CLEAVE_PROGRAM_VERSION)
    return fail(error, CLEAVE_REFUSED,
                "the program is of another version than this runtime's %u, "
                "got: %u",
                CLEAVE_PROGRAM_VERSION, p.version);
  if (p.device >= CLEAVE_NUM_DEVICES)
    return fail(error, CLEAVE_REFUSED, "the program is for a device that does not exist, got: %u",
                p.device);
  if (p.num_ranks == 0 || p.num_ranks > maxRanks)
    return fail(error, CLEAVE_REFUSED, "a program has between 1 and %u ranks, got: %u", maxRanks,
                p.num_ranks);
  if (int32_t status = verifyPointers(p, error))
    return status;
  if (int32_t status = verifyClasses(p, error))
    return status;
  if (int32_t status = verifyKernels(p, error))
    return status;
  for (uint32_t i = 0; i < p.num_files; ++i)
    if (!p.files[i].path || p.files[i].bytes > maxBlockBytes)
      return fail(error, CLEAVE_REFUSED, "file %u has no path or no such size", i);
  if (int32_t status = verifyParams(p, error))
    return status;
  if (int32_t status = verifyValues(p.inputs, p.num_inputs, "input", /*numRanks=*/1, error))
    return status;
  if (int32_t status = verifyValues(p.outputs, p.num_outputs, "output", p.num_ranks, error))
    return status;
  return verifyGroups(p, error);
}

int32_t cleave_program_verify(const cleave_program *program, cleave_error *error) {
  if (!program)
    return fail(error, CLEAVE_REFUSED, "there is no program");
  try {
    if (int32_t status = verifyTables(*program, error))
      return status;
    Groups groups(*program);
    if (int32_t status = verifyCommands(*program, groups, error))
      return status;
    if (int32_t status = verifyOrder(*program, groups, /*load=*/true, error))
      return status;
    return verifyOrder(*program, groups, /*load=*/false, error);
  } catch (const std::bad_alloc &) {
    return fail(error, CLEAVE_REFUSED, "out of memory while verifying");
  }
}
