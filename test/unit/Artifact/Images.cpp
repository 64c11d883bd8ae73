//===- Images.cpp - folders whose code for GPUs lies ----------------------===//

#include "Small.h"

#include <elf.h>
#include <functional>
#include <vector>

using namespace cleave::test;
using namespace cleave;

namespace {
struct Lie {
  const char *name;
  std::function<void(Small &)> tell;
  const char *message;
};
class Images : public testing::TestWithParam<Lie> {};
} // namespace

/// Another header of the image, which is an ELF file.
static void change(Small &small, const std::function<void(Elf64_Ehdr &)> &act) {
  act(*reinterpret_cast<Elf64_Ehdr *>(small.kernels.data()));
}

/// What is wrong though all digests agree.
static const Lie lies[] = {
    {"NoDevice", [](Small &s) { s.builder.program.device = 9; },
     "program\" is damaged: it is for no device that exists, and its manifest says simt"},
    {"OtherDevice", [](Small &s) { s.manifest.target = "cuda"; },
     "program\" is damaged: it is for simt, and its manifest says cuda"},
    {"OfCores", [](Small &s) { s.builder.program.device = CLEAVE_DEVICE_CPU; },
     "has images, and is for cores"},
    {"Architecture", [](Small &s) { s.manifest.architecture = "vax"; }, "is for vax, this machine"},
    {"Kind", [](Small &s) { s.images[0].kind = CLEAVE_IMAGE_CUBIN; },
     "image 0 is for another device than the program"},
    {"NoKind", [](Small &s) { s.images[0].kind = 9; }, "or of no kind that there is"},
    {"Beyond", [](Small &s) { s.images[0].bytes += 1; }, "beyond the"},
    {"BeyondAll", [](Small &s) { s.images[0].bytes = UINT64_MAX; }, "beyond the"},
    {"TooMany",
     [](Small &s) {
       s.images.push_back(s.images[0]), s.builder.program.images = s.images.data(),
                                        s.builder.program.num_images = 2;
     },
     "has an image 1 of"},
    {"Less", [](Small &s) { s.kernels += "more"; }, "has images of"},
    {"NoBytes", [](Small &s) { s.images[0].bytes = 0, s.kernels.clear(); },
     "an image 0 that is not of its kind, or not whole"},
    {"Text", [](Small &s) { s.kernels.assign(s.kernels.size(), 'x'); }, "not of its kind"},
    {"Cut", [](Small &s) { s.images[0].bytes /= 2, s.kernels.resize(s.images[0].bytes); },
     "or not whole"},
    {"Sections", [](Small &s) { change(s, [](auto &header) { header.e_shoff = 1ull << 60; }); },
     "or not whole"},
    {"Segments", [](Small &s) { change(s, [](auto &header) { header.e_phnum = 0xffff; }); },
     "or not whole"},
    {"NoSections", [](Small &s) { change(s, [](auto &header) { header.e_shnum = 0; }); },
     "or not whole"},
    {"NoSectionsFarAway",
     [](Small &s) {
       change(s, [](auto &header) { header.e_shnum = 0, header.e_shoff = 1ull << 60; });
     },
     "or not whole"},
    {"NoSegments", [](Small &s) { change(s, [](auto &header) { header.e_phnum = 0; }); },
     "or not whole"},
    {"SegmentsCountedElsewhere",
     [](Small &s) {
       uint64_t end = s.kernels.size();
       s.kernels.resize(end + PN_XNUM * sizeof(Elf64_Phdr));
       s.images[0].bytes = s.kernels.size();
       change(s, [&](auto &header) { header.e_phoff = end, header.e_phnum = PN_XNUM; });
     },
     "or not whole"},
    {"Entries", [](Small &s) { change(s, [](auto &header) { header.e_phentsize = 1; }); },
     "or not whole"},
    {"Ptx",
     [](Small &s) {
       s.images[0].kind = CLEAVE_IMAGE_PTX;
       s.kernels = ".version 8.0";
       s.images[0].bytes = s.kernels.size();
     },
     "or not whole"},
    {"Blocks", [](Small &s) { s.images[0].blocks = 1u << 31; },
     "with what no chip has, got: 2147483648 blocks"},
    {"Threads", [](Small &s) { s.images[0].threads = 1025; }, "blocks of 1025 threads"},
    {"Shared", [](Small &s) { s.images[0].shared_bytes = 1 << 20; }, "with 1048576 shared bytes"},
    {"Maps", [](Small &s) { s.images[0].num_maps = 1; }, "image 0 has 1 maps from 0 on, of 0"},
    {"NoImage", [](Small &s) { s.deviceKernels[0].first_image = 1; },
     "kernel 0 has no name or no image"},
};

TEST_P(Images, AreRefused) {
  Small small(/*onGpu=*/true);
  GetParam().tell(small);
  small.save();
  std::string message = small.open();
  EXPECT_NE(message.find(GetParam().message), message.npos) << message;
  EXPECT_NE(message.find(small.folder), message.npos) << message;
}

INSTANTIATE_TEST_SUITE_P(Artifact, Images, testing::ValuesIn(lies),
                         [](const auto &info) { return info.param.name; });

TEST(Artifact, KeepsMaps) {
  Small small(/*onGpu=*/true);
  cleave_map maps[2] = {};
  // Every field another number.
  uint8_t next = 1;
  for (cleave_map &map : maps) {
    map.buffer = next++, map.element_bytes = next++, map.num_dims = next++, map.swizzle = next++;
    map.offset = next++;
    for (uint32_t d = 0; d < CLEAVE_MAX_MAP_DIMS; ++d)
      map.sizes[d] = next++, map.strides[d] = next++, map.box[d] = next++;
  }
  small.builder.program.maps = maps;
  small.builder.program.num_maps = 2;
  small.images[0].resident = 3, small.images[0].first_map = 1, small.images[0].num_maps = 1;
  const cleave_program &program = *small.builder.finish();
  std::string bytes = runtime::encodeProgram(program, small.details);
  std::string section = runtime::packImages(program);
  runtime::DecodedProgram decoded;
  cleave_error error;
  ASSERT_EQ(decoded.decode(bytes, section, &error), CLEAVE_OK) << error.message;
  ASSERT_EQ(decoded.program.num_maps, 2u);
  auto fieldsOf = [](const cleave_map &map) {
    std::vector<uint64_t> fields = {map.buffer, map.element_bytes, map.num_dims, map.swizzle,
                                    map.offset};
    for (uint32_t d = 0; d < CLEAVE_MAX_MAP_DIMS; ++d)
      fields.insert(fields.end(), {map.sizes[d], map.strides[d], map.box[d]});
    return fields;
  };
  for (uint32_t i = 0; i < 2; ++i)
    EXPECT_EQ(fieldsOf(decoded.program.maps[i]), fieldsOf(maps[i]));
  const cleave_image &image = decoded.program.images[0];
  EXPECT_EQ(image.resident, 3u);
  EXPECT_EQ(image.first_map, 1u);
  EXPECT_EQ(image.num_maps, 1u);
}

/// What a session refuses: whether there is a GPU for a folder is no matter of the folder.
TEST(Artifact, SaysWhatTheGpuLacks) {
  const Lie wants[] = {
      {"Newer", [](Small &s) { s.images[0].chip = 100; },
       "kernel \"scale\" has no code for this GPU, got: sm_90; compile the model with --target "
       "simt:sm_90"},
      {"Feature", [](Small &s) { s.images[0].feature = 'a'; }, "has no code for this GPU"},
      {"Driver", [](Small &s) { s.builder.program.cuda_version = 99000; },
       "; install one of CUDA 99.0 or newer"},
      {"Kernel", [](Small &s) { s.details.kernels = {"gone"}; },
       "the code of kernel \"gone\" does not load: CUDA_ERROR_NOT_FOUND"},
      {"Machine", [](Small &s) { change(s, [](auto &header) { header.e_machine = EM_VAX; }); },
       "the code of kernel \"scale\" does not load: CUDA_ERROR_NO_BINARY_FOR_GPU"},
  };
  for (const Lie &want : wants) {
    Small small(/*onGpu=*/true);
    want.tell(small);
    small.save();
    std::string message = small.open();
    EXPECT_NE(message.find(want.message), message.npos) << want.name << ": " << message;
  }
}
