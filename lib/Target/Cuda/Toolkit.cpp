//===- Toolkit.cpp - where NVIDIA's toolkit is ----------------------------===//

#include "Toolkit.h"

#include "cleave/Target/Cuda.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"

using namespace llvm;
using namespace cleave;

static Expected<std::string> find(StringRef part) {
  SmallVector<std::string> folders;
  for (const char *name : {"CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"})
    if (const char *value = getenv(name); value && *value)
      folders.push_back(value);
  static int here;
  SmallString<256> beside(sys::path::parent_path(sys::fs::getMainExecutable(nullptr, &here)));
  sys::path::append(beside, "..", "lib", "cleave-cuda");
  folders.push_back(beside.str().str());
  folders.push_back("/usr/local/cuda");
  for (const std::string &folder : folders) {
    SmallString<256> path(folder);
    sys::path::append(path, part);
    if (sys::fs::exists(path))
      return path.str().str();
  }
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

/// Drivers load code of every release that has their first number.
Expected<uint32_t> cuda::driverOfCubins() {
  Expected<std::string> ptxas = findPtxas();
  if (!ptxas)
    return ptxas.takeError();
  SmallString<128> said;
  if (std::error_code failed = sys::fs::createTemporaryFile("cleave", "txt", said))
    return createStringError("what ptxas says cannot be written: " + failed.message());
  scope_exit remove([&] { sys::fs::remove(said); });
  std::optional<StringRef> redirects[] = {std::nullopt, said.str(), said.str()};
  std::string message;
  int status =
      sys::ExecuteAndWait(*ptxas, {*ptxas, "--version"}, std::nullopt, redirects, 0, 0, &message);
  ErrorOr<std::unique_ptr<MemoryBuffer>> text = MemoryBuffer::getFile(said);
  SmallVector<StringRef> groups;
  uint32_t release;
  if (status != 0 || !text || !Regex("release ([0-9]+)").match((*text)->getBuffer(), &groups) ||
      groups[1].getAsInteger(10, release))
    return createStringError("\"" + *ptxas + "\" does not say of which release it is" +
                             (message.empty() ? "" : ": " + message));
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
  SmallString<128> input, output, said;
  scope_exit remove([&] {
    for (StringRef path : {input.str(), output.str(), said.str()})
      if (!path.empty())
        sys::fs::remove(path);
  });
  int descriptor;
  std::error_code failed = sys::fs::createTemporaryFile("cleave", "ptx", descriptor, input);
  if (!failed) {
    raw_fd_ostream stream(descriptor, /*shouldClose=*/true);
    stream << ptx;
    stream.close();
    failed = stream.error();
    stream.clear_error();
  }
  if (!failed)
    failed = sys::fs::createTemporaryFile("cleave", "cubin", output);
  if (!failed)
    failed = sys::fs::createTemporaryFile("cleave", "txt", said);
  if (failed)
    return createStringError("the files between the compiler and ptxas cannot be written: " +
                             failed.message());
  std::string arch = ("-arch=" + chip).str();
  StringRef arguments[] = {*ptxas, "-v", "-O3", arch, "-o", output, input};
  std::optional<StringRef> redirects[] = {std::nullopt, said.str(), said.str()};
  std::string message;
  int status = sys::ExecuteAndWait(*ptxas, arguments, std::nullopt, redirects, 0, 0, &message);
  ErrorOr<std::unique_ptr<MemoryBuffer>> text = MemoryBuffer::getFile(said);
  StringRef words = text ? (*text)->getBuffer() : StringRef();
  if (status != 0)
    return createStringError(Twine("ptxas does not compile ") + kernel + " for " + chip + ": " +
                             (message.empty() ? complaint(words) : StringRef(message)));
  auto bytes = MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!bytes)
    return createStringError("ptxas wrote nothing: " + bytes.getError().message());
  Cubin cubin{{(*bytes)->getBufferStart(), (*bytes)->getBufferEnd()}, {}};
  cubin.report = {kernel.str(), chip.str(), numberBefore(words, "registers"),
                  numberBefore(words, "spill stores") + numberBefore(words, "spill loads"),
                  numberBefore(words, "smem")};
  return cubin;
}
