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
  if (kind == Recv || (kind == Broadcast && rank != root))
    return 0;
  return kind == ReduceScatter ? bytes * size_t(size) : bytes;
}

size_t Call::bytesOut(int rank, int size) const {
  size_t bytes = count * bytesOf(type);
  if (kind == Send || (kind == Reduce && rank != root))
    return 0;
  return kind == AllGather ? bytes * size_t(size) : bytes;
}

std::string Call::text() const {
  static const char *const kinds[] = {"all_reduce", "reduce_scatter", "all_gather", "reduce",
                                      "broadcast",  "send",           "recv"};
  static const char *const reductions[] = {"sum", "prod", "max", "min"};
  std::string text = std::string(kinds[kind]) + " of " + std::to_string(count) + " " + nameOf(type);
  if (kind == AllReduce || kind == ReduceScatter || kind == Reduce)
    text += std::string(", ") + reductions[reduction];
  if (kind == Reduce || kind == Broadcast)
    text += ", root " + std::to_string(root);
  return text;
}

static bool agree(const Call &a, const Call &b) {
  return a.kind == b.kind && a.count == b.count && a.type == b.type && a.reduction == b.reduction &&
         a.root == b.root;
}

static void noteMismatch(int size, int a, const Call &its, int b, const Call &other) {
  std::string line = "mismatch: in a clique of " + std::to_string(size) + ", rank " +
                     std::to_string(a) + " calls " + its.text() + " where rank " +
                     std::to_string(b) + " calls " + other.text();
  Execution::get().findings.add(line, line);
}

bool Clique::isWhole() const {
  return std::find(members.begin(), members.end(), nullptr) == members.end();
}

void Clique::arrive(int rank, const Call &call, Open open) {
  if (call.kind == Call::Send) {
    sends[{rank, call.root}].push_back({call, std::move(open)});
    exchange(rank, call.root);
  } else if (call.kind == Call::Recv) {
    receives[{call.root, rank}].push_back({call, std::move(open)});
    exchange(call.root, rank);
  } else {
    rounds[size_t(rank)].push_back({call, std::move(open)});
    meet();
  }
}

void Clique::exchange(int from, int to) {
  auto &sent = sends[{from, to}], &received = receives[{from, to}];
  while (!sent.empty() && !received.empty()) {
    Arrival send = std::move(sent.front()), receive = std::move(received.front());
    sent.pop_front();
    received.pop_front();
    --*send.open;
    --*receive.open;
    if (send.call.count != receive.call.count || send.call.type != receive.call.type)
      noteMismatch(int(members.size()), from, send.call, to, receive.call);
    else
      memcpy(receive.call.output, send.call.input, send.call.bytesIn(from, 0));
  }
}

void Clique::meet() {
  auto isEmpty = [](const auto &round) { return round.empty(); };
  while (std::find_if(rounds.begin(), rounds.end(), isEmpty) == rounds.end()) {
    std::vector<Call> calls;
    for (auto &round : rounds) {
      --*round.front().open;
      calls.push_back(round.front().call);
      round.pop_front();
    }
    auto other = std::find_if(calls.begin(), calls.end(),
                              [&](const Call &call) { return !agree(call, calls[0]); });
    if (other == calls.end())
      compute(calls);
    else
      noteMismatch(int(calls.size()), 0, calls[0], int(other - calls.begin()), *other);
  }
}

/// All of them are one call.
void Clique::compute(const std::vector<Call> &calls) {
  const Call &first = calls[0];
  size_t bytes = first.count * bytesOf(first.type);
  if (!bytes)
    return;
  std::vector<const void *> inputs;
  std::vector<void *> outputs;
  for (const Call &call : calls) {
    inputs.push_back(call.input);
    outputs.push_back(call.output);
  }
  uint32_t size = uint32_t(calls.size());
  auto reduce = [&](uint64_t begin, void *const *targets, uint32_t count) {
    findReduce(uint8_t(typeOf(first.type)), uint8_t(reductionOf(first.reduction)))(
        {inputs.data(), size, targets, count, begin, first.count, begin});
  };
  auto at = [&](void *start, size_t block) { return static_cast<char *>(start) + block * bytes; };
  switch (first.kind) {
  case Call::AllReduce: reduce(0, outputs.data(), size); break;
  case Call::Reduce: reduce(0, &outputs[size_t(first.root)], 1); break;
  case Call::ReduceScatter:
    for (size_t i = 0; i < size; ++i)
      reduce(i * first.count, &outputs[i], 1);
    break;
  case Call::AllGather:
    // A member's own block may lie where it is to be.
    for (size_t i = 0; i < size; ++i)
      for (void *output : outputs)
        memmove(at(output, i), inputs[i], bytes);
    break;
  default:
    for (void *output : outputs)
      if (output != inputs[size_t(first.root)])
        memmove(output, inputs[size_t(first.root)], bytes);
  }
}
