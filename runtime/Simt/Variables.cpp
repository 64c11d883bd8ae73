//===- Variables.cpp - what the environment says of the simulator ---------===//

#include "Driver.h"

#include <nccl.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

using namespace cleave::simt;

/// A whole number at the front of `text`, which is taken away.
template <typename Number> static bool takeNumber(std::string_view &text, Number &number) {
  Number found;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), found);
  if (problem != std::errc() || text.starts_with('-'))
    return false;
  number = found;
  text.remove_prefix(size_t(end - text.data()));
  return true;
}

static bool take(std::string_view &text, char one) {
  bool is = text.starts_with(one);
  text.remove_prefix(is);
  return is;
}

/// 16, 512K, 8M, 16G
static bool parseBytes(std::string_view text, uint64_t &bytes) {
  uint64_t count;
  if (!takeNumber(text, count) || !count)
    return false;
  int shift = take(text, 'K') ? 10 : take(text, 'M') ? 20 : take(text, 'G') ? 30 : 0;
  if (!text.empty() || count > ~uint64_t(0) >> shift)
    return false;
  bytes = count << shift;
  return true;
}

/// Numbers with points between them.
template <size_t count> static bool parseVersion(std::string_view text, int (&numbers)[count]) {
  constexpr int most = 99;
  for (int &number : numbers)
    if ((&number != numbers && !take(text, '.')) || !takeNumber(text, number) || number > most)
      return false;
  return text.empty();
}

/// Numbers of devices with commas between them.
static bool parseVisible(std::string_view text, int devices, std::vector<int> &numbers) {
  numbers.clear();
  do {
    int number;
    if (!takeNumber(text, number) || number >= devices ||
        std::find(numbers.begin(), numbers.end(), number) != numbers.end())
      return false;
    numbers.push_back(number);
  } while (take(text, ','));
  return text.empty();
}

std::string Driver::readVariables(std::vector<int> &visible) {
  constexpr int mostDevices = 64;
  int devices = 1, capability[2] = {major, minor}, cuda[2],
      nccl[3] = {NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH};
  std::string problem;
  // `parse` tells whether the value is one that the variable may have.
  auto read = [&](const char *name, const char *wanted, auto &&parse) {
    const char *text = getenv(name);
    if (text && problem.empty() && !parse(text))
      problem = std::string(name) + " is to be " + wanted + ", got: \"" + text + "\"";
    return text && problem.empty();
  };
  read("CLEAVE_SIMT_DEVICES", "a number of devices between 1 and 64", [&](std::string_view text) {
    return takeNumber(text, devices) && text.empty() && devices >= 1 && devices <= mostDevices;
  });
  for (int device = 0; device < devices; ++device)
    visible.push_back(device);
  read("CLEAVE_SIMT_VISIBLE", "numbers of devices that there are, each once, as in 0 or 3,1",
       [&](const char *text) { return parseVisible(text, devices, visible); });
  constexpr const char *bytes = "a number of bytes above 0, as in 512M or 16G";
  read("CLEAVE_SIMT_MEMORY", bytes,
       [&](const char *text) { return parseBytes(text, memoryBytes); });
  read("CLEAVE_SIMT_PINNED", bytes,
       [&](const char *text) { return parseBytes(text, pinnedBytes); });
  read("CLEAVE_SIMT_CAPABILITY", "a compute capability, as in 9.0",
       [&](const char *text) { return parseVersion(text, capability); });
  major = capability[0];
  minor = capability[1];
  if (read("CLEAVE_SIMT_DRIVER", "a version of CUDA, as in 12.4",
           [&](const char *text) { return parseVersion(text, cuda); }))
    version = 1000 * cuda[0] + 10 * cuda[1];
  if (read("CLEAVE_SIMT_NCCL", "a version of NCCL, as in 2.18.1",
           [&](const char *text) { return parseVersion(text, nccl); }))
    ncclVersion = NCCL_VERSION(nccl[0], nccl[1], nccl[2]);
  read("CLEAVE_SIMT_SCHEDULE", "greedy, shuffled, or shuffled with a seed, as in shuffled:7",
       [](const char *text) { return Execution::get().schedule.parse(text); });
  return problem;
}
