//===- Shards.cpp - files of weights --------------------------------------===//
//
// The parameters of a rank are made where they are to lie: `load` runs once, into
// the mapped file, so that nothing of a model's size is ever held in memory. What
// is done goes to the disk while the next is made.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"

#include "cleave/Runtime/Load.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace cleave;
using namespace cleave::artifact;
using Json = nlohmann::ordered_json;
using runtime::DigestBlock;

static constexpr uint64_t kPage = 4096;
/// Bytes that are filled before they are sent on their way to the disk.
static constexpr uint64_t kWindow = uint64_t(16) << 20;
static constexpr char kShared[] = "weights.safetensors";

static std::string rankFile(uint32_t rank) {
  return "weights-" + std::to_string(rank) + ".safetensors";
}

std::string cleave::artifact::tensorsType(std::optional<cleave_type> type) {
  return type ? llvm::StringRef(cleave_type_name(*type)).upper() : "U8";
}

std::string cleave::artifact::tensorsHeader(std::vector<Entry> entries, uint64_t bytes) {
  Json json = {{"__metadata__", {{"format", "cleave"}}}};
  llvm::StringSet<> names;
  auto add = [&](const Entry &entry) {
    std::string name = entry.name.empty() ? "constant" : entry.name, base = name;
    for (int i = 1; !names.insert(name).second; ++i)
      name = base + "#" + std::to_string(i);
    json[name] = {{"dtype", entry.type},
                  {"shape", entry.dims},
                  {"data_offsets", {entry.begin, entry.begin + entry.bytes}}};
  };
  uint64_t end = 0;
  auto fill = [&](uint64_t to) {
    if (to > end)
      add({"padding", "U8", {int64_t(to - end)}, end, to - end});
  };
  for (const Entry &entry : entries) {
    fill(entry.begin);
    add(entry);
    end = entry.begin + entry.bytes;
  }
  fill(bytes);
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize(llvm::alignTo(text.size() + sizeof(uint64_t), kPage) - sizeof(uint64_t), ' ');
  uint64_t length = text.size();
  return std::string(reinterpret_cast<const char *>(&length), sizeof length) + text;
}

namespace {

/// A new file of a known size, for which the disk has room.
class Target {
public:
  Target(std::string path, std::string called) : path(std::move(path)), called(std::move(called)) {}
  Target(const Target &) = delete;
  ~Target() {
    if (descriptor >= 0)
      ::close(descriptor);
  }

  llvm::Error open(const std::string &header, uint64_t bytes) {
    size = bytes;
    descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor < 0)
      return cannotWrite(called);
    // Memory that is mapped on a full disk is a signal, and no answer.
    if ((errno = ::posix_fallocate(descriptor, 0, off_t(bytes))) != 0)
      return cannotWrite(called);
    return write(header.data(), header.size(), 0);
  }

  llvm::Error write(const char *data, uint64_t bytes, uint64_t offset) {
    while (bytes) {
      ssize_t count = ::pwrite(descriptor, data, bytes, off_t(offset));
      if (count < 0 && errno == EINTR)
        continue;
      if (count < 0)
        return cannotWrite(called);
      data += count;
      offset += uint64_t(count);
      bytes -= uint64_t(count);
    }
    return llvm::Error::success();
  }

  /// Digests what is there, and waits until the disk has it.
  llvm::Error finish() {
    if (!runtime::digestBlocks(descriptor, 0, size, blocks) || ::fsync(descriptor) != 0)
      return cannotWrite(called);
    return llvm::Error::success();
  }

  const std::string path, called;
  int descriptor = -1;
  uint64_t size = 0;
  std::vector<DigestBlock> blocks;
};

/// Parameters that are filled in a mapped file.
struct Filling {
  int descriptor;
  char *data; ///< mapped from the beginning of the file
  uint64_t header;
  uint64_t pending = 0;
  std::vector<std::pair<uint64_t, uint64_t>> ranges; ///< offset and bytes, in the file

  void add(uint64_t offset, uint64_t bytes) {
    ranges.push_back({header + offset, bytes});
    pending += bytes;
    if (pending >= kWindow)
      flush();
  }

  void flush() {
    for (auto [offset, bytes] : ranges) {
      uint64_t begin = offset / kPage * kPage, end = llvm::alignTo(offset + bytes, kPage);
      ::sync_file_range(descriptor, off_t(begin), off_t(end - begin), SYNC_FILE_RANGE_WRITE);
      // The pages stay where all pages of files are; this process lets go of them.
      ::madvise(data + begin, end - begin, MADV_DONTNEED);
    }
    ranges.clear();
    pending = 0;
  }
};

} // namespace

static llvm::Error fillParams(const cleave_program &program, uint32_t rank, Target &target,
                              uint64_t header) {
  if (target.size == header)
    return llvm::Error::success();
  void *data =
      ::mmap(nullptr, target.size, PROT_READ | PROT_WRITE, MAP_SHARED, target.descriptor, 0);
  if (data == MAP_FAILED)
    return cannotWrite(target.called);
  Filling filling{target.descriptor, static_cast<char *>(data), header, 0, {}};
  auto filled = [](void *context, uint64_t offset, uint64_t bytes) {
    static_cast<Filling *>(context)->add(offset, bytes);
  };
  cleave_error error;
  int32_t status =
      cleave_load_params(&program, rank, filling.data + header, filled, &filling, &error);
  filling.flush();
  ::munmap(data, target.size);
  return status ? llvm::createStringError(error.message) : llvm::Error::success();
}

/// The rank whose file holds the same bytes as that of `rank`; itself if none does.
static uint32_t firstEqual(llvm::ArrayRef<std::unique_ptr<Target>> targets, uint32_t rank) {
  for (uint32_t other = 0; other < rank; ++other)
    if (targets[other]->size == targets[rank]->size &&
        runtime::digestOf(targets[other]->blocks) == runtime::digestOf(targets[rank]->blocks))
      return other;
  return rank;
}

/// Copies what `main` reads as it is in the model.
static llvm::Error writeCopies(const Shipment &shipment, Target &target) {
  if (llvm::Error error = target.open(shipment.sharedHeader, shipment.sharedBytes))
    return error;
  std::vector<char> buffer(size_t(1) << 20);
  for (const Shipment::Copy &copy : shipment.copies) {
    const char *path = shipment.from().files[copy.file].path;
    int source = ::open(path, O_RDONLY | O_CLOEXEC);
    uint64_t at = copy.begin;
    llvm::Error error = llvm::Error::success();
    while (source >= 0 && at < copy.end && !error) {
      ssize_t count = ::pread(source, buffer.data(), std::min(buffer.size(), copy.end - at), at);
      if (count <= 0)
        break;
      error = target.write(buffer.data(), uint64_t(count),
                           shipment.sharedHeader.size() + copy.target + at - copy.begin);
      at += uint64_t(count);
    }
    if (source >= 0)
      ::close(source);
    if (error)
      return error;
    if (at < copy.end)
      return llvm::createStringError("cannot read \"" + llvm::StringRef(path) + "\": " +
                                     (source < 0 ? std::strerror(errno) : "it ends early"));
  }
  return target.finish();
}

/// Adds the file to both; its number in the program.
static uint32_t list(Shipment &shipment, runtime::Manifest &manifest, const std::string &name,
                     const Target &target) {
  manifest.files.push_back({name, target.size, runtime::digestOf(target.blocks)});
  return shipment.addFile(name, target.size, target.blocks, /*isReference=*/false);
}

/// Runs `work` for 0 to `count`, on as many threads; the first error.
static llvm::Error forRanks(uint32_t count, unsigned threads,
                            llvm::function_ref<llvm::Error(uint32_t)> work) {
  std::atomic<uint32_t> next = 0;
  std::mutex mutex;
  llvm::Error first = llvm::Error::success();
  auto worker = [&] {
    for (uint32_t i = next++; i < count; i = next++) {
      llvm::Error error = work(i);
      std::lock_guard lock(mutex);
      if (error && !first)
        first = std::move(error);
      else
        llvm::consumeError(std::move(error));
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < std::min<unsigned>(threads, count); ++i)
    others.emplace_back(worker);
  worker();
  for (std::thread &thread : others)
    thread.join();
  return first;
}

llvm::Error cleave::artifact::writeShards(Shipment &shipment, const Staging &staging,
                                          unsigned threads, runtime::Manifest &manifest) {
  if (!shipment.copies.empty()) {
    Target shared(staging.at(kShared), staging.named(kShared));
    if (llvm::Error error = writeCopies(shipment, shared))
      return error;
    list(shipment, manifest, kShared, shared);
  }
  // What makes parameters of weights runs where they lie.
  if (!shipment.isOfCores())
    return llvm::Error::success();
  const cleave_program &program = shipment.from();
  std::vector<std::unique_ptr<Target>> targets;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
    targets.push_back(
        std::make_unique<Target>(staging.at(rankFile(rank)), staging.named(rankFile(rank))));
  auto work = [&](uint32_t rank) -> llvm::Error {
    std::string header = shipment.rankHeader(rank);
    Target &target = *targets[rank];
    uint64_t bytes = program.programs[program.class_of_rank[rank]].param_bytes;
    if (llvm::Error error = target.open(header, header.size() + bytes))
      return error;
    if (llvm::Error error = fillParams(program, rank, target, header.size()))
      return error;
    return target.finish();
  };
  if (llvm::Error error = forRanks(program.num_ranks, threads, work))
    return error;

  // Ranks that differ in their data alone hold the same weights.
  std::map<uint32_t, uint32_t> numbers;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    uint32_t holder = firstEqual(targets, rank);
    if (holder == rank)
      numbers[rank] = list(shipment, manifest, rankFile(rank), *targets[rank]);
    else
      ::unlink(targets[rank]->path.c_str());
    shipment.setParams(rank, numbers[holder], shipment.rankHeader(rank).size());
  }
  return llvm::Error::success();
}

/// `path` from within the artifact where both lie in one folder, so that they may be
/// moved together; else as the system calls it.
static std::string referenceTo(const std::string &path, const std::string &parent) {
  std::error_code status;
  std::string whole = std::filesystem::canonical(path, status);
  llvm::StringRef rest = whole;
  return rest.consume_front(parent) && rest.consume_front("/") ? "../" + rest.str() : whole;
}

llvm::Error cleave::artifact::addReferences(Shipment &shipment, const Staging &staging,
                                            runtime::Manifest &manifest) {
  for (const cleave_file &file : llvm::ArrayRef(shipment.from().files, shipment.from().num_files)) {
    int descriptor = ::open(file.path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    std::vector<DigestBlock> blocks;
    bool done = descriptor >= 0 && ::fstat(descriptor, &status) == 0 &&
                runtime::digestSample(descriptor, uint64_t(status.st_size), blocks);
    if (descriptor >= 0)
      ::close(descriptor);
    if (!done)
      return llvm::createStringError("cannot read \"" + llvm::StringRef(file.path) +
                                     "\": " + std::strerror(errno));
    std::string path = referenceTo(file.path, staging.parent());
    manifest.references.push_back(path);
    shipment.addFile(path, uint64_t(status.st_size), std::move(blocks), /*isReference=*/true);
  }
  return llvm::Error::success();
}
