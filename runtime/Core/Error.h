//===- Error.h - how a failure is told ------------------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_ERROR_H
#define CLEAVE_RUNTIME_CORE_ERROR_H

#include "cleave/Runtime/Program.h"

namespace cleave::runtime {

/// Where in a program something happened.
struct Place {
  uint32_t rank;
  uint32_t index;
  bool load;
  const cleave_command *command;
  const char *host = nullptr; ///< told where ranks are on hosts of their own
};

/// Fills `error` (which may be null) and returns `status`.
[[gnu::format(printf, 3, 4)]] int32_t fail(cleave_error *error, int32_t status, const char *format,
                                           ...);

/// The same, the message led by rank, command and the command's name.
[[gnu::format(printf, 4, 5)]] int32_t failAt(cleave_error *error, int32_t status,
                                             const Place &place, const char *format, ...);

/// Writes `command 3, all_reduce "o_proj"`; `load` says of which list.
void describe(char *text, size_t size, const Place &place);

inline const char *nameOf(const char *name) { return name ? name : ""; }

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_ERROR_H
