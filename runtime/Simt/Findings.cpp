//===- Findings.cpp - what kernels did wrong ------------------------------===//

#include "Findings.h"

using namespace cleave::simt;

size_t Findings::add(const std::string &key, const std::string &text) {
  auto [entry, isNew] = known.try_emplace(key, lines.size());
  if (isNew)
    lines.push_back({text, 1});
  else
    again(entry->second);
  return entry->second;
}

std::string Findings::text() const {
  std::string text;
  for (const Line &line : lines) {
    text += line.text;
    if (line.count > 1)
      text += " (" + std::to_string(line.count) + " times)";
    text += "\n";
  }
  return text;
}

void Findings::clear() {
  lines.clear();
  known.clear();
}
