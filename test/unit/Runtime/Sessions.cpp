//===- Sessions.cpp - loading, binding, counting, and no allocation -------===//

#include "Programs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <malloc.h>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

using namespace cleave::test;

static std::atomic<uint64_t> allocations{0};

// All of C++ in this binary allocates through these; malloc itself is watched
// by mallinfo2 below.
void *operator new(size_t bytes) {
  ++allocations;
  if (void *result = malloc(bytes ? bytes : 1))
    return result;
  throw std::bad_alloc();
}
void operator delete(void *pointer) noexcept { free(pointer); }
void operator delete(void *pointer, size_t) noexcept { free(pointer); }

/// param[i] = file[i] * (rank + 1)
static int32_t scale(void *const *buffers, const int64_t *coordinates) {
  auto *in = static_cast<const float *>(buffers[0]);
  auto *out = static_cast<float *>(buffers[1]);
  for (int i = 0; i < 4; ++i)
    out[i] = in[i] * float(coordinates[0] + 1);
  return 0;
}

/// out[i] = x[i] * w[i]
static int32_t multiply(void *const *buffers, const int64_t *) {
  auto *x = static_cast<const float *>(buffers[0]);
  auto *w = static_cast<const float *>(buffers[1]);
  auto *out = static_cast<float *>(buffers[2]);
  for (int i = 0; i < 4; ++i)
    out[i] = x[i] * w[i];
  return 0;
}

namespace {

/// y = sum over ranks r of x * (r + 1) * weights.
class Sessions : public testing::Test {
protected:
  Sessions() : path(testing::TempDir() + "cleave-weights") {}
  ~Sessions() override { std::remove(path.c_str()); }

  void writeWeights(size_t count) {
    const float weights[] = {1, 2, 3, 4};
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(weights), std::streamsize(count * sizeof(float)));
  }

  Builder build(uint32_t ranks) {
    Builder builder(ranks);
    uint32_t world = builder.world();
    builder.kernel(scale);
    builder.kernel(multiply);
    builder.file(path, 16);
    builder.input(CLEAVE_F32, 4);
    builder.output(CLEAVE_F32, 4);
    cleave_buffer file{CLEAVE_SPACE_FILE, 0, 0, 16};
    cleave_buffer param{CLEAVE_SPACE_PARAM, 0, 0, 16};
    cleave_buffer x{CLEAVE_SPACE_INPUT, 0, 0, 16};
    cleave_buffer partial{CLEAVE_SPACE_ARENA, 0, 0, 16};
    cleave_buffer y{CLEAVE_SPACE_OUTPUT, 0, 0, 16};
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      builder.programs[rank].param_bytes = 16;
      builder.programs[rank].arena_bytes = 16;
      builder.add(builder.load[rank], launch(0, 1, "scale"), {file, param});
      builder.add(builder.main[rank], launch(1, 1, "multiply"), {x, param, partial});
      builder.add(builder.main[rank],
                  collective(CLEAVE_OP_ALL_REDUCE, CLEAVE_F32, CLEAVE_SUM, world, "sum"),
                  {partial, y}, {4});
    }
    return builder;
  }

  std::string path;
  cleave_session *session = nullptr;
  cleave_error error = {};
};

} // namespace

TEST_F(Sessions, LoadsOnceAndRunsOnEveryRank) {
  writeWeights(4);
  Builder builder = build(3);
  ASSERT_EQ(cleave_session_create(builder.finish(), nullptr, &session, &error), CLEAVE_OK)
      << error.message;
  for (float factor : {1.0f, -2.0f}) {
    const float x[] = {factor, factor, factor, factor};
    float y[4];
    cleave_input input{x, sizeof x};
    cleave_output output{y, sizeof y};
    ASSERT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_OK);
    EXPECT_EQ(cleave_session_output(session, 0, 0), y);
    for (uint32_t rank = 0; rank < 3; ++rank)
      for (int i = 0; i < 4; ++i)
        EXPECT_EQ(static_cast<const float *>(cleave_session_output(session, rank, 0))[i],
                  6 * factor * float(i + 1));
  }
  EXPECT_EQ(cleave_session_output(session, 3, 0), nullptr);
  EXPECT_EQ(cleave_session_output(session, 0, 1), nullptr);
  cleave_session_destroy(session);
}

TEST_F(Sessions, CountersAndTimesAreThoseOfMain) {
  writeWeights(4);
  Builder builder = build(2);
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.timing = 1;
  ASSERT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  const float x[4] = {};
  float y[4];
  cleave_input input{x, sizeof x};
  cleave_output output{y, sizeof y};
  for (int run = 0; run < 5; ++run)
    ASSERT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_OK);
  cleave_counters counters;
  ASSERT_EQ(cleave_session_counters(session, 1, &counters), CLEAVE_OK);
  EXPECT_EQ(counters.calls[CLEAVE_OP_LAUNCH], 5u);
  EXPECT_EQ(counters.calls[CLEAVE_OP_ALL_REDUCE], 5u);
  EXPECT_EQ(counters.bytes[CLEAVE_OP_ALL_REDUCE], 5u * 16);
  EXPECT_EQ(counters.param_bytes, 16u);
  EXPECT_EQ(counters.output_bytes, 16u);
  uint32_t count;
  const uint64_t *times = cleave_session_times(session, 0, &count);
  ASSERT_EQ(count, 2u);
  EXPECT_GT(times[0] + times[1], 0u);

  cleave_session_reset_counters(session);
  ASSERT_EQ(cleave_session_counters(session, 1, &counters), CLEAVE_OK);
  EXPECT_EQ(counters.calls[CLEAVE_OP_ALL_REDUCE], 0u);
  EXPECT_EQ(counters.param_bytes, 16u);
  EXPECT_EQ(times[0] + times[1], 0u);
  EXPECT_EQ(cleave_session_counters(session, 2, &counters), CLEAVE_REFUSED);
  cleave_session_destroy(session);
}

TEST_F(Sessions, SpansAreThoseOfTheLastRun) {
  writeWeights(4);
  Builder builder = build(3);
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.timing = 1;
  ASSERT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  const float x[4] = {};
  float y[4];
  cleave_input input{x, sizeof x};
  cleave_output output{y, sizeof y};
  uint64_t ended = 0;
  for (int run = 0; run < 3; ++run) {
    ASSERT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_OK);
    uint64_t allBegun = 0, firstEnd = UINT64_MAX, lastEnd = 0;
    for (uint32_t rank = 0; rank < 3; ++rank) {
      uint32_t count;
      const cleave_span *spans = cleave_session_spans(session, rank, &count);
      ASSERT_EQ(count, 2u);
      EXPECT_GT(spans[0].begin, ended);
      EXPECT_GE(spans[0].end, spans[0].begin);
      EXPECT_GE(spans[1].begin, spans[0].end);
      EXPECT_GE(spans[1].end, spans[1].begin);
      allBegun = std::max(allBegun, spans[1].begin);
      firstEnd = std::min(firstEnd, spans[1].end);
      lastEnd = std::max(lastEnd, spans[1].end);
    }
    // Nobody leaves a collective before all have come to it.
    EXPECT_GE(firstEnd, allBegun);
    ended = lastEnd;
  }
  uint32_t count;
  EXPECT_EQ(cleave_session_spans(session, 3, &count), nullptr);
  EXPECT_EQ(count, 0u);
  cleave_session_destroy(session);
}

static int32_t refuse(void *const *, const int64_t *) { return CLEAVE_FAULT_INDEX; }

TEST_F(Sessions, WhatAFailedRunDidNotReachHasNoSpan) {
  Builder builder(1);
  builder.kernel(refuse);
  for (const char *name : {"fails", "comes after"})
    builder.add(builder.main[0], launch(0, 0, name), {});
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.timing = 1;
  ASSERT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  EXPECT_EQ(cleave_session_run(session, nullptr, nullptr, &error), CLEAVE_FAILED);
  uint32_t count;
  const cleave_span *spans = cleave_session_spans(session, 0, &count);
  ASSERT_EQ(count, 2u);
  EXPECT_GE(spans[0].end, spans[0].begin);
  EXPECT_GT(spans[0].begin, 0u);
  EXPECT_EQ(spans[1].begin, 0u);
  EXPECT_EQ(spans[1].end, 0u);
  cleave_session_destroy(session);
}

/// Options as a later version may have them.
struct LaterOptions {
  cleave_session_options known;
  uint32_t more[2];
};

TEST_F(Sessions, OptionsOfOtherVersionsAreReadAsFarAsTheyGo) {
  writeWeights(4);
  Builder builder = build(1);
  const cleave_program *program = builder.finish();
  LaterOptions later = {{sizeof(LaterOptions), 0, 0, 1}, {0, 0}};
  ASSERT_EQ(cleave_session_create(program, &later.known, &session, &error), CLEAVE_OK);
  uint32_t count;
  EXPECT_NE(cleave_session_times(session, 0, &count), nullptr);
  cleave_session_destroy(session);

  later.more[1] = 1;
  EXPECT_EQ(cleave_session_create(program, &later.known, &session, &error), CLEAVE_REFUSED);
  EXPECT_NE(strstr(error.message, "older than the header"), nullptr) << error.message;
  EXPECT_EQ(session, nullptr);

  cleave_session_options unsized = {};
  EXPECT_EQ(cleave_session_create(program, &unsized, &session, &error), CLEAVE_REFUSED);
  EXPECT_NE(strstr(error.message, "have no size"), nullptr) << error.message;
}

TEST(Abi, TheLibraryIsThatOfTheHeader) {
  EXPECT_EQ(cleave_abi_version(), CLEAVE_ABI_VERSION);
  EXPECT_STREQ(cleave_version(), CLEAVE_TEST_VERSION);
}

TEST_F(Sessions, MemoryOfTheWrongSizeIsRefused) {
  writeWeights(4);
  Builder builder = build(1);
  ASSERT_EQ(cleave_session_create(builder.finish(), nullptr, &session, &error), CLEAVE_OK);
  float x[4], y[4];
  cleave_input input{x, 12};
  cleave_output output{y, sizeof y};
  EXPECT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "input \"x\" takes 16 bytes, got: 12");
  input = {nullptr, 16};
  EXPECT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "input \"x\" is missing");
  EXPECT_EQ(cleave_session_run(session, nullptr, &output, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "no inputs or outputs are given");
  cleave_session_destroy(session);
}

TEST_F(Sessions, FilesThatLieAreRefused) {
  writeWeights(3);
  Builder builder = build(1);
  EXPECT_EQ(cleave_session_create(builder.finish(), nullptr, &session, &error), CLEAVE_REFUSED);
  EXPECT_EQ(session, nullptr);
  EXPECT_EQ(std::string(error.message),
            "\"" + path + "\" is shorter than the program's 16 bytes, got: 12");
  std::remove(path.c_str());
  EXPECT_EQ(cleave_session_create(&builder.program, nullptr, &session, &error), CLEAVE_REFUSED);
  EXPECT_EQ(std::string(error.message), "cannot open \"" + path + "\": No such file or directory");
  builder.files[0].path = "/";
  EXPECT_EQ(cleave_session_create(builder.finish(), nullptr, &session, &error), CLEAVE_REFUSED);
  EXPECT_STREQ(error.message, "\"/\" is no regular file");
}

TEST_F(Sessions, RunAllocatesNothing) {
  writeWeights(4);
  Builder builder = build(5);
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.threads = 2;
  options.timing = 1;
  ASSERT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK);
  const float x[4] = {};
  float y[4];
  cleave_input input{x, sizeof x};
  cleave_output output{y, sizeof y};
  uint64_t before = allocations;
  struct mallinfo2 heap = mallinfo2();
  for (int run = 0; run < 100; ++run)
    ASSERT_EQ(cleave_session_run(session, &input, &output, &error), CLEAVE_OK);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(mallinfo2().uordblks, heap.uordblks);
  cleave_session_destroy(session);
}

/// Pages of a mapping of this process whose path ends in `name`, in KiB.
static long residentKiB(const std::string &name) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  long total = 0, size;
  while (std::getline(maps, line)) {
    if (line.find('-') != std::string::npos && line.find(':') > line.find(' '))
      inside = line.ends_with(name);
    else if (inside && sscanf(line.c_str(), "Rss: %ld", &size) == 1)
      total += size;
  }
  return total;
}

static int32_t readAll(void *const *buffers, const int64_t *) {
  auto *bytes = static_cast<const volatile char *>(buffers[0]);
  char sum = 0;
  for (uint64_t i = 0; i < 4 << 20; i += 4096)
    sum = char(sum + bytes[i]);
  *static_cast<char *>(buffers[1]) = sum;
  return 0;
}

TEST_F(Sessions, PagesReadOnlyToLoadAreLetGo) {
  constexpr uint64_t half = 4 << 20;
  std::ofstream(path, std::ios::binary) << std::string(2 * half, 'w');
  Builder builder(1);
  builder.kernel(readAll);
  builder.file(path, 2 * half);
  builder.programs[0].param_bytes = 2;
  builder.programs[0].arena_bytes = 1;
  for (uint64_t i : {0, 1})
    builder.add(builder.load[0], launch(0, 1, "read"),
                {{CLEAVE_SPACE_FILE, 0, i * half, half}, {CLEAVE_SPACE_PARAM, 0, i, 1}});
  builder.add(builder.main[0], launch(0, 1, "use"),
              {{CLEAVE_SPACE_FILE, 0, half, half}, {CLEAVE_SPACE_ARENA, 0, 0, 1}});
  ASSERT_EQ(cleave_session_create(builder.finish(), nullptr, &session, &error), CLEAVE_OK);
  EXPECT_LE(residentKiB("cleave-weights"), 4096);
  ASSERT_EQ(cleave_session_run(session, nullptr, nullptr, &error), CLEAVE_OK);
  EXPECT_EQ(residentKiB("cleave-weights"), 4096);
  cleave_session_destroy(session);
}
