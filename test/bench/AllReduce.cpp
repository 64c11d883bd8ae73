//===- AllReduce.cpp - time of one all-reduce between threads -------------===//
//
// Arguments: ranks, bytes. Two workers, f32, out of place; every iteration is
// a run of 1024 all-reduces, so that the start of a run weighs little. Counted
// by `items_per_second`: all-reduces.
//
//===----------------------------------------------------------------------===//

#include "../unit/Runtime/Programs.h"

#include <benchmark/benchmark.h>

using namespace cleave::test;

static void allReduce(benchmark::State &state) {
  constexpr uint32_t repeats = 1024;
  auto ranks = uint32_t(state.range(0));
  auto bytes = uint64_t(state.range(1));
  Builder builder(ranks);
  uint32_t world = builder.world();
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    builder.programs[rank].arena_bytes = 2 * bytes;
    for (uint32_t i = 0; i < repeats; ++i)
      builder.add(builder.main[rank],
                  collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "sum"),
                  {{CLEAVE_SPACE_ARENA, 0, 0, bytes}, {CLEAVE_SPACE_ARENA, 0, bytes, bytes}},
                  {bytes / 4});
  }
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.threads = 2;
  cleave_session *session;
  cleave_error error;
  if (cleave_session_create(builder.finish(), &options, &session, &error))
    return state.SkipWithError(error.message);
  for (auto _ : state)
    cleave_session_run(session, nullptr, nullptr, &error);
  state.SetItemsProcessed(int64_t(state.iterations()) * repeats);
  cleave_session_destroy(session);
}

BENCHMARK(allReduce)
    ->Args({2, 4 << 10})
    ->Args({2, 384 << 10})
    ->Args({4, 4 << 10})
    ->Args({4, 1 << 20})
    ->Args({8, 4 << 10})
    ->Args({8, 1 << 20})
    ->UseRealTime();

BENCHMARK_MAIN();
