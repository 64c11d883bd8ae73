//===- Error.cpp - how a failure is told ----------------------------------===//

#include "Error.h"

#include <cstdarg>
#include <cstdio>

namespace cleave::runtime {

int32_t fail(cleave_error *error, int32_t status, const char *format, ...) {
  if (!error)
    return status;
  error->status = status;
  error->rank = -1;
  error->command = -1;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return status;
}

int32_t failAt(cleave_error *error, int32_t status, const Place &place, const char *format, ...) {
  if (!error)
    return status;
  error->status = status;
  error->rank = int32_t(place.rank);
  error->command = place.index;

  // A name may fill the whole message; what happened must still fit.
  char where[512];
  describe(where, sizeof where, place);
  char what[448];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  snprintf(error->message, sizeof error->message, "rank %u%s%.60s, %s: %s", place.rank,
           place.host ? " on " : "", nameOf(place.host), where, what);
  return status;
}

void describe(char *text, size_t size, const Place &place) {
  snprintf(text, size, "%scommand %u, %s \"%.400s\"", place.load ? "load " : "", place.index,
           cleave_op_name(place.command->op), nameOf(place.command->name));
}

} // namespace cleave::runtime
