//===- Small.h - an artifact of a few kilobytes ---------------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_ARTIFACT_SMALL_H
#define CLEAVE_TEST_UNIT_ARTIFACT_SMALL_H

#include "../Runtime/Programs.h"
#include "cleave/Runtime/Artifact.h"
#include "cleave/Runtime/ArtifactFormat.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace cleave::test {

inline std::string read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Another byte at a place, the file being what it was else.
inline void put(const std::string &path, size_t place, char byte) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(std::streamoff(place));
  file.put(byte);
}

/// y = x * w on each of two ranks, which then sum: 2 x * w. Both have their w at byte 64
/// of a file of their own. They are cores, or GPUs of the simulator.
class Small {
public:
  explicit Small(bool onGpu = false) : builder(2) {
    char name[] = "/tmp/cleave-artifact-XXXXXX";
    folder = mkdtemp(name);
    builder.world();
    builder.kernel([](void *const *, const int64_t *) { return 0; });
    builder.input(CLEAVE_F32, 4);
    builder.output(CLEAVE_F32, 4);
    for (uint32_t rank = 0; rank < 2; ++rank) {
      builder.file("weights-" + std::to_string(rank), 80);
      builder.programs[rank].param_bytes = 16;
      builder.programs[rank].arena_bytes = 64;
      auto &main = builder.main[rank];
      builder.add(main, launch(0, 1, "product"),
                  {{CLEAVE_SPACE_INPUT, 0, 0, 16},
                   {CLEAVE_SPACE_PARAM, 0, 0, 16},
                   {CLEAVE_SPACE_ARENA, 0, 0, 16}});
      builder.add(main, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, 0, "sum"),
                  {{CLEAVE_SPACE_ARENA, 0, 0, 16}, {CLEAVE_SPACE_OUTPUT, 0, 0, 16}}, {4});
      params.push_back({rank, 64});
      details.files.emplace_back();
    }
    details.kernels = {"scale"};
    builder.program.params = params.data();
    manifest.architecture = runtime::thisArchitecture();
    manifest.mesh = "tp=2";
    manifest.ranks = 2;
    manifest.features = {};
    kernels = read(onGpu ? CLEAVE_TEST_IMAGE : CLEAVE_TEST_KERNELS);
    if (onGpu)
      addImage();
    float ones[4] = {1, 2, 3, 4};
    weights = std::string(64, 'h') + std::string(reinterpret_cast<char *>(ones), 16);
  }
  ~Small() { std::filesystem::remove_all(folder); }
  Small(const Small &) = delete;

  std::string at(const std::string &name) const { return folder + "/" + name; }

  /// The file that holds the kernels.
  const char *code() const { return images.empty() ? "kernels.so" : "images"; }

  /// All files, with digests that agree.
  void save() {
    builder.finish();
    write(at(code()), kernels);
    for (uint32_t rank = 0; rank < 2; ++rank) {
      runtime::Digest digest = runtime::digestOf(weights.data(), weights.size());
      if (details.files[rank].blocks.empty())
        details.files[rank].blocks = {{0, weights.size(), digest}};
      write(at("weights-" + std::to_string(rank)), weights);
    }
    std::string program = runtime::encodeProgram(builder.program, details);
    write(at("program"), program);
    manifest.files = {
        {"program", program.size(), runtime::digestOf(program.data(), program.size())},
        {code(), kernels.size(), runtime::digestOf(kernels.data(), kernels.size())}};
    for (uint32_t rank = 0; rank < 2; ++rank)
      manifest.files.push_back({"weights-" + std::to_string(rank), weights.size(),
                                runtime::digestOf(details.files[rank].blocks)});
    write(at("manifest.json"), runtime::formatManifest(manifest));
  }

  /// The message of a refusal; what a run gives where there is none.
  std::string open(bool verify = false) const {
    cleave_artifact_options options = CLEAVE_ARTIFACT_OPTIONS;
    options.verify_weights = verify;
    cleave_artifact *artifact;
    cleave_error error;
    if (int32_t status = cleave_artifact_open(folder.c_str(), &options, &artifact, &error)) {
      EXPECT_EQ(status, CLEAVE_REFUSED);
      EXPECT_EQ(artifact, nullptr);
      return error.message;
    }
    cleave_session *session;
    std::string answer = "runs";
    if (cleave_session_create(cleave_artifact_program(artifact), nullptr, &session, &error)) {
      answer = error.message;
    } else {
      float x[4] = {1, 1, 2, 2}, y[4] = {};
      cleave_input input{x, sizeof x};
      cleave_output output{y, sizeof y};
      EXPECT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_OK) << error.message;
      for (int i = 0; i < 4; ++i)
        EXPECT_EQ(y[i], 2 * x[i] * float(i + 1));
      cleave_session_destroy(session);
    }
    cleave_artifact_close(artifact);
    return answer;
  }

  Builder builder;
  std::vector<cleave_params> params;
  runtime::ProgramDetails details;
  runtime::Manifest manifest;
  std::string folder, kernels, weights;
  std::vector<cleave_device_kernel> deviceKernels;
  std::vector<cleave_image> images;

private:
  /// The kernel is one of a device.
  void addImage() {
    builder.onGpu();
    deviceKernels = {{"scale", 0, 1}};
    images = {{CLEAVE_IMAGE_SIMT, 0, 80, kernels.data(), kernels.size(), 1, 4, 0, 0, 0, 0}};
    builder.program.device_kernels = deviceKernels.data();
    builder.program.images = images.data();
    builder.program.num_images = 1;
    manifest.target = "simt";
    manifest.chips = {"sm_80"};
    manifest.driver = "11.1";
  }
};

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_ARTIFACT_SMALL_H
