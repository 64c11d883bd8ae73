//===- TensorFiles.cpp - .npz archives and folders of .npy ----------------===//

#include "cleave/Runtime/Tensors.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <zip.h>

using namespace cleave;
using namespace cleave::runtime;
namespace fs = std::filesystem;

/// Bytes that one array of an archive may unpack to: more than any input, less
/// than a bomb.
static constexpr uint64_t kLargestArray = uint64_t(1) << 36;

/// Bytes of a name that an archive has room for.
static constexpr size_t kLongestName = 65535;

static std::string inQuotes(const std::string &path) { return "\"" + path + "\""; }

/// Takes `end` away from `text`; whether it was there.
static bool consumeBack(std::string &text, std::string_view end) {
  if (!text.ends_with(end))
    return false;
  text.resize(text.size() - end.size());
  return true;
}

/// What is stored as its bits, with what its name then ends in.
static constexpr std::pair<cleave_type, std::string_view> kAsBits[] = {
    {CLEAVE_BF16, "@bf16"}, {CLEAVE_F8E4M3FN, "@f8e4m3fn"}, {CLEAVE_F8E5M2, "@f8e5m2"}};

static std::string endOf(cleave_type type) {
  for (auto [own, end] : kAsBits)
    if (own == type)
      return std::string(end);
  return {};
}

/// Adds the array `contents` under `key`, which may end in the name of a type.
static Reason addArray(NamedTensors &tensors, const std::string &path, std::string key,
                       std::string_view contents) {
  Tensor tensor;
  if (Reason reason = parseNpy(contents, tensor); !reason.empty())
    return inQuotes(path) + ": array \"" + key + "\" " + reason;
  for (auto [type, end] : kAsBits) {
    if (!consumeBack(key, end))
      continue;
    if (tensor.type != storedType(type))
      return inQuotes(path) + ": array \"" + key + std::string(end) +
             "\" holds something else than " + (type == CLEAVE_BF16 ? "uint16" : "uint8");
    tensor.type = type;
    break;
  }
  tensors[key] = std::move(tensor);
  return {};
}

/// Entry `i` of `archive`; false if it is damaged.
static bool readEntry(zip_t *archive, zip_uint64_t i, std::string &name, std::string &contents) {
  zip_stat_t entry;
  if (zip_stat_index(archive, i, 0, &entry) != 0 || entry.size >= kLargestArray)
    return false;
  std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(zip_fopen_index(archive, i, 0),
                                                          zip_fclose);
  if (!file)
    return false;
  // Sizes in an archive may lie, so memory is taken as bytes arrive.
  while (contents.size() < entry.size) {
    size_t before = contents.size();
    contents.resize(std::min<size_t>(entry.size, before + (size_t(1) << 24)));
    zip_int64_t got = zip_fread(file.get(), contents.data() + before, contents.size() - before);
    if (got <= 0)
      return false;
    contents.resize(before + static_cast<size_t>(got));
  }
  name = entry.name;
  // The checksum is looked at when the end is read.
  char beyond;
  return zip_fread(file.get(), &beyond, 1) == 0;
}

static Reason readNpz(const std::string &path, NamedTensors &tensors) {
  int code = 0;
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code),
                                                         zip_discard);
  if (!archive)
    return inQuotes(path) + " is no .npz archive";
  for (zip_int64_t i = 0, count = zip_get_num_entries(archive.get(), 0); i < count; ++i) {
    std::string name, contents;
    if (!readEntry(archive.get(), static_cast<zip_uint64_t>(i), name, contents))
      return inQuotes(path) + " is damaged at entry " + std::to_string(i);
    consumeBack(name, ".npy");
    if (Reason reason = addArray(tensors, path, name, contents); !reason.empty())
      return reason;
  }
  return {};
}

static Reason readFolder(const std::string &path, NamedTensors &tensors) {
  std::error_code status;
  for (fs::directory_iterator it(path, status), end; it != end && !status; it.increment(status)) {
    std::string name = it->path().filename(), file = it->path();
    if (!consumeBack(name, ".npy"))
      continue;
    if (!fs::is_regular_file(it->path(), status))
      return inQuotes(file) + " is no regular file";
    std::ifstream stream(file, std::ios::binary);
    std::string contents(std::istreambuf_iterator<char>(stream), {});
    if (!stream)
      return inQuotes(file) + " cannot be read";
    if (Reason reason = addArray(tensors, file, name, contents); !reason.empty())
      return reason;
  }
  if (status)
    return inQuotes(path) + " cannot be read: " + status.message();
  if (tensors.empty())
    return inQuotes(path) + " holds no .npy files; arrays whose names have a \"/\" come in an .npz";
  return {};
}

Reason cleave::runtime::readTensors(const std::string &path, NamedTensors &tensors) {
  std::error_code status;
  fs::file_status kind = fs::status(path, status);
  if (!fs::exists(kind))
    return inQuotes(path) + " does not exist";
  if (fs::is_directory(kind))
    return readFolder(path, tensors);
  if (!fs::is_regular_file(kind))
    return inQuotes(path) + " is neither a file nor a folder";
  return readNpz(path, tensors);
}

/// Writes `bytes` to `path`, whole or not at all.
static Reason writeWhole(const std::string &path, std::string_view bytes) {
  PendingFile file(path);
  if (Reason reason = file.open(); !reason.empty())
    return reason;
  if (Reason reason = file.write(bytes); !reason.empty())
    return reason;
  return file.keep();
}

Reason cleave::runtime::writeNpy(const std::string &path, const Tensor &tensor) {
  return writeWhole(path, formatNpy(tensor));
}

/// Adds `arrays` to `archive`, which reads them when it is closed.
static Reason addEntries(zip_t *archive, const std::map<std::string, std::string> &arrays,
                         const std::string &path) {
  for (const auto &[name, contents] : arrays) {
    if (name.size() > kLongestName)
      return "cannot write " + inQuotes(path) + ": an array has a name of " +
             std::to_string(name.size()) + " bytes, an archive holds " +
             std::to_string(kLongestName);
    zip_source_t *source = zip_source_buffer(archive, contents.data(), contents.size(), 0);
    zip_int64_t entry = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (entry < 0) {
      zip_source_free(source);
      return "cannot write \"" + name + "\" to " + inQuotes(path);
    }
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(entry), ZIP_CM_STORE, 0);
  }
  return {};
}

Reason cleave::runtime::writeNpz(const std::string &path, const NamedTensors &tensors) {
  // The archive is made in memory, so that the file is written by one hand.
  zip_error_t zipError;
  zip_error_init(&zipError);
  std::unique_ptr<zip_source_t, decltype(&zip_source_free)> memory(
      zip_source_buffer_create(nullptr, 0, 0, &zipError), zip_source_free);
  zip_source_keep(memory.get());
  zip_t *archive = zip_open_from_source(memory.get(), ZIP_TRUNCATE, &zipError);
  if (!archive)
    return "cannot write " + inQuotes(path);

  std::map<std::string, std::string> arrays;
  for (const auto &[name, tensor] : tensors)
    arrays[name + endOf(tensor.type) + ".npy"] = formatNpy(tensor);
  if (Reason reason = addEntries(archive, arrays, path); !reason.empty()) {
    zip_discard(archive);
    return reason;
  }
  zip_stat_t stat;
  if (zip_close(archive) != 0 || zip_source_open(memory.get()) != 0 ||
      zip_source_stat(memory.get(), &stat) != 0)
    return "cannot write " + inQuotes(path);
  std::string bytes(stat.size, '\0');
  bool whole = zip_source_read(memory.get(), bytes.data(), bytes.size()) ==
               static_cast<zip_int64_t>(bytes.size());
  zip_source_close(memory.get());
  return whole ? writeWhole(path, bytes) : "cannot write " + inQuotes(path);
}
