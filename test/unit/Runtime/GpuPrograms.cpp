//===- GpuPrograms.cpp - drawn programs on simulated GPUs and on cores ----===//
//
// Every word that is read has to be the one that was written last, through whatever
// streams, events and graphs the runtime makes of a list: the simulator tells where nothing
// orders the two, and cores say what comes out.
//
//===----------------------------------------------------------------------===//

#include "Programs.h"

#include <gtest/gtest.h>

#include <random>

using namespace cleave::test;

namespace {

constexpr uint64_t kElements = 24, kBytes = 4 * kElements, kSlots = 5;

/// Ranks that fill, copy, reduce and pass on slots of their arenas in a drawn order.
class Drawn {
public:
  explicit Drawn(uint32_t seed) : random(seed), ranks(2 + random() % 3), builder(ranks) {
    world = builder.world();
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      builder.programs[rank].arena_bytes = kSlots * kBytes;
      uint32_t input = builder.input(CLEAVE_F32, kElements);
      for (uint64_t slot = 0; slot < kSlots; ++slot)
        add(rank, local(CLEAVE_OP_COPY, "begin"),
            {{CLEAVE_SPACE_INPUT, input, 0, kBytes}, at(slot)});
    }
    for (int i = 0; i < 12; ++i)
      step();
    for (uint32_t rank = 0; rank < ranks; ++rank)
      for (uint64_t slot = 0; slot < kSlots; ++slot) {
        uint32_t output = builder.output(CLEAVE_F32, kElements, rank);
        add(rank, local(CLEAVE_OP_COPY, "end"),
            {at(slot), {CLEAVE_SPACE_OUTPUT, output, 0, kBytes}});
      }
  }

  /// The outputs of two runs, whose inputs differ.
  std::vector<std::vector<float>> run(bool eager) {
    cleave_session_options options = CLEAVE_SESSION_OPTIONS;
    options.threads = 2;
    options.eager = eager;
    cleave_session *session = nullptr;
    cleave_error error = {};
    EXPECT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK)
        << error.message;
    std::vector<std::vector<float>> all;
    for (float first = 1; session && first < 3; ++first) {
      std::vector<std::vector<float>> in(ranks, std::vector<float>(kElements));
      std::vector<std::vector<float>> out(ranks * kSlots, std::vector<float>(kElements));
      std::vector<cleave_input> inputs;
      std::vector<cleave_output> outputs;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        for (uint64_t i = 0; i < kElements; ++i)
          in[rank][i] = first + float(rank) / 7 + float(i) / 3;
        inputs.push_back({in[rank].data(), kBytes});
      }
      for (std::vector<float> &one : out)
        outputs.push_back({one.data(), kBytes});
      EXPECT_EQ(cleave_session_run(session, inputs.data(), outputs.data(), &error), CLEAVE_OK)
          << error.message;
      all.insert(all.end(), out.begin(), out.end());
    }
    cleave_session_destroy(session);
    return all;
  }

  void onGpu() { builder.onGpu(); }

private:
  static cleave_buffer at(uint64_t slot) { return {CLEAVE_SPACE_ARENA, 0, slot * kBytes, kBytes}; }
  cleave_buffer any() { return at(random() % kSlots); }

  void add(uint32_t rank, cleave_command command, const std::vector<cleave_buffer> &buffers,
           const std::vector<uint64_t> &counts = {}) {
    builder.add(builder.main[rank], command, buffers, counts);
  }

  void change(uint32_t rank, uint64_t besides) {
    uint64_t from = random() % kSlots, to = random() % kSlots;
    if (from == to || to == besides)
      return add(rank, local(CLEAVE_OP_COPY, "copy"), {at(besides), at((besides + 1) % kSlots)});
    add(rank, local(CLEAVE_OP_COPY, "copy"), {at(from), at(to)});
  }

  void step() {
    switch (random() % 4) {
    case 0: return add(random() % ranks, local(CLEAVE_OP_FILL, "clear"), {any()});
    case 1: return change(random() % ranks, random() % kSlots);
    case 2:
      for (uint32_t rank = 0; rank < ranks; ++rank)
        add(rank, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_MAX, world, "reduce"),
            {any(), any()}, {kElements});
      return;
    }
    uint32_t from = random() % ranks, to = (from + 1 + random() % (ranks - 1)) % ranks;
    uint64_t slot = random() % kSlots;
    add(from, transfer(CLEAVE_OP_SEND, CLEAVE_F32, world, to, "send"), {at(slot)}, {kElements});
    // What is sent stays as it is until it has gone.
    change(from, slot);
    add(to, transfer(CLEAVE_OP_RECV, CLEAVE_F32, world, from, "receive"), {any()}, {kElements});
    add(from, transfer(CLEAVE_OP_WAIT, 0, world, to, "sent"), {});
  }

  std::mt19937 random;
  uint32_t ranks, world = 0;
  Builder builder;
};

} // namespace

class GpuPrograms : public testing::TestWithParam<bool> {};

TEST_P(GpuPrograms, GiveWhatCoresGive) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Drawn cores(seed), gpus(seed);
    gpus.onGpu();
    EXPECT_EQ(gpus.run(/*eager=*/GetParam()), cores.run(false)) << seed;
    if (HasFailure())
      return;
  }
}

INSTANTIATE_TEST_SUITE_P(, GpuPrograms, testing::Bool(),
                         [](const auto &info) { return info.param ? "Eager" : "Graphs"; });
