//===- Exchanges.cpp - what every communicator must do --------------------===//

#include "Exchanges.h"

#include "Oracle.h"
#include "Programs.h"

#include <rapidcheck.h>

#include <cstring>
#include <random>

using namespace cleave::test;

namespace {

/// A collective over a drawn partition of drawn ranks.
struct Case {
  uint32_t ranks, size;
  uint8_t op, type, reduction;
  std::vector<uint32_t> members;
  /// By set; sets differ in their counts, as uneven cuts on another axis do.
  std::vector<std::vector<uint64_t>> counts;
  uint32_t seed;
  bool inPlace;
};

} // namespace

static uint64_t drawCount() {
  return *rc::gen::weightedOneOf<uint64_t>({{2, rc::gen::just(uint64_t(0))},
                                            {6, rc::gen::inRange<uint64_t>(1, 40)},
                                            {2, rc::gen::inRange<uint64_t>(1000, 5000)}});
}

static Case draw(const Engine &engine, uint8_t op, uint8_t type) {
  Case c;
  c.op = op;
  c.type = type;
  c.ranks = engine.process ? cleave_process_size(engine.process) : *rc::gen::inRange(1u, 9u);
  std::vector<uint32_t> sizes;
  for (uint32_t size = 1; size <= c.ranks; ++size)
    if (c.ranks % size == 0)
      sizes.push_back(size);
  c.size = *rc::gen::elementOf(sizes);
  c.reduction = uint8_t(*rc::gen::inRange(0, int(CLEAVE_NUM_REDUCTIONS)));
  c.seed = *rc::gen::arbitrary<uint32_t>();
  c.inPlace = op == CLEAVE_OP_ALL_REDUCE && *rc::gen::arbitrary<bool>();
  c.members.resize(c.ranks);
  std::iota(c.members.begin(), c.members.end(), 0);
  std::shuffle(c.members.begin(), c.members.end(), std::mt19937(c.seed));
  uint32_t numCounts = op == CLEAVE_OP_ALL_REDUCE   ? 1
                       : op == CLEAVE_OP_ALL_TO_ALL ? c.size * c.size
                                                    : c.size;
  for (uint32_t set = 0; set < c.ranks / c.size; ++set) {
    c.counts.emplace_back();
    for (uint32_t i = 0; i < numCounts; ++i)
      c.counts.back().push_back(drawCount());
  }
  return c;
}

/// Any bits, but for floats mostly numbers whose sums round.
static Bytes drawBytes(uint8_t type, uint64_t elements, std::mt19937 &random) {
  uint64_t bytes = cleave_type_bytes(type);
  Bytes result(elements * bytes);
  for (uint64_t i = 0; i < elements; ++i) {
    uint64_t bits = (uint64_t(random()) << 32) | random();
    float number = std::normal_distribution<float>(0, 3)(random);
    bool anyBits = random() % 16 == 0;
    _Float16 half = _Float16(number);
    double wide = double(number) / 3;
    uint32_t narrow;
    memcpy(&narrow, &number, 4);
    if (type == CLEAVE_BOOL)
      bits &= 1;
    else if (type == CLEAVE_F32 && !anyBits)
      memcpy(&bits, &number, 4);
    else if (type == CLEAVE_F64 && !anyBits)
      memcpy(&bits, &wide, 8);
    else if (type == CLEAVE_F16 && !anyBits)
      memcpy(&bits, &half, 2);
    else if (type == CLEAVE_BF16 && !anyBits)
      bits = narrow >> 16;
    // Which of two zeros is the larger is not said, and every 128th byte is one.
    else if ((type == CLEAVE_F8E4M3FN || type == CLEAVE_F8E5M2) && (bits & 0x7f) == 0)
      bits = 0;
    memcpy(&result[i * bytes], &bits, bytes);
  }
  return result;
}

static uint64_t given(const Case &c, const std::vector<uint64_t> &counts, uint32_t member) {
  switch (c.op) {
  case CLEAVE_OP_ALL_REDUCE: return counts[0];
  case CLEAVE_OP_ALL_GATHER: return counts[member];
  case CLEAVE_OP_REDUCE_SCATTER: return std::accumulate(counts.begin(), counts.end(), uint64_t(0));
  }
  auto row = counts.begin() + member * c.size;
  return std::accumulate(row, row + c.size, uint64_t(0));
}

static bool isHere(const Engine &engine, uint32_t rank) {
  return !engine.process || cleave_process_rank(engine.process) == rank;
}

static bool rootIsHere(const Engine &engine) { return isHere(engine, 0); }

static cleave_session *create(const Engine &engine, Builder &builder) {
  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.threads = engine.threads;
  options.checks = engine.checks;
  options.process = engine.process;
  if (engine.gpu)
    builder.onGpu();
  cleave_session *session;
  cleave_error error = {};
  if (cleave_session_create(builder.finish(), &options, &session, &error))
    RC_FAIL(error.message);
  return session;
}

/// Rank r reads input r and writes output r, which are whole values.
static void check(const Engine &engine, const Case &c) {
  std::mt19937 random(c.seed);
  std::vector<Bytes> inputs(c.ranks), wanted(c.ranks);
  std::vector<uint32_t> memberOf(c.ranks);
  for (uint32_t set = 0; set < c.ranks / c.size; ++set) {
    std::vector<Bytes> own;
    for (uint32_t i = 0; i < c.size; ++i)
      own.push_back(drawBytes(c.type, given(c, c.counts[set], i), random));
    std::vector<Bytes> results = expected(c.op, c.type, c.reduction, c.counts[set], own);
    for (uint32_t i = 0; i < c.size; ++i) {
      uint32_t rank = c.members[set * c.size + i];
      inputs[rank] = own[i];
      wanted[rank] = results[i];
      memberOf[rank] = set * c.size + i;
    }
  }

  Builder builder(c.ranks);
  builder.group(c.members, c.size);
  uint64_t bytes = cleave_type_bytes(c.type);
  cleave_command command = collective(cleave_op(c.op), c.type, c.reduction, 0, "exchange");
  for (uint32_t rank = 0; rank < c.ranks; ++rank) {
    uint64_t in = inputs[rank].size(), out = wanted[rank].size();
    builder.input(c.type, int64_t(in / bytes));
    builder.output(c.type, int64_t(out / bytes), rank);
    const std::vector<uint64_t> &counts = c.counts[memberOf[rank] / c.size];
    cleave_buffer source{CLEAVE_SPACE_INPUT, rank, 0, in};
    cleave_buffer target{CLEAVE_SPACE_OUTPUT, rank, 0, out};
    if (c.inPlace) {
      // An odd offset: blocks need not be aligned.
      cleave_buffer place{CLEAVE_SPACE_ARENA, 0, 3, in};
      builder.programs[rank].arena_bytes = 3 + in;
      builder.add(builder.main[rank], local(CLEAVE_OP_COPY, "in"), {source, place});
      builder.add(builder.main[rank], command, {place, place}, counts);
      builder.add(builder.main[rank], local(CLEAVE_OP_COPY, "out"), {place, target});
    } else {
      builder.add(builder.main[rank], command, {source, target}, counts);
    }
  }

  cleave_session *session = create(engine, builder);
  cleave_error error = {};
  std::vector<cleave_input> given;
  std::vector<Bytes> memory(c.ranks);
  std::vector<cleave_output> taken;
  for (uint32_t rank = 0; rank < c.ranks; ++rank) {
    given.push_back({inputs[rank].data(), inputs[rank].size()});
    memory[rank].resize(wanted[rank].size());
    taken.push_back({memory[rank].data(), memory[rank].size()});
  }
  constexpr uint32_t runs = 3;
  for (uint32_t run = 0; run < runs; ++run)
    if (cleave_session_run(session, given.data(), taken.data(), &error))
      RC_FAIL(error.message);
  for (uint32_t rank = 0; rank < c.ranks; ++rank) {
    if (rootIsHere(engine))
      RC_ASSERT(equal(c.type, memory[rank].data(), wanted[rank]));
    if (!isHere(engine, rank))
      continue;
    RC_ASSERT(equal(c.type, cleave_session_output(session, rank, rank), wanted[rank]));
    cleave_counters counters;
    RC_ASSERT(!cleave_session_counters(session, rank, &counters));
    RC_ASSERT(counters.calls[c.op] == runs);
    RC_ASSERT(counters.bytes[c.op] ==
              runs * cleave_ring_bytes(c.op, c.type, c.counts[memberOf[rank] / c.size].data(),
                                       c.size, memberOf[rank] % c.size));
  }
  cleave_session_destroy(session);
}

/// What one rank sends to another, each to a place of its own.
struct Letter {
  uint32_t from, to;
  uint64_t elements;
  Bytes bytes;
};

/// Letters in one global order, so that no list can deadlock: a rank sends and
/// receives in this order, and ends its sends some letters later, or at its end.
void cleave::test::checkTransfers(const Engine &engine, uint8_t type) {
  uint32_t ranks = engine.process ? cleave_process_size(engine.process) : *rc::gen::inRange(2u, 7u);
  std::mt19937 random(*rc::gen::arbitrary<uint32_t>());
  std::vector<Letter> letters(*rc::gen::inRange(1u, 30u));
  uint64_t bytes = cleave_type_bytes(type);
  Builder builder(ranks);
  builder.world();
  std::vector<std::deque<uint32_t>> flying(ranks); ///< receivers of sends not ended
  auto end = [&](uint32_t rank) {
    builder.add(builder.main[rank], transfer(CLEAVE_OP_WAIT, 0, 0, flying[rank].front(), "wait"),
                {});
    flying[rank].pop_front();
  };
  for (uint32_t i = 0; i < letters.size(); ++i) {
    Letter &letter = letters[i];
    letter.from = random() % ranks;
    letter.to = (letter.from + 1 + random() % (ranks - 1)) % ranks;
    letter.elements = drawCount();
    letter.bytes = drawBytes(type, letter.elements, random);
    builder.input(type, int64_t(letter.elements));
    builder.output(type, int64_t(letter.elements), letter.to);
    uint64_t size = letter.elements * bytes;
    builder.add(builder.main[letter.from], transfer(CLEAVE_OP_SEND, type, 0, letter.to, "send"),
                {{CLEAVE_SPACE_INPUT, i, 0, size}}, {letter.elements});
    flying[letter.from].push_back(letter.to);
    builder.add(builder.main[letter.to], transfer(CLEAVE_OP_RECV, type, 0, letter.from, "recv"),
                {{CLEAVE_SPACE_OUTPUT, i, 0, size}}, {letter.elements});
    if (flying[letter.from].size() > random() % 4)
      end(letter.from);
  }
  for (uint32_t rank = 0; rank < ranks; ++rank)
    while (!flying[rank].empty())
      end(rank);

  cleave_session *session = create(engine, builder);
  cleave_error error = {};
  std::vector<cleave_input> given;
  std::vector<Bytes> memory;
  std::vector<cleave_output> taken;
  for (const Letter &letter : letters) {
    given.push_back({letter.bytes.data(), letter.bytes.size()});
    memory.emplace_back(letter.bytes.size());
  }
  for (Bytes &own : memory)
    taken.push_back({own.data(), own.size()});
  for (uint32_t run = 0; run < 3; ++run) {
    for (Bytes &own : memory)
      std::fill(own.begin(), own.end(), 0);
    if (cleave_session_run(session, given.data(), taken.data(), &error))
      RC_FAIL(error.message);
    for (uint32_t i = 0; i < letters.size() && rootIsHere(engine); ++i)
      RC_ASSERT(memory[i] == letters[i].bytes);
  }
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    if (!isHere(engine, rank))
      continue;
    cleave_counters counters;
    uint64_t calls = 0, sent = 0;
    for (const Letter &letter : letters)
      if (letter.from == rank) {
        ++calls;
        sent += letter.bytes.size();
      }
    RC_ASSERT(!cleave_session_counters(session, rank, &counters));
    RC_ASSERT(counters.calls[CLEAVE_OP_SEND] == 3 * calls);
    RC_ASSERT(counters.calls[CLEAVE_OP_WAIT] == 3 * calls);
    RC_ASSERT(counters.bytes[CLEAVE_OP_SEND] == 3 * sent);
  }
  cleave_session_destroy(session);
}

void cleave::test::checkCollective(const Engine &engine, uint8_t op, uint8_t type) {
  check(engine, draw(engine, op, type));
}
