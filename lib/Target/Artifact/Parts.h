//===- Parts.h - the steps of writing an artifact -------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_ARTIFACT_PARTS_H
#define CLEAVE_LIB_TARGET_ARTIFACT_PARTS_H

#include "cleave/Runtime/ArtifactFormat.h"
#include "cleave/Target/Artifact.h"

#include "llvm/ADT/ArrayRef.h"

#include <deque>
#include <map>

namespace cleave::artifact {

/// `cannot write "m.cleave/program": No space left on device`, from errno.
llvm::Error cannotWrite(const std::string &path);

/// A folder under a temporary name, removed unless it is published.
class Staging {
public:
  explicit Staging(Interrupts &interrupts) : interrupts(interrupts) {}
  ~Staging();

  /// Makes it beside `path`, and removes what ended processes have left there.
  llvm::Error open(llvm::StringRef path);
  /// Brings the folder to the disk and gives it its name.
  llvm::Error publish();
  /// A file in it, and the same file as it will be called.
  std::string at(llvm::StringRef name) const { return temporary + "/" + name.str(); }
  std::string named(llvm::StringRef name) const { return path + "/" + name.str(); }
  /// The folder that it will lie in, as the system calls it.
  const std::string &parent() const { return folder; }

private:
  llvm::Error checkTarget() const;
  void removeLeftovers() const;

  Interrupts &interrupts;
  std::string path, folder, temporary;
  int lock = -1;
};

/// Links the kernels `names` into a library at `path`, which will be `called` something
/// else.
llvm::Error linkKernels(const ProgramParts &parts, llvm::ArrayRef<std::string> names,
                        const std::string &path, const std::string &called);

/// A tensor of a file of weights, from `begin` of the bytes behind the header.
struct Entry {
  std::string name, type; ///< as safetensors spells it
  std::vector<int64_t> dims;
  uint64_t begin, bytes;
};

/// The program as it is shipped: the kernels that it uses, and weights in files of the
/// artifact instead of the model's. What `load` makes is among them, where cores make it.
class Shipment {
public:
  Shipment(const cleave_program &source, const ProgramParts &parts, bool reference);

  /// A file of the artifact that holds ranges of the model's files as they are.
  struct Copy {
    uint32_t file;       ///< of the source
    uint64_t begin, end; ///< there
    uint64_t target;     ///< behind the header
  };
  std::vector<Copy> copies;
  std::string sharedHeader; ///< of that file; empty if nothing is copied
  uint64_t sharedBytes = 0; ///< with the header

  /// The header of the file of `rank`'s parameters; they begin behind it.
  std::string rankHeader(uint32_t rank) const;

  /// Adds a file; its number.
  uint32_t addFile(std::string path, uint64_t bytes, std::vector<runtime::DigestBlock> blocks,
                   bool reference);
  void setParams(uint32_t rank, uint32_t file, uint64_t offset) { params[rank] = {file, offset}; }
  /// To be called once all files are there; its images are kept.
  std::string encode();
  std::string images() const { return runtime::packImages(program); }
  const std::vector<std::string> &kernels() const { return details.kernels; }
  const cleave_program &from() const { return source; }
  bool isOfCores() const { return source.device == CLEAVE_DEVICE_CPU; }

private:
  void takeCommands(const cleave_command *list, uint32_t count,
                    std::vector<cleave_command> &commands);
  void collectCopies();
  uint32_t takeKernel(uint32_t kernel);
  cleave_buffer moved(const cleave_buffer &buffer) const;

  const cleave_program &source;
  const ProgramParts &parts;
  const bool reference, loads;
  cleave_program program;
  runtime::ProgramDetails details;
  std::map<uint32_t, uint32_t> kernelNumbers;
  std::vector<cleave_kernel> kernelTable;
  std::vector<cleave_device_kernel> deviceKernels;
  std::vector<cleave_image> imageTable;
  std::vector<cleave_map> mapTable;
  struct Commands {
    std::vector<cleave_command> load, main;
  };
  std::vector<Commands> commands;
  std::vector<cleave_rank_program> programs;
  std::vector<cleave_buffer> buffers;
  std::vector<cleave_params> params;
  std::vector<cleave_file> files;
  std::deque<std::string> paths;
};

/// The header of a safetensors file whose tensors fill `bytes` without a hole: what
/// lies between `entries`, which are in order, gets entries of its own. A multiple of
/// a page, so that what is behind it can be mapped.
std::string tensorsHeader(std::vector<Entry> entries, uint64_t bytes);
/// Where tensors of files of weights begin.
inline constexpr uint64_t kAlignment = 64;
/// How safetensors spells a type; bytes for none.
std::string tensorsType(std::optional<cleave_type> type);

/// Writes the files of weights of `shipment`, and adds them to it and to `manifest`.
llvm::Error writeShards(Shipment &shipment, const Staging &staging, unsigned threads,
                        runtime::Manifest &manifest);
/// Adds the model's files as they lie.
llvm::Error addReferences(Shipment &shipment, const Staging &staging, runtime::Manifest &manifest);

} // namespace cleave::artifact

#endif // CLEAVE_LIB_TARGET_ARTIFACT_PARTS_H
