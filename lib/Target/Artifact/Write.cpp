//===- Write.cpp - a program becomes a folder -----------------------------===//

#include "Parts.h"

#include "llvm/ADT/STLExtras.h"

#include <cerrno>
#include <fcntl.h>
#include <set>
#include <thread>
#include <unistd.h>

using namespace cleave;
using namespace cleave::artifact;

static llvm::Error writeFile(const Staging &staging, llvm::StringRef name, llvm::StringRef bytes) {
  int descriptor = ::open(staging.at(name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  bool done = descriptor >= 0;
  while (done && !bytes.empty()) {
    ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    done = count >= 0 || errno == EINTR;
    bytes = bytes.drop_front(std::max<ssize_t>(count, 0));
  }
  llvm::Error error =
      done && ::fsync(descriptor) == 0 ? llvm::Error::success() : cannotWrite(staging.named(name));
  if (descriptor >= 0)
    ::close(descriptor);
  return error;
}

/// A file that is written at once, with its size and digest.
static llvm::Expected<runtime::Manifest::File>
writeSection(const Staging &staging, const char *name, const std::string &bytes) {
  if (llvm::Error error = writeFile(staging, name, bytes))
    return std::move(error);
  return runtime::Manifest::File{name, bytes.size(), runtime::digestOf(bytes.data(), bytes.size())};
}

/// Links the kernels into the folder; their size and digest.
static llvm::Expected<runtime::Manifest::File>
writeKernels(const ProgramParts &parts, const Shipment &shipment, const Staging &staging) {
  std::string path = staging.at(runtime::kKernels);
  if (llvm::Error error =
          linkKernels(parts, shipment.kernels(), path, staging.named(runtime::kKernels)))
    return std::move(error);
  runtime::Manifest::File entry{runtime::kKernels, 0, {}};
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  off_t size = descriptor < 0 ? -1 : ::lseek(descriptor, 0, SEEK_END);
  bool done = size >= 0 && runtime::digestOfRange(descriptor, 0, uint64_t(size), entry.digest) &&
              ::fsync(descriptor) == 0;
  if (descriptor >= 0)
    ::close(descriptor);
  if (!done)
    return cannotWrite(staging.named(runtime::kKernels));
  entry.bytes = uint64_t(size);
  return entry;
}

static std::vector<runtime::Manifest::Value> valuesOf(const cleave_value *values, uint32_t count) {
  std::vector<runtime::Manifest::Value> list;
  for (const cleave_value &value : llvm::ArrayRef(values, count))
    list.push_back({value.name, cleave_type_name(value.type),
                    std::vector<int64_t>(value.dims, value.dims + value.num_dims)});
  return list;
}

/// Each chip once, by age.
static void describeImages(const cleave_program &program, runtime::Manifest &manifest) {
  std::set<std::pair<uint32_t, char>> chips;
  for (const cleave_image &image : llvm::ArrayRef(program.images, program.num_images))
    chips.insert({image.chip, image.feature});
  for (auto [chip, feature] : chips)
    manifest.chips.push_back("sm_" + std::to_string(chip) +
                             (feature ? std::string(1, feature) : ""));
  uint32_t version = program.cuda_version;
  manifest.driver = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

llvm::Expected<ArtifactSizes> cleave::writeArtifact(const CompiledProgram &compiled,
                                                    llvm::StringRef path,
                                                    const ArtifactOptions &options,
                                                    Interrupts &interrupts) {
  const cleave_program &program = *compiled.program();
  runtime::Manifest manifest;
  manifest.mesh = options.mesh.empty() ? "1" : options.mesh;
  manifest.ranks = program.num_ranks;
  manifest.features = compiled.parts().features;
  manifest.inputs = valuesOf(program.inputs, program.num_inputs);
  for (runtime::Manifest::Value &input : manifest.inputs)
    if (auto found = options.indices.find(input.name); found != options.indices.end())
      input.indices = found->second;
  manifest.outputs = valuesOf(program.outputs, program.num_outputs);

  manifest.target = runtime::targetOf(program.device);
  if (program.device != CLEAVE_DEVICE_CUDA)
    manifest.architecture = runtime::thisArchitecture();
  if (program.device != CLEAVE_DEVICE_CPU)
    describeImages(program, manifest);

  Staging staging(interrupts);
  if (llvm::Error error = staging.open(path))
    return std::move(error);
  Shipment shipment(program, compiled.parts(), options.reference);
  unsigned threads = options.threads ? options.threads : std::thread::hardware_concurrency();
  if (llvm::Error error = options.reference ? addReferences(shipment, staging, manifest)
                                            : writeShards(shipment, staging, threads, manifest))
    return std::move(error);
  ArtifactSizes sizes;
  for (const runtime::Manifest::File &file : manifest.files)
    sizes.weights += file.bytes;

  std::string encoded = shipment.encode();
  llvm::Expected<runtime::Manifest::File> kernels =
      shipment.isOfCores() ? writeKernels(compiled.parts(), shipment, staging)
                           : writeSection(staging, runtime::kImages, shipment.images());
  if (!kernels)
    return kernels.takeError();
  sizes.code = kernels->bytes;
  llvm::Expected<runtime::Manifest::File> section =
      writeSection(staging, runtime::kProgram, encoded);
  if (!section)
    return section.takeError();
  manifest.files.insert(manifest.files.begin(), {*section, *kernels});
  if (llvm::Error error = writeFile(staging, runtime::kManifest, runtime::formatManifest(manifest)))
    return std::move(error);
  if (llvm::Error error = staging.publish())
    return std::move(error);
  return sizes;
}
