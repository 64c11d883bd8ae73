//===- Open.cpp - artifacts that are whole, damaged, or lie ---------------===//

#include "Small.h"

#include "cleave/Runtime/Load.h"

#include <cstring>
#include <functional>
#include <rapidcheck.h>

using namespace cleave::test;
using namespace cleave;

static bool says(const std::string &message, const std::string &words) {
  return message.find(words) != message.npos;
}

namespace {
class Folders : public testing::TestWithParam<bool> {};
} // namespace

INSTANTIATE_TEST_SUITE_P(Artifact, Folders, testing::Bool(),
                         [](const auto &info) { return info.param ? "OnGpus" : "OnCores"; });

TEST_P(Folders, Run) {
  Small small(GetParam());
  small.save();
  EXPECT_EQ(small.open(), "runs");
  EXPECT_EQ(small.open(/*verify=*/true), "runs");
}

TEST(Artifact, CountsOfTheManifestAreWholeAndFit) {
  runtime::Manifest manifest;
  manifest.inputs = {{"x", "f32", {7777}}};
  manifest.files = {{"program", 7777, {}}};
  manifest.ranks = 7777;
  std::string text = runtime::formatManifest(manifest);
  std::string body = text.substr(0, text.rfind(",\n  \"digest\": \""));
  ASSERT_EQ(runtime::sealManifest(body), text);
  uint32_t found = 0;
  for (size_t at = body.find("7777"); at != body.npos; at = body.find("7777", at + 1), ++found)
    for (const char *lie : {"5.5e96", "7.5", "-1", "\"7\"", "99999999999999999999"}) {
      std::string lying = body.substr(0, at) + lie + body.substr(at + 4);
      runtime::Manifest read;
      runtime::Reason reason = runtime::parseManifest(runtime::sealManifest(lying), read);
      ASSERT_FALSE(reason.empty());
      EXPECT_TRUE(says(reason, "is damaged: a count is to be a whole number, got: ")) << reason;
    }
  EXPECT_EQ(found, 3u);
}

TEST(Artifact, OptionsOfOtherVersionsAreReadAsFarAsTheyGo) {
  Small small;
  small.save();
  struct {
    cleave_artifact_options known;
    uint32_t more;
  } later = {{sizeof later, 0}, 0};
  cleave_artifact *artifact;
  cleave_error error;
  ASSERT_EQ(cleave_artifact_open(small.folder.c_str(), &later.known, &artifact, &error), CLEAVE_OK);
  cleave_artifact_close(artifact);

  later.more = 1;
  EXPECT_EQ(cleave_artifact_open(small.folder.c_str(), &later.known, &artifact, &error),
            CLEAVE_REFUSED);
  EXPECT_TRUE(says(error.message, "older than the header")) << error.message;
  EXPECT_EQ(artifact, nullptr);

  later.known.size = 0;
  EXPECT_EQ(cleave_artifact_open(small.folder.c_str(), &later.known, &artifact, &error),
            CLEAVE_REFUSED);
  EXPECT_TRUE(says(error.message, "have no size")) << error.message;
}

/// All fields of a program, those that this one does not use included.
TEST(Artifact, KeepsEveryField) {
  EXPECT_TRUE(rc::check("a program is decoded as it was encoded", [] {
    Small small;
    Builder &b = small.builder;
    for (auto &list : b.main)
      for (cleave_command &c : list) {
        c.op = *rc::gen::arbitrary<uint8_t>();
        c.type = *rc::gen::arbitrary<uint8_t>();
        c.reduction = *rc::gen::arbitrary<uint8_t>();
        for (uint32_t *field : {&c.kernel, &c.num_outputs, &c.group, &c.peer, &c.first_buffer,
                                &c.num_buffers, &c.first_count, &c.num_counts})
          *field = *rc::gen::arbitrary<uint32_t>();
      }
    b.load = b.main;
    b.outputs[0].rank = *rc::gen::arbitrary<uint32_t>();
    b.programs[1].arena_bytes = *rc::gen::arbitrary<uint64_t>();
    const cleave_program &p = *b.finish();
    std::string bytes = runtime::encodeProgram(p, small.details);
    runtime::DecodedProgram decoded;
    RC_ASSERT(decoded.decode(bytes, "", nullptr) == CLEAVE_OK);
    // Once more from what was read: every field that is kept is in these bytes.
    RC_ASSERT(runtime::encodeProgram(decoded.program, decoded.details) == bytes);
    const cleave_program &q = decoded.program;
    RC_ASSERT(q.num_ranks == 2u && q.num_axes == 1u && q.coordinates[1] == 1);
    for (uint32_t i = 0; i < 2; ++i)
      for (bool load : {false, true}) {
        const cleave_command *a = load ? p.programs[i].load : p.programs[i].main;
        const cleave_command *c = load ? q.programs[i].load : q.programs[i].main;
        for (uint32_t k = 0; k < 2; ++k) {
          RC_ASSERT(std::string(a[k].name) == c[k].name);
          cleave_command named = c[k];
          named.name = a[k].name;
          RC_ASSERT(a[k].op == c[k].op && a[k].type == c[k].type && a[k].peer == c[k].peer &&
                    a[k].reduction == c[k].reduction && a[k].kernel == c[k].kernel &&
                    a[k].num_outputs == c[k].num_outputs && a[k].group == c[k].group &&
                    a[k].first_buffer == c[k].first_buffer && a[k].num_counts == c[k].num_counts &&
                    a[k].num_buffers == c[k].num_buffers && a[k].first_count == c[k].first_count);
        }
      }
    RC_ASSERT(q.outputs[0].rank == p.outputs[0].rank);
    RC_ASSERT(q.params[1].file == 1u && q.params[1].offset == 64u);
  }));
}

/// No byte of any file may be another one.
TEST_P(Folders, EveryByteCounts) {
  Small small(GetParam());
  small.save();
  for (const char *name : {"manifest.json", "program", small.code(), "weights-0", "weights-1"}) {
    std::string whole = read(small.at(name));
    for (size_t i = 0; i < whole.size(); ++i) {
      put(small.at(name), i, char(whole[i] ^ (1 << i % 8)));
      std::string message = small.open();
      ASSERT_TRUE(says(message, name)) << name << " at " << i << ": " << message;
      put(small.at(name), i, whole[i]);
    }
  }
  EXPECT_EQ(small.open(), "runs");
}

TEST_P(Folders, EveryLengthCounts) {
  Small small(GetParam());
  small.save();
  for (const char *name : {"manifest.json", "program", small.code(), "weights-0", "weights-1"}) {
    std::string whole = read(small.at(name));
    for (size_t length = whole.size(); length-- > 0;
         length -= std::min(length, whole.size() / 200)) {
      std::filesystem::resize_file(small.at(name), length);
      ASSERT_TRUE(says(small.open(), name)) << name << " of " << length;
    }
    write(small.at(name), whole + "x");
    ASSERT_TRUE(says(small.open(), name)) << name;
    write(small.at(name), whole);
  }
}

namespace {
struct Lie {
  const char *name;
  std::function<void(Small &)> tell;
  const char *message;
};
class Lies : public testing::TestWithParam<Lie> {};
} // namespace

/// What is wrong though all digests agree.
static const Lie lies[] = {
    {"Older", [](Small &s) { s.manifest.abi = CLEAVE_PROGRAM_VERSION - 1; },
     "an older Cleave (version 6 of its programs, this is 7); compile the model again"},
    {"Newer", [](Small &s) { s.manifest.abi = CLEAVE_PROGRAM_VERSION + 1; },
     "a newer Cleave (version 8 of its programs, this is 7); use that one, or compile"},
    {"Version", [](Small &s) { s.builder.program.version = 99; }, "version 99"},
    {"Target", [](Small &s) { s.manifest.target = "abacus"; },
     "is for the target abacus; this runtime has cpu, cuda, simt"},
    {"Architecture", [](Small &s) { s.manifest.architecture = "vax"; }, "is for vax, this machine"},
    {"Feature", [](Small &s) { s.manifest.features = {"mmx3"}; },
     "needs a processor with mmx3, which this one lacks; compile"},
    {"Kernel", [](Small &s) { s.details.kernels = {"gone"}; }, "has no kernel \"gone\""},
    {"NoLibrary", [](Small &s) { s.kernels = "text"; }, "kernels.so\" cannot be loaded"},
    {"Outside", [](Small &s) { s.builder.files[1].path = "../weights-1"; },
     "names weights outside of the artifact, got: \"../weights-1\""},
    {"Absolute", [](Small &s) { s.builder.files[1].path = "/etc/passwd"; },
     "outside of the artifact"},
    {"Up", [](Small &s) { s.builder.files[1].path = ".."; }, "outside of the artifact"},
    {"Unlisted", [](Small &s) { s.builder.files[1].path = "other"; }, "lists no \"other\""},
    {"Folder",
     [](Small &s) { s.builder.files[0] = {".", 80}, s.details.files[0].reference = true; },
     "is no regular file"},
    {"Gone",
     [](Small &s) { s.builder.files[0].path = "/none/w", s.details.files[0].reference = true; },
     "cannot open \"/none/w\": No such file"},
    {"Bytes", [](Small &s) { s.builder.files[1].bytes = 1 << 20; },
     "had 1048576 bytes when the model was compiled, got: 80"},
    {"Block", [](Small &s) { s.details.files[0].blocks = {{60, 21, {}}}; },
     "block that ends behind"},
    {"OtherWeights", [](Small &s) { s.details.files[0].blocks = {{0, 80, {1, 2}}}; },
     "holds other weights than when the model was compiled, or is damaged, at bytes 0 to 80"},
    {"Params", [](Small &s) { s.params[1].offset = 128; }, "the parameters of rank 1 are not"},
    {"ParamBytes", [](Small &s) { s.builder.programs[0].param_bytes = 1 << 30; },
     "the parameters of rank 0 are not"},
    {"Buffer", [](Small &s) { s.builder.buffers[0].bytes = 64; }, "buffer 0 ends behind"},
    {"Count", [](Small &s) { s.builder.counts[0] = 5; }, "the counts make 20 bytes"},
    {"Order", [](Small &s) { s.builder.main[1].pop_back(); },
     "waits for rank 1, which is at its end"},
    {"Group", [](Small &s) { s.builder.memberLists[0] = {0, 0}; }, "has rank 0 twice"},
};

TEST_P(Lies, AreRefused) {
  Small small;
  GetParam().tell(small);
  small.save();
  std::string message = small.open();
  EXPECT_TRUE(says(message, GetParam().message)) << message;
  EXPECT_TRUE(says(message, small.folder) || says(message, "/none/w")) << message;
}

INSTANTIATE_TEST_SUITE_P(Artifact, Lies, testing::ValuesIn(lies),
                         [](const auto &info) { return info.param.name; });

TEST(Artifact, IsAFolder) {
  cleave_artifact *artifact;
  cleave_error error;
  EXPECT_EQ(cleave_artifact_open("/none", nullptr, &artifact, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "cannot open \"/none\": No such file or directory");
  EXPECT_EQ(cleave_artifact_open("/dev/null", nullptr, &artifact, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "\"/dev/null\" is no artifact: it is no folder");
  Small small;
  EXPECT_TRUE(says(small.open(), "it has no manifest.json; make one with `cleave compile`"));
  std::filesystem::create_directory(small.at("manifest.json"));
  EXPECT_TRUE(says(small.open(), "is no regular file"));
  EXPECT_EQ(cleave_artifact_open(small.folder.c_str(), nullptr, &artifact, nullptr),
            CLEAVE_REFUSED);
}

/// Of another version they would all end at its number, and the fuzzer learn nothing.
TEST(Artifact, SeedsOfTheFuzzerAreOfThisVersion) {
  for (auto [name, message] : {std::pair("program-shards", ""),
                               {"program-reference", ""},
                               {"program-simt", "has an image 0"},
                               {"misaligned", "has a list at a place that is not aligned"}}) {
    std::string bytes = read(CLEAVE_TEST_CORPUS "/" + std::string(name));
    runtime::DecodedProgram decoded;
    cleave_error error = {};
    decoded.decode(bytes, "", &error);
    EXPECT_EQ(std::string(error.message).substr(0, strlen(message)), message) << name;
    EXPECT_TRUE(*message || !*error.message) << name << ": " << error.message;
  }
}

/// As many bytes as one of them has, each of many names would be given a copy of.
TEST(Artifact, NamesOfKernelsLieBesideEachOther) {
  Small small;
  static constexpr uint32_t count = 4099, length = 10000;
  small.details.kernels.assign(count, "");
  small.details.kernels[0].assign(length, 'k');
  small.builder.program.num_kernels = count;
  std::string bytes = runtime::encodeProgram(*small.builder.finish(), small.details);
  auto *words = reinterpret_cast<uint32_t *>(bytes.data());
  uint32_t *list = std::find(words, words + bytes.size() / 4, count) + 1;
  runtime::DecodedProgram decoded;
  cleave_error error = {};
  ASSERT_EQ(decoded.decode(bytes, "", &error), CLEAVE_OK) << error.message;
  for (uint32_t i = 1; i < count; ++i)
    list[i] = list[0] - i * 4;
  runtime::DecodedProgram lying;
  ASSERT_EQ(lying.decode(bytes, "", &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "has lists that lie over each other");
}

/// A large file is told from another by parts of it, and held against all with `verify`.
TEST(Artifact, SamplesLargeFiles) {
  std::vector<runtime::DigestBlock> blocks(100);
  for (size_t i = 0; i < blocks.size(); ++i)
    blocks[i] = {i << 20, 1 << 20, {}};
  EXPECT_EQ(runtime::sampleBlocks(blocks, UINT64_MAX).size(), 100u);
  EXPECT_EQ(runtime::sampleBlocks(blocks, 100 << 20).size(), 100u);
  std::vector<size_t> some = runtime::sampleBlocks(blocks, 10 << 20);
  EXPECT_EQ(some.size(), 10u);
  EXPECT_EQ(some.front(), 0u);
  EXPECT_EQ(some.back(), 99u);
  EXPECT_EQ(runtime::sampleBlocks(blocks, 0).size(), 2u);
  EXPECT_TRUE(runtime::sampleBlocks({}, 0).empty());
}

TEST(Artifact, LoadsIntoMemory) {
  Small small;
  write(small.at("source"), "0123456789abcdef");
  Builder builder(1);
  builder.file(small.at("source"), 16);
  builder.programs[0].param_bytes = 192;
  builder.programs[0].arena_bytes = 64;
  auto &load = builder.load[0];
  builder.add(load, local(CLEAVE_OP_COPY, "read"),
              {{CLEAVE_SPACE_FILE, 0, 4, 8}, {CLEAVE_SPACE_ARENA, 0, 0, 8}});
  builder.add(load, local(CLEAVE_OP_COPY, "keep"),
              {{CLEAVE_SPACE_ARENA, 0, 0, 8}, {CLEAVE_SPACE_PARAM, 0, 128, 8}});
  builder.add(load, local(CLEAVE_OP_FILL, "clear"), {{CLEAVE_SPACE_PARAM, 0, 0, 64}});
  const cleave_program *program = builder.finish();
  ASSERT_EQ(cleave_program_verify(program, nullptr), CLEAVE_OK);
  alignas(64) char params[192];
  std::fill(std::begin(params), std::end(params), 'p');
  std::vector<std::pair<uint64_t, uint64_t>> filled;
  auto note = [](void *list, uint64_t offset, uint64_t bytes) {
    static_cast<decltype(filled) *>(list)->push_back({offset, bytes});
  };
  cleave_error error;
  ASSERT_EQ(cleave_load_params(program, 0, params, note, &filled, &error), CLEAVE_OK);
  EXPECT_EQ(std::string(params, 192),
            std::string(64, '\0') + std::string(64, 'p') + "456789ab" + std::string(56, 'p'));
  EXPECT_EQ(filled, (decltype(filled){{128, 8}, {0, 64}}));
}
