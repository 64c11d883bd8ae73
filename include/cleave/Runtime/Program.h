//===- Program.h - what the runtime executes, as plain structs -*- C -*-===//
//
// A program is, for each class of ranks, two lists of commands over buffers:
// `load` runs once and fills the parameters from the model's files, `main`
// runs once per inference. Nothing in it owns memory: all pointers belong to
// the caller and must outlive the session, so that a program may be built in
// memory or mapped from an artifact.
//
//   rank 0, class 0   load: launch pack(file 0 -> param)
//                     main: launch gemm(input 0, param -> arena)
//                           all_reduce sum f32 (arena -> arena) over group 0
//                           launch softmax(arena -> output 0)
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROGRAM_H
#define CLEAVE_RUNTIME_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Changes whenever a struct of this header does.
#define CLEAVE_PROGRAM_VERSION 7u

typedef enum cleave_op {
#define CLEAVE_COMMAND(ENUM, NAME) CLEAVE_OP_##ENUM,
#include "cleave/Runtime/Commands.def"
  CLEAVE_NUM_OPS
} cleave_op;

typedef enum cleave_type {
#define CLEAVE_TYPE(ENUM, NAME, BYTES) CLEAVE_##ENUM,
#include "cleave/Runtime/Commands.def"
  CLEAVE_NUM_TYPES
} cleave_type;

typedef enum cleave_reduction {
#define CLEAVE_REDUCTION(ENUM, NAME) CLEAVE_##ENUM,
#include "cleave/Runtime/Commands.def"
  CLEAVE_NUM_REDUCTIONS
} cleave_reduction;

/// - file: a mapped file, `index` says which; read-only
/// - param: one block per rank, written by `load` or mapped from a file, read by
///   `main`
/// - arena: one block per rank, laid out by the compiler; undefined at the
///   start of `load` and of `main`
/// - input: whole input `index`, the caller's memory, shared by all ranks;
///   read-only; `main` only
/// - output: whole output `index`; that of the value's `rank` is the caller's
///   memory, every other rank that writes it has its own; `main` only
/// Blocks begin at multiples of 64 bytes; a file's bytes and the caller's memory
/// are aligned as they happen to be.
typedef enum cleave_space {
#define CLEAVE_SPACE(ENUM, NAME) CLEAVE_SPACE_##ENUM,
#include "cleave/Runtime/Commands.def"
  CLEAVE_NUM_SPACES
} cleave_space;

/// Follows the exit status of the programs.
typedef enum cleave_status {
  CLEAVE_OK = 0,
  CLEAVE_FAILED = 1,  ///< it ran and something failed
  CLEAVE_REFUSED = 2, ///< the request cannot be met
} cleave_status;

/// The first thing that went wrong.
typedef struct cleave_error {
  int32_t status;  ///< cleave_status
  int32_t rank;    ///< -1 where no rank is to blame
  int64_t command; ///< place in the rank's list, -1 where there is none
  char message[1024];
} cleave_error;

/// `bytes` of a space, from `offset`. `index` is 0 where the space has one
/// block only.
typedef struct cleave_buffer {
  uint8_t space; ///< cleave_space
  uint32_t index;
  uint64_t offset;
  uint64_t bytes;
} cleave_buffer;

/// What a kernel returns.
typedef enum cleave_fault {
  CLEAVE_FAULT_NONE = 0,
  CLEAVE_FAULT_INDEX = 1, ///< an index is out of range
} cleave_fault;

/// Gets the start of each of its buffers, in the command's order, and the
/// coordinate of its rank on each mesh axis. Never blocks, allocates or throws.
typedef int32_t (*cleave_kernel)(void *const *buffers, const int64_t *coordinates);

/// What runs the kernels of a program.
typedef enum cleave_device {
  CLEAVE_DEVICE_CPU = 0,  ///< cores of this machine; blocks are memory of this process
  CLEAVE_DEVICE_CUDA = 1, ///< NVIDIA's GPUs
  CLEAVE_DEVICE_SIMT = 2, ///< their simulator
  CLEAVE_NUM_DEVICES
} cleave_device;

typedef enum cleave_image_kind {
  CLEAVE_IMAGE_CUBIN = 0, ///< machine code of one chip
  CLEAVE_IMAGE_PTX = 1,   ///< compiled by the driver, for chips since `chip`
  CLEAVE_IMAGE_SIMT = 2,  ///< the only kind of the simulator, which runs it as a driver would PTX
  CLEAVE_NUM_IMAGE_KINDS
} cleave_image_kind;

#define CLEAVE_EARLY_CHIP 90u

#define CLEAVE_MAX_MAP_DIMS 5

/// A tensor in a buffer, boxes of which a GPU copies to shared memory by itself. The first
/// dimension is the one whose elements are neighbours. Behind the edges there are zeros.
typedef struct cleave_map {
  uint32_t buffer;       ///< of the command
  uint8_t element_bytes; ///< 1, 2, 4 or 8
  uint8_t num_dims;      ///< 1 to CLEAVE_MAX_MAP_DIMS
  uint8_t swizzle;       ///< bytes of a row of boxes whose chunks change places: 32, 64, 128, or 0
  uint64_t offset;       ///< in the buffer
  uint64_t sizes[CLEAVE_MAX_MAP_DIMS];
  uint64_t strides[CLEAVE_MAX_MAP_DIMS]; ///< in bytes; the first is not looked at
  uint32_t box[CLEAVE_MAX_MAP_DIMS];
} cleave_map;

/// Code of a kernel, and how it is started: chips differ in what they do at once.
typedef struct cleave_image {
  uint8_t kind;     ///< cleave_image_kind
  char feature;     ///< as the `a` of sm_90a: for this chip alone; 0 where there is none
  uint32_t chip;    ///< ten times the compute capability, as the 90 of sm_90a
  const void *data; ///< of PTX, with its final 0
  uint64_t bytes;
  uint32_t blocks, threads; ///< of the grid, and of a block
  uint32_t shared_bytes;    ///< dynamic, of a block
  /// How many blocks a multiprocessor runs at a time, which then do the work of all: no more
  /// are started than run. 0: each block does its own.
  uint32_t resident;
  uint32_t first_map, num_maps; ///< range of cleave_program::maps
} cleave_image;

/// A kernel of a device, `name(buffers…, const int64_t *coordinates, int32_t *fault, maps…)`:
/// it gets what a cleave_kernel gets, all on the device, and ors a cleave_fault to `fault`. Of
/// each map of its image it gets the CUtensorMap, by value.
/// It has an image for each kind of chip that it runs on. Code for chips since
/// CLEAVE_EARLY_CHIP may be started before what is in front of it has ended: it waits
/// (griddepcontrol.wait) before it touches memory.
typedef struct cleave_device_kernel {
  const char *name;
  uint32_t first_image, num_images;
} cleave_device_kernel;

/// Collectives act on contiguous blocks of elements of `type`; p is the size
/// of the group, `counts` are in elements and any of them may be 0.
///
/// | op             | buffers            | counts                             |
/// |----------------|--------------------|------------------------------------|
/// | launch         | inputs, outputs    | none                               |
/// | copy           | source, target     | none                               |
/// | fill           | target, gets zeros | none                               |
/// | all_reduce     | input, output      | 1: elements; in place allowed      |
/// | all_gather     | input, output      | p: elements each member gives;     |
/// |                |                    | output: the members' one by one    |
/// | reduce_scatter | input, output      | p: elements each member receives;  |
/// |                |                    | input: the members' one by one     |
/// | all_to_all     | input, output      | p * p: [i * p + j] is what member  |
/// |                |                    | i sends to j; blocks by member     |
///
/// Transfers are between a rank and member `peer` of its set:
///
/// | op   | buffers | counts   | what it does                                   |
/// |------|---------|----------|------------------------------------------------|
/// | send | source  | elements | starts; the source is not written until `wait` |
/// | recv | target  | elements | returns when the bytes are there               |
/// | wait | none    | none     | ends the oldest send to the peer not ended yet |
///
/// All members of a collective give it one name.
///
/// What one rank sends to another arrives in the order of the sends, whatever
/// their groups. A list ends all sends that it starts.
///
/// Reductions combine in member order, so all members get the same bits; f16
/// and bf16 accumulate in f32 and round once. Integers wrap; of bools, sum
/// and max are `or`, prod and min are `and`; max and min keep a NaN.
typedef struct cleave_command {
  uint8_t op;                         ///< cleave_op
  uint8_t type;                       ///< cleave_type, of a collective, send or recv
  uint8_t reduction;                  ///< cleave_reduction, of all_reduce and reduce_scatter
  uint32_t kernel;                    ///< of a launch
  uint32_t num_outputs;               ///< of a launch: its last buffers, those it writes
  uint32_t group;                     ///< of a collective or transfer
  uint32_t peer;                      ///< of a transfer: a member number
  uint32_t first_buffer, num_buffers; ///< range of cleave_program::buffers
  uint32_t first_count, num_counts;   ///< range of cleave_program::counts
  const char *name;                   ///< what the user calls it, for example an ONNX node
} cleave_command;

/// A partition of the ranks into sets of equal size: `members` holds the sets
/// one by one, num_ranks entries in all, and every rank stands in it once.
/// The place of a rank within its set is its member number.
typedef struct cleave_group {
  const uint32_t *members;
  uint32_t group_size;
} cleave_group;

typedef struct cleave_rank_program {
  const cleave_command *load;
  uint32_t num_load;
  const cleave_command *main;
  uint32_t num_main;
  uint64_t param_bytes;
  uint64_t arena_bytes;
} cleave_rank_program;

/// An input or output of the model, whole however it is cut.
typedef struct cleave_value {
  const char *name;
  uint8_t type; ///< cleave_type
  uint32_t num_dims;
  const int64_t *dims;
  uint32_t rank; ///< of an output: who makes it for the caller; 0 of an input
} cleave_value;

typedef struct cleave_file {
  const char *path;
  uint64_t bytes; ///< the file must hold at least as many
} cleave_file;

/// Where the parameters of a rank lie as `main` reads them.
typedef struct cleave_params {
  uint32_t file;
  uint64_t offset; ///< a multiple of 64
} cleave_params;

typedef struct cleave_program {
  uint32_t version; ///< CLEAVE_PROGRAM_VERSION
  uint32_t num_ranks;
  uint32_t num_axes;
  const int64_t *coordinates; ///< [num_ranks][num_axes]
  /// Ranks with equal commands share a program.
  const uint32_t *class_of_rank; ///< [num_ranks]
  const cleave_rank_program *programs;
  uint32_t num_programs;
  const cleave_group *groups;
  uint32_t num_groups;
  const cleave_buffer *buffers;
  uint32_t num_buffers;
  const uint64_t *counts;
  uint32_t num_counts;
  uint8_t device;                             ///< cleave_device
  const cleave_kernel *kernels;               ///< [num_kernels] of cores
  const cleave_device_kernel *device_kernels; ///< [num_kernels] of a device
  uint32_t num_kernels;
  const cleave_image *images;
  uint32_t num_images;
  const cleave_map *maps;
  uint32_t num_maps;
  /// Of CUDA, as cuDriverGetVersion says it: the images want a driver of this or newer.
  uint32_t cuda_version;
  const cleave_file *files;
  uint32_t num_files;
  /// Null where `load` fills the parameters. Else they are mapped, and there is
  /// nothing to load.
  const cleave_params *params; ///< [num_ranks]
  const cleave_value *inputs;
  uint32_t num_inputs;
  const cleave_value *outputs;
  uint32_t num_outputs;
} cleave_program;

/// Proves that the program can run: each index, offset and size lies inside
/// what it points into, nothing read-only is written, counts fit the buffers,
/// groups are partitions, all members of a group meet in equal collectives in
/// one order, and each recv in an equal send. Names the first command that
/// diverges. Reads no file.
/// Returns the status, and fills `error` (which may be null) unless it is 0.
int32_t cleave_program_verify(const cleave_program *program, cleave_error *error);

/// Of all that a run of a verified program depends on, but for paths and addresses.
/// Processes of one job compare it before they run.
void cleave_program_digest(const cleave_program *program, uint64_t digest[2]);

/// Size of an element; 0 for a type that does not exist.
uint64_t cleave_type_bytes(uint8_t type);
const char *cleave_type_name(uint8_t type);
const char *cleave_op_name(uint8_t op);
const char *cleave_reduction_name(uint8_t reduction);
const char *cleave_space_name(uint8_t space);

/// Bytes that `member` of p sends in a ring, T being the bytes of all counts:
/// all_reduce 2 (p - 1) / p * T, rounded down; all_gather all but the block of
/// the next member; reduce_scatter all but its own block (both are
/// (p - 1) / p * T where counts are even); all_to_all what it sends to others;
/// send all.
uint64_t cleave_ring_bytes(uint8_t op, uint8_t type, const uint64_t *counts, uint32_t group_size,
                           uint32_t member);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_PROGRAM_H
