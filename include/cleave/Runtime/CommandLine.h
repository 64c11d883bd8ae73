//===- CommandLine.h - what the programs say and take alike ---*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_COMMANDLINE_H
#define CLEAVE_RUNTIME_COMMANDLINE_H

#include "cleave/Runtime/Tensors.h"

namespace cleave::runtime {

/// What is wrong with `text` as the name of a file; empty where nothing is.
std::string fileNameError(const std::string &text);

/// A file or folder by the flag, or what else a person knows it by.
struct NamedFile {
  std::string name, path;
};

/// Refuses where one of `results` would be written over another, or over what of `read`
/// is a file, or a file in a folder, and where one cannot be written. A name that is empty,
/// of a flag that is not given, is none.
Reason checkResults(std::span<const NamedFile> results, std::span<const NamedFile> read);

/// Writes `text` and the end of a line to standard error, in one piece, since other
/// processes may write there too. Names in a file are foreign: what would move a
/// terminal's cursor is spelt out. That it cannot be written changes no status.
void printLine(std::string_view text);

/// Where standard error is closed no file that is opened becomes it.
void keepStandardError();

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_COMMANDLINE_H
