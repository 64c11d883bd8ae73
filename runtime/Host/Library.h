//===- Library.h - parts of Cleave that are loaded when wanted -*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_HOST_LIBRARY_H
#define CLEAVE_RUNTIME_HOST_LIBRARY_H

#include <string>

namespace cleave::runtime {

/// Opens the plug-in `name`: where CLEAVE_PLUGINS says, else beside this program, in the
/// folder of its libraries, or where the system looks. Null with what is wrong.
void *openPlugin(const std::string &name, int flags, std::string &problem);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_HOST_LIBRARY_H
