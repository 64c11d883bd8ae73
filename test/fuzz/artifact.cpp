//===- artifact.cpp - bytes that claim to be a manifest or a program ------===//
//
// Digests are no proof: whoever writes an artifact writes them too. So a manifest is
// given the digest that it should have, and what is decoded of a program is proven as
// it is before kernels are loaded; what passes the proof is written and read the same.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include <cstdlib>
#include <cstring>
#include <memory>

using namespace cleave::runtime;

static void readManifest(std::string_view text) {
  Manifest manifest;
  if (!parseManifest(sealManifest(std::string(text)), manifest).empty())
    return;
  if (manifest.abi != CLEAVE_PROGRAM_VERSION)
    return;
  Manifest again;
  if (!parseManifest(formatManifest(manifest), again).empty() ||
      again.files.size() != manifest.files.size() || again.inputs.size() != manifest.inputs.size())
    abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char *>(data), size);
  if (bytes.starts_with("{")) {
    readManifest(bytes);
    return 0;
  }
  // Aligned as a file that is read is, and no longer than it says.
  std::unique_ptr<char[]> copy(new char[size]);
  memcpy(copy.get(), data, size);
  DecodedProgram decoded;
  cleave_error error;
  if (decoded.decode({copy.get(), size}, &error) || cleave_program_verify(&decoded.program, &error))
    return 0;
  std::string encoded = encodeProgram(decoded.program, decoded.details);
  DecodedProgram again;
  if (again.decode(encoded, &error) || cleave_program_verify(&again.program, &error) ||
      encodeProgram(again.program, again.details) != encoded)
    abort();
  return 0;
}
