//===- tensors.cpp - bytes that claim to be an .npy array or an .npz ------===//
//
// Inputs come from anybody: reading answers with a message or with tensors that
// are as large as they say, and what was read is written and read back the same.
//
//===----------------------------------------------------------------------===//

#include "cleave/Support/Tensor.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace cleave;

static void requireWhole(const Tensor &tensor) {
  if (tensor.bytes.size() != tensor.size() * cleave_type_bytes(tensor.type))
    abort();
  llvm::Expected<Tensor> again = parseNpy(formatNpy(tensor));
  if (!again || again->dims != tensor.dims || again->bytes != tensor.bytes)
    abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  if (bytes.starts_with("PK")) {
    static const int descriptor = memfd_create("tensors", 0);
    if (ftruncate(descriptor, 0) != 0 ||
        pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size))
      abort();
    llvm::Expected<NamedTensors> tensors =
        readTensors("/proc/self/fd/" + std::to_string(descriptor));
    if (!tensors)
      return consumeError(tensors.takeError()), 0;
    for (const auto &[name, tensor] : *tensors)
      requireWhole(tensor);
    return 0;
  }
  llvm::Expected<Tensor> tensor = parseNpy(bytes);
  if (!tensor)
    return consumeError(tensor.takeError()), 0;
  requireWhole(*tensor);
  return 0;
}
