//===- artifact.cpp - bytes that claim to be a manifest or a program ------===//
//
// Digests are no proof: whoever writes an artifact writes them too. So a manifest is
// given the digest that it should have, and what is decoded of a program is proven as
// it is before kernels are loaded; what passes the proof is written and read the same.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include "Images.h"
#include "Program_generated.h"

#include <climits>
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

/// A section with what the program says of its images: of ELF files the headers.
static std::string sectionFor(const char *data, size_t size) {
  constexpr uint64_t most = 1 << 20;
  const auto *bytes = reinterpret_cast<const uint8_t *>(data);
  flatbuffers::Verifier verifier(bytes, size, /*max_depth=*/16, /*max_tables=*/UINT_MAX);
  std::string section;
  if (size < 8 || !fb::VerifyProgramBuffer(verifier))
    return section;
  const auto *images = fb::GetProgram(bytes)->images();
  if (!images || reinterpret_cast<uintptr_t>(images->Data()) % alignof(fb::Image))
    return section;
  for (const fb::Image *image : *images) {
    section.resize(imageOffset(section.size()));
    if (image->bytes() > most || section.size() > most)
      break;
    std::string own(image->bytes(), image->kind() == CLEAVE_IMAGE_PTX ? 'x' : 0);
    if (image->kind() != CLEAVE_IMAGE_PTX)
      own.replace(0, std::min<size_t>(own.size(), 5),
                  "\x7f"
                  "ELF\2",
                  std::min<size_t>(own.size(), 5));
    else if (!own.empty())
      own.back() = 0;
    section += own;
  }
  return section;
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
  if (bytes.starts_with("\x7f"
                        "ELF")) {
    isWhole(CLEAVE_IMAGE_CUBIN, {copy.get(), size});
    return 0;
  }
  std::string section = sectionFor(copy.get(), size);
  DecodedProgram decoded;
  cleave_error error;
  if (decoded.decode({copy.get(), size}, section, &error) ||
      cleave_program_verify(&decoded.program, &error))
    return 0;
  std::string encoded = encodeProgram(decoded.program, decoded.details);
  if (packImages(decoded.program) != section)
    abort();
  DecodedProgram again;
  if (again.decode(encoded, section, &error) || cleave_program_verify(&again.program, &error) ||
      encodeProgram(again.program, again.details) != encoded)
    abort();
  return 0;
}
