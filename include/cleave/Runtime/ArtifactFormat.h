//===- ArtifactFormat.h - what the files of an artifact hold --*- C++ -*-===//
//
// Read by whoever opens an artifact, written by the compiler. A folder:
//
//   manifest.json           what it is, what it needs, size and digest of all else
//   program                 FlatBuffers, runtime/Artifact/Program.fbs
//   kernels.so              the kernels, by the names that `program` lists,
//   images                  or those of a device: all images, each at a multiple of 64
//   weights-0.safetensors   the parameters of a rank, as `main` reads them
//   weights.safetensors     what `main` reads as it is in the model
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_ARTIFACTFORMAT_H
#define CLEAVE_RUNTIME_ARTIFACTFORMAT_H

#include "cleave/Runtime/Tensors.h"

#include <optional>

namespace cleave::runtime {

inline constexpr char kManifest[] = "manifest.json";
inline constexpr char kProgram[] = "program";
inline constexpr char kKernels[] = "kernels.so";
inline constexpr char kImages[] = "images";
/// The first field of every manifest, whatever its version.
inline constexpr char kFormat[] = "cleave artifact";

/// XXH3-128.
struct Digest {
  uint64_t low = 0, high = 0;
  bool operator==(const Digest &) const = default;
};

Digest digestOf(const void *data, size_t bytes);
/// Of `bytes` of an open file; false if it has fewer or cannot be read.
bool digestOfRange(int descriptor, uint64_t offset, uint64_t bytes, Digest &digest);
/// 32 hexadecimal digits.
std::string digestText(const Digest &digest);

/// A range of a file with its digest. Blocks are what is checked piece by piece, so
/// that a large file need not be read whole to tell it from another.
struct DigestBlock {
  uint64_t offset, bytes;
  Digest digest;
};

/// Digests [begin, end) in at most about a thousand blocks; false if it cannot be read.
bool digestBlocks(int descriptor, uint64_t begin, uint64_t end, std::vector<DigestBlock> &blocks);
/// Of a file of `bytes`, those blocks only that are looked at by default.
bool digestSample(int descriptor, uint64_t bytes, std::vector<DigestBlock> &blocks);
/// The digest of the digests.
Digest digestOf(const std::vector<DigestBlock> &blocks);

/// Indices of blocks, evenly spread and with the first and the last, that make at most
/// about `budget` bytes together. All, if they are no more.
std::vector<size_t> sampleBlocks(const std::vector<DigestBlock> &blocks, uint64_t budget);

/// Bytes that are read of each file of weights to tell it from another.
inline constexpr uint64_t kSampleBytes = uint64_t(32) << 20;

/// What a program in a file says beyond cleave_program.
struct ProgramDetails {
  std::vector<std::string> kernels; ///< symbols, by kernel; of cores and of devices
  struct File {
    bool reference = false;
    std::vector<DigestBlock> blocks;
  };
  std::vector<File> files; ///< by file
};

std::string encodeProgram(const cleave_program &program, const ProgramDetails &details);
/// The section of its images, one by one in their order.
std::string packImages(const cleave_program &program);

/// A program read from bytes, and all that it points to.
class DecodedProgram {
public:
  /// Refuses bytes that are no program, and a section `section` that does not hold what it
  /// says of its images. Both begin at multiples of 8 and outlive this. What is decoded is
  /// not proven yet; its kernels are stand-ins that fail.
  int32_t decode(std::string_view bytes, std::string_view section, cleave_error *error);

  cleave_program program = {};
  std::vector<cleave_kernel> kernels; ///< of cores
  std::vector<cleave_file> files;
  ProgramDetails details;

private:
  struct Commands {
    std::vector<cleave_command> load, main;
  };
  struct Decoder;

  std::vector<int64_t> coordinates;
  std::vector<uint32_t> classOfRank;
  std::vector<Commands> commands;
  std::vector<cleave_rank_program> programs;
  std::vector<cleave_group> groups;
  std::vector<cleave_buffer> buffers;
  std::vector<uint64_t> counts;
  std::vector<cleave_params> params;
  std::vector<cleave_device_kernel> deviceKernels;
  std::vector<cleave_image> images;
  std::vector<cleave_map> maps;
  std::vector<cleave_value> inputs, outputs;
};

/// What manifest.json says.
struct Manifest {
  struct Value {
    std::string name, type;
    std::vector<int64_t> shape;
    std::optional<IndexRange> indices = {};
  };
  /// A file beside it. The digest of weights is that of the digests of their blocks.
  struct File {
    std::string name;
    uint64_t bytes = 0;
    Digest digest;
  };
  uint32_t abi = CLEAVE_PROGRAM_VERSION;
  std::string target = "cpu", mesh;
  std::string architecture;          ///< of the processor; empty where any will do
  std::vector<std::string> features; ///< of the processor
  /// Of a device, for people: the chips that images are for, and the driver, as in `13.0`.
  std::vector<std::string> chips;
  std::string driver;
  uint32_t ranks = 1;
  std::vector<Value> inputs, outputs;
  std::vector<std::string> references; ///< files elsewhere that hold the weights
  std::vector<File> files;

  const File *find(std::string_view name) const;
};

/// What a manifest calls a device; null for one that does not exist.
const char *targetOf(uint8_t device);

std::string formatManifest(const Manifest &manifest);
/// `body`, a manifest up to its last brace, with its digest and the brace.
std::string sealManifest(std::string body);
/// Refuses text that is none, or not as it was written.
Reason parseManifest(std::string_view text, Manifest &manifest);

/// The instruction set of this build: `x86_64`.
const char *thisArchitecture();
/// Whether this machine has a feature, by LLVM's name of it; false for an unknown one.
bool hasFeature(std::string_view name);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_ARTIFACTFORMAT_H
