//===- Trace.cpp - arrows, names and failures in a timeline ---------------===//

#include "cleave/Driver/Trace.h"

#include "../Runtime/Programs.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <map>

using namespace cleave::test;
using Json = nlohmann::json;

static int32_t work(void *const *, const int64_t *) { return CLEAVE_FAULT_NONE; }
static int32_t refuse(void *const *, const int64_t *) { return CLEAVE_FAULT_INDEX; }

/// Runs a program once and reads its timeline.
static Json traceOf(Builder &builder, int32_t status) {
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.timing = 1;
  cleave_session *session;
  cleave_error error = {};
  EXPECT_EQ(cleave_session_create(builder.finish(), &options, &session, &error), CLEAVE_OK)
      << error.message;
  EXPECT_EQ(cleave_session_run(session, nullptr, nullptr, &error), status) << error.message;
  Json trace = Json::parse(cleave::traceText(builder.program, session, "a \"model\"\n"));
  cleave_session_destroy(session);
  return trace["traceEvents"];
}

static bool isWithin(const Json &end, const Json &event) {
  double begin = event["ts"], last = begin + double(event["dur"]), time = end["ts"];
  return end["tid"] == event["tid"] && time >= begin && time <= last;
}

/// Rank 0 sends twice to rank 1 over two groups, and rank 1 once to rank 0.
TEST(Trace, AnArrowGoesFromEachSendToItsReceive) {
  Builder builder(2);
  uint32_t groups[] = {builder.group({0, 1}, 2), builder.group({1, 0}, 2)};
  for (uint32_t rank : {0, 1})
    builder.programs[rank].arena_bytes = 128;
  auto buffer = [](uint64_t offset, uint64_t floats) {
    return cleave_buffer{CLEAVE_SPACE_ARENA, 0, offset, 4 * floats};
  };
  // The member number of a rank in the second group is the other one's in the first.
  builder.add(builder.main[0], transfer(CLEAVE_OP_SEND, CLEAVE_F32, groups[0], 1, "first"),
              {buffer(0, 4)}, {4});
  builder.add(builder.main[0], transfer(CLEAVE_OP_SEND, CLEAVE_F32, groups[1], 0, "second"),
              {buffer(0, 2)}, {2});
  builder.add(builder.main[0], transfer(CLEAVE_OP_WAIT, 0, groups[0], 1, "end of first"), {});
  builder.add(builder.main[0], transfer(CLEAVE_OP_WAIT, 0, groups[1], 0, "end of second"), {});
  builder.add(builder.main[0], transfer(CLEAVE_OP_RECV, CLEAVE_F32, groups[0], 1, "back"),
              {buffer(64, 4)}, {4});
  builder.add(builder.main[1], transfer(CLEAVE_OP_RECV, CLEAVE_F32, groups[0], 0, "first"),
              {buffer(0, 4)}, {4});
  builder.add(builder.main[1], transfer(CLEAVE_OP_RECV, CLEAVE_F32, groups[1], 1, "second"),
              {buffer(16, 2)}, {2});
  builder.add(builder.main[1], transfer(CLEAVE_OP_SEND, CLEAVE_F32, groups[0], 0, "back"),
              {buffer(0, 4)}, {4});
  builder.add(builder.main[1], transfer(CLEAVE_OP_WAIT, 0, groups[0], 0, "end of back"), {});

  std::map<std::string, std::map<std::string, Json>> events; // by name and kind
  std::map<std::string, Json> begins, ends;
  for (const Json &event : traceOf(builder, CLEAVE_OK)) {
    if (event["ph"] == "X")
      events[event["name"]][event["cat"]] = event;
    else if (event["ph"] == "s")
      EXPECT_TRUE(begins.emplace(event["id"], event).second);
    else if (event["ph"] == "f")
      EXPECT_TRUE(ends.emplace(event["id"], event).second);
  }
  ASSERT_EQ(begins.size(), 3u);
  ASSERT_EQ(ends.size(), 3u);
  for (const auto &[id, begin] : begins) {
    ASSERT_TRUE(ends.contains(id)) << id;
    const Json &end = ends[id];
    EXPECT_EQ(end["bp"], "e");
    EXPECT_GE(double(end["ts"]), double(begin["ts"]));
    bool found = false;
    for (const char *name : {"first", "second", "back"})
      if (isWithin(begin, events[name]["send"])) {
        EXPECT_TRUE(isWithin(end, events[name]["recv"])) << name << begin << end;
        found = true;
      }
    EXPECT_TRUE(found) << begin;
  }
  for (const char *kind : {"send", "recv"}) {
    EXPECT_EQ(events["first"][kind]["args"]["bytes"], 16);
    EXPECT_EQ(events["second"][kind]["args"]["bytes"], 8);
    EXPECT_EQ(events["second"][kind]["args"]["ranks"], Json({1, 0}));
  }
  EXPECT_EQ(events["end of first"]["wait"]["args"]["bytes"], 0);
}

TEST(Trace, AFailedRunEndsWhereItFailed) {
  Builder builder(1);
  builder.kernel(work);
  builder.kernel(refuse);
  builder.add(builder.main[0], launch(0, 0, "line\n\"quoted\" \xff"), {});
  builder.add(builder.main[0], launch(0, 0, nullptr), {});
  builder.add(builder.main[0], launch(1, 0, "fails"), {});
  builder.add(builder.main[0], launch(0, 0, "comes after"), {});
  std::vector<std::string> names;
  for (const Json &event : traceOf(builder, CLEAVE_FAILED))
    if (event["ph"] == "X")
      names.push_back(event["name"]);
    else if (event["name"] == "process_name")
      EXPECT_EQ(event["args"]["name"], "a \"model\"\n");
  // No text in UTF-8 holds the byte, so the sign for what cannot be shown stands for it.
  EXPECT_EQ(names, (std::vector<std::string>{"line\n\"quoted\" \xef\xbf\xbd", "launch", "fails"}));
}
