//===- CommandLine.cpp - what the programs say and take alike -------------===//

#include "cleave/Runtime/CommandLine.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

using namespace cleave;
using namespace cleave::runtime;
namespace fs = std::filesystem;

std::string runtime::fileNameError(const std::string &text) {
  return text.empty() ? "wants the name of a file, got an empty one" : "";
}

/// Without links and dots; what is not there yet is as it is written.
static fs::path wholePath(const std::string &path) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(path, error);
  return error ? fs::path(path) : whole;
}

static bool isWithin(const fs::path &path, const fs::path &folder) {
  std::error_code error;
  fs::path rest = path.lexically_relative(folder);
  return fs::is_directory(folder, error) && !rest.empty() && *rest.begin() != ".." &&
         fs::exists(path, error);
}

Reason runtime::checkResults(std::span<const NamedFile> results, std::span<const NamedFile> read) {
  for (size_t i = 0; i < results.size(); ++i) {
    const auto &[flag, path] = results[i];
    if (path.empty())
      continue;
    fs::path whole = wholePath(path);
    for (const NamedFile &other : results.first(i))
      if (!other.path.empty() && wholePath(other.path) == whole)
        return flag + " and " + other.name + " both write \"" + path + "\"; give them two names";
    for (const NamedFile &other : read)
      if (fs::path own = wholePath(other.path);
          !other.path.empty() && (own == whole || isWithin(whole, own)))
        return flag + " \"" + path + "\" would be written over what is read, " + other.name +
               "; give another name";
  }
  for (const NamedFile &result : results)
    if (PendingFile file(result.path); !result.path.empty())
      if (Reason reason = file.open(); !reason.empty())
        return reason;
  return {};
}

void runtime::printLine(std::string_view text) {
  std::string line;
  for (unsigned char c : text)
    if (c < 0x20 || c == 0x7f) {
      char spelt[5];
      std::snprintf(spelt, sizeof spelt, "\\x%02x", c);
      line += spelt;
    } else {
      line += char(c);
    }
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    ssize_t count = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (count < 0 && errno != EINTR)
      return;
    rest.remove_prefix(size_t(std::max<ssize_t>(count, 0)));
  }
}

void runtime::keepStandardError() {
  if (::fcntl(STDERR_FILENO, F_GETFD) >= 0)
    return;
  int nowhere = ::open("/dev/null", O_WRONLY);
  if (nowhere < 0 || nowhere == STDERR_FILENO)
    return;
  ::dup2(nowhere, STDERR_FILENO);
  ::close(nowhere);
}
