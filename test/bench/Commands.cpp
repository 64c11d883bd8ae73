//===- Commands.cpp - what the runtime adds to each command ---------------===//
//
// Arguments: ranks, workers. Runs of 1,000 launches of a kernel that does nothing, so
// that all of the time is the runtime's. Counted by `items_per_second`: commands of a
// rank.
//
//===----------------------------------------------------------------------===//

#include "../unit/Runtime/Programs.h"

#include <benchmark/benchmark.h>

using namespace cleave::test;

static int32_t nothing(void *const *, const int64_t *) { return 0; }

static void launches(benchmark::State &state) {
  constexpr uint32_t repeats = 1000;
  auto ranks = uint32_t(state.range(0));
  Builder builder(ranks);
  builder.kernel(nothing);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    builder.programs[rank].arena_bytes = 128;
    for (uint32_t i = 0; i < repeats; ++i)
      builder.add(builder.main[rank], launch(0, 1, "nothing"),
                  {{CLEAVE_SPACE_ARENA, 0, 0, 64}, {CLEAVE_SPACE_ARENA, 0, 64, 64}});
  }
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.threads = uint32_t(state.range(1));
  cleave_session *session;
  cleave_error error;
  if (cleave_session_create(builder.finish(), &options, &session, &error))
    return state.SkipWithError(error.message);
  for (auto _ : state)
    cleave_session_run(session, nullptr, nullptr, &error);
  state.SetItemsProcessed(int64_t(state.iterations()) * repeats * ranks);
  cleave_session_destroy(session);
}

BENCHMARK(launches)->Args({1, 1})->Args({2, 2})->Args({8, 2})->UseRealTime();

BENCHMARK_MAIN();
