//===- Cliques.cpp - ranks meet, and what they do then --------------------===//

#include "Cliques.h"

#include "../Comm/Reduce.h"

#include <algorithm>
#include <cstring>

using namespace cleave::simt;
using namespace cleave::runtime;

static size_t bytesOf(ncclDataType_t type) {
  switch (type) {
  case ncclInt32:
  case ncclUint32:
  case ncclFloat32: return 4;
  case ncclInt64:
  case ncclUint64:
  case ncclFloat64: return 8;
  case ncclFloat16:
  case ncclBfloat16: return 2;
  default: return 1;
  }
}

static const char *nameOf(ncclDataType_t type) {
  static const char *const names[] = {"int8",    "uint8",    "int32",      "uint32",
                                      "int64",   "uint64",   "float16",    "float32",
                                      "float64", "bfloat16", "float8e4m3", "float8e5m2"};
  return size_t(type) < std::size(names) ? names[type] : "no type";
}

/// By the runtime's names.
static cleave_type typeOf(ncclDataType_t type) {
  static const cleave_type types[] = {CLEAVE_I8,  CLEAVE_U8,  CLEAVE_I32, CLEAVE_U32, CLEAVE_I64,
                                      CLEAVE_U64, CLEAVE_F16, CLEAVE_F32, CLEAVE_F64, CLEAVE_BF16};
  return types[type];
}

static cleave_reduction reductionOf(ncclRedOp_t reduction) {
  return reduction == ncclSum    ? CLEAVE_SUM
         : reduction == ncclProd ? CLEAVE_PROD
         : reduction == ncclMax  ? CLEAVE_MAX
                                 : CLEAVE_MIN;
}

size_t Call::bytesIn(int rank, int size) const {
  size_t bytes = count * bytesOf(type);
  if (kind == Recv || kind == Window || (kind == Broadcast && rank != root))
    return 0;
  return kind == ReduceScatter ? bytes * size_t(size) : bytes;
}

size_t Call::bytesOut(int rank, int size) const {
  size_t bytes = count * bytesOf(type);
  if (kind == Send || kind == Window || (kind == Reduce && rank != root))
    return 0;
  return kind == AllGather ? bytes * size_t(size) : bytes;
}

std::string Call::text() const {
  static const char *const kinds[] = {"all_reduce", "reduce_scatter", "all_gather", "reduce",
                                      "broadcast",  "window",         "send",       "recv"};
  static const char *const reductions[] = {"sum", "prod", "max", "min"};
  std::string text = std::string(kinds[kind]) + " of " + std::to_string(count) + " " + nameOf(type);
  if (kind == AllReduce || kind == ReduceScatter || kind == Reduce)
    text += std::string(", ") + reductions[reduction];
  if (kind == Reduce || kind == Broadcast)
    text += ", root " + std::to_string(root);
  if (inputAt != nowhere || outputAt != nowhere) {
    auto place = [](size_t at) { return at == nowhere ? "outside" : std::to_string(at); };
    text += ", from " + place(inputAt) + " to " + place(outputAt) + " of windows";
  }
  return text;
}

static bool agree(const Call &a, const Call &b) {
  return a.kind == b.kind && a.count == b.count && a.type == b.type && a.reduction == b.reduction &&
         a.root == b.root && a.inputAt == b.inputAt && a.outputAt == b.outputAt;
}

static void noteMismatch(int size, int a, const Call &its, int b, const Call &other) {
  std::string line = "mismatch: in a clique of " + std::to_string(size) + ", rank " +
                     std::to_string(a) + " calls " + its.text() + " where rank " +
                     std::to_string(b) + " calls " + other.text();
  Execution::get().findings.add(line, line);
}

/// What `member` gets of what all gave in one call.
static void compute(int member, const Call &own, const std::vector<Letter> &letters) {
  size_t bytes = own.count * bytesOf(own.type);
  if (!bytes)
    return;
  std::vector<const void *> inputs;
  for (const Letter &letter : letters)
    inputs.push_back(letter.bytes->data());
  auto reduce = [&](uint64_t begin) {
    findReduce(uint8_t(typeOf(own.type)), uint8_t(reductionOf(own.reduction)))(
        {inputs.data(), uint32_t(inputs.size()), &own.output, 1, begin, own.count, begin});
  };
  switch (own.kind) {
  case Call::AllReduce: return reduce(0);
  case Call::ReduceScatter: return reduce(uint64_t(member) * own.count);
  case Call::Reduce:
    if (member == own.root)
      reduce(0);
    return;
  case Call::AllGather:
    for (size_t i = 0; i < inputs.size(); ++i)
      memcpy(static_cast<char *>(own.output) + i * bytes, inputs[i], bytes);
    return;
  case Call::Window: return;
  default: memcpy(own.output, inputs[size_t(own.root)], bytes);
  }
}

void Clique::give(Message message, int from, int to, std::shared_ptr<const std::string> bytes) {
  message.clique = key;
  message.from = ranks[size_t(from)];
  message.to = ranks[size_t(to)];
  world.give(message, std::move(bytes));
}

void Clique::arrive(int member, const Call &call, Open open) {
  Local &local = locals[member];
  Message message = {};
  message.call = call;
  size_t bytes = call.bytesIn(member, size());
  auto given = std::make_shared<const std::string>(static_cast<const char *>(call.input), bytes);
  if (call.kind == Call::Send) {
    message.kind = Message::Sent;
    local.sends[call.root].push_back(std::move(open));
    give(message, member, call.root, given);
  } else if (call.kind == Call::Recv) {
    local.receives[call.root].push_back({call, std::move(open)});
  } else {
    message.kind = Message::Round;
    local.rounds.push_back({call, std::move(open)});
    for (int other = 0; other < size(); ++other)
      give(message, member, other, given);
  }
  progress();
}

void Clique::split(int member, int colour, int splitKey) {
  Message message = {};
  message.kind = Message::Split;
  message.colour = colour;
  message.key = splitKey;
  for (int other = 0; other < size(); ++other)
    give(message, member, other);
}

bool Clique::hasAll(Message::Kind kind, int member) {
  for (int other = 0; other < size(); ++other)
    if (inbox(kind, member, other).empty())
      return false;
  return true;
}

bool Clique::takeSplit(int member, std::map<int, std::map<std::pair<int, int>, int>> &colours) {
  if (!hasAll(Message::Split, member))
    return false;
  for (int other = 0; other < size(); ++other) {
    auto &letters = inbox(Message::Split, member, other);
    const Message &its = letters.front().message;
    colours[its.colour][{its.key, other}] = ranks[size_t(other)];
    letters.pop_front();
  }
  return true;
}

void Clique::progress() {
  for (auto &[member, local] : locals) {
    endReceives(member, local);
    endRounds(member, local);
  }
  // Behind all that was received here.
  for (auto &[member, local] : locals)
    endSends(member, local);
}

void Clique::endReceives(int member, Local &local) {
  for (auto &[peer, receives] : local.receives) {
    auto &sent = inbox(Message::Sent, member, peer);
    while (!sent.empty() && !receives.empty()) {
      const Call &send = sent.front().message.call, &receive = receives.front().call;
      if (send.count != receive.count || send.type != receive.type)
        noteMismatch(size(), peer, send, member, receive);
      else
        memcpy(receive.output, sent.front().bytes->data(), sent.front().bytes->size());
      --*receives.front().open;
      receives.pop_front();
      sent.pop_front();
      Message taken = {};
      taken.kind = Message::Taken;
      give(taken, member, peer);
    }
  }
}

/// A send has ended when its receiver has the bytes.
void Clique::endSends(int member, Local &local) {
  for (auto &[peer, sends] : local.sends) {
    auto &taken = inbox(Message::Taken, member, peer);
    for (; !taken.empty() && !sends.empty(); taken.pop_front(), sends.pop_front())
      --*sends.front();
  }
}

void Clique::endRounds(int member, Local &local) {
  while (!local.rounds.empty() && hasAll(Message::Round, member)) {
    std::vector<Letter> letters;
    for (int other = 0; other < size(); ++other) {
      letters.push_back(std::move(inbox(Message::Round, member, other).front()));
      inbox(Message::Round, member, other).pop_front();
    }
    const Call &first = letters[0].message.call;
    auto other = std::find_if(letters.begin(), letters.end(), [&](const Letter &letter) {
      return !agree(letter.message.call, first);
    });
    if (other == letters.end())
      compute(member, local.rounds.front().call, letters);
    else
      noteMismatch(size(), 0, first, int(other - letters.begin()), other->message.call);
    --*local.rounds.front().open;
    local.rounds.pop_front();
  }
}
