//===- Fault.cpp - makes a rank fail where one asks for it ----------------===//

#include "Fault.h"

#include "Error.h"
#include "Verify.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

using namespace cleave::runtime;

static constexpr std::string_view kinds[] = {"",     "kill",    "stall",  "delay",
                                             "drop", "corrupt", "diverge"};

static bool parseNumber(std::string_view text, uint32_t &number) {
  auto [stop, problem] = std::from_chars(text.begin(), text.end(), number);
  return problem == std::errc() && stop == text.end();
}

static bool parseKind(std::string_view text, Fault::Kind &kind) {
  for (uint8_t i = Fault::Kill; i <= Fault::Diverge; ++i)
    if (text == kinds[i])
      kind = Fault::Kind(i);
  return kind != Fault::None;
}

/// False where the text is not a list of `key=value`, rank, command and kind among them.
static bool parse(std::string_view text, Fault &fault) {
  bool hasRank = false, hasCommand = false, hasKind = false;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    size_t equals = item.find('=');
    if (equals == item.npos)
      return false;
    std::string_view key = item.substr(0, equals), value = item.substr(equals + 1);
    bool good = false;
    if (key == "rank")
      good = !std::exchange(hasRank, true) && parseNumber(value, fault.rank);
    else if (key == "command")
      good = !std::exchange(hasCommand, true) && parseNumber(value, fault.command);
    else if (key == "kind")
      good = !std::exchange(hasKind, true) && parseKind(value, fault.kind);
    else if (key == "ms")
      good = parseNumber(value, fault.ms);
    if (!good)
      return false;
  }
  return hasRank && hasCommand && hasKind;
}

static bool sends(const Groups &groups, uint32_t rank, const cleave_command &command) {
  return command.op == CLEAVE_OP_SEND ||
         (isCollective(command.op) && groups.find(command.group, rank).size > 1);
}

int32_t cleave::runtime::readFault(const cleave_program &program, const Groups &groups,
                                   Fault &fault, cleave_error *error) {
  const char *text = getenv("CLEAVE_FAULT");
  if (!text || !*text)
    return CLEAVE_OK;
  if (!parse(text, fault))
    return fail(
        error, CLEAVE_REFUSED,
        "CLEAVE_FAULT is rank=R,command=N,kind=kill|stall|delay|drop|corrupt|diverge[,ms=T], "
        "got: \"%.200s\"",
        text);
  if (fault.rank >= program.num_ranks)
    return fail(error, CLEAVE_REFUSED,
                "CLEAVE_FAULT names a rank that does not exist, got: %u of %u", fault.rank,
                program.num_ranks);
  std::span<const cleave_command> list = listOf(program, fault.rank, /*load=*/false);
  auto count = uint32_t(list.size());
  uint32_t asked = fault.command;
  if (fault.kind >= Fault::Drop)
    while (fault.command < count && !sends(groups, fault.rank, list[fault.command]))
      ++fault.command;
  if (asked >= count)
    return fail(error, CLEAVE_REFUSED,
                "CLEAVE_FAULT names a command that does not exist, got: %u of %u", asked, count);
  if (fault.command >= count)
    return fail(error, CLEAVE_REFUSED,
                "CLEAVE_FAULT finds nothing that rank %u sends from command %u on", fault.rank,
                asked);
  return CLEAVE_OK;
}
