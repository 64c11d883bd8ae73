//===- Verify.cpp - a program that lies is refused, and told why ----------===//

#include "Programs.h"

#include <array>
#include <gtest/gtest.h>

#include <functional>

using namespace cleave::test;

static int32_t nothing(void *const *, const int64_t *) { return 0; }

/// Two ranks; each launches, fills, copies, reduces and sends to the other. Rank
/// 1's commands are its own, so that a lie on one side diverges.
static Builder sound() {
  Builder builder(2);
  builder.group({0, 1}, 2);
  builder.group({0, 1}, 1);
  builder.kernel(nothing);
  builder.file("weights", 256);
  builder.input(CLEAVE_F32, 8);
  builder.output(CLEAVE_F32, 8);
  cleave_buffer file{CLEAVE_SPACE_FILE, 0, 0, 256};
  cleave_buffer param{CLEAVE_SPACE_PARAM, 0, 0, 256};
  cleave_buffer input{CLEAVE_SPACE_INPUT, 0, 0, 32};
  cleave_buffer low{CLEAVE_SPACE_ARENA, 0, 0, 32};
  cleave_buffer high{CLEAVE_SPACE_ARENA, 0, 32, 32};
  cleave_buffer output{CLEAVE_SPACE_OUTPUT, 0, 0, 32};
  for (uint32_t rank = 0; rank < 2; ++rank) {
    builder.programs[rank].param_bytes = 256;
    builder.programs[rank].arena_bytes = 64;
    auto &load = builder.load[rank], &main = builder.main[rank];
    builder.add(load, launch(0, 1, "pack"), {file, param});
    builder.add(main, launch(0, 1, "gemm"), {input, param, low});
    builder.add(main, local(CLEAVE_OP_FILL, "zero"), {high});
    builder.add(main, local(CLEAVE_OP_COPY, "move"), {low, high});
    builder.add(main, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, 0, "sum"),
                {low, high}, {8});
    builder.add(main, collective(CLEAVE_OP_ALL_TO_ALL, CLEAVE_F32, CLEAVE_SUM, 0, "exchange"),
                {high, low}, {4, 4, 4, 4});
    builder.add(main, local(CLEAVE_OP_COPY, "result"), {low, output});
    builder.add(main, transfer(CLEAVE_OP_SEND, CLEAVE_F32, 0, 1 - rank, "send"), {high}, {8});
    builder.add(main, transfer(CLEAVE_OP_RECV, CLEAVE_F32, 0, 1 - rank, "receive"), {low}, {8});
    builder.add(main, transfer(CLEAVE_OP_WAIT, 0, 0, 1 - rank, "end"), {});
  }
  return builder;
}

/// The one kernel is a device's, whose image is started as the arguments say; the image.
static cleave_image &onDevice(Builder &builder, uint32_t firstImage, uint32_t blocks,
                              uint32_t threads, uint32_t sharedBytes) {
  static cleave_device_kernel kernel;
  static cleave_image image;
  kernel = {"k", firstImage, 1};
  image = {CLEAVE_IMAGE_SIMT, 0, 80, "", 1, blocks, threads, sharedBytes, 0, 0, 0};
  builder.onGpu();
  builder.program.images = &image;
  builder.program.num_images = 1;
  builder.program.device_kernels = &kernel;
  return image;
}

/// The image has a map, of 16-bit elements that fill 32 bytes of its first buffer; the map.
static cleave_map &withMap(Builder &builder) {
  static cleave_map map;
  map = {0, 2, 2, 32, 0, {8, 2}, {2, 16}, {16, 2}};
  onDevice(builder, 0, 1, 32, 0).num_maps = 1;
  builder.program.maps = &map;
  builder.program.num_maps = 1;
  return map;
}

namespace {

struct Lie {
  const char *name;
  std::function<void(Builder &)> tell;
  const char *message;
};

class Verify : public testing::TestWithParam<Lie> {};

} // namespace

/// Buffer `number` of a command of rank 0's main.
static cleave_buffer &bufferOf(Builder &b, uint32_t command, uint32_t number) {
  return b.buffers[b.main[0][command].first_buffer + number];
}

/// Mapped parameters of two ranks; those of rank 1 are as the arguments say.
static const cleave_params *twoParams(uint32_t file, uint64_t offset) {
  static std::deque<std::array<cleave_params, 2>> kept;
  return kept.emplace_back(std::array<cleave_params, 2>{{{0, 0}, {file, offset}}}).data();
}

static const Lie lies[] = {
    {"Version", [](Builder &b) { b.program.version = 99; },
     "the program is of another version than this runtime's 7, got: 99"},
    {"NoRanks", [](Builder &b) { b.program.num_ranks = 0; },
     "a program has between 1 and 65536 ranks, got: 0"},
    {"Class", [](Builder &b) { b.classes[1] = 7; },
     "rank 1 has a class that does not exist, got: 7 of 2"},
    {"Huge", [](Builder &b) { b.programs[0].arena_bytes = ~0ull; },
     "class 0 is larger than any machine"},
    {"MappedAndLoaded", [](Builder &b) { b.program.params = twoParams(0, 0); },
     "rank 0 loads parameters that are mapped"},
    {"ParamsFile", [](Builder &b) { b.load = {{}, {}}, b.program.params = twoParams(9, 0); },
     "rank 1 has its parameters in a file that does not exist, got: 9 of 1"},
    {"ParamsOffset", [](Builder &b) { b.load = {{}, {}}, b.program.params = twoParams(0, 32); },
     "the parameters of rank 1 are not at a multiple of 64"},
    {"ParamsEnd", [](Builder &b) { b.load = {{}, {}}, b.program.params = twoParams(0, 64); },
     "within the 256 bytes of file 0, got: offset 64, 256 bytes"},
    {"MissingKernel", [](Builder &b) { b.kernels[0] = nullptr; }, "kernel 0 is missing"},
    {"NoImage", [](Builder &b) { onDevice(b, 1, 1, 32, 0); }, "kernel 0 has no name or no image"},
    {"Device", [](Builder &b) { b.program.device = 3; },
     "for a device that does not exist, got: 3"},
    {"ImageOfAnother",
     [](Builder &b) { onDevice(b, 0, 1, 32, 0), b.program.device = CLEAVE_DEVICE_CUDA; },
     "image 0 is for another device than the program"},
    {"Threads", [](Builder &b) { onDevice(b, 0, 1, 1025, 0); },
     "image 0 is started with what no chip has, got: 1 blocks of 1025 threads"},
    {"Blocks", [](Builder &b) { onDevice(b, 0, 0, 32, 0); }, "got: 0 blocks"},
    {"Shared", [](Builder &b) { onDevice(b, 0, 1, 32, (227 << 10) + 1); },
     "with 232449 shared bytes"},
    {"Resident", [](Builder &b) { onDevice(b, 0, 1, 32, 0).resident = 65; }, ", 65 at a time"},
    {"ImageMaps",
     [](Builder &b) { withMap(b), const_cast<cleave_image &>(b.program.images[0]).first_map = 1; },
     "image 0 has 1 maps from 1 on, of 1"},
    {"ImageMapsBeyond",
     [](Builder &b) {
       withMap(b), const_cast<cleave_image &>(b.program.images[0]).first_map = UINT32_MAX;
     },
     "image 0 has 1 maps from 4294967295 on, of 1"},
    {"TooManyMaps", [](Builder &b) { onDevice(b, 0, 1, 32, 0).num_maps = 17; },
     "image 0 has 17 maps from 0 on, of 0"},
    {"NoMaps", [](Builder &b) { withMap(b), b.program.maps = nullptr; },
     "table \"maps\" is missing, got: 1 entries"},
    {"MapBuffer", [](Builder &b) { withMap(b).buffer = 2; },
     "rank 0, load command 0, launch \"pack\": map 0 shows buffer 2, of 2"},
    {"MapOffset", [](Builder &b) { withMap(b).offset = 16; },
     "map 0 ends behind the 32 bytes of buffer 0, got: 48"},
    {"MapSize", [](Builder &b) { withMap(b).sizes[0] = 9; }, "of buffer 0, got: 34"},
    {"MapRows", [](Builder &b) { withMap(b).sizes[1] = 1ull << 32; }, "ends behind the 256 bytes"},
    {"MapOffsetMisaligned", [](Builder &b) { withMap(b).offset = 8; },
     "map 0 shows what no GPU copies"},
    {"MapOffsetOverflows", [](Builder &b) { withMap(b).offset = ~0ull - 15; },
     "map 0 shows what no GPU copies"},
    {"MapOverflows",
     [](Builder &b) {
       cleave_map &map = withMap(b);
       map.sizes[1] = 1ull << 32, map.strides[1] = 1ull << 39;
     },
     "map 0 shows what no GPU copies"},
    {"MapElement", [](Builder &b) { withMap(b).element_bytes = 6; }, "map 0 shows what"},
    {"MapElementOfNothing", [](Builder &b) { withMap(b).element_bytes = 0; }, "map 0 shows what"},
    {"MapElementTooLarge", [](Builder &b) { withMap(b).element_bytes = 16; }, "map 0 shows what"},
    {"MapOfNothing", [](Builder &b) { withMap(b).num_dims = 0; }, "map 0 shows what"},
    {"MapDims", [](Builder &b) { withMap(b).num_dims = 6; }, "map 0 shows what"},
    {"MapNoSize", [](Builder &b) { withMap(b).sizes[1] = 0; }, "map 0 shows what"},
    {"MapStride", [](Builder &b) { withMap(b).strides[1] = 8; }, "map 0 shows what"},
    {"MapNoStride", [](Builder &b) { withMap(b).strides[1] = 0; }, "map 0 shows what"},
    {"MapStrideTooLarge", [](Builder &b) { withMap(b).strides[1] = 1ull << 40; },
     "map 0 shows what"},
    {"MapBox", [](Builder &b) { withMap(b).box[1] = 257; }, "map 0 shows what"},
    {"MapNoBox", [](Builder &b) { withMap(b).box[1] = 0; }, "map 0 shows what"},
    {"MapBoxMisaligned", [](Builder &b) { withMap(b).box[0] = 4; }, "map 0 shows what"},
    {"MapBoxWide", [](Builder &b) { withMap(b).box[0] = 24; }, "map 0 shows what"},
    {"MapSwizzle", [](Builder &b) { withMap(b).swizzle = 48; }, "map 0 shows what"},
    {"ValueType", [](Builder &b) { b.inputs[0].type = 200; },
     "input \"x\" has an unknown type, got: 200"},
    {"NegativeDim", [](Builder &b) { b.dims[0] = -1; }, "input \"x\" has a size that cannot be"},
    {"OverflowingDim", [](Builder &b) { b.dims[1] = INT64_MAX; },
     "output \"y\" has a size that cannot be"},
    {"GroupSize", [](Builder &b) { b.groups[0].group_size = 3; },
     "group 0 does not divide 2 ranks, got: sets of 3"},
    {"GroupMember", [](Builder &b) { b.memberLists[0][1] = 5; },
     "group 0 has a member that does not exist, got: rank 5 of 2"},
    {"GroupTwice", [](Builder &b) { b.memberLists[0][1] = 0; }, "group 0 has rank 0 twice"},
    {"Op", [](Builder &b) { b.main[0][1].op = 77; },
     "rank 0, command 1, unknown command \"zero\": the command does not "
     "exist, got: 77"},
    {"BufferRange", [](Builder &b) { b.main[0][0].first_buffer = UINT32_MAX; },
     "buffers 4294967295 to 4294967298 are not among the program's 32"},
    {"BufferCount", [](Builder &b) { b.main[0][2].num_buffers = 1; }, "takes 2 buffers, got: 1"},
    {"Kernel", [](Builder &b) { b.main[0][0].kernel = 4; },
     "rank 0, command 0, launch \"gemm\": the kernel does not exist, got: 4 "
     "of 1"},
    {"Outputs", [](Builder &b) { b.main[0][0].num_outputs = 9; },
     "writes more buffers than it has, got: 9 of 3"},
    {"Space", [](Builder &b) { bufferOf(b, 0, 0).space = 9; },
     "buffer 0 is in a space that does not exist, got: 9"},
    {"SpaceIndex", [](Builder &b) { bufferOf(b, 0, 0).index = 3; }, "buffer 0 names input 3, of 1"},
    {"ArenaIndex", [](Builder &b) { bufferOf(b, 1, 0).index = 1; }, "buffer 0 names arena 1, of 1"},
    {"Behind", [](Builder &b) { bufferOf(b, 1, 0).offset = 48; },
     "buffer 0 ends behind the 64 bytes of arena 0, got: offset 48, 32 bytes"},
    {"OffsetOverflow", [](Builder &b) { bufferOf(b, 1, 0).offset = UINT64_MAX - 15; },
     "buffer 0 ends behind the 64 bytes of arena 0"},
    {"BehindFile", [](Builder &b) { b.files[0].bytes = 100; },
     "rank 0, load command 0, launch \"pack\": buffer 0 ends behind the 100 "
     "bytes of file 0"},
    {"WritesInput", [](Builder &b) { b.main[0][0].num_outputs = 3; },
     "writes buffer 0, which is in the read-only input space"},
    {"WritesParam", [](Builder &b) { b.main[0][0].num_outputs = 2; },
     "writes buffer 1, which is in the read-only param space"},
    {"WritesFile", [](Builder &b) { b.load[0][0].num_outputs = 2; },
     "writes buffer 0, which is in the read-only file space"},
    {"LoadsInput", [](Builder &b) { b.buffers[b.load[0][0].first_buffer].space = 3; },
     "buffer 0 is in the input space while loading"},
    {"CopySize", [](Builder &b) { bufferOf(b, 2, 0).bytes = 16; },
     "source and target differ in size, got: 16 and 32 bytes"},
    {"CopyOverlap", [](Builder &b) { bufferOf(b, 2, 0).offset = 16; }, "source and target overlap"},
    {"Type", [](Builder &b) { b.main[0][3].type = 200; },
     "rank 0, command 3, all_reduce \"sum\": the type does not exist, got: 200"},
    {"Reduction", [](Builder &b) { b.main[0][3].reduction = 4; },
     "the reduction does not exist, got: 4"},
    {"Group", [](Builder &b) { b.main[0][3].group = 2; }, "the group does not exist, got: 2 of 2"},
    {"CountRange", [](Builder &b) { b.main[0][4].first_count = 12; },
     "counts 12 to 16 are not among the program's 14"},
    {"CountNumber", [](Builder &b) { b.main[0][4].num_counts = 2; },
     "takes 4 counts among 2 members, got: 2"},
    {"CountOverflow", [](Builder &b) { b.counts[b.main[0][3].first_count] = 1ull << 62; },
     "the counts overflow"},
    {"CountSize", [](Builder &b) { b.counts[b.main[0][3].first_count] = 7; },
     "the counts make 28 bytes of input, got: 32"},
    {"CollectiveOverlap", [](Builder &b) { bufferOf(b, 3, 0).offset = 16; },
     "input and output overlap"},
    {"OtherOp",
     [](Builder &b) {
       b.main[1][3].op = CLEAVE_OP_ALL_GATHER;
       b.main[1][3].num_counts = 2;
       b.counts[b.main[1][3].first_count] = 4;
       b.counts[b.main[1][3].first_count + 1] = 4;
       uint32_t first = b.main[1][3].first_buffer;
       b.buffers[first].bytes = 16;
     },
     "rank 1, command 3, all_gather \"sum\": the collective differs from that "
     "of rank 0, command 3, all_reduce \"sum\""},
    {"OtherType", [](Builder &b) { b.main[1][3].type = CLEAVE_I32; },
     "the type differs from that of rank 0, command 3, all_reduce \"sum\""},
    {"OtherReduction", [](Builder &b) { b.main[1][3].reduction = CLEAVE_MAX; },
     "the reduction differs from that of rank 0"},
    {"OtherCounts",
     [](Builder &b) {
       // Rank 1 still receives 8 elements, but 5 of them from itself.
       uint64_t *counts = &b.counts[b.main[1][4].first_count];
       counts[1] = 3, counts[3] = 5, counts[2] = 3;
     },
     "the list of counts differs from that of rank 0"},
    {"Missing", [](Builder &b) { b.main[1].erase(b.main[1].begin() + 4); },
     "rank 0, command 4, all_to_all \"exchange\": waits for rank 1, which "
     "stands at command 6, recv \"receive\""},
    {"OtherOrder",
     [](Builder &b) {
       // Each waits for the other in a group of its own.
       b.group({1, 0}, 2);
       std::swap(b.main[1][3], b.main[1][4]);
       b.main[0][3].group = 2;
       b.main[1][4].group = 2;
     },
     "rank 0, command 3, all_reduce \"sum\": waits for rank 1, which stands "
     "at command 3, all_to_all \"exchange\""},
    {"OutputRank", [](Builder &b) { b.outputs[0].rank = 2; },
     "output \"y\" is of a rank that does not exist, got: 2 of 2"},
    {"OutputNotWritten",
     [](Builder &b) {
       b.outputs[0].rank = 1;
       b.main[1][5] = local(CLEAVE_OP_FILL, "nothing");
       b.main[1][5].first_buffer = b.main[1][1].first_buffer;
       b.main[1][5].num_buffers = 1;
     },
     "rank 1 does not write output \"y\", which is its own"},
    {"PeerItself", [](Builder &b) { b.main[0][6].peer = 0; },
     "rank 0, command 6, send \"send\": the peer is the rank itself"},
    {"Peer", [](Builder &b) { b.main[0][7].peer = 2; },
     "the peer does not exist, got: member 2 of 2"},
    {"TransferSize", [](Builder &b) { b.counts[b.main[0][6].first_count] = 7; },
     "the count makes 28 bytes, got: 32"},
    {"WaitBuffers", [](Builder &b) { b.main[0][8].num_buffers = 1; }, "takes 0 buffers, got: 1"},
    {"OtherTransferType", [](Builder &b) { b.main[0][6].type = CLEAVE_I32; },
     "rank 1, command 7, recv \"receive\": the type differs from what rank 0 sends, command 6, "
     "send \"send\""},
    {"OtherTransferGroup",
     [](Builder &b) {
       b.group({1, 0}, 2);
       b.main[1][7].group = 2;
       b.main[1][7].peer = 1;
     },
     "the group differs from what rank 0 sends"},
    {"OtherTransferSize",
     [](Builder &b) {
       b.counts[b.main[0][6].first_count] = 4;
       bufferOf(b, 6, 0).bytes = 16;
     },
     "the list of counts differs from what rank 0 sends"},
    {"NothingSent", [](Builder &b) { std::swap(b.main[0][6], b.main[0][8]); },
     "rank 0, command 6, wait \"end\": waits for a send to rank 1 that was not started"},
    {"NotReceived", [](Builder &b) { b.main[1].erase(b.main[1].begin() + 7); },
     "rank 0, command 8, wait \"end\": waits for rank 1, which is at its end"},
    {"NotWaitedFor", [](Builder &b) { b.main[0].pop_back(); },
     "rank 0, command 6, send \"send\": is not waited for"},
    {"BothReceiveFirst",
     [](Builder &b) {
       std::swap(b.main[0][6], b.main[0][7]);
       std::swap(b.main[1][6], b.main[1][7]);
     },
     "rank 0, command 6, recv \"receive\": waits for rank 1, which stands at command 6, recv"},
    {"WritesWhatFlies", [](Builder &b) { bufferOf(b, 7, 0).offset = 32; },
     "rank 0, command 7, recv \"receive\": writes buffer 0, which command 6, send \"send\" still "
     "sends"},
};

TEST(Verify, SoundProgramPasses) {
  Builder builder = sound();
  cleave_error error = {};
  EXPECT_EQ(cleave_program_verify(builder.finish(), &error), CLEAVE_OK) << error.message;
}

TEST(Verify, MapsThatFitPass) {
  Builder builder = sound();
  withMap(builder);
  cleave_error error = {};
  EXPECT_EQ(cleave_program_verify(builder.finish(), &error), CLEAVE_OK) << error.message;
}

TEST(Verify, MissingTableIsRefused) {
  Builder builder = sound();
  builder.finish();
  builder.program.buffers = nullptr;
  cleave_error error;
  EXPECT_EQ(cleave_program_verify(&builder.program, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "table \"buffers\" is missing, got: 32 entries");
}

TEST(Verify, NoErrorIsAskedFor) {
  Builder builder = sound();
  builder.program.version = 0;
  EXPECT_EQ(cleave_program_verify(builder.finish(), nullptr), CLEAVE_REFUSED);
}

TEST_P(Verify, LieIsRefused) {
  Builder builder = sound();
  GetParam().tell(builder);
  const cleave_program *program = &builder.program;
  if (program->num_ranks)
    builder.finish();
  cleave_error error = {};
  EXPECT_EQ(cleave_program_verify(program, &error), CLEAVE_REFUSED);
  EXPECT_NE(std::string(error.message).find(GetParam().message), std::string::npos)
      << error.message;
}

INSTANTIATE_TEST_SUITE_P(Lies, Verify, testing::ValuesIn(lies),
                         [](const testing::TestParamInfo<Lie> &info) { return info.param.name; });
