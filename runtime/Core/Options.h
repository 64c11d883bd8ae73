//===- Options.h - structs of a caller of another version -----*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_CORE_OPTIONS_H
#define CLEAVE_RUNTIME_CORE_OPTIONS_H

#include "Error.h"

#include "cleave/Runtime/Session.h"

#include <algorithm>
#include <cstring>

namespace cleave::runtime {

/// Reads `given`, which may be null and whose struct may be older or newer than ours, over
/// the defaults in `options`. The first version had `first` bytes. What a newer one asks
/// for and we do not know is refused, not ignored. `what` and `type` are for messages.
template <typename Options>
int32_t readOptions(const Options *given, uint32_t first, const char *what, const char *type,
                    Options &options, cleave_error *error) {
  if (!given)
    return CLEAVE_OK;
  if (given->size < first)
    return fail(error, CLEAVE_REFUSED,
                "the options of the %s have no size: it is to be sizeof(%s), at least %u, got: %u",
                what, type, first, given->size);
  auto *bytes = reinterpret_cast<const char *>(given);
  for (uint32_t i = sizeof options; i < given->size; ++i)
    if (bytes[i])
      return fail(error, CLEAVE_REFUSED,
                  "the options of the %s ask for what cleave %s does not know; the library is "
                  "older than the header",
                  what, cleave_version());
  memcpy(&options, given, std::min<size_t>(given->size, sizeof options));
  return CLEAVE_OK;
}

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_CORE_OPTIONS_H
