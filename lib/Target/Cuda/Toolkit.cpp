//===- Toolkit.cpp - where NVIDIA's toolkit is ----------------------------===//

#include "Toolkit.h"

#include "cleave/Support/MemoryFile.h"
#include "cleave/Target/Cuda.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"

using namespace llvm;
using namespace cleave;

static Expected<std::string> find(StringRef part) {
  auto in = [&](StringRef folder) {
    SmallString<256> path(folder);
    sys::path::append(path, part);
    return path.str().str();
  };
  // Whoever says where it is does not mean another.
  if (const char *home = getenv("CUDA_HOME"); home && *home) {
    if (std::string path = in(home); sys::fs::exists(path))
      return path;
    return createStringError(Twine("CUDA_HOME is \"") + home + "\", where there is no " + part);
  }
  SmallVector<std::string> folders;
  for (const char *name : {"CUDA_PATH", "CUDA_ROOT"})
    if (const char *value = getenv(name); value && *value)
      folders.push_back(value);
  static int here;
  SmallString<256> beside(sys::path::parent_path(sys::fs::getMainExecutable(nullptr, &here)));
  sys::path::append(beside, "..", "lib", "cleave-cuda");
  folders.push_back(beside.str().str());
  folders.push_back("/usr/local/cuda");
  for (const std::string &folder : folders)
    if (std::string path = in(folder); sys::fs::exists(path))
      return path;
  return createStringError(Twine("the CUDA toolkit's ") + part +
                           " is not found; set CUDA_HOME to where the toolkit is");
}

Expected<std::string> cuda::findPtxas() { return find("bin/ptxas"); }
Expected<std::string> cuda::findLibdevice() { return find("nvvm/libdevice/libdevice.10.bc"); }

/// The number in front of `unit` in what ptxas says.
static unsigned numberBefore(StringRef text, StringRef unit) {
  SmallVector<StringRef> groups;
  unsigned number = 0;
  if (Regex(("([0-9]+) (bytes )?" + unit).str()).match(text, &groups))
    groups[1].getAsInteger(10, number);
  return number;
}

/// What a program of the toolkit said, and what else is wrong, with its status.
struct Said {
  int status;
  std::string text, problem;
};

/// Runs `arguments`, whose first is the program.
static Said run(ArrayRef<StringRef> arguments) {
  MemoryFile file;
  Said said = {-1, {}, {}};
  if (std::error_code failed = file.write({})) {
    said.problem = "what it says cannot be kept: " + failed.message();
    return said;
  }
  std::string path = file.path();
  std::optional<StringRef> redirects[] = {std::nullopt, path, path};
  said.status = sys::ExecuteAndWait(arguments.front(), arguments, std::nullopt, redirects, 0, 0,
                                    &said.problem);
  if (auto text = MemoryBuffer::getFile(path))
    said.text = (*text)->getBuffer().str();
  return said;
}

/// Drivers load code of every release that has their first number.
Expected<uint32_t> cuda::driverOfCubins() {
  Expected<std::string> ptxas = findPtxas();
  if (!ptxas)
    return ptxas.takeError();
  Said said = run({*ptxas, "--version"});
  SmallVector<StringRef> groups;
  uint32_t release;
  if (said.status != 0 || !Regex("release ([0-9]+)").match(said.text, &groups) ||
      groups[1].getAsInteger(10, release))
    return createStringError("\"" + *ptxas + "\" does not say of which release it is" +
                             (said.problem.empty() ? "" : ": " + said.problem));
  return release * 1000;
}

/// What ptxas is fatal about, without the lines of its report.
static StringRef complaint(StringRef text) {
  SmallVector<StringRef> lines;
  text.split(lines, '\n', -1, /*KeepEmpty=*/false);
  auto *found = find_if(lines, [](StringRef line) {
    return line.starts_with("ptxas fatal") || line.contains("error");
  });
  return found == lines.end() ? text.take_front(400).rtrim() : found->take_front(400).rtrim();
}

Expected<cuda::Cubin> cuda::assemble(StringRef ptx, StringRef kernel, StringRef chip) {
  Expected<std::string> ptxas = findPtxas();
  if (!ptxas)
    return ptxas.takeError();
  MemoryFile input, output;
  std::error_code failed = input.write(ptx);
  if (!failed)
    failed = output.write({});
  if (failed)
    return createStringError("the files between the compiler and ptxas cannot be written: " +
                             failed.message());
  std::string arch = ("-arch=" + chip).str(), from = input.path(), to = output.path();
  Said said = run({*ptxas, "-v", "-O3", arch, "-o", to, from});
  if (said.status != 0)
    return createStringError(Twine("ptxas does not compile ") + kernel + " for " + chip + ": " +
                             (said.problem.empty() ? complaint(said.text) : said.problem));
  auto bytes = MemoryBuffer::getFile(to, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!bytes)
    return createStringError("what ptxas wrote cannot be read: " + bytes.getError().message());
  if ((*bytes)->getBufferSize() == 0)
    return createStringError("ptxas wrote nothing");
  Cubin cubin{{(*bytes)->getBufferStart(), (*bytes)->getBufferEnd()}, {}};
  cubin.report = {kernel.str(), chip.str(), numberBefore(said.text, "registers"),
                  numberBefore(said.text, "spill stores") + numberBefore(said.text, "spill loads"),
                  numberBefore(said.text, "smem")};
  return cubin;
}
