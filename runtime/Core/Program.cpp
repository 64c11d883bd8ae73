//===- Program.cpp - names, sizes and ring bytes --------------------------===//

#include "cleave/Runtime/Program.h"

#include <numeric>

static const char *const opNames[] = {
#define CLEAVE_COMMAND(ENUM, NAME) #NAME,
#include "cleave/Runtime/Commands.def"
};

static const char *const typeNames[] = {
#define CLEAVE_TYPE(ENUM, NAME, BYTES) #NAME,
#include "cleave/Runtime/Commands.def"
};

static const uint64_t typeSizes[] = {
#define CLEAVE_TYPE(ENUM, NAME, BYTES) BYTES,
#include "cleave/Runtime/Commands.def"
};

static const char *const reductionNames[] = {
#define CLEAVE_REDUCTION(ENUM, NAME) #NAME,
#include "cleave/Runtime/Commands.def"
};

static const char *const spaceNames[] = {
#define CLEAVE_SPACE(ENUM, NAME) #NAME,
#include "cleave/Runtime/Commands.def"
};

uint64_t cleave_type_bytes(uint8_t type) { return type < CLEAVE_NUM_TYPES ? typeSizes[type] : 0; }

const char *cleave_type_name(uint8_t type) {
  return type < CLEAVE_NUM_TYPES ? typeNames[type] : "unknown type";
}

const char *cleave_op_name(uint8_t op) {
  return op < CLEAVE_NUM_OPS ? opNames[op] : "unknown command";
}

const char *cleave_reduction_name(uint8_t reduction) {
  return reduction < CLEAVE_NUM_REDUCTIONS ? reductionNames[reduction] : "unknown reduction";
}

const char *cleave_space_name(uint8_t space) {
  return space < CLEAVE_NUM_SPACES ? spaceNames[space] : "unknown space";
}

uint64_t cleave_ring_bytes(uint8_t op, uint8_t type, const uint64_t *counts, uint32_t p,
                           uint32_t member) {
  uint64_t bytes = cleave_type_bytes(type);
  auto total = [](const uint64_t *begin, uint64_t n) {
    return std::accumulate(begin, begin + n, uint64_t(0));
  };
  switch (op) {
  case CLEAVE_OP_ALL_REDUCE: {
    // In parts, so that the product cannot overflow.
    uint64_t whole = counts[0] * bytes;
    return 2 * (p - 1) * (whole / p) + 2 * (p - 1) * (whole % p) / p;
  }
  case CLEAVE_OP_ALL_GATHER: return (total(counts, p) - counts[(member + 1) % p]) * bytes;
  case CLEAVE_OP_REDUCE_SCATTER: return (total(counts, p) - counts[member]) * bytes;
  case CLEAVE_OP_ALL_TO_ALL: {
    const uint64_t *row = counts + uint64_t(member) * p;
    return (total(row, p) - row[member]) * bytes;
  }
  case CLEAVE_OP_SEND: return counts[0] * bytes;
  }
  return 0;
}
