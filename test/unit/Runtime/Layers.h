//===- Layers.h - a program with all that ranks do ------------*- C++ -*-===//
//
// Each layer computes, reduces over all ranks, and passes on to the next rank in a
// ring. All ranks have equal lists, so a place in one is a place in all.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_LAYERS_H
#define CLEAVE_TEST_UNIT_RUNTIME_LAYERS_H

#include "Programs.h"

namespace cleave::test {

struct Layers {
  static constexpr uint32_t count = 6, commandsEach = 5;

  /// On simulated GPUs there are no kernels.
  explicit Layers(uint32_t ranks, bool gpu = false) : builder(ranks) {
    uint32_t world = builder.world();
    if (gpu)
      builder.onGpu();
    else
      builder.kernel([](void *const *buffers, const int64_t *coordinates) -> int32_t {
        static_cast<float *>(buffers[0])[0] = float(coordinates[0]);
        return 0;
      });
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      std::vector<cleave_command> &list = builder.main[rank];
      builder.programs[rank].arena_bytes = 2 * bytes;
      cleave_buffer own{CLEAVE_SPACE_ARENA, 0, 0, bytes},
          other{CLEAVE_SPACE_ARENA, 0, bytes, bytes};
      for (uint32_t layer = 0; layer < count; ++layer) {
        builder.add(list, gpu ? local(CLEAVE_OP_FILL, "compute") : launch(0, 1, "compute"), {own});
        builder.add(list, collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "reduce"),
                    {own, own}, {elements});
        builder.add(list, transfer(CLEAVE_OP_SEND, CLEAVE_F32, world, (rank + 1) % ranks, "pass"),
                    {own}, {elements});
        builder.add(list,
                    transfer(CLEAVE_OP_RECV, CLEAVE_F32, world, (rank + ranks - 1) % ranks, "take"),
                    {other}, {elements});
        builder.add(list, transfer(CLEAVE_OP_WAIT, 0, world, (rank + 1) % ranks, "passed"), {});
      }
    }
  }

  static constexpr uint64_t elements = 100, bytes = 4 * elements;
  Builder builder;
};

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_LAYERS_H
