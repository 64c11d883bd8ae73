//===- Trace.cpp - the last run as a timeline -----------------------------===//

#include "cleave/Driver/Trace.h"

#include "Ops.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"

#include <nlohmann/json.hpp>

#include <map>

using namespace cleave;
using Json = nlohmann::ordered_json;

namespace {

/// A command that ran, on the rank that ran it.
struct Event {
  uint32_t rank;
  const cleave_command &command;
  cleave_span span;
};

class Tracer {
public:
  Tracer(const cleave_program &program, const cleave_session *session)
      : program(program), session(session) {}

  std::string text(llvm::StringRef title);

private:
  void describe(const Event &event);
  void connect(const Event &event);
  llvm::ArrayRef<uint32_t> membersOf(const Event &event) const;
  uint64_t bytesOf(const Event &event) const;
  double microseconds(uint64_t time) const { return double(time - begin) / 1000; }

  const cleave_program &program;
  const cleave_session *session;
  uint64_t begin = UINT64_MAX;
  std::vector<Json> entries;
  /// Sends, or receives, so far from one rank to another: equal numbers meet.
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> sent, received;
};

} // namespace

/// The set of the event's group that its rank is in.
llvm::ArrayRef<uint32_t> Tracer::membersOf(const Event &event) const {
  const cleave_group &group = program.groups[event.command.group];
  llvm::ArrayRef<uint32_t> members(group.members, program.num_ranks);
  size_t place = llvm::find(members, event.rank) - members.begin();
  return members.slice(place - place % group.group_size, group.group_size);
}

/// What an exchange sends, and all else writes.
uint64_t Tracer::bytesOf(const Event &event) const {
  const cleave_command &command = event.command;
  if (kindOf(command.op) != OpKind::Local && command.op != CLEAVE_OP_RECV) {
    llvm::ArrayRef<uint32_t> members = membersOf(event);
    return cleave_ring_bytes(command.op, command.type, program.counts + command.first_count,
                             members.size(), llvm::find(members, event.rank) - members.begin());
  }
  uint32_t written = command.op == CLEAVE_OP_LAUNCH ? command.num_outputs : 1;
  uint64_t bytes = 0;
  for (uint32_t i = command.num_buffers - written; i < command.num_buffers; ++i)
    bytes += program.buffers[command.first_buffer + i].bytes;
  return bytes;
}

void Tracer::describe(const Event &event) {
  const cleave_command &command = event.command;
  const char *op = cleave_op_name(command.op);
  Json arguments = {{"bytes", bytesOf(event)}};
  if (command.op == CLEAVE_OP_LAUNCH)
    arguments["kernel"] = command.kernel;
  if (kindOf(command.op) != OpKind::Local) {
    arguments["group"] = command.group;
    arguments["ranks"] = membersOf(event).vec();
  }
  entries.push_back({{"ph", "X"},
                     {"pid", 0},
                     {"tid", event.rank},
                     {"ts", microseconds(event.span.begin)},
                     {"dur", double(event.span.end - event.span.begin) / 1000},
                     {"name", command.name && *command.name ? command.name : op},
                     {"cat", op},
                     {"args", std::move(arguments)}});
}

/// The end of an arrow at a send or receive: within the event, and of a receive as late
/// as can be, since it may have begun before its send did.
void Tracer::connect(const Event &event) {
  bool isSend = event.command.op == CLEAVE_OP_SEND;
  if (!isSend && event.command.op != CLEAVE_OP_RECV)
    return;
  uint32_t peer = membersOf(event)[event.command.peer];
  std::pair<uint32_t, uint32_t> way = {isSend ? event.rank : peer, isSend ? peer : event.rank};
  uint32_t number = (isSend ? sent : received)[way]++;
  uint64_t time = isSend ? event.span.begin : std::max(event.span.begin, event.span.end - 1);
  Json entry = {{"ph", isSend ? "s" : "f"},
                {"pid", 0},
                {"tid", event.rank},
                {"ts", microseconds(time)},
                {"name", "transfer"},
                {"cat", "transfer"},
                {"id", std::to_string(way.first) + "-" + std::to_string(way.second) + "-" +
                           std::to_string(number)}};
  if (!isSend)
    entry["bp"] = "e";
  entries.push_back(std::move(entry));
}

std::string Tracer::text(llvm::StringRef title) {
  std::vector<Event> events;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    uint32_t count;
    const cleave_span *spans = cleave_session_spans(session, rank, &count);
    const cleave_command *list = program.programs[program.class_of_rank[rank]].main;
    for (uint32_t i = 0; i < count && spans[i].begin; ++i) {
      events.push_back({rank, list[i], spans[i]});
      begin = std::min(begin, spans[i].begin);
    }
  }
  auto name = [&](uint32_t rank, const char *what, const std::string &text) {
    entries.push_back(
        {{"ph", "M"}, {"pid", 0}, {"tid", rank}, {"name", what}, {"args", {{"name", text}}}});
  };
  name(0, "process_name", title.str());
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank)
    name(rank, "thread_name", "rank " + std::to_string(rank));
  for (const Event &event : events) {
    describe(event);
    connect(event);
  }
  std::string text = "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [";
  for (const Json &entry : entries)
    text += (&entry == &entries.front() ? "\n" : ",\n") +
            entry.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text + "\n]}\n";
}

std::string cleave::traceText(const cleave_program &program, const cleave_session *session,
                              llvm::StringRef title) {
  return Tracer(program, session).text(title);
}
