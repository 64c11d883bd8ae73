//===- Trace.h - the last run as a timeline -------------------*- C++ -*-===//

#ifndef CLEAVE_DRIVER_TRACE_H
#define CLEAVE_DRIVER_TRACE_H

#include "cleave/Runtime/Session.h"

#include "llvm/ADT/StringRef.h"

#include <string>

namespace cleave {

/// The commands of the last run of `session`, which was created with `timing`, as
/// trace events that Perfetto and chrome://tracing open: a thread for each rank, an
/// event for each command, an arrow from each send to its receive. `title` names the
/// process. Times are microseconds since the first command began.
std::string traceText(const cleave_program &program, const cleave_session *session,
                      llvm::StringRef title);

} // namespace cleave

#endif // CLEAVE_DRIVER_TRACE_H
