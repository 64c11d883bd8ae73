//===- Drawn.h - drawn programs, and what comes out of them ----*- C++ -*-===//
//
// Every word that is read has to be the one that was written last, through whatever
// streams, events and graphs the runtime makes of a list: the simulator tells where nothing
// orders the two, and cores say what comes out.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_DRAWN_H
#define CLEAVE_TEST_UNIT_RUNTIME_DRAWN_H

#include "Programs.h"

#include <cstdio>
#include <random>

namespace cleave::test {

constexpr uint64_t kElements = 24, kBytes = 4 * kElements, kSlots = 5;

/// Ranks that fill, copy, reduce and pass on slots of their arenas in a drawn order.
class Drawn {
public:
  /// Without `wanted` their number is drawn too.
  explicit Drawn(uint32_t seed, uint32_t wanted = 0)
      : random(seed), ranks(wanted ? wanted : 2 + random() % 3), builder(ranks) {
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

  struct Way {
    bool eager = false;
    cleave_process *process = nullptr;
  };

  /// The outputs of two runs, whose inputs differ; of a process that is not rank 0 they
  /// mean nothing. After a failure there is one less, and `error` says why.
  std::vector<std::vector<float>> run(const Way &way) {
    cleave_session_options options = CLEAVE_SESSION_OPTIONS;
    options.threads = 2;
    options.eager = way.eager;
    options.process = way.process;
    cleave_session *session = nullptr;
    cleave_session_create(builder.finish(), &options, &session, &error);
    std::vector<std::vector<float>> all;
    for (float first = 1; session && !error.status && first < 3; ++first) {
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
      if (!cleave_session_run(session, inputs.data(), outputs.data(), &error))
        all.insert(all.end(), out.begin(), out.end());
    }
    snprintf(remark, sizeof remark, "%s", session ? cleave_session_remark(session) : "");
    cleave_session_destroy(session);
    return all;
  }

  void onGpu() { builder.onGpu(); }

  cleave_error error = {};
  char remark[1024] = ""; ///< of the session

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

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_DRAWN_H
