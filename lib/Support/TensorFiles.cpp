//===- TensorFiles.cpp - .npz archives and folders of .npy ----------------===//

#include "cleave/Support/PendingFile.h"
#include "cleave/Support/Tensor.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <zip.h>

using namespace cleave;

/// Bytes that one array of an archive may unpack to: more than any input, less
/// than a bomb.
static constexpr uint64_t kLargestArray = uint64_t(1) << 36;

/// Bytes of a name that an archive has room for.
static constexpr size_t kLongestName = 65535;

/// Adds the array `contents` under `key`, which may end in "@bf16".
static llvm::Error addArray(NamedTensors &tensors, llvm::StringRef path, llvm::StringRef key,
                            llvm::StringRef contents) {
  llvm::Expected<Tensor> tensor = parseNpy(contents);
  if (!tensor)
    return llvm::createStringError("\"" + path + "\": array \"" + key + "\" " +
                                   llvm::toString(tensor.takeError()));
  if (key.consume_back("@bf16")) {
    if (tensor->type != CLEAVE_U16)
      return llvm::createStringError("\"" + path + "\": array \"" + key +
                                     "@bf16\" holds something else than uint16");
    tensor->type = CLEAVE_BF16;
  }
  tensors[key.str()] = std::move(*tensor);
  return llvm::Error::success();
}

static llvm::Expected<NamedTensors> readNpz(llvm::StringRef path) {
  int code = 0;
  zip_t *archive = zip_open(path.str().c_str(), ZIP_RDONLY, &code);
  if (!archive)
    return llvm::createStringError("\"" + path + "\" is no .npz archive");
  llvm::scope_exit close([&] { zip_discard(archive); });

  NamedTensors tensors;
  for (zip_int64_t i = 0, count = zip_get_num_entries(archive, 0); i < count; ++i) {
    zip_stat_t entry;
    zip_file_t *file = nullptr;
    llvm::StringRef key;
    std::string contents;
    bool whole = zip_stat_index(archive, i, 0, &entry) == 0 && entry.size < kLargestArray &&
                 (file = zip_fopen_index(archive, i, 0)) != nullptr;
    // Sizes in an archive may lie, so memory is taken as bytes arrive.
    while (whole && contents.size() < entry.size) {
      size_t before = contents.size();
      contents.resize(std::min<size_t>(entry.size, before + (size_t(1) << 24)));
      zip_int64_t got = zip_fread(file, contents.data() + before, contents.size() - before);
      whole = got > 0;
      contents.resize(before + std::max<zip_int64_t>(got, 0));
    }
    // The checksum is looked at when the end is read.
    char beyond;
    whole = whole && zip_fread(file, &beyond, 1) == 0;
    if (file)
      zip_fclose(file);
    if (!whole)
      return llvm::createStringError("\"" + path + "\" is damaged at entry " + llvm::Twine(i));
    key = entry.name;
    key.consume_back(".npy");
    if (llvm::Error error = addArray(tensors, path, key, contents))
      return std::move(error);
  }
  return tensors;
}

static llvm::Expected<NamedTensors> readFolder(llvm::StringRef path) {
  NamedTensors tensors;
  std::error_code status;
  for (llvm::sys::fs::directory_iterator it(path, status), end; it != end && !status;
       it.increment(status)) {
    llvm::StringRef name = llvm::sys::path::filename(it->path());
    if (!name.consume_back(".npy"))
      continue;
    if (!llvm::sys::fs::is_regular_file(it->path()))
      return llvm::createStringError("\"" + it->path() + "\" is no regular file");
    auto file = llvm::MemoryBuffer::getFile(it->path(), false, false);
    if (!file)
      return llvm::createStringError("\"" + it->path() +
                                     "\" cannot be read: " + file.getError().message());
    if (llvm::Error error = addArray(tensors, it->path(), name, (*file)->getBuffer()))
      return std::move(error);
  }
  if (status)
    return llvm::createStringError("\"" + path + "\" cannot be read: " + status.message());
  if (tensors.empty())
    return llvm::createStringError("\"" + path + "\" holds no .npy files");
  return tensors;
}

llvm::Expected<NamedTensors> cleave::readTensors(llvm::StringRef path) {
  if (!llvm::sys::fs::exists(path))
    return llvm::createStringError("\"" + path + "\" does not exist");
  if (llvm::sys::fs::is_directory(path))
    return readFolder(path);
  if (!llvm::sys::fs::is_regular_file(path))
    return llvm::createStringError("\"" + path + "\" is neither a file nor a folder");
  return readNpz(path);
}

llvm::Error cleave::writeNpy(llvm::StringRef path, const Tensor &tensor) {
  PendingFile file(path);
  if (llvm::Error error = file.open())
    return error;
  if (llvm::Error error = file.write(formatNpy(tensor)))
    return error;
  return file.keep();
}

llvm::Error cleave::writeNpz(llvm::StringRef path, const NamedTensors &tensors) {
  // The archive is made in memory, so that the file is written by one hand.
  zip_error_t zipError;
  zip_error_init(&zipError);
  zip_source_t *memory = zip_source_buffer_create(nullptr, 0, 0, &zipError);
  zip_source_keep(memory);
  llvm::scope_exit release([&] { zip_source_free(memory); });
  zip_t *archive = zip_open_from_source(memory, ZIP_TRUNCATE, &zipError);
  if (!archive)
    return llvm::createStringError("cannot write \"" + path + "\"");

  std::map<std::string, std::string> arrays;
  for (const auto &[name, tensor] : tensors)
    arrays[name + (tensor.type == CLEAVE_BF16 ? "@bf16" : "") + ".npy"] = formatNpy(tensor);
  for (const auto &[name, contents] : arrays) {
    if (name.size() > kLongestName) {
      zip_discard(archive);
      return llvm::createStringError("cannot write \"" + path + "\": an array has a name of " +
                                     llvm::Twine(name.size()) + " bytes, an archive holds " +
                                     llvm::Twine(kLongestName));
    }
    zip_source_t *source = zip_source_buffer(archive, contents.data(), contents.size(), 0);
    zip_int64_t entry = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (entry < 0) {
      zip_source_free(source);
      zip_discard(archive);
      return llvm::createStringError("cannot write \"" + name + "\" to \"" + path + "\"");
    }
    zip_set_file_compression(archive, entry, ZIP_CM_STORE, 0);
  }
  zip_stat_t stat;
  if (zip_close(archive) != 0 || zip_source_open(memory) != 0 ||
      zip_source_stat(memory, &stat) != 0)
    return llvm::createStringError("cannot write \"" + path + "\"");
  std::string bytes(stat.size, '\0');
  bool whole =
      zip_source_read(memory, bytes.data(), bytes.size()) == static_cast<zip_int64_t>(bytes.size());
  zip_source_close(memory);
  PendingFile file(path);
  if (!whole)
    return llvm::createStringError("cannot write \"" + path + "\"");
  if (llvm::Error error = file.open())
    return error;
  if (llvm::Error error = file.write(bytes))
    return error;
  return file.keep();
}
