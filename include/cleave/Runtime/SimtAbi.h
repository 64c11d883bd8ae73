//===- SimtAbi.h - an image of kernels and its simulator --------*- C -*-===//
//
// An image is a shared object with one symbol, CLEAVE_SIMT_SYMBOL, and without any that
// it lacks: what it calls is in a table that the simulator fills once it is loaded.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_SIMTABI_H
#define CLEAVE_RUNTIME_SIMTABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLEAVE_SIMT_VERSION 5u
#define CLEAVE_SIMT_SYMBOL "cleave_simt_image"
/// "SIMT", in the bytes of a little-endian machine.
#define CLEAVE_SIMT_MAGIC 0x544d4953u

/// What an access is told to be. The numbers are those of NVPTX's address spaces.
enum cleave_simt_space {
  CLEAVE_SIMT_GENERIC = 0,
  CLEAVE_SIMT_GLOBAL = 1,
  CLEAVE_SIMT_SHARED = 3,
  CLEAVE_SIMT_CONSTANT = 4,
  CLEAVE_SIMT_LOCAL = 5
};

/// Where in a program something is done.
struct cleave_simt_site {
  const char *what;  ///< "load", "barrier.cta.sync.aligned.all"
  const char *place; ///< "file:line", or the instruction where no line is known
  uint32_t bytes;    ///< of an access
  uint32_t align;
  uint32_t space;   ///< cleave_simt_space
  uint32_t aligned; ///< all threads of a warp have to be here together
  void *cache;      ///< the simulator's own
};

struct cleave_simt_variable {
  const char *name;
  void *address;   ///< of a table of constants
  uint32_t offset; ///< of a variable in shared memory
  uint32_t bytes;
};

struct cleave_simt_kernel {
  const char *name;
  /// Runs one thread; `arguments` are addresses.
  void (*entry)(void *const *arguments);
  const uint32_t *argument_bytes;
  const struct cleave_simt_variable *variables; ///< in shared memory, of fixed size
  uint32_t num_arguments, num_variables;
  uint32_t static_shared; ///< bytes
  uint32_t dynamic_align; ///< of shared memory whose size a launch gives; 0: none is used
  uint32_t max_threads;   ///< of a block; 0: any
};

struct cleave_simt_image {
  uint32_t magic, version;
  uint32_t num_functions, num_kernels, num_constants;
  uint32_t chip; ///< ten times the compute capability that it needs; 0: any
  uint32_t only; ///< nonzero: for this chip, and not for newer ones
  uint32_t reserved;
  void **functions;      ///< filled by the simulator, as SimtFunctions.def lists them
  void **shared;         ///< set before a launch: begin of shared memory,
  void **dynamic_shared; ///< and of its part whose size the launch gives
  const struct cleave_simt_kernel *kernels;
  const struct cleave_simt_variable *constants; ///< which may be read only
};

enum cleave_simt_function {
#define CLEAVE_SIMT_FUNCTION(name, result, parameters) CLEAVE_SIMT_##name,
#include "cleave/Runtime/SimtFunctions.def"
#undef CLEAVE_SIMT_FUNCTION
  CLEAVE_SIMT_NUM_FUNCTIONS
};

/// `which` of sreg; x, y and z follow each other.
enum cleave_simt_sreg {
  CLEAVE_SIMT_TID = 0,
  CLEAVE_SIMT_NTID = 3,
  CLEAVE_SIMT_CTAID = 6,
  CLEAVE_SIMT_NCTAID = 9,
  CLEAVE_SIMT_LANE = 12,
  CLEAVE_SIMT_WARP,
  CLEAVE_SIMT_NUM_WARPS,
  CLEAVE_SIMT_DYNAMIC_BYTES,
  CLEAVE_SIMT_SHARED_BYTES
};

enum cleave_simt_shuffle { CLEAVE_SIMT_UP, CLEAVE_SIMT_DOWN, CLEAVE_SIMT_BFLY, CLEAVE_SIMT_IDX };
enum cleave_simt_vote { CLEAVE_SIMT_ALL, CLEAVE_SIMT_ANY, CLEAVE_SIMT_UNI, CLEAVE_SIMT_BALLOT };
enum cleave_simt_reduction {
  CLEAVE_SIMT_ADD,
  CLEAVE_SIMT_AND,
  CLEAVE_SIMT_OR,
  CLEAVE_SIMT_XOR,
  CLEAVE_SIMT_MIN,
  CLEAVE_SIMT_MAX,
  CLEAVE_SIMT_UMIN,
  CLEAVE_SIMT_UMAX,
  CLEAVE_SIMT_POPC
};
enum cleave_simt_operation {
  CLEAVE_SIMT_SUM,
  CLEAVE_SIMT_PRODUCT,
  CLEAVE_SIMT_FMA,
  CLEAVE_SIMT_QUOTIENT,
  CLEAVE_SIMT_ROOT
};
enum cleave_simt_scope { CLEAVE_SIMT_BLOCK, CLEAVE_SIMT_DEVICE };
/// Operands of multiply, and of its sum: f32 or s32, or f16. Where there are two, they are those
/// of A and of B.
enum cleave_simt_operand {
  CLEAVE_SIMT_F16,
  CLEAVE_SIMT_BF16,
  CLEAVE_SIMT_TF32,
  CLEAVE_SIMT_S8,
  CLEAVE_SIMT_U8,
  CLEAVE_SIMT_F16_F16,
  CLEAVE_SIMT_E4M3,
  CLEAVE_SIMT_E5M2,
  CLEAVE_SIMT_S8_U8,
  CLEAVE_SIMT_U8_S8,
  CLEAVE_SIMT_E4M3_E5M2,
  CLEAVE_SIMT_E5M2_E4M3
};
/// Of arrivals at an mbarrier and tests of it.
enum cleave_simt_mbarrier {
  CLEAVE_SIMT_RELAXED = 1,
  CLEAVE_SIMT_DROP = 2,
  CLEAVE_SIMT_NO_COMPLETE = 4,
  CLEAVE_SIMT_PARITY = 8,
  CLEAVE_SIMT_SUSPEND = 16, ///< may wait a while
  CLEAVE_SIMT_FOREVER = 32
};
enum cleave_simt_proxy { CLEAVE_SIMT_INIT_FENCE, CLEAVE_SIMT_ASYNC_FENCE };
/// Of group_multiply.
enum cleave_simt_product {
  CLEAVE_SIMT_ADDS = 1, ///< to the sums
  CLEAVE_SIMT_NEGATES_LEFT = 2,
  CLEAVE_SIMT_NEGATES_RIGHT = 4,
  CLEAVE_SIMT_LEFT_BY_COLUMNS = 8, ///< k is not what lies together
  CLEAVE_SIMT_RIGHT_BY_ROWS = 16,
  CLEAVE_SIMT_FOLLOWS = 32 ///< its sums are those of such products
};

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_SIMTABI_H
