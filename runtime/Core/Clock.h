//===- Clock.h - the time of this machine ---------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_CLOCK_H
#define CLEAVE_RUNTIME_CORE_CLOCK_H

#include <chrono>
#include <cstdint>

namespace cleave::runtime {

/// Nanoseconds of CLOCK_MONOTONIC.
inline uint64_t now() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_CLOCK_H
