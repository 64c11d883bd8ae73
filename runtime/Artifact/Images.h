//===- Images.h - code of devices in one section --------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_ARTIFACT_IMAGES_H
#define CLEAVE_RUNTIME_ARTIFACT_IMAGES_H

#include "cleave/Runtime/Program.h"

#include <string_view>

namespace cleave::runtime {

/// Where an image begins, the one before it ending at `end`.
inline uint64_t imageOffset(uint64_t end) { return (end + 63) / 64 * 64; }

/// Whether `bytes` are an image of a kind as far as whoever loads it follows it: no loader
/// is told where it ends.
bool isWhole(uint8_t kind, std::string_view bytes);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_ARTIFACT_IMAGES_H
