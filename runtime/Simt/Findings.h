//===- Findings.h - what kernels did wrong ----------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_SIMT_FINDINGS_H
#define CLEAVE_RUNTIME_SIMT_FINDINGS_H

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace cleave::simt {

/// Lines of a report, one for all that is wrong in the same way at the same place.
class Findings {
public:
  /// Adds `text` unless something with this key is there: then it counts one more.
  /// Its number, for as long as nobody takes the lines.
  size_t add(const std::string &key, const std::string &text);
  void again(size_t number) { ++lines[number].count; }
  bool empty() const { return lines.empty(); }
  std::string text() const;
  void clear();

private:
  struct Line {
    std::string text;
    uint64_t count;
  };
  std::vector<Line> lines;
  std::unordered_map<std::string, size_t> known;
};

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_FINDINGS_H
