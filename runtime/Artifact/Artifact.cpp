//===- Artifact.cpp - opens what the compiler has put on disk -------------===//
//
// Why in this order: nothing is looked at before what vouches for it. Code is
// loaded last, since loading it is running it.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/Artifact.h"

#include "../Core/Options.h"
#include "cleave/Runtime/ArtifactFormat.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <fcntl.h>
#include <memory>
#include <new>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave::runtime;

/// A manifest with names for some ten thousand inputs.
static constexpr uint64_t kLargestManifest = uint64_t(16) << 20;

namespace {

/// An open regular file.
struct File {
  int descriptor = -1;
  uint64_t bytes = 0;

  File() = default;
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File() {
    if (descriptor >= 0)
      close(descriptor);
  }

  int32_t open(const std::string &path, cleave_error *error) {
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
      return fail(error, CLEAVE_REFUSED, "cannot open \"%.400s\": %s", path.c_str(),
                  strerror(errno));
    struct stat status;
    if (fstat(descriptor, &status) || !S_ISREG(status.st_mode))
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" is no regular file", path.c_str());
    bytes = uint64_t(status.st_size);
    return CLEAVE_OK;
  }

  /// All of it; memory of this kind begins at a multiple of 16.
  bool read(std::string &contents) const {
    contents.resize(bytes);
    for (uint64_t at = 0; at < bytes;) {
      ssize_t count = pread(descriptor, contents.data() + at, bytes - at, off_t(at));
      if (count < 0 && errno == EINTR)
        continue;
      if (count <= 0)
        return false;
      at += uint64_t(count);
    }
    return true;
  }
};

class Artifact {
public:
  Artifact(std::string folder, bool verifyWeights)
      : folder(std::move(folder)), verifyWeights(verifyWeights) {}
  ~Artifact() {
    if (library)
      dlclose(library);
  }

  int32_t open(cleave_error *error) {
    if (int32_t status = openManifest(error))
      return status;
    if (int32_t status = checkMachine(error))
      return status;
    if (int32_t status = openSections(error))
      return status;
    if (int32_t status = openFiles(error))
      return status;
    cleave_error reason;
    if (int32_t status = cleave_program_verify(&decoded.program, &reason))
      return fail(error, status, "\"%.200s\" is damaged: %.700s", pathOf(kProgram).c_str(),
                  reason.message);
    return decoded.program.device == CLEAVE_DEVICE_CPU ? loadKernels(error) : int32_t(CLEAVE_OK);
  }

  DecodedProgram decoded;
  Manifest manifest;

private:
  std::string pathOf(std::string_view name) const { return folder + "/" + std::string(name); }

  int32_t openManifest(cleave_error *error) {
    File file;
    std::string path = pathOf(kManifest), text;
    if (access(path.c_str(), F_OK) && errno == ENOENT)
      return fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" is no artifact: it has no %s; make one with `cleave compile`",
                  folder.c_str(), kManifest);
    if (int32_t status = file.open(path, error))
      return status;
    if (file.bytes > kLargestManifest || !file.read(text))
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" is not that of an artifact", path.c_str());
    if (Reason reason = parseManifest(text, manifest); !reason.empty())
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" %.400s", path.c_str(), reason.c_str());
    if (manifest.abi < CLEAVE_PROGRAM_VERSION)
      return fail(
          error, CLEAVE_REFUSED,
          "\"%.400s\" was made by an older Cleave (version %u of its programs, this is %u); "
          "compile the model again",
          folder.c_str(), manifest.abi, CLEAVE_PROGRAM_VERSION);
    if (manifest.abi > CLEAVE_PROGRAM_VERSION)
      return fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" was made by a newer Cleave (version %u of its programs, this is %u); "
                  "use that one, or compile the model again with this one",
                  folder.c_str(), manifest.abi, CLEAVE_PROGRAM_VERSION);
    return CLEAVE_OK;
  }

  int32_t checkMachine(cleave_error *error) {
    std::string known;
    bool isKnown = false;
    for (uint8_t device = 0; device < CLEAVE_NUM_DEVICES; ++device) {
      isKnown |= manifest.target == targetOf(device);
      known += (device ? ", " : "") + std::string(targetOf(device));
    }
    if (!isKnown)
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" is for the target %.40s; this runtime has %s",
                  folder.c_str(), manifest.target.c_str(), known.c_str());
    if (!manifest.architecture.empty() && manifest.architecture != thisArchitecture())
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" is for %.40s, this machine is %s",
                  folder.c_str(), manifest.architecture.c_str(), thisArchitecture());
    for (const std::string &feature : manifest.features)
      if (!hasFeature(feature))
        return fail(error, CLEAVE_REFUSED,
                    "\"%.400s\" needs a processor with %.40s, which this one lacks; compile the "
                    "model on this machine",
                    folder.c_str(), feature.c_str());
    return CLEAVE_OK;
  }

  /// Opens a file that the manifest lists, and holds its size against it.
  int32_t openListed(std::string_view name, File &file, cleave_error *error) {
    const Manifest::File *entry = manifest.find(name);
    if (!entry)
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" lists no \"%.200s\"",
                  pathOf(kManifest).c_str(), std::string(name).c_str());
    if (int32_t status = file.open(pathOf(name), error))
      return status;
    if (file.bytes != entry->bytes)
      return fail(
          error, CLEAVE_REFUSED, "\"%.400s\" is damaged: its manifest says %llu bytes, got: %llu",
          pathOf(name).c_str(), (unsigned long long)entry->bytes, (unsigned long long)file.bytes);
    return CLEAVE_OK;
  }

  /// Opens a section and holds it against its digest; where `contents` are wanted, it is
  /// they that have it.
  int32_t openSection(const char *name, std::string *contents, cleave_error *error) {
    File section;
    if (int32_t status = openListed(name, section, error))
      return status;
    Digest digest;
    if (contents && section.read(*contents))
      digest = digestOf(contents->data(), contents->size());
    if ((!contents && !digestOfRange(section.descriptor, 0, section.bytes, digest)) ||
        digest != manifest.find(name)->digest)
      return fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" is damaged or of another artifact: it does not agree with the "
                  "digest in its manifest",
                  pathOf(name).c_str());
    return CLEAVE_OK;
  }

  int32_t openSections(cleave_error *error) {
    if (int32_t status = openSection(kProgram, &bytes, error))
      return status;
    bool isOfCores = manifest.target == targetOf(CLEAVE_DEVICE_CPU);
    if (int32_t status = isOfCores ? openSection(kKernels, nullptr, error)
                                   : openSection(kImages, &images, error))
      return status;
    cleave_error reason;
    if (int32_t status = decoded.decode(bytes, images, &reason))
      return fail(error, status, "\"%.400s\" is damaged: it %.400s", pathOf(kProgram).c_str(),
                  reason.message);
    const char *target = targetOf(decoded.program.device);
    if (!target || manifest.target != target)
      return fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" is damaged: it is for %s, and its manifest says %.40s",
                  pathOf(kProgram).c_str(), target ? target : "no device that exists",
                  manifest.target.c_str());
    return CLEAVE_OK;
  }

  /// Files get their place on this machine.
  int32_t openFiles(cleave_error *error) {
    for (size_t i = 0; i < decoded.files.size(); ++i) {
      cleave_file &file = decoded.files[i];
      const ProgramDetails::File &details = decoded.details.files[i];
      std::string name = file.path;
      // A file of the artifact lies in it, whatever its program says.
      if (!details.reference &&
          (name.empty() || name == "." || name == ".." || name.find('/') != name.npos))
        return fail(error, CLEAVE_REFUSED,
                    "\"%.400s\" names weights outside of the artifact, got: \"%.200s\"",
                    pathOf(kProgram).c_str(), name.c_str());
      paths.push_back(name.starts_with("/") ? name : pathOf(name));
      file.path = paths.back().c_str();
      File weights;
      if (int32_t status =
              details.reference ? weights.open(file.path, error) : openListed(name, weights, error))
        return status;
      if (int32_t status = checkWeights(weights, file, details, error))
        return status;
    }
    return CLEAVE_OK;
  }

  int32_t checkWeights(const File &weights, const cleave_file &file,
                       const ProgramDetails::File &details, cleave_error *error) {
    const char *advice = details.reference ? "compile the model again" : "copy the artifact again";
    if (weights.bytes != file.bytes)
      return fail(error, CLEAVE_REFUSED,
                  "\"%.400s\" has changed: it had %llu bytes when the model was compiled, got: "
                  "%llu; %s",
                  file.path, (unsigned long long)file.bytes, (unsigned long long)weights.bytes,
                  advice);
    uint64_t budget = verifyWeights ? UINT64_MAX : kSampleBytes;
    for (size_t i : sampleBlocks(details.blocks, budget)) {
      const DigestBlock &block = details.blocks[i];
      Digest digest;
      if (!digestOfRange(weights.descriptor, block.offset, block.bytes, digest) ||
          digest != block.digest)
        return fail(error, CLEAVE_REFUSED,
                    "\"%.400s\" holds other weights than when the model was compiled, or is "
                    "damaged, at bytes %llu to %llu; %s",
                    file.path, (unsigned long long)block.offset,
                    (unsigned long long)(block.offset + block.bytes), advice);
    }
    return CLEAVE_OK;
  }

  int32_t loadKernels(cleave_error *error) {
    std::string path = pathOf(kKernels);
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
      return fail(error, CLEAVE_REFUSED, "\"%.300s\" cannot be loaded: %.600s", path.c_str(),
                  dlerror());
    for (size_t i = 0; i < decoded.kernels.size(); ++i) {
      const std::string &name = decoded.details.kernels[i];
      decoded.kernels[i] = reinterpret_cast<cleave_kernel>(dlsym(library, name.c_str()));
      if (!decoded.kernels[i])
        return fail(error, CLEAVE_REFUSED, "\"%.400s\" has no kernel \"%.200s\"", path.c_str(),
                    name.c_str());
    }
    return CLEAVE_OK;
  }

  const std::string folder;
  const bool verifyWeights;
  std::string bytes, images; ///< of the program, and of its section
  std::deque<std::string> paths;
  void *library = nullptr;
};

} // namespace

int32_t cleave_artifact_open(const char *path, const cleave_artifact_options *options,
                             cleave_artifact **artifact, cleave_error *error) {
  *artifact = nullptr;
  cleave_artifact_options own = CLEAVE_ARTIFACT_OPTIONS;
  if (int32_t status =
          readOptions(options, sizeof own, "artifact", "cleave_artifact_options", own, error))
    return status;
  try {
    struct stat status;
    // The folder keeps its place when the process changes its own.
    std::unique_ptr<char, decltype(&std::free)> folder(realpath(path, nullptr), std::free);
    if (!folder || stat(folder.get(), &status))
      return fail(error, CLEAVE_REFUSED, "cannot open \"%.400s\": %s", path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
      return fail(error, CLEAVE_REFUSED, "\"%.400s\" is no artifact: it is no folder", path);
    auto made = std::make_unique<Artifact>(folder.get(), own.verify_weights);
    if (int32_t result = made->open(error))
      return result;
    *artifact = reinterpret_cast<cleave_artifact *>(made.release());
    return CLEAVE_OK;
  } catch (const std::bad_alloc &) {
    return fail(error, CLEAVE_REFUSED, "out of memory while opening \"%.400s\"", path);
  }
}

const cleave_program *cleave_artifact_program(const cleave_artifact *artifact) {
  return &reinterpret_cast<const Artifact *>(artifact)->decoded.program;
}

const char *cleave_artifact_mesh(const cleave_artifact *artifact) {
  return reinterpret_cast<const Artifact *>(artifact)->manifest.mesh.c_str();
}

const char *cleave_artifact_indices(const cleave_artifact *artifact, uint32_t input, int64_t *from,
                                    int64_t *to) {
  const Artifact &own = *reinterpret_cast<const Artifact *>(artifact);
  // The manifest lists inputs for people too, and is bound to no order.
  for (const Manifest::Value &value : own.manifest.inputs)
    if (input < own.decoded.program.num_inputs && value.indices &&
        value.name == own.decoded.program.inputs[input].name) {
      *from = value.indices->from;
      *to = value.indices->to;
      return value.indices->node.c_str();
    }
  return nullptr;
}

void cleave_artifact_close(cleave_artifact *artifact) {
  delete reinterpret_cast<Artifact *>(artifact);
}
